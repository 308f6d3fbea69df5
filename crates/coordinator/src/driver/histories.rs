//! The executions in memory: fed by one tail of the whole stream, loaded on demand, dropped when quiet.
//!
//! Invariant: a [`History`] that [`Histories::get`] gives has folded everything that the tail had passed before the
//! call, and follows what comes after it. A coordinator's memory holds what moves, not what ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_bus::live::Shown;
use mahavishnu_bus::log::{Tail, TailItem};
use mahavishnu_bus::partition::Partition;
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_core::execution::Fact;
use mahavishnu_core::id::ExecutionId;
use tokio::sync::{OnceCell, mpsc, watch};

use super::Arrival;
use super::history::History;
use crate::measured::Measurements;

/// An execution that nobody looks at and that does not move is dropped after this time.
const QUIET: Duration = Duration::from_secs(20);
/// Between looks for those. Each looks at all that is in memory, also at what rests there by the ten thousand.
const SWEEP: Duration = Duration::from_secs(1);
/// So many that have ended stay, those that ended last. Few: at full speed they would be most of what is in memory, more than
/// the processor's caches hold.
const KEPT: usize = 256;

/// What is in memory, and what of the tail was offered to it.
struct Memory {
    executions: HashMap<ExecutionId, Entry>,
    /// Those of them that have ended, in that order.
    ended: VecDeque<ExecutionId>,
    /// The position of the last message of each partition that was looked for here. Who loads an execution that the tail passes
    /// by meanwhile must read up to here; what comes later finds its entry.
    offered: Vec<u64>,
}

struct Entry {
    history: Arc<History>,
    /// Set once the history is whole.
    load: Arc<OnceCell<()>>,
    touched: Instant,
}

/// The executions in memory. Cheap to clone.
#[derive(Clone)]
pub struct Histories {
    bus: Bus,
    memory: Arc<Mutex<Memory>>,
    /// How far the tail is, in each partition.
    positions: Arc<[watch::Receiver<u64>]>,
}

/// Feeds [`Histories`] from the tail.
pub struct Feeder {
    histories: Histories,
    tail: Tail,
    shown: BoxStream<'static, Shown>,
    positions: Vec<watch::Sender<u64>>,
    measurements: Measurements,
}

impl Histories {
    /// Starts after what the tail starts after; watchers get what is shown, what stages take on the way is measured.
    pub fn new(
        bus: Bus,
        tail: Tail,
        shown: BoxStream<'static, Shown>,
        measurements: Measurements,
    ) -> (Self, Feeder) {
        let (positions, receivers): (_, Vec<_>) =
            tail.start.iter().map(|start| watch::channel(*start)).unzip();
        let offered = tail.start.clone();
        let memory = Memory { executions: HashMap::new(), ended: VecDeque::new(), offered };
        let histories = Self { bus, memory: Arc::new(Mutex::new(memory)), positions: receivers.into() };
        (histories.clone(), Feeder { histories, tail, shown, positions, measurements })
    }

    /// An execution, loaded.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not exist.
    pub async fn get(&self, id: &ExecutionId) -> Result<Arc<History>> {
        loop {
            let history = self.try_get(id).await?;
            // While this waited, another load of the same entry may have failed and taken it off the tail.
            if self.lock().executions.get(id).is_some_and(|entry| Arc::ptr_eq(&entry.history, &history)) {
                return Ok(history);
            }
        }
    }

    /// An execution, with everything folded up to `position`, where it has a message.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it does not exist.
    pub async fn folded_to(&self, id: &ExecutionId, position: u64) -> Result<Arc<History>> {
        let present = {
            let memory = self.lock();
            let whole = memory.executions.get(id).filter(|entry| entry.load.initialized());
            whole.map(|entry| Arc::clone(&entry.history))
        };
        if let Some(history) = present {
            history.folded_to(position).await;
            return Ok(history);
        }
        // The message may be unreadable, so no record has its position; the tail passes it all the same.
        self.passed(id, position).await;
        // Rare, and large as a future: every input would carry it.
        Box::pin(self.get(id)).await
    }

    async fn try_get(&self, id: &ExecutionId) -> Result<Arc<History>> {
        let (history, load) = {
            let mut memory = self.lock();
            let entry = memory.executions.entry(id.clone()).or_insert_with(|| Entry {
                history: Arc::new(History::unloaded(id.clone())),
                load: Arc::default(),
                touched: Instant::now(),
            });
            entry.touched = Instant::now();
            (Arc::clone(&entry.history), Arc::clone(&entry.load))
        };
        let loaded = load
            .get_or_try_init(|| async {
                let offered = self.lock().offered.get(self.partition(id)).copied().unwrap_or_default();
                let read = self.bus.history(id, offered).await?;
                let last = read.last().map_or(0, |stored| stored.record.position);
                self.passed(id, last).await;
                history.loaded(read);
                if history.with_folded(|folded| folded.state.end.is_some()) {
                    self.ended(id);
                }
                Ok(())
            })
            .await;
        match loaded {
            Ok(()) => Ok(history),
            Err(error) => {
                // Whoever asks next starts afresh.
                let entries = &mut self.lock().executions;
                if entries.get(id).is_some_and(|entry| Arc::ptr_eq(&entry.history, &history)) {
                    entries.remove(id);
                }
                Err(error)
            }
        }
    }

    /// Forgets an execution that was removed.
    pub fn forget(&self, id: &ExecutionId) {
        self.lock().executions.remove(id);
    }

    /// Waits until the execution is folded as far as the log has it now, whichever replica stored it.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn catch_up(&self, id: &ExecutionId) -> Result<()> {
        self.passed(id, self.bus.last_position(id).await?).await;
        Ok(())
    }

    /// Waits until the tail has passed `position` in the partition of the execution.
    pub async fn passed(&self, id: &ExecutionId, position: u64) {
        let Some(mut now) = self.positions.get(self.partition(id)).cloned() else { return };
        // It ends only with the process.
        let _ = now.wait_for(|now| *now >= position).await;
    }

    fn partition(&self, id: &ExecutionId) -> usize {
        Partition::of(id, u32::try_from(self.positions.len()).unwrap_or(u32::MAX)).number()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the message at `position` belongs. The first of an execution makes its entry.
    fn entry(
        &self,
        partition: Partition,
        id: &ExecutionId,
        position: u64,
        first: bool,
    ) -> Option<Arc<History>> {
        let mut memory = self.lock();
        if let Some(offered) = memory.offered.get_mut(partition.number()) {
            *offered = position;
        }
        let entries = &mut memory.executions;
        if let Some(entry) = entries.get_mut(id) {
            entry.touched = Instant::now();
            return Some(Arc::clone(&entry.history));
        }
        if !first {
            return None;
        }
        let history = Arc::new(History::new(id.clone()));
        let load = Arc::new(OnceCell::new_with(Some(())));
        entries.insert(id.clone(), Entry { history: Arc::clone(&history), load, touched: Instant::now() });
        Some(history)
    }

    fn show(&self, shown: Shown) {
        let history = self.lock().executions.get(&shown.execution).map(|entry| Arc::clone(&entry.history));
        if let Some(history) = history {
            history.show(shown);
        }
    }

    /// An execution has ended, or one that has was loaded: those that ended long before it leave, unless somebody holds them.
    fn ended(&self, id: &ExecutionId) {
        let Memory { executions, ended, .. } = &mut *self.lock();
        ended.push_back(id.clone());
        while ended.len() > KEPT {
            let Some(id) = ended.pop_front() else { return };
            if executions.get(&id).is_some_and(Entry::is_held) {
                ended.push_back(id);
                return;
            }
            executions.remove(&id);
        }
    }

    fn drop_quiet(&self) {
        self.lock().executions.retain(|_, entry| entry.is_held() || entry.touched.elapsed() < QUIET);
    }
}

impl Entry {
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.history) > 1
    }
}

impl Feeder {
    /// Follows the tail, and passes on which inputs it brings that are to be acted on.
    ///
    /// # Errors
    /// When the tail ends, which it does only with the connection.
    pub async fn run(mut self, inputs: mpsc::UnboundedSender<Arrival>) -> Result<()> {
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let item = tokio::select! {
                item = self.tail.items.next() => item,
                Some(shown) = self.shown.next() => {
                    self.histories.show(shown);
                    continue;
                }
                _ = sweep.tick() => {
                    self.histories.drop_quiet();
                    continue;
                }
            };
            let Some((partition, item)) = item else { return Err(Error::NotFound) };
            let position = match item {
                TailItem::Record(stored) => {
                    let position = stored.record.position;
                    let first = matches!(stored.record.fact, Fact::Accepted(_));
                    let last = stored.record.fact.is_terminal();
                    let arrival = stored.record.fact.is_acted_on().then(|| Arrival {
                        partition: partition.number(),
                        position,
                        execution: stored.execution.clone(),
                    });
                    if let Some(history) = self.histories.entry(partition, &stored.execution, position, first)
                    {
                        history.follow(stored);
                        if last {
                            self.histories.ended(&history.id);
                        }
                        if let Some((engine, took)) = history.took(position) {
                            self.measurements.add(engine, took);
                        }
                    }
                    if let Some(arrival) = arrival {
                        // Nobody takes them any more when the process is to end.
                        let _ = inputs.send(arrival);
                    }
                    position
                }
                TailItem::Unreadable { execution, position, error } => {
                    tracing::warn!(error = &error as &dyn std::error::Error, position, "unreadable record");
                    let entry = |id| self.histories.entry(partition, &id, position, false);
                    if let Some(history) = execution.and_then(entry) {
                        history.pass(position);
                    }
                    position
                }
                TailItem::Disturbed(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "tail disturbed");
                    continue;
                }
            };
            if let Some(passed) = self.positions.get(partition.number()) {
                passed.send_replace(position);
            }
        }
    }
}
