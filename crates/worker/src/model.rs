//! Which model the engines use: any OpenAI-compatible API, by provider, name and address.

use std::str::FromStr;

use serde::Serialize;

/// A model, as the engine host gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Who serves it.
    pub provider: String,
    /// Its name there.
    pub name: String,
    /// Where the API is.
    pub base_url: String,
}

/// A text that names no model.
#[derive(Debug, thiserror::Error)]
#[error("{0}; write PROVIDER:NAME or PROVIDER:NAME@URL, such as openai:gpt-4o-mini")]
pub struct InvalidModel(String);

impl Model {
    /// The key of the API; local servers take anything. Read when it is needed and kept nowhere.
    pub fn api_key() -> String {
        std::env::var("MAHAVISHNU_MODEL_API_KEY").unwrap_or_else(|_| "none".to_owned())
    }
}

impl FromStr for Model {
    type Err = InvalidModel;

    fn from_str(text: &str) -> Result<Self, InvalidModel> {
        let (provider, rest) =
            text.split_once(':').ok_or_else(|| InvalidModel(format!("{text:?} has no provider")))?;
        let (name, url) = match rest.split_once('@') {
            Some((name, url)) => (name, Some(url)),
            None => (rest, None),
        };
        if name.is_empty() {
            return Err(InvalidModel(format!("{text:?} has no name")));
        }
        let base_url = match (url, provider) {
            (Some(url), _) if url.starts_with("http://") || url.starts_with("https://") => url,
            (Some(url), _) => return Err(InvalidModel(format!("{url:?} is not an address"))),
            (None, "openai") => "https://api.openai.com/v1",
            (None, "anthropic") => "https://api.anthropic.com/v1",
            (None, "ollama") => "http://127.0.0.1:11434/v1",
            (None, other) => return Err(InvalidModel(format!("{other:?} needs an address"))),
        };
        Ok(Self {
            provider: provider.to_owned(),
            name: name.to_owned(),
            base_url: base_url.trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_named_in_one_way() {
        let model: Model = "local:smollm2@http://127.0.0.1:9/v1/".parse().unwrap();
        assert_eq!(
            (model.provider.as_str(), model.name.as_str(), model.base_url.as_str()),
            ("local", "smollm2", "http://127.0.0.1:9/v1")
        );
        assert_eq!("ollama:llama3.2".parse::<Model>().unwrap().base_url, "http://127.0.0.1:11434/v1");
        for bad in ["gpt", "openai:", "mine:model", "mine:model@ftp://x"] {
            assert!(bad.parse::<Model>().is_err(), "{bad}");
        }
    }
}
