//! Who is there: the workers that gave a sign of life lately. The queues of their pools are made when the first of them is heard.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_core::engine::Registry;
use mahavishnu_core::id::{PoolName, Queue};
use mahavishnu_proto::wire;
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

    /// Follows the heartbeats. A worker of a pool waits until its queue is made here.
    ///
    /// # Errors
    /// When the subscription ends, which it does only with the connection.
    pub async fn run(
        self,
        mut heartbeats: BoxStream<'static, Heartbeat>,
        bus: Bus,
        registry: Arc<Registry>,
    ) -> Result<()> {
        let mut made = HashSet::new();
        while let Some(heartbeat) = heartbeats.next().await {
            let queue = wire::queue(&heartbeat).ok();
            self.hear(heartbeat);
            let known = |queue: &Queue| queue.pool.is_some() && registry.get(&queue.engine).is_some();
            let Some(queue) = queue.filter(|queue| known(queue) && !made.contains(queue)) else { continue };
            match bus.ensure_queue(&queue).await {
                Ok(()) => drop(made.insert(queue)),
                // Tried again with its next heartbeat.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, %queue, "the queue of a pool is not made");
                }
            }
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

    /// The live workers of an engine, of all its pools.
    pub fn of(&self, engine: &str) -> Vec<Heartbeat> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut live: Vec<_> = live(&workers, engine).cloned().collect();
        live.sort_by(|a, b| (&a.pool, &a.worker_id).cmp(&(&b.pool, &b.worker_id)));
        live
    }

    /// The live workers that take the tasks of a queue.
    pub fn of_queue(&self, queue: &Queue) -> Vec<Heartbeat> {
        let mut live = self.of(queue.engine.as_str());
        live.retain(|heartbeat| takes(heartbeat, queue));
        live
    }

    /// Whether anybody can take the tasks of a queue.
    pub fn any(&self, queue: &Queue) -> bool {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live(&workers, queue.engine.as_str()).any(|heartbeat| takes(heartbeat, queue))
    }
}

fn live<'a>(workers: &'a Seen, engine: &'a str) -> impl Iterator<Item = &'a Heartbeat> {
    let seen = workers.values().filter(|(seen, _)| seen.elapsed() < SILENCE);
    seen.map(|(_, heartbeat)| heartbeat).filter(move |heartbeat| heartbeat.engine == engine)
}

fn takes(heartbeat: &Heartbeat, queue: &Queue) -> bool {
    heartbeat.pool == queue.pool.as_ref().map_or("", PoolName::as_str)
}
