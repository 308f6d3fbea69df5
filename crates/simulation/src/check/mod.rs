//! The judge of a run: looks at what the log stored, what watchers were told and what is left, and says which
//! invariants of the design do not hold.
//!
//! It shares no decision with what it judges: which record counts is found anew by [`verdict`], in a few lines that
//! follow the design's text. Only for I4 and I7, which speak of the core's own state, it folds with the core.
//! The simulation and the chaos runs use this one judge.

mod ballot;
mod forks;
mod histories;
pub mod schedules;
mod verdict;
mod watchers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mahavishnu_core::execution::{Completed, Record, State, Task, Timer};
use mahavishnu_core::id::{ExecutionId, StageId};

pub use verdict::verdicts;
pub use watchers::{Seen, seen};

/// A record as the log holds it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// The id of the trace that it was published under.
    pub trace: String,
}

/// A client was told that its request has become an execution.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// What the client calls its request; absent when it did not name it.
    pub request: Option<String>,
    /// What it was told.
    pub execution: ExecutionId,
    /// The digest of what it sent.
    pub digest: Vec<u8>,
}

/// What one watcher was told, over all its connections.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The execution.
    pub execution: ExecutionId,
    /// Who watched.
    pub watcher: String,
    /// The durable events, as they came.
    pub events: Vec<Seen>,
    /// Whether it was told of the end.
    pub whole: bool,
}

/// What a coordinator takes an execution for.
#[derive(Clone, Debug)]
pub struct View {
    /// The execution.
    pub execution: ExecutionId,
    /// Whose view.
    pub coordinator: String,
    /// The state.
    pub state: State,
}

/// What can still move executions.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Executions with an input that a coordinator which starts would act on.
    pub inputs: BTreeSet<ExecutionId>,
    /// Tasks that no worker has acknowledged: stage, attempt, resume.
    pub tasks: BTreeSet<(ExecutionId, StageId, u32, u32)>,
    /// Timers that have not fired.
    pub timers: Vec<(ExecutionId, Timer)>,
}

/// Says whether the engine really gave this output for this task.
pub type Truth<'a> = &'a dyn Fn(&ExecutionId, &Task, &Completed) -> bool;

/// Everything that is known of a run.
pub struct Evidence<'a> {
    /// The log, by execution, in stream order.
    pub histories: BTreeMap<ExecutionId, Vec<Logged>>,
    /// What clients were told.
    pub acknowledged: Vec<Acknowledged>,
    /// What watchers were told.
    pub watched: Vec<Watched>,
    /// What coordinators believe.
    pub views: Vec<View>,
    /// What is left.
    pub live: Live,
    /// Schedules, as they are stored.
    pub schedules: Vec<schedules::Standing>,
    /// What the engines did.
    pub truth: Truth<'a>,
    /// The faults are over and everything has had its time, so every execution must have ended.
    pub at_rest: bool,
    /// All histories are in one stream, so that positions put executions in order; otherwise times do.
    pub one_stream: bool,
}

/// One breach of an invariant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which one: `I1` to `I9` of the design, `S1` to `S4` of [schedules].
    pub invariant: &'static str,
    /// The execution, or the schedule.
    pub about: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.invariant, self.about, self.what)
    }
}

/// Collects what is wrong with one execution.
struct Complaints<'a> {
    execution: &'a ExecutionId,
    all: &'a mut Vec<Violation>,
}

impl Complaints<'_> {
    fn add(&mut self, invariant: &'static str, what: String) {
        self.all.push(Violation { invariant, about: self.execution.to_string(), what });
    }
}

/// Everything that is wrong.
pub fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut all = Vec::new();
    for (execution, history) in &evidence.histories {
        let mut complaints = Complaints { execution, all: &mut all };
        histories::check(history, evidence, &mut complaints);
        forks::check(history, evidence, &mut complaints);
    }
    schedules::check(evidence, &mut all);
    acknowledgements(evidence, &mut all);
    for watched in &evidence.watched {
        let history = evidence.histories.get(&watched.execution).map_or(&[][..], Vec::as_slice);
        watchers::check(watched, history, &mut Complaints { execution: &watched.execution, all: &mut all });
    }
    for view in &evidence.views {
        let history = evidence.histories.get(&view.execution).map_or(&[][..], Vec::as_slice);
        replayed(view, history, &mut Complaints { execution: &view.execution, all: &mut all });
    }
    all
}

/// **I1, I6.** What a client was told exists: the execution has a history whose first record is its acceptance, of
/// exactly the body that the client sent. All answers to one request id name one execution and one body, so the
/// repetition of a request starts nothing, and the same id with another body was never answered with yes.
fn acknowledgements(evidence: &Evidence<'_>, all: &mut Vec<Violation>) {
    let mut answers: BTreeMap<&str, &Acknowledged> = BTreeMap::new();
    for told in &evidence.acknowledged {
        let mut complaints = Complaints { execution: &told.execution, all };
        let accepted =
            evidence.histories.get(&told.execution).and_then(|history| match &history.first()?.record.fact {
                mahavishnu_core::execution::Fact::Accepted(accepted) => Some(accepted),
                _ => None,
            });
        match accepted {
            None => complaints.add("I1", "a client was told that it exists, and it does not".to_owned()),
            Some(accepted) if accepted.digest != told.digest => {
                complaints.add("I6", "it runs another body than the one it was acknowledged for".to_owned());
            }
            Some(_) => {}
        }
        if let Some(request) = &told.request
            && let Some(before) = answers.insert(request, told)
            && (before.execution != told.execution || before.digest != told.digest)
        {
            let what = format!("request {request} was also answered with {}", before.execution);
            complaints.add("I6", what);
        }
    }
}

/// **I4.** What a coordinator believes at event n is what the first n records of the log fold to, so a history can
/// be replayed anywhere, and the numbers of events are the ordinals of records: contiguous from 1, for everybody.
fn replayed(view: &View, history: &[Logged], complaints: &mut Complaints<'_>) {
    let prefix = usize::try_from(view.state.sequence).unwrap_or(usize::MAX);
    let mut state = State::default();
    for logged in history.iter().take(prefix) {
        state.apply(&logged.record);
    }
    if state != view.state {
        let what = format!(
            "{} believes at event {prefix} (position {}) what the log does not say (position {})",
            view.coordinator, view.state.position, state.position
        );
        complaints.add("I4", what);
    }
}
