//! Chores of this repository: `cargo xtask layers` checks that the crates depend on each other in one direction.

mod layers;
mod words;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "usage: cargo xtask layers";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["layers"] => check(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        }
    };
    match done {
        Ok(complaints) if complaints.is_empty() => ExitCode::SUCCESS,
        Ok(complaints) => {
            complaints.iter().for_each(|complaint| eprintln!("{complaint}"));
            eprintln!("{} in the layers; the rules stand in crates/xtask/src", count(complaints.len()));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<Vec<String>> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("crates")?;
    let graph = layers::Graph::of_workspace(&crates.join("xtask/Cargo.toml"))?;
    let mut complaints = layers::check(&graph);
    complaints.extend(words::check(crates)?);
    if complaints.is_empty() {
        println!("layers: {graph}, all in one direction");
    }
    Ok(complaints)
}

fn count(n: usize) -> String {
    if n == 1 { "1 fault".to_owned() } else { format!("{n} faults") }
}
