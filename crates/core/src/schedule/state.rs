//! A schedule as it stands: what it does, which slots are settled, and what is under way.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::workflow::Workflow;

/// What a schedule does, as its owner wrote it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// When.
    pub rule: Schedule,
    /// What.
    pub workflow: Workflow,
    /// What happens at a slot while an earlier execution still runs.
    pub overlap: Overlap,
    /// What happens to slots that nobody was there for.
    pub catch_up: CatchUp,
    /// How old a missed slot may be to be caught up with.
    pub window: Duration,
}

/// What happens at a slot while an execution of the schedule is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// The slot is skipped.
    #[default]
    Skip,
    /// The slot waits until everything before it has ended.
    Queue,
    /// Both run.
    Allow,
    /// What runs is cancelled; the slot starts when that has ended. A slot that waits meanwhile gives way.
    CancelPrevious,
}

/// What happens to slots for which nobody was there: the system was down for longer than [`super::ON_TIME`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatchUp {
    /// They are skipped.
    Skip,
    /// The latest within the window fires.
    #[default]
    Latest,
    /// All within the window fire, one after another unless overlap is allowed.
    All,
}

/// One time at which an execution starts. It is the execution's identity within the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot {
    /// The time that the rule names, or that of the request.
    pub time: DateTime<Utc>,
    /// A person asked for it.
    pub triggered: bool,
}

/// Why a slot did not fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Skip {
    /// An earlier execution was still under way.
    Overlap,
    /// Nobody was there at its time, and missed slots are not caught up with.
    Missed,
    /// A later slot took its place.
    Superseded,
    /// It was missed too long ago.
    OutsideWindow,
    /// Too many slots were waiting.
    QueueFull,
    /// The schedule was paused.
    Paused,
}

impl Skip {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Overlap => "OVERLAP",
            Self::Missed => "MISSED",
            Self::Superseded => "SUPERSEDED",
            Self::OutsideWindow => "OUTSIDE_WINDOW",
            Self::QueueFull => "QUEUE_FULL",
            Self::Paused => "PAUSED",
        }
    }
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It is an execution.
    Fired {
        /// A person asked for it.
        triggered: bool,
    },
    /// It is none.
    Skipped(Skip),
}

/// What became of a slot, or of several in a row that were skipped for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The first of them.
    pub from: DateTime<Utc>,
    /// The last of them.
    pub to: DateTime<Utc>,
    /// How many.
    pub count: u64,
    /// What became of them.
    pub outcome: Outcome,
}

/// A mutating call, remembered so that its repetition changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The caller's id of it.
    pub id: String,
    /// What it asked for.
    pub digest: String,
    /// The slot that a trigger made.
    pub slot: Option<Slot>,
    /// How many slots a backfill added.
    pub count: usize,
}

/// A schedule as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What it does.
    pub definition: Definition,
    /// When it was made: tells it from an earlier one of the same name.
    pub created: DateTime<Utc>,
    /// When its owner last changed it.
    pub updated: DateTime<Utc>,
    /// Who made it, by the name that they gave; empty when they gave none.
    #[serde(default)]
    pub created_by: String,
    /// Who asked for what it does: who made it, or who last replaced that. Its executions are this person's.
    #[serde(default)]
    pub requested_by: String,
    /// No slot fires.
    pub paused: bool,
    /// Why it is paused.
    pub note: String,
    /// It is no more; what it began is brought to its end.
    pub deleted: bool,
    /// Every slot up to here is settled: fired, skipped or in the queue.
    pub settled: DateTime<Utc>,
    /// Slots that wait for what is under way.
    pub queue: VecDeque<Slot>,
    /// To be started. Written before the start, so that it is made up for by whoever comes next.
    pub starting: Vec<Slot>,
    /// Started, and not known to have ended.
    pub running: Vec<Slot>,
    /// To be cancelled.
    pub cancelling: Vec<Slot>,
    /// What became of the last slots, the latest last; see [`Self::HISTORY`].
    pub past: VecDeque<Past>,
    /// Slots that became executions.
    pub fired: u64,
    /// Slots that did not.
    pub skipped: u64,
    /// The last mutating calls; see [`Self::REQUESTS`].
    pub requests: VecDeque<Request>,
}

/// Something to be done. Each may be done again by somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the execution of this slot, unless it exists.
    Start(Slot),
    /// Cancel the execution of this slot.
    Cancel(Slot),
    /// Look again at this time.
    Wake(DateTime<Utc>),
}

impl State {
    /// Outcomes that are kept.
    pub const HISTORY: usize = 100;
    /// Mutating calls that are remembered.
    pub const REQUESTS: usize = 64;

    /// A new one; its first slot is after `now`.
    pub fn new(definition: Definition, now: DateTime<Utc>, paused: bool, by: &str) -> Self {
        Self {
            definition,
            created: now,
            updated: now,
            created_by: by.to_owned(),
            requested_by: by.to_owned(),
            paused,
            note: String::new(),
            deleted: false,
            settled: now,
            queue: VecDeque::new(),
            starting: Vec::new(),
            running: Vec::new(),
            cancelling: Vec::new(),
            past: VecDeque::new(),
            fired: 0,
            skipped: 0,
            requests: VecDeque::new(),
        }
    }

    /// Whether slots fire.
    pub fn is_live(&self) -> bool {
        !self.paused && !self.deleted
    }

    /// What is to be done now, in this order.
    pub fn commands(&self) -> Vec<Command> {
        let starts = self.starting.iter().copied().map(Command::Start);
        let cancels = self.cancelling.iter().copied().map(Command::Cancel);
        let next = || self.definition.rule.next(self.settled, 1).first().map(DateTime::to_utc);
        let wake = self.is_live().then(next).flatten().map(Command::Wake);
        starts.chain(cancels).chain(wake).collect()
    }
}
