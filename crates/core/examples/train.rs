//! Learns the weights of Recommend from `data/corpus/train` and writes `data/weights.tsv`:
//! `cargo run -p mahavishnu-core --example train`
//!
//! Deterministic: the same corpus and lexicon give the same file.

#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, missing_docs)]

#[allow(dead_code)]
mod learn;

use anyhow::Result;
use learn::corpus::{Item, data, training};

fn main() -> Result<()> {
    let items = training()?;
    let weights = learn::learn(&items.iter().collect::<Vec<&Item>>());
    let [score, doubt, one] = learn::calibrate(&learn::cross_validate(&items)).map(|weight| weight * 1000.0);
    let head = "# Made by examples/train.rs: a feature, then its weight in thousandths for agno, langgraph, llamaindex, prefect.";
    let text = format!("{head}\ncalibration\t\t\t{score:.0}\t{doubt:.0}\t{one:.0}\n{weights}");
    std::fs::write(data().join("weights.tsv"), text)?;
    println!("learned {} weights from {} descriptions", weights.lines().count(), items.len());
    Ok(())
}
