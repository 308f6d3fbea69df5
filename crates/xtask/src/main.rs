//! Chores of this repository.
//!
//! - `cargo xtask layers` checks that the crates depend on each other in one direction.
//! - `cargo xtask bench` builds the programs for release and runs the benchmark in `tests/bench`.
//! - `cargo xtask chaos` builds the programs and runs them under faults.

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
            return bench(options).unwrap_or_else(|error| {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            });
        }
        ["chaos", ..] => return chaos(&arguments),
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

/// The benchmark is a program of its own: this one knows neither gRPC nor NATS.
fn bench(options: &[&str]) -> Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let run = ["run", "--release", "--quiet", "--package", "mahavishnu-bench", "--"];
    let build = ["build", "--release", "--package", "mahavishnu", "--package", "mahavishnu-bench"];
    let built = Command::new(&cargo).args(build).status().context("cargo build")?;
    if !built.success() {
        return Ok(ExitCode::FAILURE);
    }
    let ran = Command::new(&cargo).args(run).args(options).status().context("cargo run")?;
    Ok(if ran.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds every program, and has the chaos driver run them.
fn chaos(arguments: &[String]) -> ExitCode {
    let cargo = |words: &[&str]| {
        Command::new(env!("CARGO")).args(words).status().is_ok_and(|status| status.success())
    };
    let words = ["run", "--quiet", "--package", "mahavishnu-chaos", "--"];
    let words: Vec<&str> = words.into_iter().chain(arguments.iter().skip(1).map(String::as_str)).collect();
    if cargo(&["build", "--workspace", "--bins"]) && cargo(&words) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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
