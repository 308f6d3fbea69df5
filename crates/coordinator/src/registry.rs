//! Who is there: the workers that gave a sign of life lately.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_proto::worker::Heartbeat;

/// A worker that is silent for three heartbeats is taken for gone.
const SILENCE: Duration = Duration::from_secs(6);
/// A worker that is there answers a request for a heartbeat within this time.
const ANSWER: Duration = Duration::from_millis(100);

/// The connected workers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Workers(Arc<Mutex<Seen>>);

/// The last sign of life of each worker.
type Seen = HashMap<String, (Instant, Heartbeat)>;

impl Workers {
    /// Asks for heartbeats and hears those that come soon, so that nobody who is there is taken for missing.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn listen(&self, bus: &Bus) -> Result<BoxStream<'static, Heartbeat>> {
        let mut heartbeats = bus.heartbeats().await?;
        bus.ping_workers().await;
        let hear = async {
            while let Some(heartbeat) = heartbeats.next().await {
                self.hear(heartbeat);
            }
        };
        // It ends by the limit, or with the connection.
        let _ = tokio::time::timeout(ANSWER, hear).await;
        Ok(heartbeats)
    }

    /// Follows the heartbeats.
    ///
    /// # Errors
    /// When the subscription ends, which it does only with the connection.
    pub async fn run(self, mut heartbeats: BoxStream<'static, Heartbeat>) -> Result<()> {
        while let Some(heartbeat) = heartbeats.next().await {
            self.hear(heartbeat);
        }
        Err(Error::NotFound)
    }

    fn hear(&self, heartbeat: Heartbeat) {
        let mut workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.retain(|_, (seen, _)| seen.elapsed() < SILENCE);
        if heartbeat.draining {
            workers.remove(&heartbeat.worker_id);
        } else {
            workers.insert(heartbeat.worker_id.clone(), (Instant::now(), heartbeat));
        }
    }

    /// The live workers of an engine.
    pub fn of(&self, engine: &str) -> Vec<Heartbeat> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<_> = live(&workers, engine).cloned().collect();
        live.sort_by(|a, b| a.worker_id.cmp(&b.worker_id));
        live
    }

    /// Whether anybody can take this engine's tasks.
    pub fn any(&self, engine: &str) -> bool {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live(&workers, engine).next().is_some()
    }
}

fn live<'a>(workers: &'a Seen, engine: &'a str) -> impl Iterator<Item = &'a Heartbeat> {
    let seen = workers.values().filter(|(seen, _)| seen.elapsed() < SILENCE);
    seen.map(|(_, heartbeat)| heartbeat).filter(move |heartbeat| heartbeat.engine == engine)
}
