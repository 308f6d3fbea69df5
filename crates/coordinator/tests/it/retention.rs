//! Executions that are removed.

use std::time::Duration;

use super::*;

const REQUEST: &str = "3f0f6a0e-58a2-4b6a-8a55-0b1b7a6ad9c1";

async fn delete(coordinator: &Coordinator, id: &str) -> Result<(), Status> {
    let request = v1::DeleteExecutionRequest { id: id.into() };
    coordinator.executions().delete_execution(request).await.map(drop)
}

async fn listed(coordinator: &Coordinator) -> Vec<String> {
    let all = coordinator.executions().list_executions(v1::ListExecutionsRequest::default()).await.unwrap();
    all.into_inner().executions.into_iter().map(|execution| execution.id).collect()
}

/// The subjects of the history stream that name this execution.
async fn left(nats: &TestNats, id: &str) -> Vec<String> {
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let mut found = Vec::new();
    for stream in ["MAHAVISHNU_HISTORY", "MAHAVISHNU_SUMMARIES"] {
        let stream = raw.get_stream(stream).await.unwrap();
        let mut subjects = stream.info_with_subjects(">").await.unwrap();
        while let Some(subject) = futures::StreamExt::next(&mut subjects).await {
            found.extend(Some(subject.unwrap().0).filter(|subject| subject.contains(id)));
        }
    }
    found
}

#[tokio::test]
async fn an_execution_that_has_ended_can_be_removed_whole() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.try_start(workflow([stage("a", &[])]), REQUEST).await.unwrap().id;
    let a = worker.take().await;
    refused(delete(&coordinator, &id).await, Code::FailedPrecondition, "NOT_ENDED");
    worker.report(&a, Outcome::Paused(&["draft"])).await;
    wait_for("the approval in the list", async || {
        let request = v1::ListApprovalsRequest::default();
        let approvals = coordinator.approvals().list_approvals(request).await.unwrap().into_inner().approvals;
        (approvals.len() == 1).then_some(())
    })
    .await
    .unwrap();
    coordinator.try_cancel(&id).await.unwrap();
    coordinator.watch(&id, 0).await;
    let kept = coordinator.begin(workflow([stage("a", &[])])).await;
    worker.complete("a", json!({})).await;
    wait_for("both in the list", async || (listed(&coordinator).await.len() == 2).then_some(()))
        .await
        .unwrap();

    delete(&coordinator, &id).await.unwrap();
    assert_eq!(listed(&coordinator).await, [kept.as_str()]);
    assert_eq!(left(&nats, &id).await, [format!("in.{id}")], "only the tombstone");
    refused(delete(&coordinator, &id).await, Code::NotFound, "NOT_FOUND");
    refused(coordinator.try_watch(&id, 0).await, Code::NotFound, "NOT_FOUND");
    let again = coordinator.try_start(workflow([stage("a", &[])]), REQUEST).await;
    refused(again, Code::FailedPrecondition, "EXECUTION_DELETED");
    assert_eq!(kinds(&coordinator.watch(&kept, 0).await).last().unwrap(), "completed", "the other is whole");
}

#[tokio::test]
async fn executions_are_removed_by_age_once_they_have_ended() {
    let nats = TestNats::start().await.unwrap();
    let coordinator = Coordinator::retaining(&nats, Duration::from_secs(2)).await;
    let worker = Worker::join(&nats).await;
    let ended = coordinator.begin(workflow([stage("a", &[])])).await;
    let runs = coordinator.begin(workflow([stage("a", &[])])).await;
    let first = worker.take().await;
    let second = worker.take().await;
    let (first, second) = if first.execution.as_str() == ended { (first, second) } else { (second, first) };
    worker.report(&first, Outcome::Completed(json!({}))).await;
    wait_for("the old one to be removed", async || {
        (listed(&coordinator).await == [runs.as_str()]).then_some(())
    })
    .await
    .unwrap();
    worker.report(&second, Outcome::Completed(json!({}))).await;
    wait_for("the other, too", async || listed(&coordinator).await.is_empty().then_some(())).await.unwrap();
}

#[tokio::test]
async fn executions_make_room_in_the_order_in_which_they_ended() {
    let nats = TestNats::start().await.unwrap();
    let coordinator =
        Coordinator::with(&nats, nats.url(), |options| options.retention_bytes = Some(1_000_000)).await;
    let worker = Worker::join(&nats).await;
    let runs = coordinator.begin(workflow([stage("a", &[])])).await;
    let waits = worker.take().await;
    assert_eq!(waits.execution.as_str(), runs);
    let mut ended = Vec::new();
    for _ in 0..4 {
        let id = coordinator.begin(workflow([stage("a", &[])])).await;
        worker.complete("a", json!({"text": "x".repeat(400_000)})).await;
        coordinator.watch(&id, 0).await;
        ended.push(id);
    }
    wait_for("the first two to be removed", async || {
        let listed = listed(&coordinator).await;
        (!ended[..2].iter().any(|id| listed.contains(id))).then_some(())
    })
    .await
    .unwrap();
    let stream = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let bytes = stream.get_stream("MAHAVISHNU_HISTORY").await.unwrap().cached_info().state.bytes;
    assert!(bytes <= 1_000_000, "{bytes}");
    assert_eq!(coordinator.get(&runs).await.state(), v1::execution::State::Running, "what runs stays");
}
