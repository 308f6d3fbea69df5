//! The user's pip settings in uv's terms, so that a machine behind a mirror or a proxy needs no second configuration.
//!
//! What the user has set for uv itself stands. Locked hashes make the choice of an index harmless to correctness.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::process::withhold;

/// pip's option and the variable of uv that means the same.
const SAME: [(&str, &str); 7] = [
    ("index-url", "UV_DEFAULT_INDEX"),
    ("extra-index-url", "UV_INDEX"),
    ("find-links", "UV_FIND_LINKS"),
    ("trusted-host", "UV_INSECURE_HOST"),
    ("cert", "SSL_CERT_FILE"),
    ("timeout", "UV_HTTP_TIMEOUT"),
    ("proxy", "ALL_PROXY"),
];
/// Older variables of uv that mean the same and therefore stand as well.
const OLDER: [(&str, &str); 2] = [("UV_DEFAULT_INDEX", "UV_INDEX_URL"), ("UV_INDEX", "UV_EXTRA_INDEX_URL")];

/// Asks pip for its settings (files and environment) and gives the variables to set for uv.
pub(crate) async fn uv_settings(python: PathBuf) -> Vec<(String, String)> {
    let mut command = tokio::process::Command::new(python);
    command.args(["-m", "pip", "config", "list"]).env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    command.stdin(Stdio::null()).kill_on_drop(true);
    withhold(command.as_std_mut());
    // Without an answer there is nothing to take over; if that matters, uv says so when it cannot reach an index.
    let listed = match command.output().await {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        _ => String::new(),
    };
    translate(&listed, |name| std::env::var_os(name).is_some(), |path| path.exists())
}

/// From `global.index-url='...'` lines. Later sections win: files, then the install section, then the environment.
fn translate(
    listed: &str,
    is_set: impl Fn(&str) -> bool,
    exists: impl Fn(&Path) -> bool,
) -> Vec<(String, String)> {
    let mut settings = vec![
        // The certificates of the system are trusted, as pip does.
        ("UV_SYSTEM_CERTS".to_owned(), "true".to_owned()),
        // With hashes locked, any index may supply any package.
        ("UV_INDEX_STRATEGY".to_owned(), "unsafe-best-match".to_owned()),
    ];
    for (option, variable) in SAME {
        let value =
            ["global", "install", ":env:"].iter().rev().find_map(|section| value(listed, section, option));
        let Some(value) = value else { continue };
        let values: Vec<&str> = value
            .split_whitespace()
            .filter(|value| option != "find-links" || is_remote(value) || exists(Path::new(value)))
            .collect();
        if values.is_empty() {
            continue;
        }
        // uv separates the places of find-links by commas, everything else by blanks, as pip does.
        let separator = if option == "find-links" { "," } else { " " };
        settings.push((variable.to_owned(), values.join(separator)));
    }
    settings.retain(|(variable, _)| {
        !is_set(variable) && !OLDER.iter().any(|(newer, older)| newer == variable && is_set(older))
    });
    settings
}

fn is_remote(place: &str) -> bool {
    place.contains("://")
}

/// One setting, as pip prints it: in quotes, several values on lines of their own written `\n`.
fn value(listed: &str, section: &str, option: &str) -> Option<String> {
    let key = format!("{section}.{option}=");
    let quoted = listed.lines().find_map(|line| line.trim().strip_prefix(&key))?;
    let plain = quoted.trim_matches(['\'', '"']).replace("\\n", " ");
    (!plain.trim().is_empty()).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
:env:.find-links='/there /missing https://mirror.test/wheels'
:env:.index-url='https://mirror.test/env'
global.cert='/certs.pem'
global.extra-index-url='\\nhttps://mirror.test/a\\nhttps://mirror.test/b'
global.index-url='https://mirror.test/file'
";

    fn settings(already: &[&str]) -> Vec<(String, String)> {
        translate(LISTED, |name| already.contains(&name), |path| path == Path::new("/there"))
    }

    fn get(settings: &[(String, String)], name: &str) -> Option<String> {
        settings.iter().find(|(variable, _)| variable == name).map(|(_, value)| value.clone())
    }

    #[test]
    fn pips_settings_are_taken_over_the_environment_first() {
        let settings = settings(&[]);
        assert_eq!(get(&settings, "UV_DEFAULT_INDEX").as_deref(), Some("https://mirror.test/env"));
        assert_eq!(
            get(&settings, "UV_INDEX").as_deref(),
            Some("https://mirror.test/a https://mirror.test/b")
        );
        assert_eq!(get(&settings, "UV_FIND_LINKS").as_deref(), Some("/there,https://mirror.test/wheels"));
        assert_eq!(get(&settings, "SSL_CERT_FILE").as_deref(), Some("/certs.pem"));
    }

    #[test]
    fn what_is_set_for_uv_stands() {
        let settings = settings(&["UV_INDEX_URL", "SSL_CERT_FILE"]);
        assert_eq!(get(&settings, "UV_DEFAULT_INDEX"), None);
        assert_eq!(get(&settings, "SSL_CERT_FILE"), None);
        assert!(get(&settings, "UV_INDEX").is_some());
    }
}
