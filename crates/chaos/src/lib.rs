//! Chaos runs: the real programs under a load of mixed workflows, while processes are killed, stopped, cut off and
//! restarted; then the judge of the simulation looks at the raw stream and at what the watchers were told.
//!
//! | module | what it is |
//! |---|---|
//! | [`system`] | NATS (one server, or three), two coordinators, workers, each behind a proxy of its own |
//! | [`faults`] | what goes wrong, dealt by the seed |
//! | [`load`], [`workflows`] | clients that start and watch executions, and what they ask for |
//! | [`people`] | who decides, cancels, retries and forks |
//! | [`schedules`] | schedules that fire meanwhile, and who looks after them |
//! | [`verify`] | reads the stream and asks the judge |
//! | [`replicas`] | whether the servers of a cluster have the same |
//! | [`report`] | what happened, counted; a category in which nothing happened is a failure |

// A chaos run is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client;
mod faults;
mod load;
mod people;
mod replicas;
mod report;
mod schedules;
mod system;
mod verify;
mod workflows;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use mahavishnu_test_support::system::Programs;
use tokio::time::Instant;

pub use report::Report;

/// How a run is done.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Deals faults and workflows; the same seed deals the same, though real processes never run twice alike
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// How long the load and the faults last
    #[arg(long, default_value = "1m", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// The same in minutes
    #[arg(long, conflicts_with = "duration")]
    pub minutes: Option<u64>,
    /// Three NATS servers that replicate, and kills of their leader, instead of one behind proxies
    #[arg(long)]
    pub cluster: bool,
    /// Streams that share the histories
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub partitions: u32,
    /// Executions at the same time
    #[arg(long, default_value_t = 32)]
    pub clients: usize,
    /// The mean time between faults
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub every: Duration,
    /// Without the real engine beside the no-op one
    #[arg(long)]
    pub noop_only: bool,
    /// No faults, but a restart of each process in turn, as a deployment is brought to another version: nothing may fail
    /// for it, and no stage may run twice
    #[arg(long, conflicts_with = "cluster")]
    pub rolling: bool,
    /// When something is wrong: a directory for what the servers stored and the programs logged
    #[arg(long)]
    pub keep: Option<PathBuf>,
}

impl Options {
    /// How long the load and the faults last.
    pub fn length(&self) -> Duration {
        self.minutes.map_or(self.duration, |minutes| Duration::from_secs(60 * minutes))
    }
}

/// Runs and judges.
///
/// # Errors
/// When the system cannot be started or its stream not be read; what is wrong with the system itself is in the report.
pub async fn run(options: &Options, programs: &Programs) -> Result<Report> {
    let system = Arc::new(system::System::start(options, programs).await?);
    let load = load::Load::new(options, system.endpoints().await);
    let (clients, keepers) = (load.start(), schedules::start(&load));
    let began = Instant::now();
    let mut dealer = faults::Dealer::new(options);
    while began.elapsed() < options.length() {
        if options.rolling {
            dealer.roll(&system).await;
        } else {
            dealer.deal(&system).await;
        }
    }
    let faults = dealer.end().await;
    load.end();
    system.heal().await?;
    eprintln!("the faults are over; waiting for the executions that go on");
    tokio::join!(load::finished(clients), keepers.join_all());
    let told = load.told();
    eprintln!("judging");
    let mut report = verify::verify(options, &system, &told).await?;
    report.needed = report::needed(options);
    report.faults = faults;
    report.load = told.counts;
    report.by_itself = system.ended_by_itself().await;
    report.unfinished = told.going;
    if let Some(directory) = options.keep.as_ref().filter(|_| !report.failures().is_empty()) {
        system.keep(directory).await?;
    }
    Ok(report)
}
