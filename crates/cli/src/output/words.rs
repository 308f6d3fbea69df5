//! Events in words, without colours.

use std::collections::BTreeSet;

use mahavishnu_core::workflow::{ApprovalPolicy, OnTimeout};
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::{Error, Event, StageProgress};
use mahavishnu_proto::{json, v1};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value};

/// Longest piece of somebody else's text in one line.
const LONGEST: usize = 160;

/// The workers of a pool, by name.
pub fn pool(pool: &v1::Pool) -> String {
    queue(&pool.engine, &pool.name)
}

/// How many workers a pool has, what they can take, and what they run.
pub fn capacity(pool: &v1::Pool) -> String {
    let workers = match pool.workers.len() {
        1 => "1 worker".to_owned(),
        many => format!("{many} workers"),
    };
    let kinds: BTreeSet<_> = pool.workers.iter().map(|worker| worker.isolation.as_str()).collect();
    let kinds: Vec<_> = kinds.into_iter().filter(|kind| !kind.is_empty()).collect();
    let isolation =
        if kinds.is_empty() { String::new() } else { format!(", isolation {}", kinds.join(" and ")) };
    // Not all of them need to run the same.
    let versions: BTreeSet<_> = pool.workers.iter().flat_map(|worker| &worker.versions).collect();
    let versions: Vec<_> = versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    format!("{workers}, {} of {} slots in use{isolation}; {}", pool.busy, pool.slots, versions.join(", "))
}

/// What happened, in a line; nothing for a token delta.
pub fn happened(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::ExecutionAccepted(accepted) => {
            let stages: Vec<_> = accepted
                .stages
                .iter()
                .map(|stage| format!("{} ({})", stage.id, queue(&stage.engine, &stage.pool)))
                .collect();
            format!("accepted: {}", stages.join(", "))
        }
        Kind::StageScheduled(scheduled) if scheduled.resume > 0 => {
            format!("scheduled on {}, from its checkpoint", queue(&scheduled.engine, &scheduled.pool))
        }
        Kind::StageScheduled(scheduled) => {
            format!("scheduled on {}", queue(&scheduled.engine, &scheduled.pool))
        }
        Kind::StageStarted(started) => format!("started by {}", started.worker_id),
        Kind::StageProgress(told) => progress(told),
        Kind::TokenDelta(_) => return None,
        Kind::ApprovalRequested(requested) => {
            let asked: Vec<_> = requested
                .approvals
                .iter()
                .map(|approval| format!("{:?} ({})", approval.title, approval.approval_id))
                .collect();
            format!("waits for approval of {}", asked.join(", "))
        }
        Kind::ApprovalDecided(decided) => {
            let answer = if decided.approved { "approved" } else { "rejected" };
            let by = if decided.decided_by.is_empty() {
                String::new()
            } else {
                format!(" by {}", decided.decided_by)
            };
            let why = if decided.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", short(&decided.reason))
            };
            let so_far = if decided.quorum > 1 && decided.approved {
                format!(" ({} of {})", decided.approvals, decided.quorum)
            } else {
                String::new()
            };
            format!("{answer}{by}{so_far}{why}")
        }
        Kind::StageCompleted(completed) => match &completed.duration {
            Some(duration) => format!("completed in {}", seconds(duration)),
            None => "completed".to_owned(),
        },
        Kind::StageFailed(failed) => format!("failed: {}", failure(failed.error.as_ref())),
        Kind::StageRetryScheduled(_) => "will be tried again".to_owned(),
        Kind::StageSkipped(skipped) => format!("skipped: {}", skipped.reason),
        Kind::StageWaiting(waiting) => format!("waits: {}", waiting.message),
        Kind::TimerFired(fired) if fired.timer == "approval" => {
            let answer = if fired.approved { "approved" } else { "rejected" };
            format!("{answer}, because people have not decided in time")
        }
        Kind::TimerFired(fired) => format!("timer fired: {}", fired.timer),
        Kind::CancellationRequested(request) => match request.reason.as_str() {
            "" => "cancellation requested".to_owned(),
            reason => format!("cancellation requested: {reason}"),
        },
        Kind::ExecutionCompleted(_) => "completed".to_owned(),
        Kind::ExecutionFailed(failed) => format!("failed: {}", failure(failed.error.as_ref())),
        Kind::ExecutionCancelled(cancelled) => match cancelled.reason.as_str() {
            "" => "cancelled".to_owned(),
            reason => format!("cancelled: {reason}"),
        },
    })
}

/// An engine, and the pool of its workers if one is named, as in plans: `langgraph@reports`.
pub fn queue(engine: &str, pool: &str) -> String {
    if pool.is_empty() { engine.to_owned() } else { format!("{engine}@{pool}") }
}

/// Who decides.
pub fn policy(policy: &v1::ApprovalPolicy) -> String {
    use v1::approval_policy::OnTimeout as Public;
    let on_timeout = match policy.on_timeout() {
        Public::Approve => OnTimeout::Approve,
        Public::Unspecified | Public::Reject => OnTimeout::Reject,
    };
    let policy = ApprovalPolicy {
        approvers: policy.approvers.iter().map(|name| short(name)).collect(),
        quorum: policy.quorum,
        exclude_requester: policy.exclude_requester,
        require_reason: policy.require_reason,
        timeout: policy.timeout.and_then(|timeout| timeout.try_into().ok()),
        on_timeout,
    };
    policy.to_string()
}

/// Engine-native progress.
pub fn progress(told: &StageProgress) -> String {
    let data = told.data.clone().map(json::from_struct).unwrap_or_default();
    let text = |key: &str| data.get(key).and_then(Value::as_str);
    let name = &told.name;
    match told.kind.as_str() {
        "document" => match data.get("error") {
            Some(error) => format!("cannot use {name}: {}", short(&told_error(error))),
            None => format!("read {name}{}", counts(&data, &["pages", "words", "passages", "requirements"])),
        },
        "retrieval" => {
            let page = data.get("page").filter(|page| !page.is_null());
            let page = page.map(|page| format!(", page {page}")).unwrap_or_default();
            match text("text") {
                Some(passage) => format!("found in {name}{page}: \u{201c}{}\u{201d}", short(passage)),
                None => format!("found in {name}{page}"),
            }
        }
        "node_update" => format!("node {name} ended{}", took(&data)),
        "tool_call" => match text("event") {
            Some("started") => format!("tool {name} called"),
            Some(event) => format!("tool {name} {event}"),
            None => format!("tool {name}"),
        },
        "agent" => match text("event") {
            Some(event) => format!("agent {name} {event}{}", took(&data)),
            None => format!("agent {name}"),
        },
        "task_state" => match (text("state"), text("message")) {
            (Some(state), Some(message)) => format!("{name}: {state}: {}", short(message)),
            (Some(state), None) => format!("{name}: {state}"),
            _ => name.clone(),
        },
        _ => match text("model_error") {
            Some(error) => format!("{name}: {}", short(error)),
            None if data.is_empty() => name.clone(),
            None => format!("{name}: {}", short(&Value::Object(data).to_string())),
        },
    }
}

/// A failure: the engine's own message, with its reason.
pub fn failure(error: Option<&Error>) -> String {
    let Some(error) = error else { return "no reason was given".to_owned() };
    let field = if error.field.is_empty() { String::new() } else { format!(", in {}", error.field) };
    format!("{} ({}{field})", short(&error.message), error.reason)
}

/// `14.2 s`.
pub fn seconds(duration: &Duration) -> String {
    let seconds = duration.seconds as f64 + f64::from(duration.nanos) / 1e9;
    elapsed(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A time as settings write it, whole days as days: months differ in length.
pub fn long(duration: std::time::Duration) -> String {
    const DAY: u64 = 24 * 3600;
    match (duration.as_secs() / DAY, duration.as_secs() % DAY, duration.subsec_nanos()) {
        (days @ 1.., 0, 0) => format!("{days} day{}", if days == 1 { "" } else { "s" }),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// `0.4 s`, `14 s`, `3 min 5 s`, `2 h 10 min`.
pub fn elapsed(duration: std::time::Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..10 => format!("{:.1} s", duration.as_secs_f32()),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The time of day here, to the millisecond.
pub fn time_of_day(stamp: Option<&Timestamp>) -> String {
    match instant(stamp) {
        Some(at) => at.with_timezone(&chrono::Local).format("%H:%M:%S%.3f").to_string(),
        None => " ".repeat(12),
    }
}

/// Date and time here.
pub fn date(stamp: Option<&Timestamp>) -> String {
    instant(stamp)
        .map(|at| at.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default()
}

/// As a time that can be counted with.
pub fn instant(stamp: Option<&Timestamp>) -> Option<chrono::DateTime<chrono::Utc>> {
    let stamp = stamp?;
    chrono::DateTime::from_timestamp(stamp.seconds, u32::try_from(stamp.nanos).ok()?)
}

/// Whether the event is recorded but without effect.
pub fn is_void(event: &Event) -> bool {
    !event.void_reason.is_empty()
}

/// One line of somebody else's text, control characters taken out.
pub fn short(text: &str) -> String {
    let clean = one_line(text);
    if clean.chars().count() <= LONGEST {
        return clean;
    }
    clean.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// Text of others on one line: nothing in it can move the cursor.
pub fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn told_error(error: &Value) -> String {
    match error.get("message").and_then(Value::as_str) {
        Some(message) => message.to_owned(),
        None => error.to_string(),
    }
}

fn counts(data: &Map<String, Value>, keys: &[&str]) -> String {
    let told: Vec<_> =
        keys.iter().filter_map(|key| data.get(*key).map(|count| format!("{count} {key}"))).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

fn took(data: &Map<String, Value>) -> String {
    let took = data.get("duration_ms").and_then(Value::as_u64);
    took.map(|ms| format!(" after {}", elapsed(std::time::Duration::from_millis(ms)))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(kind: &str, name: &str, data: Value) -> String {
        let data = data.as_object().map(mahavishnu_proto::json::to_struct);
        progress(&StageProgress { kind: kind.into(), name: name.into(), data })
    }

    #[test]
    fn progress_is_told_in_words() {
        assert_eq!(
            told("document", "a.pdf", json!({"pages": 2, "words": 340, "requirements": 3})),
            "read a.pdf: 2 pages, 340 words, 3 requirements"
        );
        assert_eq!(
            told("document", "a.pdf", json!({"error": {"message": "it is encrypted"}})),
            "cannot use a.pdf: it is encrypted"
        );
        assert_eq!(
            told("retrieval", "a.pdf", json!({"page": 1, "text": "x\n\ny"})),
            "found in a.pdf, page 1: \u{201c}x y\u{201d}"
        );
        assert_eq!(
            told("node_update", "review", json!({"duration_ms": 1250})),
            "node review ended after 1.2 s"
        );
        assert_eq!(told("agent", "tester", json!({"event": "started"})), "agent tester started");
        assert_eq!(told("task_state", "load", json!({"state": "Completed"})), "load: Completed");
        assert_eq!(told("message", "custom", json!({"x": 1})), r#"custom: {"x":1}"#);
    }

    #[test]
    fn times_are_short() {
        let elapsed = |ms| elapsed(std::time::Duration::from_millis(ms));
        assert_eq!(
            [elapsed(420), elapsed(14_300), elapsed(185_000), elapsed(7_800_000)],
            ["0.4 s", "14 s", "3 min 5 s", "2 h 10 min"]
        );
    }

    #[test]
    fn long_times_are_whole_days_where_they_can() {
        let long = |seconds| long(std::time::Duration::from_secs(seconds));
        assert_eq!([long(90 * 86_400), long(86_400), long(5)], ["90 days", "1 day", "5s"]);
        assert_eq!(long(90_000), "1day 1h");
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        assert_eq!(short("a\u{1b}[2Jb\r\nc"), "a [2Jb c");
        assert_eq!(short(&"x".repeat(1000)).chars().count(), LONGEST);
    }
}
