//! Histories written by hand, and what they fold to; `model` plays random ones.

mod approvals;
mod decisions;
mod fold;
mod model;
mod properties;
mod vary;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::*;
use crate::id::{ArtifactId, ExecutionId, StageId, WorkerId};
use crate::workflow::{Parsed, Workflow};

const ENGINES: &[&str] = &["custom", "other"];

fn execution() -> ExecutionId {
    ExecutionId::parse("e1").unwrap()
}

fn stage_id(text: &str) -> StageId {
    StageId::parse(text).unwrap()
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn workflow(value: &Value) -> Arc<Workflow> {
    let checked = Parsed::json(value.to_string().as_bytes()).check(&ENGINES);
    Arc::new(checked.unwrap_or_else(|violations| panic!("{violations}")))
}

/// A stage with an empty task.
fn stage(id: &str, needs: &[&str]) -> Value {
    json!({"id": id, "type": "custom", "task": {}, "needs": needs})
}

/// `stage` with further members.
fn with(mut stage: Value, members: Value) -> Value {
    stage.as_object_mut().unwrap().extend(object(members));
    stage
}

fn second(n: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(n.try_into().unwrap())
}

fn accepted(workflow: &Arc<Workflow>) -> Fact {
    Fact::Accepted(Accepted {
        workflow: Arc::clone(workflow),
        digest: vec![1],
        notes: Vec::new(),
        requested_by: "ann".into(),
        forked: None,
        firing: None,
    })
}

fn origin(stage: &str, attempt: u32, resume: u32) -> Origin {
    let worker = WorkerId::parse("w").unwrap();
    Origin { stage: stage_id(stage), attempt, resume, delivery: 1, worker, started: second(0) }
}

fn completed(stage: &str, attempt: u32, output: Value) -> Fact {
    Fact::Completed(Completed { origin: origin(stage, attempt, 0), output: Arc::new(object(output)) })
}

fn failed(stage: &str, attempt: u32, error: Failure) -> Fact {
    Fact::Failed(Failed { origin: origin(stage, attempt, 0), error })
}

fn passing() -> Failure {
    Failure::retryable("PASSING", "try again")
}

fn checkpoint() -> ArtifactId {
    ArtifactId::parse(&"c".repeat(64)).unwrap()
}

fn paused(stage: &str, attempt: u32, resume: u32, keys: &[&str]) -> Fact {
    let question =
        |key: &&str| Question { key: (*key).into(), title: "go on?".into(), payload: Object::new() };
    Fact::Paused(Paused {
        origin: origin(stage, attempt, resume),
        questions: keys.iter().map(question).collect(),
        checkpoint: Some(checkpoint()),
    })
}

fn decided(stage: &str, attempt: u32, resume: u32, question: u32) -> Fact {
    Fact::Decided(Decided {
        stage: stage_id(stage),
        attempt,
        resume,
        question,
        nonce: None,
        approved: true,
        reason: "looks right".into(),
        decided_by: "ada".into(),
        values: object(json!({"n": 1})),
        request_id: String::new(),
    })
}

fn retry_timer(stage: &str, attempt: u32) -> Fact {
    Fact::TimerFired(Timer::Retry { stage: stage_id(stage), attempt })
}

fn timeout_timer(stage: &str, attempt: u32, resume: u32) -> Fact {
    Fact::TimerFired(Timer::Timeout { stage: stage_id(stage), attempt, resume })
}

/// A history as the log would hold it: positions grow with gaps, a second for each record.
#[derive(Default)]
struct Log {
    state: State,
    records: Vec<Record>,
}

impl Log {
    fn of(value: &Value) -> Self {
        let mut log = Self::default();
        assert_eq!(log.add(accepted(&workflow(value))), None);
        log
    }

    fn stages(stages: &[Value]) -> Self {
        Self::of(&json!({"stages": stages}))
    }

    /// Stores and folds a fact; why it is void.
    fn add(&mut self, fact: Fact) -> Option<Void> {
        let n = self.records.len() as u64 + 1;
        let record = Record { position: n * 3, time: second(n), fact };
        let (sequence, void) = self.state.apply(&record);
        assert_eq!(sequence, n);
        self.records.push(record);
        void
    }

    fn decide(&self) -> Vec<Command> {
        decide(&execution(), &self.state)
    }

    /// Decides and stores until there is nothing to do; what was decided, in short.
    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let commands = self.decide();
            if commands.is_empty() {
                return all;
            }
            for command in commands {
                all.push(short(&command));
                if let Command::Record(fact) = command {
                    assert_eq!(self.add(fact), None);
                }
            }
        }
    }

    fn phase(&self, stage: &str) -> &Phase {
        &self.state.stage(&stage_id(stage)).unwrap().phase
    }

    /// The task that was scheduled last.
    fn task(&self) -> &Task {
        let task = |record: &Record| matches!(record.fact, Fact::Scheduled(_));
        match &self.records.iter().rfind(|record| task(record)).unwrap().fact {
            Fact::Scheduled(task) => task,
            _ => unreachable!(),
        }
    }
}

/// A command in one word and its subject.
fn short(command: &Command) -> String {
    match command {
        Command::SetTimer { timer: Timer::Deadline, at } => format!("deadline at {}", at.timestamp()),
        Command::SetTimer { timer: Timer::Retry { stage, attempt }, .. } => {
            format!("timer {stage}.{attempt}")
        }
        Command::SetTimer { timer: Timer::Timeout { stage, .. }, .. } => format!("timeout {stage}"),
        Command::SetTimer { timer: Timer::Approval { stage, .. }, .. } => format!("approval {stage}"),
        Command::Record(Fact::Scheduled(task)) => format!("{}.{}.{}", task.stage, task.attempt, task.resume),
        Command::Record(Fact::Skipped { stage, .. }) => format!("skip {stage}"),
        Command::Record(Fact::RetryScheduled { stage, attempt, .. }) => format!("retry {stage}.{attempt}"),
        Command::Record(Fact::ExecutionCompleted) => "completed".into(),
        Command::Record(Fact::ExecutionFailed { error, .. }) => format!("failed {}", error.reason),
        Command::Record(Fact::ExecutionCancelled { reason }) => format!("cancelled {reason}"),
        Command::Record(fact) => panic!("not a decision: {fact:?}"),
    }
}
