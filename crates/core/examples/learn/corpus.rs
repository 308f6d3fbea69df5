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
    /// Who wrote it: the name of its file.
    #[serde(skip)]
    pub pen: String,
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
    let pen = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let parse = |(n, line): (usize, &str)| {
        let item: Item =
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), n + 1))?;
        Ok(Item { pen: pen.clone(), ..item })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

/// What is learned from: a file for each pen, in the order of their names.
pub fn training() -> Result<Vec<Item>> {
    let files = std::fs::read_dir(data().join("corpus/train"))?;
    let mut paths = files.map(|file| Ok(file?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    let items = paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    Ok(items.into_iter().flatten().collect())
}

/// The directory with the data of the core.
pub fn data() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}
