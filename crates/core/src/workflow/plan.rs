//! What a workflow would do, without doing it: the stages with their order, what is worth knowing, when it fires.

mod draw;
mod overhead;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::id::{EngineName, PoolName, Queue, SecretName, StageId};
use crate::schedule::Schedule;
use crate::violation::{item, member};

pub use overhead::{EngineOverhead, ExpectedOverhead, Measured, Source};

use super::graph::Graph;
use super::task::{self, langgraph};
use super::{ApprovalPolicy, Stage, Workflow, secrets};

/// How many instants of a schedule are shown.
const PREVIEW: usize = 5;

/// What a workflow would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The stages, in the client's order.
    pub stages: Vec<PlannedStage>,
    /// The stages by level: those of one level may run at the same time.
    pub levels: Vec<Vec<StageId>>,
    /// What is worth knowing and not wrong.
    pub notes: Vec<Note>,
    /// When the workflow would start, if a stage has a schedule.
    pub schedules: Vec<SchedulePreview>,
    /// What the engines cost beside the work of the stages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<ExpectedOverhead>,
    /// The live workers of each engine and pool of the workflow; only a server can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<Vec<QueueWorkers>>,
}

/// Who can take the tasks of an engine, or of one pool of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueWorkers {
    /// The engine.
    pub engine: EngineName,
    /// The pool that stages name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Workers that are connected now.
    pub live: usize,
    /// How one is started, when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
}

impl QueueWorkers {
    /// Whose workers they are.
    pub fn queue(&self) -> Queue {
        Queue { engine: self.engine.clone(), pool: self.pool.clone() }
    }
}

/// A stage as it would run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedStage {
    /// Its id.
    pub id: StageId,
    /// Who runs it.
    pub engine: EngineName,
    /// Which of the engine's workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// What it waits for.
    pub needs: Vec<StageId>,
    /// Its level, from 0.
    pub level: usize,
    /// The kind of task, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<String>,
    /// Its condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Attempts in all.
    pub max_attempts: u32,
    /// Deadline of one attempt, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// The nodes of a declared graph that wait for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<String>,
    /// Who decides when it waits for people, where that is not anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalPolicy>,
    /// The secrets that its worker must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
}

impl PlannedStage {
    /// Where its tasks go.
    pub fn queue(&self) -> Queue {
        Queue { engine: self.engine.clone(), pool: self.pool.clone() }
    }
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Where.
    pub field: String,
    /// A stable code.
    pub code: NoteCode,
    /// What, for people.
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The closed list of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NoteCode {
    /// A route leads to a node that is not listed: it is declared thereby, and the graph ends after it.
    ImplicitNode,
    /// Nothing leads to a listed node.
    UnreachableNode,
    /// The graph ends at a choice when no rule holds.
    EndsWithoutRoute,
    /// A rule of a choice that is never taken.
    UnreachableRoute,
    /// A stage that is always skipped.
    UnreachableStage,
    /// A schedule says when the workflow would start; running it now starts it once, now.
    Scheduled,
    /// A change of the clocks touches a schedule.
    ClockChange,
    /// A document is attached and no stage names it.
    UnusedDocument,
    /// The input looks as if it named a secret, and only tasks can.
    SecretInInput,
}

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulePreview {
    /// Whose schedule it is.
    pub stage: StageId,
    /// The cron text.
    pub schedule: String,
    /// The zone in which it is meant.
    pub timezone: String,
    /// The next instants, RFC 3339 with the zone's offset.
    pub next: Vec<String>,
}

/// Plans a workflow.
pub fn plan(workflow: &Workflow, now: DateTime<Utc>) -> Plan {
    let by_id: BTreeMap<&StageId, usize> =
        workflow.stages.iter().enumerate().map(|(n, stage)| (&stage.id, n)).collect();
    let needs = |stage: &Stage| stage.needs.iter().filter_map(|id| by_id.get(id).copied()).collect();
    let levels = Graph::new(workflow.stages.iter().map(needs).collect()).levels();
    let mut plan = Plan {
        stages: Vec::new(),
        levels: Vec::new(),
        notes: Vec::new(),
        schedules: Vec::new(),
        overhead: None,
        workers: None,
    };
    plan.note_skipped(workflow, &levels);
    for (n, stage) in workflow.stages.iter().enumerate() {
        let level = levels.iter().position(|level| level.contains(&n)).unwrap_or(0);
        plan.stages.push(PlannedStage {
            id: stage.id.clone(),
            engine: stage.engine.clone(),
            pool: stage.pool.clone(),
            needs: stage.needs.clone(),
            level,
            task_type: task::kind(stage.engine.as_str(), &stage.task),
            when: stage.when.clone(),
            max_attempts: stage.retry.max_attempts,
            timeout_seconds: stage.timeout.map(|timeout| timeout.as_secs_f64()),
            approvals: langgraph::approvals(stage.engine.as_str(), &stage.task),
            approval: stage.approval.clone(),
            secrets: secrets::names(&stage.task).into_iter().collect(),
        });
        plan.note_stage(stage, &item("stages", n), now);
    }
    let id = |n: &usize| workflow.stages.get(*n).map(|stage| stage.id.clone());
    plan.levels = levels.iter().map(|level| level.iter().filter_map(id).collect()).collect();
    plan.note_documents(workflow);
    plan.note_input(workflow);
    plan
}

impl Plan {
    /// The task queues of the workflow, each once, in the order in which the stages name them.
    pub fn queues(&self) -> Vec<Queue> {
        let mut queues = Vec::new();
        for stage in &self.stages {
            let queue = stage.queue();
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        queues
    }

    fn note(&mut self, field: String, code: NoteCode, message: String) {
        self.notes.push(Note { field, code, message });
    }

    fn note_stage(&mut self, stage: &Stage, path: &str, now: DateTime<Utc>) {
        let path = member(path, "task");
        if stage.engine.as_str() == "langgraph"
            && let Some(graph) = langgraph::Graph::of(&stage.task)
        {
            self.note_graph(&graph, &member(&path, "workflow"));
        }
        if let Some((cron, zone)) = task::schedule(stage.engine.as_str(), &stage.task)
            && let Ok(schedule) = Schedule::parse(cron, zone)
        {
            self.note_schedule(stage, &schedule, member(&path, "schedule"), now);
        }
    }

    /// Stages whose condition never holds, and those that only follow such.
    fn note_skipped(&mut self, workflow: &Workflow, levels: &[Vec<usize>]) {
        let mut skipped = BTreeSet::new();
        for n in levels.iter().flatten() {
            let Some(stage) = workflow.stages.get(*n) else { continue };
            let path = item("stages", *n);
            match &stage.when {
                Some(when) if never_holds(when) => {
                    let message = format!("{when:?} never holds, so this stage is always skipped");
                    self.note(member(&path, "when"), NoteCode::UnreachableStage, message);
                }
                None if !stage.needs.is_empty() && stage.needs.iter().all(|need| skipped.contains(need)) => {
                    let message = "all that it needs is always skipped, and so is this stage";
                    self.note(path, NoteCode::UnreachableStage, message.to_owned());
                }
                _ => continue,
            }
            skipped.insert(&stage.id);
        }
    }

    fn note_graph(&mut self, graph: &langgraph::Graph, path: &str) {
        for (node, by) in graph.implicit() {
            let key = if graph.routes.contains_key(by) { "conditional" } else { "edges" };
            let field = member(&member(path, key), by);
            let message =
                format!("node {node:?} is not listed: it is declared here, and the graph ends after it");
            self.note(field, NoteCode::ImplicitNode, message);
        }
        for node in graph.unreachable() {
            let at = graph.nodes.iter().position(|known| known == node).unwrap_or(0);
            let message = format!("nothing leads to node {node:?}, so it never runs");
            self.note(item(&member(path, "nodes"), at), NoteCode::UnreachableNode, message);
        }
        for (node, routes) in &graph.routes {
            for rule in &routes.closed {
                let field = item(&member(&member(path, "conditional"), node), *rule);
                let message =
                    "this rule is never taken: its condition never holds, or one before it always does";
                self.note(field, NoteCode::UnreachableRoute, message.to_owned());
            }
        }
        for node in graph.routes.iter().filter(|(_, routes)| !routes.exhaustive).map(|(node, _)| node) {
            let message = format!("the graph ends at node {node:?} when nothing is chosen");
            self.note(member(&member(path, "conditional"), node), NoteCode::EndsWithoutRoute, message);
        }
    }

    fn note_schedule(&mut self, stage: &Stage, schedule: &Schedule, field: String, now: DateTime<Utc>) {
        let next: Vec<String> = schedule.next(now, PREVIEW).iter().map(|at| at.to_rfc3339()).collect();
        let first = next.first().cloned().unwrap_or_else(|| "never".into());
        let message = format!(
            "running it starts it once, now; as a schedule (run --schedule) it would next start at {first}"
        );
        self.note(field.clone(), NoteCode::Scheduled, message);
        if let Some(remark) = schedule.clock_change(now) {
            self.note(field, NoteCode::ClockChange, remark);
        }
        self.schedules.push(SchedulePreview {
            stage: stage.id.clone(),
            schedule: schedule.cron().to_owned(),
            timezone: schedule.zone().name().to_owned(),
            next,
        });
    }

    /// An input is text as it stands, so that nobody can ask for a secret by what they send.
    fn note_input(&mut self, workflow: &Workflow) {
        for pointer in secrets::fields(&workflow.input) {
            let field = member("input", pointer.split('/').nth(1).unwrap_or_default());
            let message = "secrets are put into tasks only: this stays the text that it is";
            self.note(field, NoteCode::SecretInInput, message.to_owned());
        }
    }

    fn note_documents(&mut self, workflow: &Workflow) {
        let named = |name: &str| {
            let text = serde_json::Value::from(name);
            workflow.stages.iter().any(|stage| stage.task.values().any(|value| holds(value, &text)))
        };
        for name in workflow.documents.keys().filter(|name| !named(name)) {
            let message = format!("document {name:?} is attached, but no stage names it");
            self.notes.push(Note {
                field: member("documents", name),
                code: NoteCode::UnusedDocument,
                message,
            });
        }
    }
}

/// A condition that reads nothing is the same every time.
fn never_holds(when: &str) -> bool {
    crate::expression::Expression::parse(when).is_ok_and(|condition| condition.constant() == Some(false))
}

fn holds(value: &serde_json::Value, text: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(|value| holds(value, text)),
        serde_json::Value::Object(members) => members.values().any(|value| holds(value, text)),
        other => other == text,
    }
}
