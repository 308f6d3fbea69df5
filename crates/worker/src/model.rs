//! Which model an attempt gets: any OpenAI-compatible API, by provider, name and address.
//!
//! One setting for all engines, overridden by the `model` of a stage or agent, in the same forms:
//!
//! | form | what |
//! |---|---|
//! | `local` | the small local model |
//! | `openai:NAME`, `anthropic:NAME`, `ollama:NAME` | that provider's usual address |
//! | `PROVIDER:NAME@URL`, `NAME@URL` | any OpenAI-compatible API |
//! | `NAME` (stages and agents only) | another model at the configured address |
//!
//! Invariant: a key goes only to the address that it was given for. A workflow that names another address gets none.

use std::str::FromStr;

use mahavishnu_core::execution::Failure;
use serde::Serialize;

use crate::local::LocalModel;

/// The setting that means the small local model.
const LOCAL: &str = "local";
const KEY: &str = "MAHAVISHNU_MODEL_API_KEY";
/// Providers with a usual address, and the variable that holds the key for it.
const PROVIDERS: &[(&str, &str, Option<&str>)] = &[
    ("openai", "https://api.openai.com/v1", Some("OPENAI_API_KEY")),
    ("anthropic", "https://api.anthropic.com/v1", Some("ANTHROPIC_API_KEY")),
    ("ollama", "http://127.0.0.1:11434/v1", None),
];

/// A model, as the engine host gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Model {
    /// Who serves it.
    pub provider: String,
    /// Its name there.
    pub name: String,
    /// Where the API is; empty for the local one, whose address is known when the worker runs.
    pub base_url: String,
}

/// A text that names no model.
#[derive(Debug, thiserror::Error)]
#[error("{0}; write PROVIDER:NAME, NAME@URL or local, such as openai:gpt-4o-mini")]
pub struct InvalidModel(String);

impl Model {
    fn local() -> Self {
        Self {
            provider: LOCAL.to_owned(),
            name: mahavishnu_provision::model::MODEL.to_owned(),
            base_url: String::new(),
        }
    }

    fn is_local(&self) -> bool {
        self.base_url.is_empty()
    }
}

impl FromStr for Model {
    type Err = InvalidModel;

    fn from_str(text: &str) -> Result<Self, InvalidModel> {
        if text == LOCAL {
            return Ok(Self::local());
        }
        let (named, url) = match text.split_once('@') {
            Some((named, url)) => (named, Some(url)),
            None => (text, None),
        };
        let (provider, name) = match named.split_once(':') {
            Some((provider, name)) => (provider, name),
            None if url.is_some() => ("url", named),
            None => return Err(InvalidModel(format!("{text:?} has no provider"))),
        };
        if name.is_empty() {
            return Err(InvalidModel(format!("{text:?} has no name")));
        }
        let usual = PROVIDERS.iter().find(|known| known.0 == provider).map(|known| known.1);
        let base_url = match (url, usual) {
            (Some(url), _) if url.starts_with("http://") || url.starts_with("https://") => url,
            (Some(url), _) => return Err(InvalidModel(format!("{url:?} is not an address"))),
            (None, Some(usual)) => usual,
            (None, None) => return Err(InvalidModel(format!("{provider:?} needs an address"))),
        };
        Ok(Self {
            provider: provider.to_owned(),
            name: name.to_owned(),
            base_url: base_url.trim_end_matches('/').to_owned(),
        })
    }
}

/// A model with its key.
#[derive(Serialize)]
pub struct KeyedModel {
    #[serde(flatten)]
    model: Model,
    /// The key; servers without one take anything.
    pub api_key: String,
}

/// What the worker's setting and the overrides of stages and agents come to.
pub struct Models {
    configured: Model,
    local: LocalModel,
}

impl Models {
    /// Without a setting the small local model.
    pub fn new(configured: Option<Model>, local: LocalModel) -> Self {
        Self { configured: configured.unwrap_or_else(Model::local), local }
    }

    /// The model that `asked` means, or the configured one; with its key.
    ///
    /// # Errors
    /// When it means none.
    pub fn choose(&self, asked: Option<&str>) -> Result<KeyedModel, Failure> {
        let mut model = override_of(&self.configured, asked).map_err(|error| {
            let mut failure = Failure::terminal("MODEL_INVALID", format!("model: {error}"));
            "model".clone_into(&mut failure.field);
            failure
        })?;
        let api_key = self.key(&model);
        if model.is_local() {
            model.base_url.clone_from(&self.local.base_url);
        }
        Ok(KeyedModel { model, api_key })
    }

    /// Read when it is needed and kept nowhere.
    fn key(&self, model: &Model) -> String {
        let variable = |name: &str| std::env::var(name).ok().filter(|key| !key.is_empty());
        let configured = (model.base_url == self.configured.base_url).then(|| variable(KEY)).flatten();
        let usual = PROVIDERS.iter().find(|known| known.1 == model.base_url).and_then(|known| known.2);
        configured.or_else(|| usual.and_then(variable)).unwrap_or_else(|| "none".to_owned())
    }
}

/// What a stage or agent means. A name may have a colon of its own, as Ollama's have: only known providers are split off.
fn override_of(configured: &Model, asked: Option<&str>) -> Result<Model, InvalidModel> {
    let Some(asked) = asked else { return Ok(configured.clone()) };
    let provider = asked.split_once(':').map(|(provider, _)| provider);
    let whole = asked == LOCAL
        || asked.contains('@')
        || provider.is_some_and(|provider| PROVIDERS.iter().any(|known| known.0 == provider));
    match whole {
        true => asked.parse(),
        false if asked.trim().is_empty() => Err(InvalidModel("it is empty".to_owned())),
        false => Ok(Model { name: asked.to_owned(), ..configured.clone() }),
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
        let model: Model = "qwen3@https://models.example/v1".parse().unwrap();
        assert_eq!((model.name.as_str(), model.base_url.as_str()), ("qwen3", "https://models.example/v1"));
        assert_eq!("ollama:llama3.2".parse::<Model>().unwrap().base_url, "http://127.0.0.1:11434/v1");
        assert!("local".parse::<Model>().unwrap().is_local());
        for bad in ["gpt", "openai:", "mine:model", "mine:model@ftp://x", "@http://x"] {
            assert!(bad.parse::<Model>().is_err(), "{bad}");
        }
    }

    #[test]
    fn stages_override_the_setting() {
        let configured: Model = "ollama:llama3.2".parse().unwrap();
        let chosen = |asked| override_of(&configured, asked).unwrap();
        assert_eq!(chosen(None), configured);
        let other = chosen(Some("gemma3:4b"));
        assert_eq!((other.name.as_str(), &other.base_url), ("gemma3:4b", &configured.base_url));
        assert_eq!(chosen(Some("openai:gpt-4o")).base_url, "https://api.openai.com/v1");
        assert!(chosen(Some("local")).is_local());
        for bad in ["openai:", "m@nowhere", " "] {
            assert!(override_of(&configured, Some(bad)).is_err(), "{bad}");
        }
    }
}
