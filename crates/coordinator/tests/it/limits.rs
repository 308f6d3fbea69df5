//! Time limits of attempts, watched over by coordinators whatever becomes of the worker.

use futures::StreamExt as _;

use super::*;

/// A second for an attempt, and another attempt soon.
fn limited(attempts: u32) -> v1::Workflow {
    let retry = v1::RetryPolicy {
        max_attempts: attempts,
        initial_backoff: Some(prost_types::Duration { seconds: 0, nanos: 1_000 }),
        ..v1::RetryPolicy::default()
    };
    workflow([v1::Stage { timeout: seconds(1), retry: Some(retry), ..stage("a", &[]) }])
}

#[tokio::test]
async fn an_attempt_whose_worker_vanished_times_out_and_is_tried_again() {
    let (nats, first) = start().await;
    let worker = Worker::join(&nats).await;
    let mut signals = worker.bus.cancelled_attempts().await.unwrap();
    let id = first.begin(limited(2)).await;
    let a = worker.take().await;
    worker.start(&a).await;
    // Whoever would set the timer dies too. The start is not settled then, and another takes it over.
    drop(first);
    let second = Coordinator::start(&nats).await;
    let (of, signal) = in_time("the signal", signals.next()).await.unwrap().unwrap();
    assert_eq!((of.as_str(), signal.stage_id.as_str(), signal.attempt), (id.as_str(), "a", 1));
    // The first attempt's lease ends, and its task comes again: it is over.
    let again = loop {
        let delivery = worker.take().await;
        if delivery.task.attempt == 2 {
            break delivery;
        }
        worker.report(&delivery, Outcome::Completed(json!({"late": true}))).await;
    };
    worker.start(&again).await;
    worker.report(&again, Outcome::Completed(json!({}))).await;
    let events = second.watch(&id, 0).await;
    numbered(&events);
    let lines = kinds(&events);
    let counted: Vec<_> = lines.iter().filter(|line| !line.contains("void")).map(String::as_str).collect();
    let expected = [
        "accepted",
        "scheduled a.1",
        "started a.1",
        "timeout timer",
        "retry a.2",
        "retry timer",
        "scheduled a.2",
        "started a.2",
        "completed a.2",
        "completed",
    ];
    assert_eq!(counted, expected, "{lines:?}");
}

#[tokio::test]
async fn the_last_attempt_that_times_out_ends_the_execution_and_one_in_time_leaves_no_timer() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let quick = coordinator.begin(limited(1)).await;
    let a = worker.take().await;
    worker.start(&a).await;
    worker.report(&a, Outcome::Completed(json!({}))).await;
    assert_eq!(kinds(&coordinator.watch(&quick, 0).await).last().unwrap(), "completed");

    let slow = coordinator.begin(limited(1)).await;
    let a = worker.take().await;
    worker.start(&a).await;
    let execution = wait_for("the end", async || {
        let execution = coordinator.get(&slow).await;
        (execution.state() == v1::execution::State::Failed).then_some(execution)
    });
    let execution = execution.await.unwrap();
    assert_eq!(execution.error.unwrap().reason, "TIMEOUT");
    // By now the first one's timer would have fired as well.
    let lines = kinds(&coordinator.watch(&quick, 0).await);
    assert_eq!(lines, ["accepted", "scheduled a.1", "started a.1", "completed a.1", "completed"]);
}
