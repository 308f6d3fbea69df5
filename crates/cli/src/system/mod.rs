//! Starts and stops everything on this machine: nats-server, coordinator, workers. The workers start the model.
//!
//! Every part is a process of its own, as in a real deployment: this program again with another command.
//!
//! Invariants: an execution can start as soon as [`System::start`] returns, workers may still be warming
//! up; parts stop in the order workers, coordinator, nats-server; nothing outlives the [`System`].

mod dev_file;
pub mod engines;
mod part;
mod roles;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mahavishnu_core::id::{EngineName, PoolName, Queue};
use mahavishnu_provision::{
    Environment, Provision,
    model::{MODEL, environment as model_environment},
};
use mahavishnu_worker::Engine;
use tokio::sync::mpsc;

use crate::args::SystemArgs;
use crate::context::Context;
use crate::signals::Signals;

pub use dev_file::DevFile;
pub use part::Notice;
use part::Part;
use roles::Roles;

/// What is to be started.
#[derive(Debug)]
pub struct Wanted {
    /// Engines to start workers for.
    pub engines: Vec<Engine>,
    /// Engines that the deployment adds, each with the command that starts a worker of it.
    pub added: Vec<(EngineName, String)>,
    /// Where their tasks go; an engine that is not among these gets one worker without a pool.
    pub queues: Vec<Queue>,
    /// Where the coordinator serves.
    pub listen: SocketAddr,
    /// Whether the data stays.
    pub keep: bool,
    /// The project directory.
    pub project: PathBuf,
    /// The directory of secrets, for workers.
    pub secrets: Option<PathBuf>,
    /// How long running attempts may go on after a request to stop.
    pub drain: Duration,
    /// Failures in a row after which a part is given up; without it never.
    pub tries: Option<u32>,
}

/// A running system. Dropping it kills it.
pub struct System {
    workers: Vec<(String, Part)>,
    coordinator: Part,
    nats: Part,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// The coordinator.
    pub endpoint: String,
    /// The NATS server.
    pub addresses: store::Addresses,
    /// The model that workers use, for people.
    pub model_name: Option<String>,
}

impl System {
    /// Provides what is missing, then starts everything; returns when the coordinator is ready.
    pub async fn start(
        context: &Context,
        provision: &Provision,
        args: &SystemArgs,
        wanted: &Wanted,
        signals: &Signals,
    ) -> anyhow::Result<Self> {
        let local_model = args.model.as_deref().is_none_or(|model| model == "local")
            && wanted.engines.iter().any(engines::uses_model);
        let server = provision.nats_server().await?;
        let interpreters = interpreters(provision, args, &wanted.engines, local_model).await?;

        let (notify, mut notices) = mpsc::unbounded_channel();
        let durability = args.durability.into();
        let kill = signals.kill.clone();
        let nats = store::start(server, provision.state(), wanted.keep, durability, notify.clone(), kill);
        let (nats, addresses) = nats.await?;
        let model_name =
            if local_model { Some(format!("{MODEL}, local, when first needed")) } else { args.model.clone() };

        let roles = Roles { context, state: provision.state(), args, wanted, nats: &addresses.nats };
        let start = |spec| Part::start(spec, notify.clone(), signals.kill.clone());
        let coordinator = start(roles.coordinator()?);
        let mut workers = Vec::new();
        for (engine, python) in wanted.engines.iter().zip(interpreters) {
            for pool in wanted.pools(engine.name) {
                let spec = roles.worker(engine, pool, &python, args.model.as_deref())?;
                workers.push((engine.name.to_owned(), start(spec)));
            }
        }
        for (engine, how) in &wanted.added {
            for pool in wanted.pools(engine.as_str()) {
                let spec = roles.added(engine, pool, how, args.model.as_deref())?;
                workers.push((engine.to_string(), start(spec)));
            }
        }
        let endpoint = ready(&coordinator, &mut notices).await?;
        Ok(Self { workers, coordinator, nats, notices, endpoint, addresses, model_name })
    }

    /// The next part that ends unasked.
    pub async fn notice(&mut self) -> Notice {
        match self.notices.recv().await {
            Some(notice) => notice,
            // All parts were given up; that has been told.
            None => std::future::pending().await,
        }
    }

    /// Ends when every worker has been ready once; gives the engines, each with the server beside its host.
    pub fn warm(&self) -> impl Future<Output = Vec<(String, Option<String>)>> + use<> {
        let workers: Vec<_> =
            self.workers.iter().map(|(engine, part)| (engine.clone(), part.when_ready())).collect();
        let waiting = workers.into_iter().map(|(name, ready)| async move {
            let sidecar = ready.await?.get("sidecar")?.as_str().map(str::to_owned);
            Some((name, sidecar))
        });
        let all = futures::future::join_all(waiting);
        async move { all.await.into_iter().flatten().collect() }
    }

    /// Stops everything, in order. A kill signal makes it quick.
    pub async fn stop(self) {
        let Self { workers, coordinator, nats, notices, .. } = self;
        // Nobody needs to hear of ends from here on.
        drop(notices);
        futures::future::join_all(workers.into_iter().map(|(_, part)| part.stop())).await;
        coordinator.stop().await;
        nats.stop().await;
    }
}

impl Wanted {
    /// The pools of an engine that get a worker.
    fn pools(&self, engine: &str) -> Vec<Option<&PoolName>> {
        let named = self.queues.iter().filter(|queue| queue.engine.as_str() == engine);
        let pools: Vec<_> = named.map(|queue| queue.pool.as_ref()).collect();
        if pools.is_empty() { vec![None] } else { pools }
    }
}

impl Notice {
    /// The last line of its log.
    pub fn last_words(&self) -> &str {
        self.tail.rsplit(" | ").next().unwrap_or_default()
    }

    /// For a person: what ended, what its log says, what happens next.
    pub fn to_lines(&self) -> Vec<String> {
        let Self { part, status, tail, log, again } = self;
        let next = match again {
            Some(pause) => format!("starting it again in {:.1} s", pause.as_secs_f32()),
            None => "it is not started again; `mahavishnu doctor` checks what it needs".to_owned(),
        };
        let mut lines = vec![format!("the {part} ended unexpectedly ({status}); {next}")];
        lines.extend(tail.split(" | ").filter(|line| !line.is_empty()).map(|line| format!("    {line}")));
        lines.push(format!("  log: {}", log.display()));
        lines
    }
}

/// The Python of each engine: the user's own, or the environment, which is built when it is not there yet.
async fn interpreters(
    provision: &Provision,
    args: &SystemArgs,
    engines: &[Engine],
    model: bool,
) -> anyhow::Result<Vec<PathBuf>> {
    let own = |engine: &Engine| {
        let mut chosen = args.python.iter().rev();
        chosen.find(|(name, _)| name.as_deref() == Some(engine.name)).map(|(_, path)| path.clone())
    };
    let mut needed: Vec<Environment> =
        engines.iter().filter(|engine| own(engine).is_none()).map(Engine::environment).collect();
    if model {
        needed.push(model_environment());
    }
    let mut built = provision.environments(&needed).await?.into_iter();
    engines
        .iter()
        .map(|engine| {
            own(engine).or_else(|| built.next()).with_context(|| format!("no environment of {}", engine.name))
        })
        .collect()
}

/// The coordinator's endpoint, once it is ready.
async fn ready(coordinator: &Part, notices: &mut mpsc::UnboundedReceiver<Notice>) -> anyhow::Result<String> {
    loop {
        tokio::select! {
            biased;
            said = coordinator.ready() => {
                let address = said.as_ref().and_then(|said| said.get("address")).and_then(|address| address.as_str());
                let address = address.ok_or_else(|| anyhow!("the coordinator did not say where it serves"))?;
                return Ok(format!("http://{address}"));
            }
            Some(notice) = notices.recv() => {
                if notice.part == roles::COORDINATOR || notice.again.is_none() {
                    bail!(notice.to_lines().join("\n"));
                }
            }
        }
    }
}
