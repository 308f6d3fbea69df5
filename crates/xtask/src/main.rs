//! Chores of this repository.
//!
//! - `cargo xtask layers` checks that the crates depend on each other in one direction.
//! - `cargo xtask bench` builds the programs for release and runs the benchmark in `tests/bench`.
//! - `cargo xtask chaos` builds the programs for release and runs them under faults.

mod layers;
mod words;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const USAGE: &str =
    "usage: cargo xtask layers | cargo xtask bench [--help | OPTIONS] | cargo xtask chaos [--help | OPTIONS]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["layers"] => check(),
        ["bench", options @ ..] => {
            let build = ["--package", "mahavishnu", "--package", "mahavishnu-bench"];
            return ended(release(&build, "mahavishnu-bench", options));
        }
        ["chaos", options @ ..] => {
            return ended(release(&["--workspace", "--bins"], "mahavishnu-chaos", options));
        }
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

/// Builds the programs for release, then runs one of them beside the others: this one knows neither gRPC nor NATS.
fn release(build: &[&str], package: &str, options: &[&str]) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = ["run", "--release", "--quiet", "--package", package, "--"];
    let built =
        Command::new(&cargo).args(["build", "--release"]).args(build).status().context("cargo build")?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let ran = Command::new(&cargo).args(run).args(options).status().context("cargo run")?;
    Ok(if ran.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ended(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
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
