//! The labelled corpus.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use mahavishnu_core::recommendation::model::ENGINES;

/// A labelled description.
#[derive(Clone, Deserialize)]
pub struct Item {
    /// What somebody wrote.
    pub text: String,
    /// The engines that it needs, in order; empty when it is not enough to go on.
    pub plan: Vec<String>,
    /// What makes it hard: `plain`, `paraphrase`, `typo`, `negation`, `misleading`, `order`, `insufficient`.
    pub kind: String,
    /// Where it is from: `finance`, `health`, ...
    pub domain: String,
}

impl Item {
    /// The plan as places in [`ENGINES`].
    pub fn engines(&self) -> Vec<usize> {
        self.plan.iter().filter_map(|name| ENGINES.iter().position(|engine| engine == name)).collect()
    }
}

/// Reads a file of one JSON object a line.
pub fn read(path: &Path) -> Result<Vec<Item>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |(n, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), n + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// The directory with the data of the core.
pub fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}
