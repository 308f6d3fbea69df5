//! The bus against a real `nats-server`, one for each test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod artifacts;
mod checkpoints;
mod engine_state;
mod log;
mod outage;
mod partitions;
mod schedules;
mod summaries;
mod tasks;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use mahavishnu_bus::{Bus, Options, Trace};
use mahavishnu_core::execution::{
    Accepted, Completed, Fact, Failure, Firing, Object, Origin, Progressed, Task,
};
use mahavishnu_core::id::{EngineName, ExecutionId, PoolName, ScheduleId, StageId, WorkerId};
use mahavishnu_core::workflow::Parsed;
use mahavishnu_test_support::nats::TestNats;
use serde_json::{Value, json};

/// Short, so that a test sees it end.
const LEASE: Duration = Duration::from_secs(1);

fn engine() -> EngineName {
    EngineName::parse("custom").unwrap()
}

fn execution(name: &str) -> ExecutionId {
    ExecutionId::parse(name).unwrap()
}

async fn connect(nats: &TestNats) -> Bus {
    let bus = Bus::connect(Options { lease: LEASE, ..Options::new(nats.url(), "test") }).await.unwrap();
    bus.ensure(&[engine()]).await.unwrap();
    bus
}

/// A server with streams, and a connection to it.
async fn start() -> (TestNats, Bus) {
    let nats = TestNats::start().await.unwrap();
    let bus = connect(&nats).await;
    (nats, bus)
}

fn object(value: Value) -> Object {
    value.as_object().unwrap().clone()
}

fn trace() -> Trace {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    Trace::from([("traceparent".to_owned(), parent.to_owned())])
}

/// Times as the log keeps them.
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn accepted() -> Fact {
    accepted_in(None)
}

/// A workflow whose stage is for this pool.
fn accepted_in(pool: Option<&PoolName>) -> Fact {
    let text = json!({"stages": [{"id": "a", "type": "custom", "pool": pool, "task": {"x": 1}}]}).to_string();
    let workflow = Parsed::json(text.as_bytes()).check(&["custom"].as_slice()).unwrap();
    Fact::Accepted(Accepted {
        workflow: Arc::new(workflow),
        digest: vec![1, 2],
        notes: vec!["a note".into()],
        requested_by: "ann".into(),
        forked: None,
        firing: Some(Firing { schedule: ScheduleId::parse("nightly").unwrap(), time: now() }),
    })
}

fn origin(attempt: u32) -> Origin {
    let (stage, worker) = (StageId::parse("a").unwrap(), WorkerId::parse("w").unwrap());
    Origin { stage, attempt, resume: 0, delivery: 1, worker, started: now() }
}

fn progressed(name: impl Into<String>) -> Fact {
    let data = object(json!({"n": 1.5, "text": "ünï"}));
    Fact::Progressed(Progressed { origin: origin(1), kind: "node".into(), name: name.into(), data })
}

fn completed(output: Value) -> Fact {
    Fact::Completed(Completed { origin: origin(1), output: Arc::new(object(output)) })
}

fn scheduled(attempt: u32) -> Fact {
    Fact::Scheduled(Task {
        stage: StageId::parse("a").unwrap(),
        engine: engine(),
        pool: None,
        attempt,
        resume: 0,
        task: object(json!({"x": 1})),
        secret_fields: Vec::new(),
        input: Object::new(),
        dependencies: BTreeMap::new(),
        repos: vec!["r".into()],
        documents: BTreeMap::new(),
        timeout: Some(Duration::from_secs(9)),
        deadline: None,
        resolution: None,
        update: None,
    })
}

fn ended() -> Fact {
    Fact::ExecutionFailed { stage: None, error: Failure::terminal("BROKEN", "for good") }
}
