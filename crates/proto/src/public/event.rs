//! A record of the history as a public event.

use mahavishnu_core::execution::{Fact, Origin, Record, State, Timer, Void};
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_core::workflow::{ANYBODY, ApprovalPolicy, OnTimeout};
use v1::event::Kind;

use super::execution::{forked_from, taken_over};
use super::{error, pending};
use crate::{json, v1, wire};

/// The event for `record`, numbered `sequence`. `state` is the state after the record.
pub fn event(
    id: &ExecutionId,
    record: &Record,
    sequence: u64,
    void: Option<Void>,
    state: &State,
) -> v1::Event {
    let (stage, attempt) = match &record.fact {
        Fact::TaskUnreadable(unreadable) => match state.stage_of_task(unreadable.position) {
            Some((stage, now)) => (Some(&stage.id), now.attempt),
            None => (None, 0),
        },
        fact => (fact.stage(), fact.attempt()),
    };
    v1::Event {
        execution_id: id.to_string(),
        sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        time: Some(wire::timestamp(record.time)),
        stage_id: stage.map(ToString::to_string).unwrap_or_default(),
        attempt,
        ephemeral: false,
        void_reason: void.map(Void::code).unwrap_or_default().to_owned(),
        kind: Some(kind(id, record, state)),
    }
}

fn kind(id: &ExecutionId, record: &Record, state: &State) -> Kind {
    match &record.fact {
        Fact::Accepted(accepted) => Kind::ExecutionAccepted(v1::ExecutionAccepted {
            stages: accepted
                .workflow
                .stages
                .iter()
                .map(|stage| v1::AcceptedStage {
                    id: stage.id.to_string(),
                    engine: stage.engine.to_string(),
                    pool: stage.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
                    needs: stage.needs.iter().map(ToString::to_string).collect(),
                    reused: taken_over(accepted, &stage.id),
                })
                .collect(),
            notes: accepted.notes.clone(),
            trace_id: String::new(),
            forked_from: forked_from(accepted),
        }),
        Fact::TaskUnreadable(unreadable) => Kind::StageFailed(v1::StageFailed {
            error: Some(error(&unreadable.error)),
            ..v1::StageFailed::default()
        }),
        Fact::Started(origin) => Kind::StageStarted(v1::StageStarted {
            worker_id: origin.worker.to_string(),
            delivery: origin.delivery,
        }),
        Fact::Progressed(progressed) => Kind::StageProgress(v1::StageProgress {
            kind: progressed.kind.clone(),
            name: progressed.name.clone(),
            data: Some(json::to_struct(&progressed.data)),
        }),
        Fact::Completed(completed) => Kind::StageCompleted(v1::StageCompleted {
            output: Some(json::to_struct(&completed.output)),
            worker_id: completed.origin.worker.to_string(),
            duration: duration(&completed.origin, record),
        }),
        Fact::Failed(failed) => Kind::StageFailed(v1::StageFailed {
            error: Some(error(&failed.error)),
            worker_id: failed.origin.worker.to_string(),
            duration: duration(&failed.origin, record),
        }),
        Fact::Paused(paused) => {
            let pause = (record.position, record.time);
            Kind::ApprovalRequested(v1::ApprovalRequested { approvals: pending(id, paused, pause, state) })
        }
        Fact::Decided(decided) => Kind::ApprovalDecided(v1::ApprovalDecided {
            approval_id: super::approval_id(
                id,
                &decided.stage,
                decided.attempt,
                decided.resume,
                decided.question,
            ),
            approved: decided.approved,
            reason: decided.reason.clone(),
            decided_by: decided.decided_by.clone(),
            // Told by whoever knows the decisions before.
            pending: false,
            approvals: 0,
            quorum: policy(state, &decided.stage).quorum,
        }),
        Fact::CancelRequested { reason, requested_by } => {
            Kind::CancellationRequested(v1::CancellationRequested {
                reason: reason.clone(),
                requested_by: requested_by.clone(),
            })
        }
        Fact::TimerFired(timer) => Kind::TimerFired(v1::TimerFired {
            timer: match timer {
                Timer::Retry { .. } => "retry",
                Timer::Deadline => "deadline",
                Timer::Timeout { .. } => "timeout",
                Timer::Approval { .. } => "approval",
            }
            .to_owned(),
            approved: matches!(timer, Timer::Approval { stage, .. }
                if policy(state, stage).on_timeout == OnTimeout::Approve),
        }),
        Fact::Scheduled(task) => Kind::StageScheduled(v1::StageScheduled {
            engine: task.engine.to_string(),
            pool: task.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
            resume: task.resume,
        }),
        Fact::Skipped { reason, .. } => Kind::StageSkipped(v1::StageSkipped { reason: reason.clone() }),
        Fact::RetryScheduled { at, .. } => {
            Kind::StageRetryScheduled(v1::StageRetryScheduled { retry_time: Some(wire::timestamp(*at)) })
        }
        Fact::ExecutionCompleted => Kind::ExecutionCompleted(v1::ExecutionCompleted {
            output: Some(super::execution::outputs(state)),
        }),
        Fact::ExecutionFailed { error: failure, .. } => {
            Kind::ExecutionFailed(v1::ExecutionFailed { error: Some(error(failure)) })
        }
        Fact::ExecutionCancelled { reason } => {
            Kind::ExecutionCancelled(v1::ExecutionCancelled { reason: reason.clone() })
        }
    }
}

/// Who decides when this stage waits for people.
fn policy<'a>(state: &'a State, stage: &StageId) -> &'a ApprovalPolicy {
    let stage = state.workflow().and_then(|workflow| workflow.stage(stage));
    stage.map_or(&ANYBODY, |stage| stage.approval_policy())
}

fn duration(origin: &Origin, record: &Record) -> Option<prost_types::Duration> {
    (record.time - origin.started).to_std().ok()?.try_into().ok()
}
