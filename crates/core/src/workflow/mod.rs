//! Workflows: what a client sends (`Draft`), what has been checked (`Workflow`), and what a plan says of it.
//!
//! Invariant: a `Workflow` is only made by [`Draft::check`], so whoever holds one need not check it again:
//! ids are unique, `needs` point backwards in a graph without cycles, expressions parse, paths are safe.

mod approval;
mod check;
mod context;
mod fields;
mod graph;
mod ids;
pub mod limits;
mod outputs;
mod parse;
mod path;
pub mod plan;
mod read;
mod reads;
pub mod secrets;
pub mod task;
mod texts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{ArtifactId, EngineName, PoolName, Queue, StageId};

pub use approval::{ANYBODY, ApprovalDraft, ApprovalPolicy, OnTimeout, is_person};
pub use context::{StageOutcome, StageView, condition_holds, has_templates, resolve_task, variables};
pub use outputs::output;
pub use parse::Parsed;
pub use path::artifact;
pub use plan::{Note, NoteCode, Plan, PlannedStage, SchedulePreview, plan};

/// The engines that a deployment knows, as far as a check needs them.
pub trait Engines {
    /// Whether there is an engine of this name.
    fn knows(&self, name: &str) -> bool;
    /// The engine that was probably meant.
    fn nearest(&self, name: &str) -> Option<String>;
    /// The names of all engines, in the order in which they are shown.
    fn names(&self) -> Vec<String>;
}

/// A list of names is enough to check against.
impl Engines for &[&str] {
    fn knows(&self, name: &str) -> bool {
        self.contains(&name)
    }

    fn nearest(&self, name: &str) -> Option<String> {
        crate::violation::nearest(name, self.iter().copied()).map(str::to_owned)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|name| (*name).to_owned()).collect()
    }
}

/// A workflow as a client wrote it, not yet checked. Its JSON form is the file format of the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The stages, in order.
    pub stages: Vec<StageDraft>,
    /// What expressions read as `input`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub input: Map<String, Value>,
    /// Directories of the worker's project that file tools may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repos: Vec<String>,
    /// Free labels to find the execution by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Documents that came with the workflow: name as in `docs`, artifact.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub documents: BTreeMap<String, String>,
    /// Deadline of the whole execution, such as `"30m"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// A stage as a client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageDraft {
    /// The stage's id; by default the engine's name, numbered from the second on (`langgraph2`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The engine.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Which of the engine's workers run it; absent for those without a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The engine's own task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Map<String, Value>>,
    /// Stages that must have ended before; absent means the previous stage, empty means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub needs: Option<Vec<String>>,
    /// CEL over `stages`, `input` and `repos`; the stage is skipped unless it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What to do when an attempt fails with a retryable error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryDraft>,
    /// Who decides when the stage waits for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalDraft>,
    /// Deadline of one attempt, such as `"30s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
}

/// A retry policy as a client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RetryDraft {
    /// Attempts in all, the first included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Wait before the second attempt; it doubles from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_backoff: Option<String>,
    /// Longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<String>,
    /// Reasons of failures that are not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable_reasons: Vec<String>,
}

/// A checked workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// The stages, in the client's order; never empty.
    pub stages: Vec<Stage>,
    /// What expressions read as `input`.
    pub input: Map<String, Value>,
    /// Directories that file tools may read.
    pub repos: Vec<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Documents that came with the workflow.
    pub documents: BTreeMap<String, ArtifactId>,
    /// Deadline of the whole execution.
    pub timeout: Option<Duration>,
}

/// A checked stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Unique in the workflow.
    pub id: StageId,
    /// Who runs it.
    pub engine: EngineName,
    /// Which of its workers; absent for those without a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// The engine's own task, templates unresolved.
    pub task: Map<String, Value>,
    /// Stages that must have ended before.
    pub needs: Vec<StageId>,
    /// Condition, CEL.
    pub when: Option<String>,
    /// Retry policy.
    pub retry: RetryPolicy,
    /// Who decides when it waits for people, where that is not anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// Deadline of one attempt.
    pub timeout: Option<Duration>,
}

impl Stage {
    /// Where its tasks go.
    pub fn queue(&self) -> Queue {
        Queue { engine: self.engine.clone(), pool: self.pool.clone() }
    }
}

/// When and how often a failed attempt is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; at least 1.
    pub max_attempts: u32,
    /// Wait before the second attempt.
    pub initial_backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
    /// Reasons of failures that are not tried again, although their engine calls them passing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub non_retryable_reasons: Vec<String>,
}

impl Default for RetryPolicy {
    /// Three attempts: enough for a passing fault, few enough to fail within seconds.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            non_retryable_reasons: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// Whether attempt `failed` (from 1), which failed for this reason, was the last one.
    pub fn gives_up(&self, failed: u32, reason: &str) -> bool {
        failed >= self.max_attempts || self.non_retryable_reasons.iter().any(|never| never == reason)
    }

    /// The wait after attempt `failed` (from 1): doubling, without jitter, at most `max_backoff`.
    pub fn backoff(&self, failed: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failed.saturating_sub(1).min(30));
        self.initial_backoff.saturating_mul(factor).min(self.max_backoff)
    }
}

impl Workflow {
    /// The stages that need this one, themselves or through others, and itself.
    pub fn from(&self, id: &StageId) -> BTreeSet<StageId> {
        let mut found = BTreeSet::from([id.clone()]);
        loop {
            let before = found.len();
            let more = self.stages.iter().filter(|stage| stage.needs.iter().any(|need| found.contains(need)));
            let more: Vec<_> = more.map(|stage| stage.id.clone()).collect();
            found.extend(more);
            if found.len() == before {
                return found;
            }
        }
    }

    /// The cron fields and the zone that the first stage names.
    pub fn schedule(&self) -> Option<(&str, Option<&str>)> {
        let first = self.stages.first()?;
        task::schedule(first.engine.as_str(), &first.task)
    }

    /// The stage with this id.
    pub fn stage(&self, id: &StageId) -> Option<&Stage> {
        self.stages.iter().find(|stage| &stage.id == id)
    }
}
