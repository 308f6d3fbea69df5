//! Coordinators that die.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_core::execution::{Accepted, Fact};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::inputs::Cursor;
use mahavishnu_core::workflow::Parsed;

use super::*;

/// The test is the coordinator that accepted, took the input, and died before it decided.
#[tokio::test]
async fn what_was_accepted_and_not_yet_decided_is_taken_over() {
    let (nats, first) = start().await;
    drop(first);
    let bus = Bus::connect(Options::new(nats.url(), "test")).await.unwrap();
    let text = json!({"stages": [{"id": "a", "type": "custom", "task": {}}]}).to_string();
    let checked = Parsed::json(text.as_bytes()).check(&["custom"].as_slice()).unwrap();
    let accepted = Accepted {
        workflow: Arc::new(checked),
        digest: vec![1],
        notes: Vec::new(),
        requested_by: String::new(),
        forked: None,
        firing: None,
    };
    let id = ExecutionId::parse("e1").unwrap();
    let passed = bus.accept(&id, &Fact::Accepted(accepted), &Trace::new()).await.unwrap();
    bus.save_input_cursor(0, &Cursor { passed, waiting: vec![(passed, id)] }).await.unwrap();

    let second = Coordinator::start(&nats).await;
    Worker::join(&nats).await.complete("a", json!({})).await;
    assert_eq!(kinds(&second.watch("e1", 0).await).last().unwrap(), "completed");
}

/// Of some executions it was the turn of the one that dies.
#[tokio::test]
async fn of_two_coordinators_the_other_goes_on_when_one_dies() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        first.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
        tasks.push(worker.take().await);
    }
    drop(first);
    for a in &tasks {
        worker.report(a, Outcome::Completed(json!({}))).await;
    }
    for _ in &tasks {
        let b = worker.take().await;
        worker.report(&b, Outcome::Completed(json!({}))).await;
    }
    for a in &tasks {
        let events = second.watch(a.execution.as_str(), 0).await;
        numbered(&events);
        let expected =
            ["accepted", "scheduled a.1", "completed a.1", "scheduled b.1", "completed b.1", "completed"];
        assert_eq!(kinds(&events), expected);
    }
}

#[tokio::test]
async fn every_accepted_execution_ends_although_coordinators_die() {
    let (nats, mut coordinator) = start().await;
    let workers = [Worker::join(&nats).await.serve(), Worker::join(&nats).await.serve()];
    let mut ids = Vec::new();
    for _ in 0..3 {
        for _ in 0..6 {
            let stages = [stage("a", &[]), stage("b", &[]), stage("join", &["a", "b"])];
            ids.push(coordinator.begin(workflow(stages)).await);
        }
        // In the middle of whatever it does.
        drop(coordinator);
        coordinator = Coordinator::start(&nats).await;
    }
    for id in &ids {
        let events = coordinator.watch(id, 0).await;
        numbered(&events);
        let lines = kinds(&events);
        for once in ["scheduled a.1", "scheduled b.1", "scheduled join.1", "completed"] {
            assert_eq!(lines.iter().filter(|line| *line == once).count(), 1, "{lines:?}");
        }
    }
    drop(workers);
}

#[tokio::test]
async fn a_server_that_restarts_delays_and_loses_nothing() {
    let (mut nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let a = worker.take().await;
    nats.restart().await.unwrap();
    worker.report(&a, Outcome::Completed(json!({}))).await;
    // The lease of `a` may be over before the acknowledgement arrives: then it comes again.
    loop {
        let delivery = worker.take().await;
        worker.report(&delivery, Outcome::Completed(json!({}))).await;
        if delivery.task.stage.as_str() == "b" {
            break;
        }
    }
    let events = coordinator.watch(&id, 0).await;
    numbered(&events);
    let lines = kinds(&events);
    assert_eq!(lines.iter().filter(|line| *line == "completed").count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "scheduled b.1").count(), 1, "{lines:?}");
}

/// Somebody writes nonsense to an execution's inputs, and nothing after it.
#[tokio::test]
async fn an_unreadable_input_blocks_nobody() {
    let (nats, first) = start().await;
    let worker = Worker::join(&nats).await;
    let id = first.begin(workflow([stage("a", &[])])).await;
    let a = worker.take().await;
    settled(&nats).await;
    drop(first);
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    raw.publish(format!("in.{id}"), "\u{1}nonsense".into()).await.unwrap().await.unwrap();
    // It finds the nonsense as the last message of a history that it has yet to load.
    let second = Coordinator::start(&nats).await;
    worker.report(&a, Outcome::Completed(json!({}))).await;
    let events = second.watch(&id, 0).await;
    numbered(&events);
    assert_eq!(kinds(&events), ["accepted", "scheduled a.1", "completed a.1", "completed"]);
}
