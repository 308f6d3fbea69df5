//! Who is there: the workers that gave a sign of life lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_core::id::EngineName;
use mahavishnu_proto::worker::Heartbeat;

/// A worker that is silent for three heartbeats is taken for gone.
const SILENCE: Duration = Duration::from_secs(6);

/// The connected workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Workers(Arc<Mutex<HashMap<String, (Instant, Heartbeat)>>>);

impl Workers {
    /// Listens for heartbeats, after asking for one.
    ///
    /// # Errors
    /// When the subscription ends, which it does only with the connection.
    pub async fn run(self, bus: Bus) -> Result<()> {
        let mut heartbeats = bus.heartbeats().await?;
        bus.ping_workers().await;
        while let Some(heartbeat) = heartbeats.next().await {
            let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            workers.retain(|_, (seen, _)| seen.elapsed() < SILENCE);
            if heartbeat.draining {
                workers.remove(&heartbeat.worker_id);
            } else {
                workers.insert(heartbeat.worker_id.clone(), (Instant::now(), heartbeat));
            }
        }
        Err(Error::NotFound)
    }

    /// The live workers of an engine.
    pub fn of(&self, engine: &str) -> Vec<Heartbeat> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<_> = workers
            .values()
            .filter(|(seen, heartbeat)| seen.elapsed() < SILENCE && heartbeat.engine == engine)
            .map(|(_, heartbeat)| heartbeat.clone())
            .collect();
        live.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        live
    }

    /// What to say when nobody can take this engine's tasks; `None` when somebody can.
    pub fn missing(&self, engine: &EngineName) -> Option<String> {
        self.of(engine.as_str())
            .is_empty()
            .then(|| format!("no worker for {engine} is connected; start one: mahavishnu worker {engine}"))
    }
}
