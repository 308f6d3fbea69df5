//! **I5.** What a watcher was told, over any number of connections to any replicas, is the history from its first
//! event on: every number once, in order, each event what the record of that number says, void where it is void; and
//! a watcher that was told of the end was told of everything before it. A cursor that the watcher once got and that a
//! replica then refuses is a breach too: it is recorded as an event out of turn.

use mahavishnu_core::execution::Fact;

use super::{Complaints, Logged, Watched, verdicts};

/// An event as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub sequence: u64,
    /// What happened, in one word.
    pub kind: &'static str,
    /// The stage, or nothing.
    pub stage: String,
    /// The attempt, or 0.
    pub attempt: u32,
    /// Whether it was said to be without effect.
    pub void: bool,
}

/// What a client should be told of a record.
pub fn seen(fact: &Fact, sequence: u64, void: bool) -> Seen {
    Seen {
        sequence,
        kind: kind(fact),
        stage: fact.stage().map(ToString::to_string).unwrap_or_default(),
        attempt: fact.attempt(),
        void,
    }
}

pub(super) fn check(watched: &Watched, history: &[Logged], complaints: &mut Complaints<'_>) {
    let counts = verdicts(history);
    let end = history.iter().position(|logged| logged.record.fact.is_terminal());
    for (n, event) in watched.events.iter().enumerate() {
        let expected = history.get(n).map(|logged| seen(&logged.record.fact, n as u64 + 1, !counts[n]));
        if expected.as_ref() != Some(event) {
            let what = format!("{} was told {event:?}, the log has {expected:?}", watched.watcher);
            complaints.add("I5", what);
            return;
        }
    }
    let told = watched.events.len();
    if watched.whole && end.is_none_or(|end| told <= end) {
        complaints.add("I5", format!("{} was told of the end after {told} events", watched.watcher));
    }
}

/// The names of the public API's events.
fn kind(fact: &Fact) -> &'static str {
    match fact {
        Fact::Accepted(_) => "execution_accepted",
        Fact::Started(_) => "stage_started",
        Fact::Progressed(_) => "stage_progress",
        Fact::Completed(_) => "stage_completed",
        Fact::Failed(_) | Fact::TaskUnreadable(_) => "stage_failed",
        Fact::Paused(_) => "approval_requested",
        Fact::Decided(_) => "approval_decided",
        Fact::CancelRequested { .. } => "cancellation_requested",
        Fact::TimerFired(_) => "timer_fired",
        Fact::Scheduled(_) => "stage_scheduled",
        Fact::Skipped { .. } => "stage_skipped",
        Fact::RetryScheduled { .. } => "stage_retry_scheduled",
        Fact::ExecutionCompleted => "execution_completed",
        Fact::ExecutionFailed { .. } => "execution_failed",
        Fact::ExecutionCancelled { .. } => "execution_cancelled",
    }
}
