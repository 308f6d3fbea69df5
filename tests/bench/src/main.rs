//! The benchmark: the real programs against the limits of what they are made of, measured in the same run.
//!
//! `cargo xtask bench` builds and runs it; README.md beside this crate tells what it measures and what came out.
//!
//! | module | what it does |
//! |---|---|
//! | [`rows`] | what is measured, one file per row |
//! | [`system`] | starts the programs |
//! | [`client`] | drives them |
//! | [`floor`] | the bare prototype of our shape |
//! | [`report`], [`samples`], [`plot`], [`processor`] | figures, targets, verdicts |

mod client;
mod floor;
mod plot;
mod processor;
mod report;
mod rows;
mod samples;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use report::Report;
use rows::{Bench, ROWS, Row};
use system::{Mode, Nats, Parts};

/// Measures the whole system: gRPC client, coordinator, JetStream, worker processes, and back
#[derive(Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Program {
    /// How NATS is run
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// Streams that share the histories
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    partitions: u32,
    /// Rows to measure; all by default
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(ROWS.map(|row| row.name)))]
    rows: Vec<String>,
    /// Finished executions that the store holds in the end in the row `history`
    #[arg(long, default_value_t = 100_000)]
    history: usize,
    /// Where to write everything that was measured, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where to write the plots, as SVG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it measures the bare prototype.
#[derive(Subcommand)]
enum Role {
    /// The prototype's coordinator
    #[command(hide = true)]
    FloorCoordinator {
        /// Where NATS is
        #[arg(long)]
        nats: String,
    },
    /// The prototype's worker
    #[command(hide = true)]
    FloorWorker {
        /// Where NATS is
        #[arg(long)]
        nats: String,
    },
}

fn main() -> ExitCode {
    let program = Program::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = runtime.context("runtime").and_then(|runtime| {
        runtime.block_on(async {
            match &program.role {
                Some(Role::FloorCoordinator { nats }) => floor::coordinator(nats).await,
                Some(Role::FloorWorker { nats }) => floor::worker(nats).await,
                None => measure(&program).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(program: &Program) -> Result<()> {
    let parts = Parts::new(program.partitions)?;
    let nats = Nats::start(program.mode).await.context("nats-server")?;
    let client = async_nats::connect(nats.url().split(',').collect::<Vec<_>>()).await?;
    let processors = std::thread::available_parallelism()?;
    let report = Report {
        mode: program.mode.name(),
        partitions: program.partitions,
        machine: format!("{processors} processors, nats-server {}", client.server_info().version),
        time: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        ..Report::default()
    };
    let Report { time, machine, mode, partitions, .. } = &report;
    println!("{time}, {machine}, mode {mode}, partitions {partitions}");
    let mut bench = Bench { parts, nats, mode: program.mode, history: program.history, report };
    let mut failed = Vec::new();
    let chosen = |row: &Row| program.rows.is_empty() || program.rows.iter().any(|name| name == row.name);
    for row in ROWS.into_iter().filter(chosen) {
        let began = Instant::now();
        match (row.measure)(&mut bench).await {
            Ok(()) => println!("{:<11} took {:.1} s", row.name, began.elapsed().as_secs_f64()),
            Err(error) => {
                println!("{:<11} FAILED: {error:#}", row.name);
                failed.push(row.name);
            }
        }
        // After each row, so that an interruption loses only what is not measured yet.
        write(program, &bench.report)?;
    }
    let report = bench.report;
    println!("{} figures, {} of them miss their targets", report.figures.len(), report.missed());
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

fn write(program: &Program, report: &Report) -> Result<()> {
    if let Some(file) = &program.json {
        std::fs::write(file, serde_json::to_vec_pretty(report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(directory) = &program.plots {
        plot::write(report, directory)?;
    }
    Ok(())
}
