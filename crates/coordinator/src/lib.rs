//! The coordinator: serves the API and advances executions.
//!
//! `service` (transport) calls `app` (use cases), which reads [`driver`]'s histories and writes to the bus;
//! the driver decides. A coordinator holds nothing that another could not load from the log.

mod app;
mod driver;
mod measured;
mod registry;
mod service;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_bus::Bus;
use mahavishnu_bus::partition::MAX_PARTITIONS;
use mahavishnu_core::engine::Registry;
use mahavishnu_process::Threads;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::app::{App, Level, Retention, Terms};
use crate::driver::{Driver, Histories};
use crate::measured::Measurements;
use crate::registry::Workers;

/// Calls that are still under way this long after a stop are cut off; streams end at once.
const DRAIN: Duration = Duration::from_secs(10);

/// How a coordinator is set up.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "coordinator")]
pub struct Options {
    /// Where to serve gRPC and gRPC-Web; port 0 takes a free one
    #[arg(long, env = "MAHAVISHNU_LISTEN", default_value = "127.0.0.1:7433")]
    pub listen: SocketAddr,
    /// NATS servers, separated by commas
    #[arg(long, env = "MAHAVISHNU_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// NATS credentials file
    #[arg(long, env = "MAHAVISHNU_NATS_CREDENTIALS")]
    pub nats_credentials: Option<PathBuf>,
    /// Copies of every stream: 1 on one NATS node, 3 on a cluster
    #[arg(long, env = "MAHAVISHNU_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Streams that share the histories, chosen when the store is made: several store several messages at once, which pays with
    /// `sync_interval: always`. By default as many as the store has, and one in a new store
    #[arg(long, env = "MAHAVISHNU_PARTITIONS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS)))]
    pub partitions: Option<u32>,
    /// The level at which the NATS servers run, as `GetInfo` and the start-up line tell it: `process` with any
    /// sync_interval, `power` with `sync_interval: always`
    #[arg(long, env = "MAHAVISHNU_DURABILITY", value_enum, default_value_t)]
    pub durability: Durability,
    /// How long executions are kept after their end, such as 30days; for ever by default
    #[arg(long, env = "MAHAVISHNU_RETENTION", value_parser = humantime::parse_duration)]
    pub retention: Option<Duration>,
    /// How many bytes all histories together may take, without their artifacts: past it, executions that have ended are
    /// removed, those that ended first before the others; no limit by default
    #[arg(long, env = "MAHAVISHNU_RETENTION_BYTES")]
    pub retention_bytes: Option<u64>,
    /// How long artifacts (documents, large payloads) are kept that no execution and no schedule refers to, after somebody
    /// stored them or named them in a request: at least as long as clients take from uploading to starting
    #[arg(long, env = "MAHAVISHNU_ARTIFACT_GRACE", default_value = "1day", value_parser = grace)]
    pub artifact_grace: Duration,
    /// Largest artifact, in bytes: a document, an output, or the task and inputs of a stage. What is larger is refused, or fails
    /// its stage. Workers have a limit of their own for outputs, of the same name
    #[arg(long, env = "MAHAVISHNU_MAX_ARTIFACT_BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub max_artifact_bytes: u64,
    /// How long checkpoints of stages are kept after the last was written and the stage has ended; those of a stage that
    /// has not ended stay, however long it waits for an approval
    #[arg(long, env = "MAHAVISHNU_CHECKPOINT_AGE", default_value = "30days", value_parser = humantime::parse_duration)]
    pub checkpoint_age: Duration,
    /// How many bytes all checkpoints together may take; NATS reserves them, the oldest make room for new ones
    #[arg(long, env = "MAHAVISHNU_CHECKPOINT_BYTES", default_value_t = 1 << 30)]
    pub checkpoint_bytes: u64,
    /// How long what engines keep beyond their stages, such as sessions and vectors of documents, stays after it was
    /// last written
    #[arg(long, env = "MAHAVISHNU_STATE_AGE", default_value = "90days", value_parser = humantime::parse_duration)]
    pub state_age: Duration,
    /// How many bytes all of that may take together; NATS reserves them, the oldest makes room for new
    #[arg(long, env = "MAHAVISHNU_STATE_BYTES", default_value_t = 1 << 30)]
    pub state_bytes: u64,
    /// A file that registers further engines
    #[arg(long, env = "MAHAVISHNU_ENGINES")]
    pub engines: Option<PathBuf>,
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Durability {
    /// The death of any process.
    #[default]
    Process,
    /// A power cut too.
    Power,
}

impl Durability {
    /// As it is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

/// A whole coordinator process, from these options on.
pub fn main(options: Options, telemetry: &mahavishnu_telemetry::Options) -> ExitCode {
    mahavishnu_process::serve("mahavishnu-coordinator", Threads::Many, telemetry, |_, stop| {
        let durability = options.durability.as_str();
        let ready = move |address: SocketAddr| {
            let said =
                serde_json::json!({"ready": "coordinator", "address": address, "durability": durability});
            mahavishnu_process::say_ready(&said);
        };
        run(options, ready, stop)
    })
}

/// Runs until `stop`; `ready` is told the address once calls are served.
///
/// # Errors
/// When it cannot start, or when one of its parts ends.
pub async fn run(
    options: Options,
    ready: impl FnOnce(SocketAddr),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let registry = Arc::new(registry(&options)?);
    let engines_known = Arc::clone(&registry);
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another with --listen", options.listen))?;
    let address = listener.local_addr().context("listen")?;
    let bus = Bus::connect(mahavishnu_bus::Options {
        credentials: options.nats_credentials,
        replicas: options.replicas,
        partitions: options.partitions,
        checkpoint_bytes: options.checkpoint_bytes,
        state_age: options.state_age,
        state_bytes: options.state_bytes,
        max_artifact: options.max_artifact_bytes,
        ..mahavishnu_bus::Options::new(options.nats, "mahavishnu-coordinator")
    })
    .await
    .context("NATS")?;
    let engines: Vec<_> = registry.profiles().map(|profile| profile.name.clone()).collect();
    let prepare = async {
        bus.ensure(&engines).await.context("JetStream set-up")?;
        let cursors = bus.input_cursors().await.context("cursors of the inputs")?;
        let tail = bus.tail(&cursors).await.context("tail of the history")?;
        anyhow::Ok((cursors, tail, bus.partitions().await?))
    };
    let (cursors, tail, partitions) = tokio::select! {
        prepared = prepare => prepared?,
        // There may be no server to wait for.
        () = stop.cancelled() => return Ok(()),
    };
    let measurements = Measurements::default();
    let shown = bus.shown().await.context("what is shown live")?;
    let starts = tail.start.clone();
    let (histories, feeder) = Histories::new(bus.clone(), tail, shown, measurements.clone());
    let workers = Workers::default();
    let level = Level { durability: options.durability, replicas: options.replicas, partitions };
    let retention = Retention {
        executions: options.retention,
        history_bytes: options.retention_bytes,
        artifacts: options.artifact_grace,
        checkpoints: options.checkpoint_age,
        checkpoint_bytes: options.checkpoint_bytes,
        engine_state: options.state_age,
        engine_state_bytes: options.state_bytes,
    };
    let (known, seen) = (workers.clone(), histories.clone());
    let app =
        App::new(bus.clone(), seen, registry, known, Terms { level, retention }, measurements, stop.clone());
    let scheduler = app.scheduler.clone();
    let driver = Driver::new(bus.clone(), histories, cursors, &starts);
    let retaining = retaining(app.clone());

    let heartbeats = workers.listen(&bus).await.context("heartbeats")?;
    let listening = workers.run(heartbeats, bus.clone(), engines_known);
    let listening = part("heartbeats", async { Ok(listening.await?) });
    let (arrivals, arrived) = mpsc::unbounded_channel();
    let feeding = part("tail of the history", async { Ok(feeder.run(arrivals).await?) });
    let serving = part("gRPC", service::serve(app, listener, stop.clone()));
    let stopping = stop.clone();
    let driving = part("inputs", async { Ok(driver.run(arrived, stopping).await?) });
    let stopping = stop.clone();
    let scheduling = part("schedules", async { Ok(scheduler.run(stopping).await?) });
    tracing::info!(%address, durability = level.durability.as_str(), replicas = level.replicas, partitions, "coordinator ready");
    ready(address);
    // A part that ends takes the process with it: a coordinator that only looks alive helps nobody.
    let ended = tokio::select! {
        result = feeding => result,
        result = listening => result,
        () = retaining => Ok(()),
        result = drained(serving, driving, scheduling, stop) => result,
    };
    bus.close().await;
    ended
}

/// A part of the coordinator, as a task of its own: within one task each would be polled whenever any other has something to
/// do. It ends when this is dropped.
async fn part(
    name: &'static str,
    running: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    AbortOnDropHandle::new(tokio::spawn(running)).await.map_err(anyhow::Error::from).flatten().context(name)
}

/// Removes what is kept no longer, for ever.
async fn retaining(app: App) {
    let Retention { executions, history_bytes, checkpoints, .. } = app.retention;
    let executions = async {
        if let Some(age) = executions {
            app.clone().retain(age).await;
        }
    };
    let bytes = async {
        if let Some(bytes) = history_bytes {
            app.clone().retain_bytes(bytes).await;
        }
    };
    tokio::join!(
        executions,
        bytes,
        app.clone().age_checkpoints(checkpoints),
        app.clone().collect_artifacts()
    );
}

/// The shortest time for which an artifact is kept: what stores and names one takes less.
fn grace(text: &str) -> Result<Duration, String> {
    const SHORTEST: Duration = Duration::from_secs(5);
    let grace = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if grace < SHORTEST { Err(format!("at least {SHORTEST:?}")) } else { Ok(grace) }
}

/// Serves and drives until both have ended, or the drain takes too long after `stop`.
async fn drained(
    serving: impl Future<Output = anyhow::Result<()>>,
    driving: impl Future<Output = anyhow::Result<()>>,
    scheduling: impl Future<Output = anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let all = async { tokio::try_join!(serving, driving, scheduling).map(drop) };
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        result = all => result,
        () = overdue => {
            tracing::warn!("calls are cut off after {DRAIN:?}");
            Ok(())
        }
    }
}

fn registry(options: &Options) -> anyhow::Result<Registry> {
    let builtin = Registry::builtin();
    let Some(path) = &options.engines else { return Ok(builtin) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    builtin.with_file(&text).map_err(|violations| anyhow::anyhow!("{}: {violations}", path.display()))
}
