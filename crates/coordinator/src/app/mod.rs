//! The use cases. They know no transport: no status codes, no messages of the public API's services.

mod approvals;
mod artifacts;
mod dead_letters;
mod error;
mod executions;
mod fork;
mod lists;
mod start;
mod watch;

use std::sync::Arc;

use mahavishnu_bus::Bus;
use mahavishnu_core::engine::Registry;
use tokio_util::sync::CancellationToken;

use crate::driver::Histories;
use crate::registry::Workers;

pub use approvals::Decision;
pub use error::{Error, Result};
pub use fork::Changes;
pub use lists::{ApprovalFilter, ExecutionFilter, Page};

/// What every use case needs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub(crate) bus: Bus,
    pub(crate) histories: Histories,
    pub(crate) registry: Arc<Registry>,
    pub(crate) workers: Workers,
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
        draining: CancellationToken,
    ) -> Self {
        Self { bus, histories, registry, workers, draining }
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
