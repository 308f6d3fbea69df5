//! Values of flags.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::system::engines;

/// Members for an object: one, or all of a JSON object.
#[derive(Clone, Debug, PartialEq)]
pub struct Input(pub serde_json::Map<String, Value>);

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Since {
    /// This long ago.
    Ago(Duration),
    /// Then.
    At(chrono::DateTime<chrono::Utc>),
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// `KEY=VALUE` or a JSON object.
pub fn input(text: &str) -> Result<Input, String> {
    if text.trim_start().starts_with('{') {
        let object = serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
        return Ok(Input(object));
    }
    let (key, text) = pair(text).map_err(|_| "write KEY=VALUE, or a JSON object".to_owned())?;
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Input(std::iter::once((key, value)).collect()))
}

/// A JSON object.
pub fn object(text: &str) -> Result<Input, String> {
    serde_json::from_str(text).map(Input).map_err(|error| format!("not a JSON object: {error}"))
}

/// `PATH` or `ENGINE=PATH`.
pub fn python(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        Some((engine, path)) => {
            let engine = engines::parse(engine)?;
            Ok((Some(engine.name.to_owned()), path.into()))
        }
        None => Ok((None, text.into())),
    }
}

/// Checked here, so that a mistake is told before anything starts.
pub fn model(text: &str) -> Result<String, String> {
    text.parse::<mahavishnu_worker::Model>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A duration or an instant.
pub fn since(text: &str) -> Result<Since, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(Since::Ago(ago));
    }
    instant(text)
        .map(Since::At)
        .map_err(|_| "write a duration such as 2h, or an instant such as 2026-01-31T12:00:00Z".to_owned())
}

/// An instant.
pub fn instant(text: &str) -> Result<chrono::DateTime<chrono::Utc>, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|at| at.to_utc())
        .map_err(|_| "write an instant such as 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_where_they_can_be_and_text_otherwise() {
        let read = |text: &str| input(text).map(|input| Value::Object(input.0));
        assert_eq!(read("n=3").unwrap(), json!({"n": 3}));
        assert_eq!(read("n=a=b").unwrap(), json!({"n": "a=b"}));
        assert_eq!(read("n=").unwrap(), json!({"n": ""}));
        assert_eq!(read(r#"n=["x"]"#).unwrap(), json!({"n": ["x"]}));
        assert_eq!(read(r#"{"a": 1, "b": null}"#).unwrap(), json!({"a": 1, "b": null}));
        for bad in ["n", "=3", "{a", ""] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_durations_or_instants() {
        assert_eq!(since("2h").unwrap(), Since::Ago(Duration::from_secs(7200)));
        assert!(matches!(since("2026-01-31T12:00:00+01:00").unwrap(), Since::At(_)));
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_python_may_be_for_one_engine() {
        assert_eq!(python("/usr/bin/python3").unwrap(), (None, "/usr/bin/python3".into()));
        assert_eq!(
            python("agno=/venv/bin/python").unwrap(),
            (Some("agno".into()), "/venv/bin/python".into())
        );
        assert!(python("excel=/venv/bin/python").is_err());
    }
}
