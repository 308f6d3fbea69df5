//! What the history of an execution is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::id::{ArtifactId, EngineName, ExecutionId, PoolName, Queue, ScheduleId, StageId, WorkerId};
use crate::workflow::Workflow;

/// A JSON object: tasks, outputs, state values.
pub type Object = Map<String, Value>;

/// One message of the history: where and when the log stored it, and what it says.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The log's own sequence; grows, with gaps.
    pub position: u64,
    /// When the log stored it.
    pub time: DateTime<Utc>,
    /// What it says.
    pub fact: Fact,
}

/// A past-tense fact. Inputs come from workers, timers and people, whenever they like; the rest are a
/// coordinator's decisions.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// Input: the execution exists.
    Accepted(Accepted),
    /// Input: an attempt with a time limit began. Without a limit the start is only shown live.
    Started(Origin),
    /// Input: engine-native progress.
    Progressed(Progressed),
    /// Input: an attempt has its result.
    Completed(Completed),
    /// Input: an attempt failed.
    Failed(Failed),
    /// Input: a task message that no worker could read; they gave it up.
    TaskUnreadable(TaskUnreadable),
    /// Input: an attempt waits for people.
    Paused(Paused),
    /// Input: a person decided.
    Decided(Decided),
    /// Input: somebody asked to cancel.
    CancelRequested {
        /// Why.
        reason: String,
        /// Who.
        requested_by: String,
    },
    /// Input: a durable timer fired.
    TimerFired(Timer),
    /// Decision: a task is published. The task message is this fact.
    Scheduled(Task),
    /// Decision: the stage does not run.
    Skipped {
        /// The stage.
        stage: StageId,
        /// Why.
        reason: String,
    },
    /// Decision: the stage will be tried again.
    RetryScheduled {
        /// The stage.
        stage: StageId,
        /// The coming attempt.
        attempt: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// Decision, terminal: every stage completed or was skipped.
    ExecutionCompleted,
    /// Decision, terminal: a stage failed, or the deadline passed.
    ExecutionFailed {
        /// The stage at fault.
        stage: Option<StageId>,
        /// What went wrong.
        error: Failure,
    },
    /// Decision, terminal.
    ExecutionCancelled {
        /// Why.
        reason: String,
    },
}

/// The execution exists.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// What it runs.
    pub workflow: Arc<Workflow>,
    /// SHA-256 of the workflow, to tell a repeated request from a different one.
    pub digest: Vec<u8>,
    /// What the plan remarks.
    pub notes: Vec<String>,
    /// Who asked for it, by the name that they gave; empty when they gave none.
    pub requested_by: String,
    /// What it takes over from another execution.
    pub forked: Option<Forked>,
    /// What started it, unless a client did.
    pub firing: Option<Firing>,
}

/// What an execution takes over from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Forked {
    /// The other execution.
    pub from: ExecutionId,
    /// The stage from which this one goes its own way.
    pub stage: StageId,
    /// How the stages ended that are not run again.
    pub results: BTreeMap<StageId, Ended>,
    /// Where the stage goes on, unless it begins anew: its checkpoints up to this one are copied before the execution is
    /// accepted.
    pub checkpoint: Option<Checkpoint>,
}

/// A checkpoint that a stage goes on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The engine's own id of it.
    pub id: String,
    /// What is changed in the state before it goes on.
    pub update: Option<StateUpdate>,
}

/// A change of an engine's state, as the engine itself makes such changes.
#[derive(Clone, Debug, PartialEq)]
pub struct StateUpdate {
    /// Values for the state.
    pub values: Object,
    /// The node that is taken to have written them; empty leaves it to the engine.
    pub as_node: String,
}

/// How a stage ended that stages after it may build on.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// With this output.
    Completed(Arc<Object>),
    /// Without having run, for this reason.
    Skipped(String),
}

/// A schedule started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The schedule.
    pub schedule: ScheduleId,
    /// The slot.
    pub time: DateTime<Utc>,
}

/// Which attempt a worker's message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stage.
    pub stage: StageId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How many approvals the attempt had passed.
    pub resume: u32,
    /// Which delivery of the task made this, from 1.
    pub delivery: u32,
    /// The worker.
    pub worker: WorkerId,
    /// When it began.
    pub started: DateTime<Utc>,
}

/// Engine-native progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Progressed {
    /// Which attempt.
    pub origin: Origin,
    /// What kind.
    pub kind: String,
    /// What it is about.
    pub name: String,
    /// Details.
    pub data: Object,
}

/// An attempt has its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Completed {
    /// Which attempt.
    pub origin: Origin,
    /// The output.
    pub output: Arc<Object>,
}

/// An attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    /// Which attempt.
    pub origin: Origin,
    /// What went wrong.
    pub error: Failure,
}

/// A task message that no worker could read.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskUnreadable {
    /// Where the message is in the log.
    pub position: u64,
    /// How often it was delivered.
    pub delivery: u32,
    /// What is wrong with it.
    pub error: Failure,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Failure {
    /// A stable UPPER_SNAKE code.
    pub reason: String,
    /// The engine's own message.
    pub message: String,
    /// Another attempt may succeed; decided where the failure happens.
    pub retryable: bool,
    /// The engine's traceback.
    pub traceback: String,
    /// The field of the task that is at fault.
    pub field: String,
}

impl Failure {
    /// Reason: the task was delivered again and again, and no worker survived it.
    pub const EXHAUSTED: &str = "DELIVERIES_EXHAUSTED";
    /// Reason: no worker could read the task.
    pub const UNREADABLE: &str = "TASK_UNREADABLE";

    /// A failure that no further attempt can mend.
    pub fn terminal(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
            retryable: false,
            traceback: String::new(),
            field: String::new(),
        }
    }

    /// The task itself is given up: no worker survived it, or none could read it.
    pub fn is_dead_letter(&self) -> bool {
        [Self::EXHAUSTED, Self::UNREADABLE].contains(&self.reason.as_str())
    }

    /// A failure that may pass.
    pub fn retryable(reason: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::terminal(reason, message) }
    }
}

/// An attempt waits for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Paused {
    /// Which attempt.
    pub origin: Origin,
    /// What to decide; any one decision continues the attempt.
    pub questions: Vec<Question>,
    /// Where to continue.
    pub checkpoint: Option<ArtifactId>,
}

/// One question to a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The engine's own key.
    pub key: String,
    /// What it is about.
    pub title: String,
    /// What to show.
    pub payload: Object,
}

/// A person decided one question of one pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The stage that waits.
    pub stage: StageId,
    /// Its attempt.
    pub attempt: u32,
    /// Its resume count at the pause.
    pub resume: u32,
    /// Which of the pause's questions, from 0.
    pub question: u32,
    /// The nonce of the pause that whoever decided has seen. Histories before there were nonces have none.
    pub nonce: Option<u64>,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub decided_by: String,
    /// Values for the stage's state.
    pub values: Object,
    /// Which request said so, to tell its repetition from another's.
    pub request_id: String,
}

/// An internal delay. Its schedule lives outside the history; only its firing is a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The back-off after a failed attempt.
    Retry {
        /// The stage.
        stage: StageId,
        /// The attempt that may start then.
        attempt: u32,
    },
    /// The execution's deadline.
    Deadline,
    /// The time limit of an attempt, from its start. The worker ends it a little earlier, if it still can.
    Timeout {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: u32,
        /// Its resume count.
        resume: u32,
    },
    /// The time that a pause waits for people.
    Approval {
        /// The stage.
        stage: StageId,
        /// The attempt.
        attempt: u32,
        /// Its resume count at the pause.
        resume: u32,
    },
}

/// The message that asks for one attempt of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// The stage.
    pub stage: StageId,
    /// Who runs it.
    pub engine: EngineName,
    /// Which of its workers; absent for those without a pool.
    pub pool: Option<PoolName>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How many approvals this attempt has passed.
    pub resume: u32,
    /// The stage's task, templates resolved.
    pub task: Object,
    /// Where it refers to secrets: JSON pointers of texts that are templates, filled in by the worker alone. A text
    /// elsewhere that looks like one is a text.
    pub secret_fields: Vec<String>,
    /// The workflow's input.
    pub input: Object,
    /// Outputs of the stages that this one needs.
    pub dependencies: BTreeMap<StageId, Arc<Object>>,
    /// Directories that file tools may read.
    pub repos: Vec<String>,
    /// Documents that came with the workflow.
    pub documents: BTreeMap<String, ArtifactId>,
    /// Longest time for the attempt.
    pub timeout: Option<std::time::Duration>,
    /// The deadline of the execution.
    pub deadline: Option<DateTime<Utc>>,
    /// What continues a paused attempt.
    pub resolution: Option<Resolution>,
    /// What is changed in the state of the checkpoint that the stage goes on from, before it does.
    pub update: Option<StateUpdate>,
}

impl Task {
    /// Where it goes.
    pub fn queue(&self) -> Queue {
        Queue { engine: self.engine.clone(), pool: self.pool.clone() }
    }
}

/// What continues a paused attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Where to continue.
    pub checkpoint: Option<ArtifactId>,
    /// The engine's own key of the question.
    pub key: String,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub decided_by: String,
    /// Values for the stage's state.
    pub values: Object,
}

impl Fact {
    /// The stage that the fact is about.
    pub fn stage(&self) -> Option<&StageId> {
        match self {
            Self::Started(origin)
            | Self::Progressed(Progressed { origin, .. })
            | Self::Completed(Completed { origin, .. })
            | Self::Failed(Failed { origin, .. })
            | Self::Paused(Paused { origin, .. }) => Some(&origin.stage),
            Self::Decided(Decided { stage, .. })
            | Self::TimerFired(
                Timer::Retry { stage, .. } | Timer::Timeout { stage, .. } | Timer::Approval { stage, .. },
            )
            | Self::Scheduled(Task { stage, .. })
            | Self::Skipped { stage, .. }
            | Self::RetryScheduled { stage, .. } => Some(stage),
            Self::ExecutionFailed { stage, .. } => stage.as_ref(),
            Self::Accepted(_)
            | Self::CancelRequested { .. }
            | Self::TaskUnreadable(_)
            | Self::TimerFired(Timer::Deadline)
            | Self::ExecutionCompleted
            | Self::ExecutionCancelled { .. } => None,
        }
    }

    /// The attempt that the fact is about; 0 for none.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Started(origin)
            | Self::Progressed(Progressed { origin, .. })
            | Self::Completed(Completed { origin, .. })
            | Self::Failed(Failed { origin, .. })
            | Self::Paused(Paused { origin, .. }) => origin.attempt,
            Self::Decided(Decided { attempt, .. })
            | Self::TimerFired(
                Timer::Retry { attempt, .. }
                | Timer::Timeout { attempt, .. }
                | Timer::Approval { attempt, .. },
            )
            | Self::Scheduled(Task { attempt, .. })
            | Self::RetryScheduled { attempt, .. } => *attempt,
            _ => 0,
        }
    }

    /// The artifacts that it needs, beside its own body.
    pub fn artifacts(&self) -> Vec<&ArtifactId> {
        match self {
            Self::Accepted(accepted) => accepted.workflow.documents.values().collect(),
            Self::Scheduled(task) => {
                let checkpoint =
                    task.resolution.iter().filter_map(|resolution| resolution.checkpoint.as_ref());
                task.documents.values().chain(checkpoint).collect()
            }
            Self::Paused(paused) => paused.checkpoint.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Stored by a coordinator on condition; everything else is an input.
    pub fn is_decision(&self) -> bool {
        matches!(self, Self::Scheduled(_) | Self::Skipped { .. } | Self::RetryScheduled { .. })
            || self.is_terminal()
    }

    /// An input that may ask a coordinator for something, which progress never does.
    pub fn is_acted_on(&self) -> bool {
        !self.is_decision() && !matches!(self, Self::Progressed(_))
    }

    /// The last fact that counts.
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::ExecutionCompleted | Self::ExecutionFailed { .. } | Self::ExecutionCancelled { .. }
        )
    }
}
