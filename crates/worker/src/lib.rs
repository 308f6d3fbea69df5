//! The worker runtime, the same for every engine: takes tasks, keeps their leases, runs attempts in an
//! engine host, stores results.
//!
//! | module | what it does |
//! |---|---|
//! | [`runtime`] | slots, heartbeats, cancellation, drain |
//! | [`attempt`] | one delivery of one task, from lease to stored result |
//! | [`calls`] | what a host asks during an attempt: conditions, checkpoints, engine state |
//! | [`host`] | the engine host: start, supervise, open attempts |
//! | [`documents`] | puts what a task names in `docs` where the host can read it |
//! | [`memory`] | the ceiling of an attempt's process |
//! | [`model`] | which model the engines use; [`local`] is the way to the small one of the machine |
//! | [`secrets`] | where secrets come from, and that they go nowhere but into tasks |
//! | [`noop`] | the engine that does what its task says and nothing else, without a host |
//!
//! Invariants: a task is acknowledged only after its own result is stored; a result says which attempt made
//! it, and the history decides whether it counts; no process outlives the worker.

mod attempt;
mod calls;
mod documents;
mod host;
mod local;
mod memory;
mod model;
mod noop;
mod options;
mod runtime;
mod secrets;
mod sidecar;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use mahavishnu_bus::Bus;
use mahavishnu_core::id::{EngineName, Queue, WorkerId};
use mahavishnu_process::Threads;
use mahavishnu_process::settings::{self, ConfigFile};
use mahavishnu_provision::progress::{Progress, Terminal};
use mahavishnu_provision::{Environment, Provision};
use mahavishnu_telemetry::SpanRelay;
use tokio_util::sync::CancellationToken;

pub use model::Model;
pub use options::{Isolation, Options};
pub use sidecar::Sidecar;

/// The Python sources of all engine hosts.
static SOURCES: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/python");

/// What a worker runs.
#[derive(Clone, Debug)]
pub enum Runs {
    /// An engine that comes with the program, in its host.
    Engine(Engine),
    /// An engine of the project's own, in the same host.
    Own {
        /// Its name, as the deployment registers it.
        name: EngineName,
        /// Its module in the project directory: `path.py` or `package.module`.
        module: String,
    },
    /// The no-op engine of benchmarks and tests, in the worker itself.
    Noop,
}

impl Runs {
    /// The engine's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Engine(engine) => engine.name,
            Self::Own { name, .. } => name.as_str(),
            Self::Noop => noop::NAME,
        }
    }
}

/// What makes a worker the worker of one engine.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    /// The locked requirements of its environment.
    pub requirements: &'static str,
    /// The packages whose versions it tells, as its host does.
    pub packages: &'static [&'static str],
    /// A server that its host needs beside it.
    pub sidecar: Option<Sidecar>,
}

impl Engine {
    /// The environment of its host.
    pub fn environment(&self) -> Environment {
        Environment::new(self.name, self.requirements).telling(self.packages)
    }
}

/// The program of one engine's worker.
#[derive(clap::Parser)]
#[command(version, about = "Runs one engine's tasks, taken from NATS")]
struct Program {
    #[command(flatten)]
    file: ConfigFile,
    /// Where environments, data and logs are kept; by default in the user's data directory
    #[arg(long, env = "MAHAVISHNU_HOME", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    telemetry: mahavishnu_telemetry::Options,
}

/// The program of one engine's worker: settings, then [`main`].
pub fn program(engine: &Engine) -> ExitCode {
    match settings::parse::<Program>() {
        Ok(program) => main(&Runs::Engine(*engine), program.options, program.state_dir, &program.telemetry),
        Err(code) => code,
    }
}

/// A whole worker process, from these options on.
pub fn main(
    runs: &Runs,
    options: Options,
    state_dir: Option<PathBuf>,
    telemetry: &mahavishnu_telemetry::Options,
) -> ExitCode {
    mahavishnu_process::serve("mahavishnu-worker", Threads::One, telemetry, |relay, stop| async move {
        let progress: Arc<dyn Progress> = Arc::new(Terminal::new());
        let provision = Provision::open(mahavishnu_provision::Options {
            state_dir,
            progress: Some(progress),
            ..mahavishnu_provision::Options::default()
        })?;
        let pool = options.pool.clone();
        let ready = |sidecar: Option<String>| {
            let said = serde_json::json!({"ready": "worker", "engine": runs.name(), "pool": pool, "sidecar": sidecar});
            mahavishnu_process::say_ready(&said);
        };
        run(runs, options, &provision, relay, ready, stop).await
    })
}

/// Runs a worker until `stop`; `ready` is called once it takes tasks, with the address of the server beside its host.
///
/// # Errors
/// When it cannot start: no environment, no engine in it, no project directory.
pub async fn run(
    runs: &Runs,
    options: Options,
    provision: &Provision,
    relay: Option<SpanRelay>,
    ready: impl FnOnce(Option<String>),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (slots, drain) = (options.slots, options.drain);
    let (context, sidecar) = tokio::select! {
        prepared = prepare(runs, options, provision, relay) => prepared?,
        // What is half started dies with the future.
        () = stop.cancelled() => return Ok(()),
    };
    let bus = context.bus.clone();
    let address = sidecar.as_ref().map(|running| running.variable.1.clone());
    let result = runtime::run(context, slots, drain, || ready(address), stop).await;
    bus.close().await;
    if let Some(sidecar) = sidecar {
        sidecar.stop().await;
    }
    result
}

/// Everything that attempts need: NATS, and the engine.
async fn prepare(
    runs: &Runs,
    options: Options,
    provision: &Provision,
    relay: Option<SpanRelay>,
) -> anyhow::Result<(Arc<attempt::Context>, Option<sidecar::Running>)> {
    let name = EngineName::parse(runs.name()).context("engine name")?;
    let id = WorkerId::parse(&format!("{name}-{}", uuid::Uuid::now_v7().simple())).context("worker id")?;
    let queue = Queue { engine: name, pool: options.pool };
    let project = options.project.canonicalize().with_context(|| {
        format!("no project directory {}; choose one with --project", options.project.display())
    })?;
    let data = provision.state().root().join("data").join(runs.name());
    std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
    let bus = async {
        let options = mahavishnu_bus::Options {
            credentials: options.nats_credentials,
            max_artifact: options.max_artifact_bytes,
            ..mahavishnu_bus::Options::new(options.nats, id.as_str())
        };
        Bus::connect(options).await.context("NATS")
    };
    let memory = Some(options.memory_mib << 20).filter(|bytes| *bytes > 0);
    let bounds = host::Bounds { isolation: options.isolation, memory };
    let secrets = secrets::Secrets::new(options.secrets_dir);
    let redactor = secrets.redactor.clone();
    let started = async {
        match runs {
            Runs::Engine(engine) => {
                let (host, sidecar) =
                    start(engine, options.python, bounds, options.allow_shell, &data, redactor, provision)
                        .await?;
                Ok((Some(host), sidecar))
            }
            Runs::Own { name, module } => {
                let python = match options.python {
                    Some(python) => python,
                    None => provision.python().await.context("Python")?.executable.clone(),
                };
                let host = host::Host::start(host::Options {
                    engine: name.to_string(),
                    own: Some(host::Own { module: module.clone(), project: project.clone() }),
                    python,
                    sources: provision.sources(&SOURCES).await.context("engine host")?,
                    bounds,
                    environment: Vec::new(),
                    redactor,
                });
                Ok((Some(host.await?), None))
            }
            Runs::Noop => anyhow::Ok((None, None)),
        }
    };
    let (bus, (host, sidecar)) = tokio::try_join!(bus, started)?;
    let models = model::Models::new(options.model, local::LocalModel::open(provision).await?);
    let context = attempt::Context { bus, queue, worker: id, host, project, data, models, secrets, relay };
    Ok((Arc::new(context), sidecar))
}

/// An engine: its environment, the server beside its host, the host.
async fn start(
    engine: &Engine,
    python: Option<PathBuf>,
    bounds: host::Bounds,
    allow_shell: bool,
    data: &Path,
    redactor: secrets::Redactor,
    provision: &Provision,
) -> anyhow::Result<(host::Host, Option<sidecar::Running>)> {
    let python = match python {
        Some(python) => python,
        None => provision.environment(&engine.environment()).await.context("engine environment")?,
    };
    let sources = provision.sources(&SOURCES).await.context("engine host")?;
    let program = sidecar::Program { python: &python, sources: &sources, state: provision.state() };
    let sidecar = sidecar::start(engine.sidecar.as_ref(), &program).await?;
    let mut environment: Vec<_> = sidecar.iter().map(|running| running.variable.clone()).collect();
    let own = sidecar.iter().flat_map(|running| running.own);
    environment.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    environment.extend(
        engine.sidecar.map(|sidecar| (sidecar.home.to_owned(), data.join("home").display().to_string())),
    );
    // As the flags, the environment and the file say together, whatever the host would inherit.
    environment.push(("MAHAVISHNU_ALLOW_SHELL".to_owned(), allow_shell.to_string()));
    let engine = engine.name.to_owned();
    let options = host::Options { engine, own: None, python, sources, bounds, environment, redactor };
    Ok((host::Host::start(options).await?, sidecar))
}
