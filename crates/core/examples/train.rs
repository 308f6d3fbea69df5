//! Learns the weights of Recommend from `data/corpus/train` and writes `data/weights.tsv`:
//! `cargo run -p mahavishnu-core --example train`
//!
//! Deterministic: the same corpus and lexicon give the same file.

#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, missing_docs)]

#[allow(dead_code)]
mod learn;

use anyhow::Result;
use learn::corpus::{data, training};

fn main() -> Result<()> {
    let items = training()?;
    let text = learn::weights_file(&items);
    std::fs::write(data().join("weights.tsv"), &text)?;
    println!("learned {} weights from {} descriptions", text.lines().count(), items.len());
    Ok(())
}
