//! The state of an execution as a public resource, and the ids of its approvals.

use chrono::{DateTime, Utc};
use mahavishnu_core::execution::{Accepted, End, Fact, Paused, Phase, StageState, State, Timer};
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_core::workflow::Stage;
use prost_types::Struct;
use v1::execution::State as Public;
use v1::stage_status::State as StagePublic;

use super::{approval_policy, error};
use crate::{json, v1, wire};

/// What an approval id names: one question of one pause of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovalRef {
    /// The execution.
    pub execution: ExecutionId,
    /// The stage.
    pub stage: StageId,
    /// The attempt.
    pub attempt: u32,
    /// Its resume count at the pause.
    pub resume: u32,
    /// The question, from 0.
    pub question: u32,
}

/// The public id of an approval. Dots cannot occur in its parts.
pub fn approval_id(
    execution: &ExecutionId,
    stage: &StageId,
    attempt: u32,
    resume: u32,
    question: u32,
) -> String {
    format!("{execution}.{stage}.{attempt}.{resume}.{question}")
}

impl ApprovalRef {
    /// Reads an approval id; `None` when the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let parsed = Self {
            execution: ExecutionId::parse(parts.next()?).ok()?,
            stage: StageId::parse(parts.next()?).ok()?,
            attempt: parts.next()?.parse().ok()?,
            resume: parts.next()?.parse().ok()?,
            question: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// The questions of a pause, with their approval ids. `pause` is where and when the log stored it.
pub fn pending(
    id: &ExecutionId,
    paused: &Paused,
    pause: (u64, DateTime<Utc>),
    state: &State,
) -> Vec<v1::PendingApproval> {
    let origin = &paused.origin;
    let policy = state.workflow().and_then(|workflow| workflow.stage(&origin.stage)?.approval.as_ref());
    (0..)
        .zip(&paused.questions)
        .map(|(n, question)| v1::PendingApproval {
            approval_id: approval_id(id, &origin.stage, origin.attempt, origin.resume, n),
            title: question.title.clone(),
            payload: Some(json::to_struct(&question.payload)),
            nonce: pause.0.to_string(),
            policy: policy.map(approval_policy),
            expire_time: policy.and_then(|policy| policy.deadline(pause.1)).map(wire::timestamp),
        })
        .collect()
}

/// The outputs of the completed stages, by stage id.
pub(super) fn outputs(state: &State) -> Struct {
    let value = |output: &_| prost_types::Value {
        kind: Some(prost_types::value::Kind::StructValue(json::to_struct(output))),
    };
    Struct { fields: state.outputs().iter().map(|(id, output)| (id.to_string(), value(output))).collect() }
}

/// The resource. `full` adds what lists leave out.
pub fn execution(id: &ExecutionId, state: &State, full: bool) -> v1::Execution {
    let workflow = state.workflow();
    let mut engines: Vec<String> =
        workflow.iter().flat_map(|workflow| &workflow.stages).map(|stage| stage.engine.to_string()).collect();
    engines.sort_unstable();
    engines.dedup();
    let (public, failure, ended) = match &state.end {
        None if state.is_waiting() => (Public::Waiting, None, None),
        None => (Public::Running, None, None),
        Some((End::Completed, at)) => (Public::Completed, None, Some(*at)),
        Some((End::Failed { error: failure, .. }, at)) => (Public::Failed, Some(error(failure)), Some(*at)),
        Some((End::Cancelled { .. }, at)) => (Public::Cancelled, None, Some(*at)),
    };
    let firing = state.accepted.as_ref().and_then(|accepted| accepted.firing.as_ref());
    v1::Execution {
        id: id.to_string(),
        state: public.into(),
        workflow: workflow.filter(|_| full).map(|workflow| super::workflow(workflow)),
        stages: if full {
            state.iter().map(|(stage, now)| status(id, stage, now, state)).collect()
        } else {
            Vec::new()
        },
        labels: workflow.map(|workflow| workflow.labels.clone().into_iter().collect()).unwrap_or_default(),
        engines,
        create_time: state.created.map(wire::timestamp),
        update_time: state.updated.map(wire::timestamp),
        end_time: ended.map(wire::timestamp),
        output: (full && public == Public::Completed).then(|| outputs(state)),
        error: failure,
        forked_from: state.accepted.as_ref().and_then(forked_from),
        requested_by: state.requester().to_owned(),
        last_sequence: if full { i64::try_from(state.sequence).unwrap_or(i64::MAX) } else { 0 },
        schedule_id: firing.map(|firing| firing.schedule.to_string()).unwrap_or_default(),
        fire_time: firing.map(|firing| wire::timestamp(firing.time)),
        voids: Vec::new(),
    }
}

/// Where an execution comes from that goes on from another one.
pub(super) fn forked_from(accepted: &Accepted) -> Option<v1::ForkedFrom> {
    accepted.forked.as_ref().map(|forked| v1::ForkedFrom {
        execution_id: forked.from.to_string(),
        stage_id: forked.stage.to_string(),
    })
}

/// Whether the stage's result is another execution's.
pub(super) fn taken_over(accepted: &Accepted, stage: &StageId) -> bool {
    accepted.forked.as_ref().is_some_and(|forked| forked.results.contains_key(stage))
}

fn status(id: &ExecutionId, stage: &Stage, now: &StageState, whole: &State) -> v1::StageStatus {
    let mut status = v1::StageStatus {
        id: stage.id.to_string(),
        engine: stage.engine.to_string(),
        pool: stage.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        attempt: now.attempt,
        needs: stage.needs.iter().map(ToString::to_string).collect(),
        reused: whole.accepted.as_ref().is_some_and(|accepted| taken_over(accepted, &stage.id)),
        ..v1::StageStatus::default()
    };
    let ended = whole.end.is_some();
    let state = match &now.phase {
        Phase::Completed(output) => {
            status.output = Some(json::to_struct(output));
            StagePublic::Completed
        }
        Phase::Skipped(_) => StagePublic::Skipped,
        Phase::Failed(failure, _) | Phase::Backoff(failure, _) if ended => {
            status.error = Some(error(failure));
            StagePublic::Failed
        }
        _ if matches!(&whole.end, Some((End::Failed { stage: Some(at_fault), .. }, _)) if at_fault == &stage.id) =>
        {
            if let Some((End::Failed { error: failure, .. }, _)) = &whole.end {
                status.error = Some(error(failure));
            }
            StagePublic::Failed
        }
        _ if ended => StagePublic::Cancelled,
        Phase::Pending => StagePublic::Pending,
        Phase::Scheduled | Phase::Decided(..) | Phase::Due => StagePublic::Scheduled,
        Phase::Paused(paused) => {
            if let Some(pause) = &now.pause {
                status.pending_approvals = pending(id, paused, (pause.nonce, pause.time), whole);
            }
            "an approval".clone_into(&mut status.waiting_for);
            StagePublic::WaitingApproval
        }
        Phase::Failed(failure, _) => {
            status.error = Some(error(failure));
            StagePublic::WaitingRetry
        }
        Phase::Backoff(failure, at) => {
            status.error = Some(error(failure));
            status.waiting_for = format!("the next attempt at {}", at.to_rfc3339());
            StagePublic::WaitingRetry
        }
    };
    status.state = state.into();
    status
}

/// Whether a fact changes what [`execution`] says in a list.
pub fn changes_summary(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Accepted(_) | Fact::Paused(_) | Fact::Decided(_) | Fact::TimerFired(Timer::Approval { .. })
    ) || fact.is_terminal()
}
