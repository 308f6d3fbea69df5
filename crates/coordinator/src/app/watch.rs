//! Following an execution.
//!
//! Invariant: the durable events that a watcher gets are the history after its cursor, in order, each once;
//! what is shown live comes between them and never instead of them.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mahavishnu_core::execution::{Fact, Phase};
use mahavishnu_core::id::StageId;
use mahavishnu_proto::worker::Live;
use mahavishnu_proto::{v1, wire, worker};
use tokio::sync::mpsc;
use v1::event::Kind;

use super::{App, Error, Result};
use crate::driver::History;

/// The events of an execution, until it ends.
pub type Events = Pin<Box<dyn Stream<Item = Result<v1::Event>> + Send>>;

impl App {
    /// The events after `after`, then live ones until the execution ends.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there is no such event.
    pub async fn watch(&self, history: Arc<History>, after: i64) -> Result<Events> {
        let sequence = || history.with_folded(|folded| folded.state.sequence);
        if u64::try_from(after).is_ok_and(|after| after > sequence()) {
            // Seen on a replica that is ahead of this one, or never.
            self.histories.catch_up(&history.id).await?;
        }
        let last = sequence();
        let next = match u64::try_from(after) {
            Ok(after) if after <= last => after + 1,
            _ => return Err(Error::OutOfRange { asked: after, last }),
        };
        // Before the first event is read, so that nothing shown after it is missed.
        let live = history.shown();
        Ok(Box::pin(Watcher { app: self.clone(), history, next, live, early: Vec::new() }.events()))
    }
}

struct Watcher {
    app: App,
    history: Arc<History>,
    /// The number of the next durable event.
    next: u64,
    live: mpsc::Receiver<Live>,
    /// What was shown live of attempts whose scheduling the tail has not brought yet.
    early: Vec<Live>,
}

impl Watcher {
    fn events(mut self) -> impl Stream<Item = Result<v1::Event>> + Send {
        async_stream::stream! {
            let mut changes = self.history.changes();
            loop {
                changes.mark_unchanged();
                while let Some(event) = self.history.event(self.next) {
                    self.next += 1;
                    let waiting = self.waiting(&event);
                    yield Ok(event);
                    if let Some(waiting) = waiting {
                        yield Ok(waiting);
                    }
                }
                for live in std::mem::take(&mut self.early) {
                    if self.is_early(&live) {
                        self.early.push(live);
                    } else if let Some(event) = self.ephemeral(live) {
                        yield Ok(event);
                    }
                }
                if self.ended() {
                    return;
                }
                tokio::select! {
                    // Durable events first, so that a result never waits behind token deltas.
                    biased;
                    changed = changes.changed() => if changed.is_err() { return },
                    () = self.app.draining.cancelled() => {
                        yield Err(Error::Draining);
                        return;
                    }
                    Some(live) = self.live.recv() => {
                        if self.is_early(&live) {
                            self.early.push(live);
                        } else if let Some(event) = self.ephemeral(live) {
                            yield Ok(event);
                        }
                    }
                }
            }
        }
    }

    /// Everything up to the terminal event was sent. Void events may follow it in the history; a watcher
    /// that resumes after the end gets those that exist, and the stream ends.
    fn ended(&self) -> bool {
        self.history.with_folded(|folded| folded.state.end.is_some() && self.next > folded.state.sequence)
    }

    fn event(
        &self,
        stage: String,
        attempt: u32,
        time: Option<prost_types::Timestamp>,
        kind: Kind,
    ) -> v1::Event {
        v1::Event {
            execution_id: self.history.id.to_string(),
            sequence: i64::try_from(self.next.saturating_sub(1)).unwrap_or(i64::MAX),
            time,
            stage_id: stage,
            attempt,
            ephemeral: true,
            void_reason: String::new(),
            kind: Some(kind),
        }
    }

    /// Live messages are quicker than the log: a worker may have begun before this process knows that the
    /// attempt is scheduled. That lasts for milliseconds, which bounds what is kept back.
    fn is_early(&self, live: &Live) -> bool {
        let Ok(stage) = StageId::parse(&live.stage_id) else { return false };
        self.history.with_folded(|folded| {
            folded.state.end.is_none()
                && folded.state.stage(&stage).is_some_and(|now| {
                    now.attempt < live.attempt
                        || matches!(
                            now.phase,
                            Phase::Pending | Phase::Decided(..) | Phase::Due | Phase::Backoff(..)
                        )
                })
        })
    }

    fn ephemeral(&self, live: Live) -> Option<v1::Event> {
        let kind = match live.kind? {
            worker::live::Kind::Started(started) => Kind::StageStarted(v1::StageStarted {
                worker_id: started.worker_id,
                delivery: started.delivery,
            }),
            worker::live::Kind::Delta(delta) => {
                Kind::TokenDelta(v1::TokenDelta { source: delta.source, text: delta.text })
            }
        };
        Some(self.event(live.stage_id, live.attempt, live.time, kind))
    }

    /// Says at once that nobody can take a task that was just scheduled and still is.
    fn waiting(&self, event: &v1::Event) -> Option<v1::Event> {
        let Some(Kind::StageScheduled(_)) = &event.kind else { return None };
        let stage = StageId::parse(&event.stage_id).ok()?;
        let queue = self.history.with_folded(|folded| {
            let waits = folded.state.end.is_none() && folded.state.stage(&stage)?.phase == Phase::Scheduled;
            let numbered = folded.events.get(usize::try_from(event.sequence - 1).ok()?)?;
            match &numbered.record.fact {
                Fact::Scheduled(task) if waits => Some(task.queue()),
                _ => None,
            }
        })?;
        let message = self.app.no_worker(&queue)?;
        let kind = Kind::StageWaiting(v1::StageWaiting { reason: "NO_WORKER".to_owned(), message });
        Some(self.event(
            event.stage_id.clone(),
            event.attempt,
            Some(wire::timestamp(chrono::Utc::now())),
            kind,
        ))
    }
}
