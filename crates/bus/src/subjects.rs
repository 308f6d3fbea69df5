//! The subjects, in one place.
//!
//! ```text
//! in.<execution>                  inputs, unconditional                       stream HISTORY
//! dec.<execution>.task.<queue>    a stage is scheduled: the task itself       stream HISTORY
//! dec.<execution>.h               the coordinators' other decisions           stream HISTORY
//! timer.<execution>.<name>        schedules that fire into in.<execution>     stream HISTORY
//! schedule.state.<schedule>       the schedule as it stands; wakes, too       stream SCHEDULES
//! schedule.wake.<schedule>        somebody is to look at it                   stream SCHEDULES
//! schedule.timer.<schedule>.<n>   fires into schedule.wake.<schedule>         stream SCHEDULES
//! sum.execution.<execution>       last summary                                stream SUMMARIES
//! sum.approval.<approval id>      last summary                                stream SUMMARIES
//! sum.inputs.<partition>          where coordinators start to look at inputs  stream SUMMARIES
//! checkpoint.<execution>.<stage>  what an engine needs to go on             stream CHECKPOINTS
//! state.<engine>.<key hash>       what an engine keeps beyond its stages      stream ENGINE_STATE
//! sum.dead-letter.<its id>        last summary                                stream SUMMARIES
//! $O.MAHAVISHNU_ARTIFACTS.M.<id>  what an artifact is, its id in base64        its object store
//! $O.MAHAVISHNU_ARTIFACTS.C.<n>   its content, in pieces                      its object store
//! live.<execution>                started, token deltas                       core, not kept
//! worker.<engine>.<worker>        heartbeats                                  core, not kept
//! worker-ping                     asks every worker for a heartbeat           core, not kept
//! cancel.<execution>              workers stop what they run for it           core, not kept
//! coordinator                     what coordinators tell each other           core, not kept
//! ```
//!
//! A queue is an engine's name, or `<engine>@<pool>`. Where several streams share the histories, the subjects of all but the first
//! begin with the stream's number: `1.in.<execution>` ([`crate::partition`]).
//!
//! Architecture invariant: `dec.<execution>.>` matches what coordinators write conditionally, and nothing
//! that anybody writes unconditionally.
//!
//! The execution stands before everything that differs within it, because the server looks for the last message of a
//! condition's filter in a tree of all subjects, from their beginning: behind a wildcard it would look at every execution
//! that there ever was, for every write.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE as URL_SAFE;
use chrono::{DateTime, Utc};
use mahavishnu_core::id::{ArtifactId, EngineName, ExecutionId, ScheduleId, StageId, WorkerId};

pub const SCHEDULES: &str = "schedule.>";
pub const SCHEDULE_STATES: &str = "schedule.state.*";
/// States and wakes: whoever stores a state has somebody look at it by the same write.
pub const SCHEDULE_WAKES: &str = "schedule.*.*";
pub const SUMMARIES: &str = "sum.>";
pub const CHECKPOINTS: &str = "checkpoint.*.*";
pub const ENGINE_STATES: &str = "state.>";
pub const HEARTBEATS: &str = "worker.*.*";
pub const WORKER_PING: &str = "worker-ping";
pub const COORDINATOR: &str = "coordinator";
pub const CANCELS: &str = "cancel.*";
pub const LIVE: &str = "live.*";
pub const ARTIFACTS: &str = "$O.MAHAVISHNU_ARTIFACTS.M.*";
pub const ARTIFACT_CONTENTS: &str = "$O.MAHAVISHNU_ARTIFACTS.C.*";

/// A subject without the number of its partition.
fn plain(subject: &str) -> &str {
    match subject.split_once('.') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => subject,
    }
}

/// The number of the partition that a message of the histories is in.
pub fn partition(subject: &str) -> usize {
    subject.split('.').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

/// Whether this is a timer: the only messages of the histories that are no records.
pub fn is_timer(subject: &str) -> bool {
    plain(subject).starts_with("timer.")
}

/// Whether this is an input.
pub fn is_input(subject: &str) -> bool {
    plain(subject).starts_with("in.")
}

pub fn checkpoints(id: &ExecutionId, stage: &StageId) -> String {
    format!("checkpoint.{id}.{stage}")
}

pub fn input_cursor(partition: usize) -> String {
    format!("sum.inputs.{partition}")
}

/// `digest` is of the key.
pub fn engine_state(engine: &EngineName, digest: &str) -> String {
    format!("state.{engine}.{digest}")
}

/// What an artifact is, as the object store names it.
pub fn artifact(id: &ArtifactId) -> String {
    format!("$O.MAHAVISHNU_ARTIFACTS.M.{}", URL_SAFE.encode(id.as_str()))
}

/// The content of the object with this number of the object store's own.
pub fn artifact_content(nuid: &str) -> String {
    format!("$O.MAHAVISHNU_ARTIFACTS.C.{nuid}")
}

pub fn live(id: &ExecutionId) -> String {
    format!("live.{id}")
}

pub fn heartbeat(engine: &EngineName, worker: &WorkerId) -> String {
    format!("worker.{engine}.{worker}")
}

pub fn cancel(id: &ExecutionId) -> String {
    format!("cancel.{id}")
}

pub fn schedule_state(id: &ScheduleId) -> String {
    format!("schedule.state.{id}")
}

pub fn schedule_wake(id: &ScheduleId) -> String {
    format!("schedule.wake.{id}")
}

pub fn schedule_timer(id: &ScheduleId, at: DateTime<Utc>) -> String {
    format!("schedule.timer.{id}.{}", at.timestamp())
}

/// The schedule that a state or a wake belongs to.
pub fn schedule(subject: &str) -> Option<ScheduleId> {
    subject.rsplit('.').next().and_then(|token| ScheduleId::parse(token).ok())
}

/// Whether a message of the history is a task.
pub fn is_task(subject: &str) -> bool {
    let subject = plain(subject);
    subject.starts_with("dec.") && subject.split('.').nth(2) == Some("task")
}

/// The execution that a message belongs to, of the history or shown live.
pub fn execution(subject: &str) -> Option<ExecutionId> {
    plain(subject).split('.').nth(1).and_then(|token| ExecutionId::parse(token).ok())
}

#[cfg(test)]
mod tests {
    use mahavishnu_core::id::{PoolName, Queue};

    use super::*;
    use crate::partition::Partition;

    /// NATS wildcard matching.
    fn matches(filter: &str, subject: &str) -> bool {
        let (filter, subject): (Vec<_>, Vec<_>) = (filter.split('.').collect(), subject.split('.').collect());
        let (filter, long_enough) = match filter.split_last() {
            Some((&">", start)) => (start.to_vec(), subject.len() > start.len()),
            _ => (filter.clone(), filter.len() == subject.len()),
        };
        long_enough && filter.iter().zip(&subject).all(|(f, s)| *f == "*" || f == s)
    }

    #[test]
    fn states_wake_and_timers_do_not() {
        let id = ScheduleId::parse("nightly").unwrap();
        for subject in [schedule_state(&id), schedule_wake(&id)] {
            assert!(matches(SCHEDULE_WAKES, &subject), "{subject}");
            assert_eq!(schedule(&subject), Some(id.clone()));
        }
        assert!(!matches(SCHEDULE_WAKES, &schedule_timer(&id, DateTime::UNIX_EPOCH)));
    }

    #[test]
    fn the_condition_covers_decisions_and_nothing_unconditional() {
        let id = ExecutionId::parse("e1").unwrap();
        let other = ExecutionId::parse("e2").unwrap();
        let queue = Queue::from(&EngineName::parse("agno").unwrap());
        let pool = Queue { pool: Some(PoolName::parse("reports").unwrap()), ..queue.clone() };
        for of in Partition::all(3) {
            let filter = of.decided(&id);
            assert!(matches(&filter, &of.task(&queue, &id)));
            assert!(matches(&filter, &of.task(&pool, &id)));
            assert!(!matches(&of.tasks_of(&queue), &of.task(&pool, &id)));
            assert!(matches(&of.tasks_of(&pool), &of.task(&pool, &id)));
            assert!(matches(&filter, &of.decision(&id)));
            assert!(
                matches(&of.tasks(&id), &of.task(&pool, &id)) && !matches(&of.tasks(&id), &of.decision(&id))
            );
            assert!(!matches(&filter, &of.input(&id)));
            assert!(!matches(&filter, &live(&id)));
            assert!(!matches(&filter, &of.timer(&id, "e1")));
            assert!(!matches(&filter, &of.decision(&other)));
            let stored = [of.input(&id), of.task(&pool, &id), of.decision(&id), of.timer(&id, "t")];
            for subject in stored.iter().chain(&[live(&id), cancel(&id)]) {
                assert_eq!(execution(subject), Some(id.clone()), "{subject}");
                assert_eq!(is_task(subject), *subject == of.task(&pool, &id), "{subject}");
                assert_eq!(is_timer(subject), *subject == of.timer(&id, "t"), "{subject}");
                assert_eq!(is_input(subject), *subject == of.input(&id), "{subject}");
            }
            assert!(stored.iter().all(|subject| partition(subject) == of.number()), "{stored:?}");
            // Each stream takes its own subjects, and each of them is taken once.
            for subject in &stored {
                let takes = |of: &Partition| {
                    [of.inputs(), of.decisions(), of.timers()].iter().any(|filter| matches(filter, subject))
                };
                assert_eq!(Partition::all(3).filter(takes).collect::<Vec<_>>(), [of], "{subject}");
            }
        }
    }
}
