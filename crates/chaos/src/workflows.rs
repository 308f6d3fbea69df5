//! What the clients ask for: mixed workflows of the no-op engine, now and then with a stage on a real one.

use std::collections::BTreeSet;

use fastrand::Rng;
use mahavishnu_core::execution::{Completed, Task};
use mahavishnu_proto::{json as structs, v1};
use prost_types::Duration;
use serde_json::{Map, Value, json};

/// The label that tells bodies apart.
pub const BODY: &str = "body";
/// Who asks for everything.
pub const REQUESTER: &str = "ann";
/// Whoever decides: those who may be on a list, then one who never is.
pub const PEOPLE: &[&str] = &[REQUESTER, "ada", "bob", "cyd", "eve"];
/// Reasons for which stages fail that are asked to, or take too long.
pub const FAILURES: &[&str] = &["PASSING", "BROKEN", "TIMEOUT"];
/// A larger body of a message travels as an artifact.
pub const ARTIFACT: usize = 512 * 1024;
/// The engines.
const NOOP: &str = "noop";
const REAL: &str = "langgraph";

/// A workflow; `real` of a hundred have a stage on the real engine.
pub fn random(rng: &mut Rng, body: &str, real: u32) -> v1::Workflow {
    let count = rng.usize(1..=5);
    let real = (rng.u32(..100) < real).then(|| rng.usize(..count));
    let stages = (0..count).map(|n| if real == Some(n) { graph(n) } else { noop(rng, n) });
    let mut workflow = v1::Workflow { stages: stages.collect(), ..v1::Workflow::default() };
    for n in 0..count {
        let wanted = if n == 0 { 0 } else { rng.usize(..3) };
        let needs: BTreeSet<String> = (0..wanted).map(|_| format!("s{}", rng.usize(..n))).collect();
        let stage = &mut workflow.stages[n];
        if let Some(need) = needs.first().filter(|_| rng.u32(..5) == 0) {
            // What a graph yields is checked before anything runs.
            let number = if real.is_some_and(|real| *need == format!("s{real}")) { "state.n" } else { "n" };
            let conditions =
                [format!("stages.{need}.output.{number} == 0"), format!("stages.{need}.state == 'skipped'")];
            stage.when = conditions[rng.usize(..2)].clone();
        }
        (stage.at_once, stage.needs) = (needs.is_empty(), needs.into_iter().collect());
    }
    workflow.labels.insert(BODY.to_owned(), body.to_owned());
    if rng.u32(..10) == 0 {
        workflow.timeout = millis(if rng.u32(..4) == 0 { 1_500 } else { 60_000 });
    }
    workflow
}

/// Gives every stage a limit that it does not need: the log then holds when each attempt began.
pub fn limited(mut workflow: v1::Workflow) -> v1::Workflow {
    for stage in &mut workflow.stages {
        stage.timeout = stage.timeout.or(millis(60_000));
    }
    workflow
}

/// What a schedule runs: short, or longer than other slots may take to come.
pub fn scheduled(rng: &mut Rng, body: &str) -> v1::Workflow {
    let task = |sleep: u64| json!({"output": {"n": 1}, "sleep_ms": sleep});
    let sleep = if rng.u32(..3) == 0 { rng.u64(3_000..12_000) } else { rng.u64(..500) };
    let retry =
        v1::RetryPolicy { max_attempts: 3, initial_backoff: millis(100), ..v1::RetryPolicy::default() };
    let mut stages =
        vec![stage(0, NOOP, task(sleep), Some(retry), None), stage(1, NOOP, task(5), None, None)];
    stages[0].at_once = true;
    stages[1].needs = vec!["s0".to_owned()];
    let mut workflow = v1::Workflow { stages, ..v1::Workflow::default() };
    workflow.labels.insert(BODY.to_owned(), body.to_owned());
    workflow
}

/// A stage that succeeds, fails for a while, fails for good, asks, is slow, is too slow, or has much to say.
fn noop(rng: &mut Rng, n: usize) -> v1::Stage {
    let mut task = json!({"output": {"n": rng.u32(..2)}, "progress": rng.u32(..4), "sleep_ms": rng.u64(..80).saturating_sub(20)});
    let (mut timeout, mut approval) = (None, None);
    match rng.u32(..24) {
        0..4 => task["fail"] = json!({"reason": "PASSING", "retryable": true, "attempts": rng.u32(1..3)}),
        4 => task["fail"] = json!({"reason": "BROKEN", "retryable": false}),
        5..8 => {
            task["approve"] = json!(true);
            approval = (rng.u32(..3) > 0).then(|| policy(rng));
        }
        8 => task["sleep_ms"] = json!(rng.u64(500..8_000)),
        9 => timeout = millis(rng.u64(20..1_000)),
        10 => task["size"] = json!(rng.usize(ARTIFACT..3 * ARTIFACT)),
        11 => task["size"] = json!(rng.usize(1..ARTIFACT)),
        _ => {}
    }
    let retry = v1::RetryPolicy {
        max_attempts: rng.u32(1..5),
        initial_backoff: millis(rng.u64(1..500)),
        max_backoff: millis(1_000),
        ..v1::RetryPolicy::default()
    };
    v1::Stage { approval, ..stage(n, NOOP, task, Some(retry), timeout) }
}

/// Who decides, how many it takes, and what becomes of it when they do not.
fn policy(rng: &mut Rng) -> v1::ApprovalPolicy {
    let approvers = if rng.bool() { &PEOPLE[..4] } else { &[] };
    let on_timeout = [v1::approval_policy::OnTimeout::Reject, v1::approval_policy::OnTimeout::Approve];
    let timed = rng.u32(..3) == 0;
    v1::ApprovalPolicy {
        approvers: approvers.iter().map(|name| (*name).to_owned()).collect(),
        quorum: rng.u32(1..=3),
        exclude_requester: rng.bool(),
        require_reason: rng.u32(..4) == 0,
        timeout: if timed { millis(rng.u64(1_000..6_000)) } else { None },
        on_timeout: if timed { on_timeout[rng.usize(..2)].into() } else { 0 },
    }
}

/// A graph of one node.
fn graph(n: usize) -> v1::Stage {
    let node = json!({"name": "set", "kind": "set", "values": {"n": "7"}});
    stage(n, REAL, json!({"workflow": {"nodes": [node]}}), None, None)
}

fn stage(
    n: usize,
    engine: &str,
    task: Value,
    retry: Option<v1::RetryPolicy>,
    timeout: Option<Duration>,
) -> v1::Stage {
    let task = task.as_object().map(structs::to_struct);
    v1::Stage { id: format!("s{n}"), r#type: engine.to_owned(), task, retry, timeout, ..v1::Stage::default() }
}

fn millis(millis: u64) -> Option<Duration> {
    std::time::Duration::from_millis(millis).try_into().ok()
}

/// Whether the engine can have given this output for this task: what the task says determines it.
pub fn is_true(task: &Task, done: &Completed) -> bool {
    let output = &*done.output;
    if task.engine.as_str() == REAL {
        return output.get("state").and_then(|state| state.get("n")) == Some(&json!(7));
    }
    let fails = task.task.get("fail").is_some_and(|fail| {
        fail.get("attempts")
            .and_then(Value::as_f64)
            .is_none_or(|attempts| f64::from(task.attempt) <= attempts)
    });
    let mut expected = task.task.get("output").and_then(Value::as_object).cloned().unwrap_or_default();
    if task.task.get("approve").is_some() {
        let Some(decision) = &task.resolution else { return false };
        expected.insert("approved".to_owned(), decision.approved.into());
        expected.insert("decided_by".to_owned(), decision.decided_by.clone().into());
    }
    if let Some(size) = task.task.get("size").and_then(Value::as_f64).filter(|size| *size > 0.0) {
        expected.insert("padding".to_owned(), "x".repeat(size as usize).into());
    }
    !fails && same(&expected, output)
}

/// Numbers are equal by value, not by how they are written.
fn same(left: &Map<String, Value>, right: &Map<String, Value>) -> bool {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_f64().map(Value::from).unwrap_or_default(),
        value => value.clone(),
    };
    left.len() == right.len()
        && left.iter().all(|(key, value)| right.get(key).is_some_and(|other| number(other) == number(value)))
}
