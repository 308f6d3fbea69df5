//! Domain facts as bus messages, and back.
//!
//! Invariant: a message that came over the bus is either understood whole or refused with what is wrong;
//! members that this version does not know are ignored.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use mahavishnu_core::execution as core;
use mahavishnu_core::execution::{Fact, Object, Origin, Timer};
use mahavishnu_core::id::{
    ArtifactId, EngineName, ExecutionId, InvalidId, PoolName, Queue, ScheduleId, StageId, WorkerId,
};
use prost_types::Timestamp;

use crate::worker as wire;

/// A bus message that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a protocol buffer of the expected type.
    #[error("not a valid message")]
    Decode(#[from] prost::DecodeError),
    /// An identifier is not one.
    #[error("invalid identifier")]
    Id(#[from] InvalidId),
    /// A `_json` member is not a JSON object.
    #[error("invalid JSON in {0}")]
    Json(&'static str, #[source] serde_json::Error),
    /// A member that must be there is not, or is out of range.
    #[error("{0} is missing or out of range")]
    Missing(&'static str),
}

/// Which of the three subjects a fact belongs to, with its message.
pub enum Message {
    /// `in.<id>`.
    Input(wire::Input),
    /// `dec.<id>.task.<queue>`.
    Task(wire::Task),
    /// `dec.<id>.h`.
    Decision(wire::Decision),
}

/// A time as protobuf writes it.
pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos() as i32 }
}

/// A protobuf time.
pub fn time(stamp: Option<Timestamp>, what: &'static str) -> Result<DateTime<Utc>, Error> {
    let stamp = stamp.ok_or(Error::Missing(what))?;
    let nanos = u32::try_from(stamp.nanos).map_err(|_| Error::Missing(what))?;
    DateTime::from_timestamp(stamp.seconds, nanos).ok_or(Error::Missing(what))
}

fn json(object: &Object) -> Bytes {
    serde_json::to_vec(object).unwrap_or_default().into()
}

fn object(bytes: &Bytes, what: &'static str) -> Result<Object, Error> {
    if bytes.is_empty() {
        return Ok(Object::new());
    }
    serde_json::from_slice(bytes).map_err(|source| Error::Json(what, source))
}

/// A fact as the message that stores it. `execution` goes into tasks.
pub fn encode(execution: &str, fact: &Fact) -> Message {
    use wire::decision::Kind as Dec;
    use wire::input::Kind as In;
    let input = |kind| Message::Input(wire::Input { kind: Some(kind), before: Vec::new() });
    let decision = |kind| Message::Decision(wire::Decision { kind: Some(kind) });
    match fact {
        Fact::Accepted(accepted) => input(In::Accepted(wire::Accepted {
            workflow_json: serde_json::to_vec(&*accepted.workflow).unwrap_or_default().into(),
            digest: accepted.digest.clone().into(),
            notes: accepted.notes.clone(),
            requested_by: accepted.requested_by.clone(),
            forked: accepted.forked.as_ref().map(forked),
            schedule_id: accepted.firing.as_ref().map(|by| by.schedule.to_string()).unwrap_or_default(),
            fire_time: accepted.firing.as_ref().map(|by| timestamp(by.time)),
        })),
        Fact::TaskUnreadable(unreadable) => input(In::TaskUnreadable(wire::TaskUnreadable {
            position: unreadable.position,
            delivery: unreadable.delivery,
            failure: Some(failure(&unreadable.error)),
        })),
        Fact::Started(started) => input(In::Started(wire::AttemptStarted { attempt: Some(origin(started)) })),
        Fact::Progressed(told) => input(In::Progressed(progressed(told))),
        Fact::Completed(completed) => input(In::Completed(wire::Completed {
            attempt: Some(origin(&completed.origin)),
            output_json: json(&completed.output),
        })),
        Fact::Failed(failed) => input(In::Failed(wire::Failed {
            attempt: Some(origin(&failed.origin)),
            failure: Some(failure(&failed.error)),
        })),
        Fact::Paused(paused) => input(In::Paused(wire::Paused {
            attempt: Some(origin(&paused.origin)),
            questions: paused
                .questions
                .iter()
                .map(|question| wire::Question {
                    key: question.key.clone(),
                    title: question.title.clone(),
                    payload_json: json(&question.payload),
                })
                .collect(),
            checkpoint_artifact: artifact(paused.checkpoint.as_ref()),
        })),
        Fact::Decided(decided) => input(In::Decided(wire::Decided {
            stage_id: decided.stage.to_string(),
            attempt: decided.attempt,
            resume: decided.resume,
            question: decided.question,
            approved: decided.approved,
            reason: decided.reason.clone(),
            decided_by: decided.decided_by.clone(),
            values_json: json(&decided.values),
            request_id: decided.request_id.clone(),
            nonce: decided.nonce.unwrap_or_default(),
        })),
        Fact::CancelRequested { reason, requested_by } => input(In::CancelRequested(wire::CancelRequested {
            reason: reason.clone(),
            requested_by: requested_by.clone(),
        })),
        Fact::TimerFired(timer) => {
            let kind = match timer {
                Timer::Retry { stage, attempt } => wire::timer_fired::Kind::Retry(wire::RetryTimer {
                    stage_id: stage.to_string(),
                    attempt: *attempt,
                }),
                Timer::Deadline => wire::timer_fired::Kind::Deadline(wire::DeadlineTimer {}),
                Timer::Timeout { stage, attempt, resume } => {
                    wire::timer_fired::Kind::Timeout(wire::TimeoutTimer {
                        stage_id: stage.to_string(),
                        attempt: *attempt,
                        resume: *resume,
                    })
                }
                Timer::Approval { stage, attempt, resume } => {
                    wire::timer_fired::Kind::Approval(wire::ApprovalTimer {
                        stage_id: stage.to_string(),
                        attempt: *attempt,
                        resume: *resume,
                    })
                }
            };
            input(In::TimerFired(wire::TimerFired { kind: Some(kind) }))
        }
        Fact::Scheduled(task) => Message::Task(encode_task(execution, task)),
        Fact::Skipped { stage, reason } => {
            decision(Dec::Skipped(wire::Skipped { stage_id: stage.to_string(), reason: reason.clone() }))
        }
        Fact::RetryScheduled { stage, attempt, at } => decision(Dec::RetryScheduled(wire::RetryScheduled {
            stage_id: stage.to_string(),
            attempt: *attempt,
            time: Some(timestamp(*at)),
        })),
        Fact::ExecutionCompleted => decision(Dec::Completed(wire::ExecutionCompleted {})),
        Fact::ExecutionFailed { stage, error } => decision(Dec::Failed(wire::ExecutionFailed {
            stage_id: stage.as_ref().map(ToString::to_string).unwrap_or_default(),
            failure: Some(failure(error)),
        })),
        Fact::ExecutionCancelled { reason } => {
            decision(Dec::Cancelled(wire::ExecutionCancelled { reason: reason.clone() }))
        }
    }
}

fn forked(forked: &core::Forked) -> wire::Forked {
    wire::Forked {
        execution_id: forked.from.to_string(),
        stage_id: forked.stage.to_string(),
        results: forked
            .results
            .iter()
            .map(|(stage, ended)| wire::TakenOver {
                stage_id: stage.to_string(),
                kind: Some(match ended {
                    core::Ended::Completed(output) => wire::taken_over::Kind::OutputJson(json(output)),
                    core::Ended::Skipped(reason) => wire::taken_over::Kind::SkippedReason(reason.clone()),
                }),
            })
            .collect(),
        checkpoint_id: forked.checkpoint.as_ref().map(|checkpoint| checkpoint.id.clone()).unwrap_or_default(),
        update: forked.checkpoint.as_ref().and_then(|checkpoint| checkpoint.update.as_ref()).map(update),
    }
}

fn decode_forked(forked: wire::Forked) -> Result<core::Forked, Error> {
    let result = |taken: wire::TakenOver| {
        let ended = match taken.kind.ok_or(Error::Missing("kind"))? {
            wire::taken_over::Kind::OutputJson(output) => {
                core::Ended::Completed(Arc::new(object(&output, "output_json")?))
            }
            wire::taken_over::Kind::SkippedReason(reason) => core::Ended::Skipped(reason),
        };
        Ok((StageId::parse(&taken.stage_id)?, ended))
    };
    Ok(core::Forked {
        from: ExecutionId::parse(&forked.execution_id)?,
        stage: StageId::parse(&forked.stage_id)?,
        results: forked.results.into_iter().map(result).collect::<Result<_, Error>>()?,
        checkpoint: match decode_update(forked.update)? {
            None if forked.checkpoint_id.is_empty() => None,
            update => Some(core::Checkpoint { id: forked.checkpoint_id, update }),
        },
    })
}

fn encode_task(execution: &str, task: &core::Task) -> wire::Task {
    wire::Task {
        execution_id: execution.to_owned(),
        stage_id: task.stage.to_string(),
        attempt: task.attempt,
        resume: task.resume,
        engine: task.engine.to_string(),
        pool: task.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        task_json: json(&task.task),
        secret_fields: task.secret_fields.clone(),
        input_json: json(&task.input),
        dependencies_json: task
            .dependencies
            .iter()
            .map(|(id, output)| (id.to_string(), json(output)))
            .collect(),
        repos: task.repos.clone(),
        documents: task.documents.iter().map(|(name, id)| (name.clone(), id.to_string())).collect(),
        timeout: task.timeout.and_then(|timeout| timeout.try_into().ok()),
        deadline: task.deadline.map(timestamp),
        checkpoint_artifact: artifact(task.resolution.as_ref().and_then(|r| r.checkpoint.as_ref())),
        resolution: task.resolution.as_ref().map(|resolution| wire::Resolution {
            key: resolution.key.clone(),
            approved: resolution.approved,
            reason: resolution.reason.clone(),
            decided_by: resolution.decided_by.clone(),
            values_json: json(&resolution.values),
        }),
        update: task.update.as_ref().map(update),
    }
}

fn update(update: &core::StateUpdate) -> wire::StateUpdate {
    wire::StateUpdate { values_json: json(&update.values), as_node: update.as_node.clone() }
}

fn decode_update(update: Option<wire::StateUpdate>) -> Result<Option<core::StateUpdate>, Error> {
    let Some(update) = update else { return Ok(None) };
    let values = object(&update.values_json, "values_json")?;
    Ok(Some(core::StateUpdate { values, as_node: update.as_node }))
}

/// Which attempt a message is about.
pub fn origin(origin: &Origin) -> wire::AttemptRef {
    wire::AttemptRef {
        stage_id: origin.stage.to_string(),
        attempt: origin.attempt,
        resume: origin.resume,
        delivery: origin.delivery,
        worker_id: origin.worker.to_string(),
        start_time: Some(timestamp(origin.started)),
    }
}

/// An artifact that may not be there, as the empty text.
fn artifact(id: Option<&ArtifactId>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}

fn decode_artifact(text: &str) -> Result<Option<ArtifactId>, Error> {
    Ok(if text.is_empty() { None } else { Some(ArtifactId::parse(text)?) })
}

fn failure(failure: &core::Failure) -> wire::Failure {
    wire::Failure {
        reason: failure.reason.clone(),
        message: failure.message.clone(),
        retryable: failure.retryable,
        traceback: failure.traceback.clone(),
        field: failure.field.clone(),
    }
}

/// Progress as it is stored.
pub fn progressed(told: &core::Progressed) -> wire::Progressed {
    wire::Progressed {
        attempt: Some(origin(&told.origin)),
        kind: told.kind.clone(),
        name: told.name.clone(),
        data_json: json(&told.data),
    }
}

/// Progress as it was stored.
pub fn decode_progressed(told: wire::Progressed) -> Result<core::Progressed, Error> {
    Ok(core::Progressed {
        origin: decode_origin(told.attempt)?,
        kind: told.kind,
        name: told.name,
        data: object(&told.data_json, "data_json")?,
    })
}

/// A message of `in.<id>`, without what was told before.
pub fn decode_input(input: wire::Input) -> Result<Fact, Error> {
    use wire::input::Kind;
    Ok(match input.kind.ok_or(Error::Missing("kind"))? {
        Kind::Accepted(accepted) => Fact::Accepted(core::Accepted {
            workflow: Arc::new(
                serde_json::from_slice(&accepted.workflow_json)
                    .map_err(|source| Error::Json("workflow_json", source))?,
            ),
            digest: accepted.digest.to_vec(),
            notes: accepted.notes,
            requested_by: accepted.requested_by,
            forked: accepted.forked.map(decode_forked).transpose()?,
            firing: match accepted.schedule_id.as_str() {
                "" => None,
                id => Some(core::Firing {
                    schedule: ScheduleId::parse(id)?,
                    time: time(accepted.fire_time, "fire_time")?,
                }),
            },
        }),
        Kind::TaskUnreadable(unreadable) => Fact::TaskUnreadable(core::TaskUnreadable {
            position: unreadable.position,
            delivery: unreadable.delivery,
            error: decode_failure(unreadable.failure)?,
        }),
        Kind::Started(started) => Fact::Started(decode_origin(started.attempt)?),
        Kind::Progressed(told) => Fact::Progressed(decode_progressed(told)?),
        Kind::Completed(completed) => Fact::Completed(core::Completed {
            origin: decode_origin(completed.attempt)?,
            output: Arc::new(object(&completed.output_json, "output_json")?),
        }),
        Kind::Failed(failed) => Fact::Failed(core::Failed {
            origin: decode_origin(failed.attempt)?,
            error: decode_failure(failed.failure)?,
        }),
        Kind::Paused(paused) => Fact::Paused(core::Paused {
            origin: decode_origin(paused.attempt)?,
            questions: paused
                .questions
                .into_iter()
                .map(|question| {
                    let payload = object(&question.payload_json, "payload_json")?;
                    Ok(core::Question { key: question.key, title: question.title, payload })
                })
                .collect::<Result<_, Error>>()?,
            checkpoint: decode_artifact(&paused.checkpoint_artifact)?,
        }),
        Kind::Decided(decided) => Fact::Decided(core::Decided {
            stage: StageId::parse(&decided.stage_id)?,
            attempt: decided.attempt,
            resume: decided.resume,
            question: decided.question,
            approved: decided.approved,
            reason: decided.reason,
            decided_by: decided.decided_by,
            values: object(&decided.values_json, "values_json")?,
            request_id: decided.request_id,
            nonce: Some(decided.nonce).filter(|nonce| *nonce > 0),
        }),
        Kind::CancelRequested(cancel) => {
            Fact::CancelRequested { reason: cancel.reason, requested_by: cancel.requested_by }
        }
        Kind::TimerFired(fired) => Fact::TimerFired(match fired.kind.ok_or(Error::Missing("timer"))? {
            wire::timer_fired::Kind::Retry(retry) => {
                Timer::Retry { stage: StageId::parse(&retry.stage_id)?, attempt: retry.attempt }
            }
            wire::timer_fired::Kind::Deadline(_) => Timer::Deadline,
            wire::timer_fired::Kind::Timeout(timeout) => Timer::Timeout {
                stage: StageId::parse(&timeout.stage_id)?,
                attempt: timeout.attempt,
                resume: timeout.resume,
            },
            wire::timer_fired::Kind::Approval(approval) => Timer::Approval {
                stage: StageId::parse(&approval.stage_id)?,
                attempt: approval.attempt,
                resume: approval.resume,
            },
        }),
    })
}

/// A message of `dec.<id>.h`.
pub fn decode_decision(decision: wire::Decision) -> Result<Fact, Error> {
    use wire::decision::Kind;
    Ok(match decision.kind.ok_or(Error::Missing("kind"))? {
        Kind::Skipped(skipped) => {
            Fact::Skipped { stage: StageId::parse(&skipped.stage_id)?, reason: skipped.reason }
        }
        Kind::RetryScheduled(retry) => Fact::RetryScheduled {
            stage: StageId::parse(&retry.stage_id)?,
            attempt: retry.attempt,
            at: time(retry.time, "time")?,
        },
        Kind::Completed(_) => Fact::ExecutionCompleted,
        Kind::Failed(failed) => Fact::ExecutionFailed {
            stage: match failed.stage_id.as_str() {
                "" => None,
                id => Some(StageId::parse(id)?),
            },
            error: decode_failure(failed.failure)?,
        },
        Kind::Cancelled(cancelled) => Fact::ExecutionCancelled { reason: cancelled.reason },
    })
}

/// A message of `dec.<id>.task.<queue>`.
pub fn decode_task(task: wire::Task) -> Result<core::Task, Error> {
    let resolution = match task.resolution {
        None => None,
        Some(resolution) => Some(core::Resolution {
            checkpoint: decode_artifact(&task.checkpoint_artifact)?,
            key: resolution.key,
            approved: resolution.approved,
            reason: resolution.reason,
            decided_by: resolution.decided_by,
            values: object(&resolution.values_json, "values_json")?,
        }),
    };
    Ok(core::Task {
        stage: StageId::parse(&task.stage_id)?,
        engine: EngineName::parse(&task.engine)?,
        pool: pool(&task.pool)?,
        attempt: task.attempt,
        resume: task.resume,
        task: object(&task.task_json, "task_json")?,
        secret_fields: task.secret_fields,
        input: object(&task.input_json, "input_json")?,
        dependencies: task
            .dependencies_json
            .into_iter()
            .map(|(id, output)| Ok((StageId::parse(&id)?, Arc::new(object(&output, "dependencies_json")?))))
            .collect::<Result<_, Error>>()?,
        repos: task.repos,
        documents: task
            .documents
            .into_iter()
            .map(|(name, id)| Ok((name, ArtifactId::parse(&id)?)))
            .collect::<Result<_, Error>>()?,
        timeout: match task.timeout {
            None => None,
            Some(timeout) => Some(timeout.try_into().map_err(|_| Error::Missing("timeout"))?),
        },
        deadline: task.deadline.map(|deadline| time(Some(deadline), "deadline")).transpose()?,
        resolution,
        update: decode_update(task.update)?,
    })
}

/// The queue that a worker takes tasks from.
pub fn queue(heartbeat: &wire::Heartbeat) -> Result<Queue, Error> {
    Ok(Queue { engine: EngineName::parse(&heartbeat.engine)?, pool: pool(&heartbeat.pool)? })
}

fn pool(name: &str) -> Result<Option<PoolName>, Error> {
    Ok(if name.is_empty() { None } else { Some(PoolName::parse(name)?) })
}

fn decode_origin(origin: Option<wire::AttemptRef>) -> Result<Origin, Error> {
    let origin = origin.ok_or(Error::Missing("attempt"))?;
    Ok(Origin {
        stage: StageId::parse(&origin.stage_id)?,
        attempt: origin.attempt,
        resume: origin.resume,
        delivery: origin.delivery,
        worker: WorkerId::parse(&origin.worker_id)?,
        started: time(origin.start_time, "start_time")?,
    })
}

fn decode_failure(failure: Option<wire::Failure>) -> Result<core::Failure, Error> {
    let failure = failure.ok_or(Error::Missing("failure"))?;
    Ok(core::Failure {
        reason: failure.reason,
        message: failure.message,
        retryable: failure.retryable,
        traceback: failure.traceback,
        field: failure.field,
    })
}
