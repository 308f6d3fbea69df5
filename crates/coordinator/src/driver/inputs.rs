//! The loop over inputs: takes those whose turn it is here, and tells the other coordinators which are done with.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_core::inputs::Cursor;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::Histories;
use super::turns::{Arrival, Mine, Turns};

/// Executions that are advanced at the same time.
const CONCURRENCY: usize = 4_000;

/// Inputs that are looked at before anything else is.
const AT_ONCE: usize = 256;

/// Nothing takes longer unless NATS is away; the input is then looked at again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two heartbeats, and between two looks for inputs on which nobody acted.
const TICK: Duration = Duration::from_millis(250);

/// Advances executions.
pub struct Driver {
    pub(super) bus: Bus,
    pub(super) histories: Histories,
    turns: Turns,
}

impl Driver {
    /// Over these executions, from these cursors on; the tail starts after these positions.
    pub fn new(bus: Bus, histories: Histories, cursors: Vec<Cursor>, starts: &[u64]) -> Self {
        Self { bus, histories, turns: Turns::new(cursors, starts) }
    }

    /// Acts on inputs until `stop`, then finishes what it has.
    ///
    /// # Errors
    /// When NATS cannot be reached at the start.
    pub async fn run(
        self,
        mut arrivals: mpsc::UnboundedReceiver<Arrival>,
        stop: CancellationToken,
    ) -> Result<()> {
        let mut others = self.bus.coordinators().await?;
        // A cursor that stands behind the end of its stream would hide what comes now.
        self.save().await;
        // A connection's handle has a dozen parts, each of which is counted.
        let driver = Arc::new(self);
        let saving = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&driver).save_now_and_then()));
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let running = TaskTracker::new();
        let mut arrived = Vec::new();
        let mut mine: VecDeque<Mine> = VecDeque::new();
        let mut ticks = ticks();
        loop {
            while !mine.is_empty()
                && let Ok(slot) = Arc::clone(&slots).try_acquire_owned()
                && let Some(input) = mine.pop_front()
            {
                let driver = Arc::clone(&driver);
                running.spawn(async move {
                    driver.handle(input).await;
                    drop(slot);
                });
            }
            tokio::select! {
                () = stop.cancelled() => break,
                // None any more: the tail has ended, and with it the process.
                1.. = arrivals.recv_many(&mut arrived, AT_ONCE) => {
                    mine.extend(arrived.drain(..).filter_map(|arrival| driver.turns.arrive(arrival)));
                }
                Some(said) = others.next() => driver.turns.hear(&said),
                _ = ticks.tick() => {
                    mine.extend(driver.turns.tick());
                    driver.bus.tell_coordinators(&driver.turns.heartbeat(false)).await;
                }
                // One that has come free is taken above.
                _ = slots.acquire(), if !mine.is_empty() => {}
            }
        }
        // The others need not wait until this one is done with what it has.
        driver.bus.tell_coordinators(&driver.turns.heartbeat(true)).await;
        running.close();
        running.wait().await;
        drop(saving);
        driver.save().await;
        driver.bus.tell_coordinators(&driver.turns.heartbeat(true)).await;
        Ok(())
    }

    async fn handle(&self, input: Mine) {
        let execution = &input.turn.execution;
        let acted = tokio::time::timeout(PATIENCE, self.act_on(execution, input.turn.position)).await;
        match acted {
            Ok(Ok(())) => input.settle(),
            // A timer of an execution that was never accepted, or a stray message. Looked for twice: an execution whose input
            // was thrown away because a server was behind would never go on.
            Ok(Err(Error::NotFound)) if input.turn.tries > 1 => input.settle(),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, %execution, "not advanced; once more later");
            }
            Err(_) => tracing::warn!(%execution, "advancing takes too long; once more later"),
        }
    }

    async fn save_now_and_then(self: Arc<Self>) {
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            self.save().await;
        }
    }

    /// Saves where a coordinator could start now.
    async fn save(&self) {
        for (partition, cursor) in self.turns.unsaved() {
            match self.bus.save_input_cursor(partition, &cursor).await {
                Ok(()) => self.turns.saved(partition, cursor),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cursor of the inputs not saved"
                    );
                }
            }
        }
    }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
