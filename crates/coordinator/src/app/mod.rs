//! The use cases. They know no transport: no status codes, no messages of the public API's services.

mod approvals;
mod artifacts;
mod checkpoints;
mod dead_letters;
mod error;
mod executions;
mod explain;
mod fork;
mod lists;
mod plan;
mod retention;
mod schedules;
mod start;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use mahavishnu_bus::Bus;
use mahavishnu_bus::references::References;
use mahavishnu_core::engine::Registry;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use crate::Durability;
use crate::driver::{Histories, Scheduler};
use crate::measured::Measurements;
use crate::registry::Workers;

pub use approvals::Decision;
pub use checkpoints::Place;
pub use error::{Error, Result};
pub use fork::Changes;
pub use lists::{ApprovalFilter, ExecutionFilter, Page};
pub use schedules::{Spec, Standing};

/// How durable the deployment says that its NATS servers are.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// What an acknowledged event survives.
    pub durability: Durability,
    /// Copies of every stream.
    pub replicas: usize,
    /// Streams that share the histories.
    pub partitions: u32,
}

impl Level {
    /// What can be lost, in a sentence.
    pub const fn loss_budget(self) -> &'static str {
        match (self.durability, self.replicas) {
            (Durability::Process, 0..=1) => {
                "nothing when processes die; when the machine loses power, what was acknowledged within the sync_interval (two minutes by default); when the disk is lost, everything"
            }
            (Durability::Process, _) => {
                "nothing when processes or a minority of machines die; when a majority loses power at once, what was acknowledged within the sync_interval (two minutes by default)"
            }
            (Durability::Power, 0..=1) => {
                "nothing when processes die or the power fails; when the disk is lost, everything"
            }
            (Durability::Power, _) => {
                "nothing when processes die, the power fails, or a minority of disks is lost"
            }
        }
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Executions after their end; for ever without.
    pub executions: Option<Duration>,
    /// All histories together, in bytes; those that ended first make room. Any without.
    pub history_bytes: Option<u64>,
    /// Artifacts that nothing refers to, after somebody stored or named them.
    pub artifacts: Duration,
    /// Checkpoints of stages that have ended, after the last was written.
    pub checkpoints: Duration,
    /// All checkpoints together, in bytes.
    pub checkpoint_bytes: u64,
    /// What engines keep beyond their stages, after it was written.
    pub engine_state: Duration,
    /// All of that together, in bytes.
    pub engine_state_bytes: u64,
}

/// What a deployment promises.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// What survives.
    pub level: Level,
    /// How long.
    pub retention: Retention,
}

/// What every use case needs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) bus: Bus,
    pub(crate) histories: Histories,
    pub(crate) scheduler: Scheduler,
    pub(crate) registry: Arc<Registry>,
    pub(crate) workers: Workers,
    pub(crate) level: Level,
    pub(crate) retention: Retention,
    /// Told when an execution is removed: what it referred to may be free.
    pub(crate) removed: Arc<Notify>,
    /// Who refers to which artifact, as far as this process has read it.
    pub(crate) references: Arc<Mutex<References>>,
    pub(crate) measurements: Measurements,
    /// Set when the process is to end: streams end, so that clients resume elsewhere.
    pub(crate) draining: CancellationToken,
}

impl App {
    /// Over these parts.
    pub fn new(
        bus: Bus,
        histories: Histories,
        registry: Arc<Registry>,
        workers: Workers,
        terms: Terms,
        measurements: Measurements,
        draining: CancellationToken,
    ) -> Self {
        let scheduler = Scheduler::new(bus.clone(), histories.clone());
        let Terms { level, retention } = terms;
        let (removed, references) = (Arc::default(), Arc::default());
        Self {
            scheduler,
            bus,
            histories,
            registry,
            workers,
            level,
            retention,
            removed,
            references,
            measurements,
            draining,
        }
    }

    /// The engines that this deployment knows.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The connected workers.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }
}
