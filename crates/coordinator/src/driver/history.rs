//! One execution in memory: its records, the state that they fold to, and whoever waits for it to change.
//!
//! Invariant: records are folded in stream order, each once. While the history is being loaded, what the
//! tail brings is set aside; the load ends only when the tail has passed everything that was read.

use std::sync::{Mutex, PoisonError};

use mahavishnu_bus::Trace;
use mahavishnu_bus::live::Shown;
use mahavishnu_bus::log::Stored;
use mahavishnu_core::execution::{Fact, Record, State, Void, Wait};
use mahavishnu_core::id::{ExecutionId, Queue};
use mahavishnu_proto::worker::Live;
use mahavishnu_proto::{public, v1};
use mahavishnu_telemetry::context;
use tokio::sync::{mpsc, watch};
use v1::event::Kind;

use super::approvals::given;
use crate::measured::Took;

/// What is shown live and a watcher has not taken yet; more is lost, as what is shown live may be.
const SHOWN_AHEAD: usize = 1_024;

/// An execution, followed.
pub struct History {
    /// The execution.
    pub id: ExecutionId,
    /// Held by whoever decides for it; one at a time in this process.
    pub deciding: tokio::sync::Mutex<()>,
    /// Held by whoever writes what lists show of it.
    pub summing_up: tokio::sync::Mutex<()>,
    folded: Mutex<Folded>,
    position: watch::Sender<u64>,
    /// Whoever wants to know what is shown live.
    watchers: Mutex<Vec<mpsc::Sender<Live>>>,
}

/// What the records fold to.
#[derive(Default)]
pub struct Folded {
    /// The state.
    pub state: State,
    /// Every record, in order; the nth has the number n + 1.
    pub events: Vec<Numbered>,
    /// The trace of the execution.
    pub trace: Trace,
    /// Position of the last record that changes what lists show.
    pub summary_due: u64,
    /// Position up to which this process has written what lists show.
    pub summary_put: u64,
    /// The schedule that started it was told by this process that it has ended.
    pub schedule_told: bool,
    /// This process has seen it from its beginning.
    pub fresh: bool,
    /// `Some` while the history is being loaded: what the tail brought meanwhile.
    pending: Option<Vec<Stored>>,
}

/// A record with what the fold said of it.
pub struct Numbered {
    /// The record.
    pub record: Record,
    /// Why it has no effect.
    pub void: Option<Void>,
}

impl History {
    /// One of which everything will come by the tail.
    pub fn new(id: ExecutionId) -> Self {
        Self::with(id, Folded { fresh: true, ..Folded::default() })
    }

    /// One that is to be loaded.
    pub fn unloaded(id: ExecutionId) -> Self {
        Self::with(id, Folded { pending: Some(Vec::new()), ..Folded::default() })
    }

    fn with(id: ExecutionId, folded: Folded) -> Self {
        let (position, _) = watch::channel(0);
        let (deciding, summing_up, watchers) = Default::default();
        Self { id, deciding, summing_up, folded: Mutex::new(folded), position, watchers }
    }

    /// Takes what the tail brings.
    pub fn follow(&self, stored: Stored) {
        let position = stored.record.position;
        self.with_folded(|folded| match &mut folded.pending {
            Some(pending) => pending.push(stored),
            None => folded.fold(stored),
        });
        self.pass(position);
    }

    /// The tail passed a message of this execution that cannot be read.
    pub fn pass(&self, position: u64) {
        if self.with_folded(|folded| folded.pending.is_none()) {
            self.position.send_replace(position);
        }
    }

    /// The tail has passed the last decision, which is at `position`: if it is not folded, it cannot be read.
    pub fn decided_at_least(&self, position: u64) {
        self.with_folded(|folded| folded.state.decided = folded.state.decided.max(position));
        self.position.send_modify(|_| {});
    }

    /// Ends the load: `read` is what the log held, and the tail has passed all of it.
    pub fn loaded(&self, read: Vec<Stored>) {
        let position = self.with_folded(|folded| {
            let mut all = read;
            all.extend(folded.pending.take().into_iter().flatten());
            all.sort_by_key(|stored| stored.record.position);
            all.dedup_by_key(|stored| stored.record.position);
            all.into_iter().for_each(|stored| folded.fold(stored));
            folded.state.position
        });
        self.position.send_replace(position);
    }

    /// Looks at what is folded. Short, and never across an await.
    pub fn with_folded<T>(&self, look: impl FnOnce(&mut Folded) -> T) -> T {
        look(&mut self.folded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long the stage took whose result was folded last, at `position`, and whose workers ran it. Only a stage that
    /// went through without waiting for people counts.
    pub fn took(&self, position: u64) -> Option<(Queue, Took)> {
        self.with_folded(|folded| {
            let last = folded.events.last().filter(|last| last.record.position == position)?;
            let Fact::Completed(completed) = &last.record.fact else { return None };
            let origin = &completed.origin;
            if last.void.is_some() || origin.resume > 0 {
                return None;
            }
            let scheduled = folded.events.iter().rev().find_map(|numbered| match &numbered.record.fact {
                Fact::Scheduled(task) if task.stage == origin.stage => {
                    Some((task.queue(), numbered.record.time))
                }
                _ => None,
            });
            let (queue, published) = scheduled?;
            let took = Took { start: origin.started - published, run: last.record.time - origin.started };
            Some((queue, took))
        })
    }

    /// Waits until everything up to `position` is folded.
    pub async fn folded_to(&self, position: u64) {
        let mut changes = self.position.subscribe();
        // The sender lives as long as `self`.
        let _ = changes.wait_for(|now| *now >= position).await;
    }

    /// Waits until it is folded as far as a decision needs it.
    pub async fn folded(&self, wait: Wait) {
        let mut changes = self.position.subscribe();
        while !self.with_folded(|folded| wait.is_over(&folded.state)) {
            // The sender lives as long as `self`.
            let _ = changes.changed().await;
        }
    }

    /// What is shown live from now on.
    pub fn shown(&self) -> mpsc::Receiver<Live> {
        let (sender, receiver) = mpsc::channel(SHOWN_AHEAD);
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        receiver
    }

    /// Passes on what is shown live, to those who are quick enough.
    pub fn show(&self, shown: Shown) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| !watcher.is_closed());
        if watchers.is_empty() {
            return;
        }
        let Some(live) = shown.read() else { return };
        for watcher in watchers.iter() {
            let _ = watcher.try_send(live.clone());
        }
    }

    /// Tells of every change from now on; the value is the position folded to.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.position.subscribe()
    }

    /// The public event with this number, if it has happened.
    pub fn event(&self, sequence: u64) -> Option<v1::Event> {
        self.with_folded(|folded| {
            let events = folded.events.get(..usize::try_from(sequence).ok()?)?;
            let numbered = events.last()?;
            let mut event = public::event(&self.id, &numbered.record, sequence, numbered.void, &folded.state);
            match (&mut event.kind, &numbered.record.fact) {
                (Some(Kind::ExecutionAccepted(accepted)), _) => {
                    accepted.trace_id = context::trace_id(&folded.trace);
                }
                (Some(Kind::ApprovalDecided(told)), Fact::Decided(decided)) if numbered.void.is_none() => {
                    told.approvals = given(events, decided);
                    told.pending = decided.approved && told.approvals < told.quorum;
                }
                _ => {}
            }
            Some(event)
        })
    }
}

impl Folded {
    /// The record at this position of the log, without what was told before it.
    pub fn at(&self, position: u64) -> Option<&Numbered> {
        // Progress that was told with it has the same position.
        let end = self.events.partition_point(|event| event.record.position <= position);
        self.events.get(..end)?.last().filter(|event| event.record.position == position)
    }

    fn fold(&mut self, mut stored: Stored) {
        if self.trace.is_empty() {
            self.trace = std::mem::take(&mut stored.trace);
        }
        for record in stored.records() {
            let (_, void) = self.state.apply(&record);
            let lost = matches!(record.fact, Fact::TaskUnreadable(_));
            if lost || void.is_none() && public::changes_summary(&record.fact) {
                self.summary_due = record.position;
            }
            self.events.push(Numbered { record, void });
        }
    }
}
