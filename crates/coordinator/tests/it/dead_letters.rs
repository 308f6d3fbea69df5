//! Tasks that are given up.

use futures::StreamExt as _;
use mahavishnu_core::execution::Failure;
use v1::dead_letter::State;

use super::*;

async fn list(coordinator: &Coordinator) -> Vec<v1::DeadLetter> {
    let request = v1::ListDeadLettersRequest::default();
    coordinator.dead_letters().list_dead_letters(request).await.unwrap().into_inner().dead_letters
}

async fn first(coordinator: &Coordinator) -> v1::DeadLetter {
    wait_for("a dead letter", async || list(coordinator).await.pop()).await.unwrap()
}

async fn show(coordinator: &Coordinator, id: &str) -> v1::DeadLetter {
    let request = v1::GetDeadLetterRequest { id: id.into() };
    coordinator.dead_letters().get_dead_letter(request).await.unwrap().into_inner().dead_letter.unwrap()
}

async fn redrive(coordinator: &Coordinator, id: &str) -> Result<v1::Execution, Status> {
    let request = v1::RedriveDeadLetterRequest { id: id.into() };
    Ok(coordinator.dead_letters().redrive_dead_letter(request).await?.into_inner().execution.unwrap())
}

#[tokio::test]
async fn a_task_that_no_worker_survives_is_kept_and_can_be_run_again() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    worker.complete("a", json!({"n": 1})).await;
    let poison = Outcome::Failed(Failure::terminal(Failure::EXHAUSTED, "delivered 6 times"));
    worker.report(&worker.take().await, poison).await;
    let letter = first(&coordinator).await;
    assert_eq!((letter.execution_id.as_str(), letter.stage_id.as_str()), (id.as_str(), "b"));
    assert_eq!((letter.state(), letter.engine.as_str(), letter.attempt), (State::Open, "custom", 1));
    assert_eq!(letter.error.as_ref().unwrap().reason, "DELIVERIES_EXHAUSTED");
    assert_eq!(letter.task, None, "lists are short");
    assert_eq!(show(&coordinator, &letter.id).await.task, Some(structure(json!({"of": "b"}))));

    let next = redrive(&coordinator, &letter.id).await.unwrap();
    assert_eq!(redrive(&coordinator, &letter.id).await.unwrap().id, next.id);
    worker.complete("b", json!({})).await;
    assert_eq!(kinds(&coordinator.watch(&next.id, 0).await).last().unwrap(), "completed");
    let [letter] = list(&coordinator).await.try_into().unwrap();
    assert_eq!((letter.state(), letter.redriven_as), (State::Redriven, next.id));
    refused(redrive(&coordinator, "nobody.1").await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_task_that_no_worker_can_read_fails_its_stage() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    // Too large for a message, so its body is an artifact, which somebody deletes.
    let large = structure(json!({"text": "x".repeat(700_000)}));
    let id = coordinator.begin(workflow([v1::Stage { task: Some(large), ..stage("a", &[]) }])).await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    wait_for("the task", async || (coordinator.get(&id).await.last_sequence == 2).then_some(()))
        .await
        .unwrap();
    let bodies = raw.get_object_store("MAHAVISHNU_ARTIFACTS").await.unwrap();
    let names: Vec<_> = bodies.list().await.unwrap().map(|object| object.unwrap().name).collect().await;
    for name in names {
        bodies.delete(name).await.unwrap();
    }
    let _working = worker.serve();
    let letter = first(&coordinator).await;
    assert_eq!((letter.execution_id.as_str(), letter.stage_id.as_str()), (id.as_str(), "a"));
    assert_eq!(letter.deliveries, 6);
    let execution = coordinator.get(&id).await;
    assert_eq!(execution.error.unwrap().reason, "TASK_UNREADABLE");
    let lines = kinds(&coordinator.watch(&id, 0).await);
    assert_eq!(lines[2..], ["failed a.1 TASK_UNREADABLE", "failed TASK_UNREADABLE"]);
}

#[tokio::test]
async fn nonsense_in_a_task_queue_ends_and_blocks_nobody() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let a = worker.take().await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    raw.publish(format!("dec.{id}.task.custom"), "\u{1}nonsense".into()).await.unwrap().await.unwrap();
    worker.report(&a, Outcome::Completed(json!({}))).await;
    let _working = worker.serve();
    let lines = kinds(&coordinator.watch(&id, 0).await);
    assert_eq!(lines.last().unwrap(), "completed", "the next decision went past it: {lines:?}");
    let letter = first(&coordinator).await;
    assert_eq!((letter.execution_id.as_str(), letter.stage_id.as_str()), (id.as_str(), ""));
    refused(redrive(&coordinator, &letter.id).await, Code::FailedPrecondition, "NOTHING_TO_RETRY");
    wait_for("the queue to be empty", async || {
        let stream = raw.get_stream("MAHAVISHNU_HISTORY").await.unwrap();
        let info = stream.consumer_info("task-custom").await.unwrap();
        (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
    })
    .await
    .unwrap();
}
