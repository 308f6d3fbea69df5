//! Decisions of people.

use mahavishnu_bus::tasks::Delivery;
use mahavishnu_core::execution::{Decided, Fact};
use v1::approval::State;

use super::*;

async fn list(coordinator: &Coordinator, states: &[State]) -> Vec<v1::Approval> {
    let states = states.iter().map(|state| (*state).into()).collect();
    let request = v1::ListApprovalsRequest { states, ..v1::ListApprovalsRequest::default() };
    coordinator.approvals().list_approvals(request).await.unwrap().into_inner().approvals
}

async fn decide(coordinator: &Coordinator, id: &str, by: &str) -> Result<v1::Approval, Status> {
    decide_as(coordinator, id, by, "").await
}

async fn decide_as(
    coordinator: &Coordinator,
    id: &str,
    by: &str,
    request_id: &str,
) -> Result<v1::Approval, Status> {
    let request = v1::DecideApprovalRequest {
        request_id: request_id.into(),
        id: id.into(),
        approved: true,
        reason: "looks right".into(),
        decided_by: by.into(),
        values: Some(structure(json!({"n": 5}))),
        nonce: String::new(),
    };
    Ok(coordinator.approvals().decide_approval(request).await?.into_inner().approval.unwrap())
}

async fn get(coordinator: &Coordinator, id: &str) -> v1::Approval {
    let request = v1::GetApprovalRequest { id: id.into() };
    coordinator.approvals().get_approval(request).await.unwrap().into_inner().approval.unwrap()
}

/// Starts an execution that waits for one of two decisions; their ids.
async fn pause(coordinator: &Coordinator, worker: &Worker) -> (Delivery, Vec<String>) {
    coordinator.begin(workflow([stage("a", &[])])).await;
    let a = worker.take().await;
    worker.report(&a, Outcome::Paused(&["draft", "cost"])).await;
    let execution = wait_for("the execution to wait", async || {
        let execution = coordinator.get(a.execution.as_str()).await;
        (execution.state() == v1::execution::State::Waiting).then_some(execution)
    });
    let pending = execution.await.unwrap().stages.remove(0).pending_approvals;
    (a, pending.into_iter().map(|approval| approval.approval_id).collect())
}

#[tokio::test]
async fn one_decision_continues_the_attempt_where_it_stopped() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let (a, ids) = pause(&coordinator, &worker).await;
    let listed = wait_for("both approvals in the list", async || {
        let listed = list(&coordinator, &[]).await;
        (listed.len() == 2).then_some(listed)
    });
    let mut titles: Vec<_> = listed.await.unwrap().into_iter().map(|approval| approval.title).collect();
    titles.sort();
    assert_eq!(titles, ["cost?", "draft?"]);

    let approval = decide(&coordinator, &ids[1], "ada").await.unwrap();
    assert_eq!((approval.state(), approval.decided_by.as_str()), (State::Approved, "ada"));
    let b = worker.take().await;
    assert_eq!((b.task.attempt, b.task.resume), (1, 1));
    let resolution = b.task.resolution.clone().unwrap();
    assert_eq!(
        (resolution.key.as_str(), resolution.approved, &resolution.values),
        ("cost", true, &object(json!({"n": 5})))
    );
    assert_eq!(
        worker.bus.get_artifact(resolution.checkpoint.as_ref().unwrap()).await.unwrap(),
        worker::CHECKPOINT
    );

    for id in &ids {
        let status =
            refused(decide(&coordinator, id, "bob").await, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
        assert_eq!(status.get_details_precondition_failure().unwrap().violations.len(), 1);
    }
    assert_eq!(get(&coordinator, &ids[0]).await.state(), State::Expired);
    // What the first delivery says now is about a pause that is over.
    worker.store(&a, Outcome::Completed(json!({"old": true}))).await;
    worker.report(&b, Outcome::Completed(json!({"new": true}))).await;
    let events = coordinator.watch(a.execution.as_str(), 0).await;
    numbered(&events);
    let expected = [
        "accepted",
        "scheduled a.1",
        "asked a.1",
        "decided a.1",
        "resumed a.1.1",
        "completed a.1 void STALE_ATTEMPT",
        "completed a.1",
        "completed",
    ];
    assert_eq!(kinds(&events), expected);
    let output = coordinator.get(a.execution.as_str()).await.output;
    assert_eq!(output, Some(structure(json!({"a": {"new": true}}))));
    wait_for("nothing to wait for", async || list(&coordinator, &[]).await.is_empty().then_some(()))
        .await
        .unwrap();
    assert_eq!(list(&coordinator, &[State::Approved]).await[0].id, ids[1]);
    for unknown in ["nobody", "a.b.c", &format!("{}.a.1.0.9", a.execution)] {
        refused(decide(&coordinator, unknown, "ada").await, Code::NotFound, "NOT_FOUND");
    }
}

#[tokio::test]
async fn of_two_people_on_two_replicas_one_decides() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    for _ in 0..5 {
        let (a, ids) = pause(&first, &worker).await;
        let (ada, bob) = tokio::join!(decide(&first, &ids[0], "ada"), decide(&second, &ids[0], "bob"));
        let (won, lost) = if ada.is_ok() { (ada, bob) } else { (bob, ada) };
        refused(lost, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
        let won = won.unwrap();
        let b = worker.take().await;
        assert_eq!(b.task.resolution.as_ref().unwrap().decided_by, won.decided_by);
        worker.report(&b, Outcome::Completed(json!({}))).await;
        let lines = kinds(&second.watch(a.execution.as_str(), 0).await);
        assert_eq!(lines.iter().filter(|line| line.starts_with("resumed")).count(), 1, "{lines:?}");
        assert_eq!(get(&second, &ids[0]).await.decided_by, won.decided_by);
    }
}

#[tokio::test]
async fn a_repeated_request_is_answered_as_the_first_was() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let (a, ids) = pause(&first, &worker).await;
    let request = "7a4d3f62-6a4e-4f2e-8a3c-0a9f0b7c5d21";
    // The answer was lost; another replica is asked.
    let decided = decide_as(&first, &ids[0], "ada", request).await.unwrap();
    assert_eq!(decide_as(&second, &ids[0], "ada", request).await.unwrap(), decided);
    let other = decide_as(&second, &ids[1], "ada", request).await;
    refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED");
    refused(decide(&second, &ids[0], "ada").await, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
    refused(decide_as(&first, &ids[0], "x", "no uuid").await, Code::InvalidArgument, "INVALID_VALUE");
    worker.complete("a", json!({})).await;
    let lines = kinds(&second.watch(a.execution.as_str(), 0).await);
    assert_eq!(lines.iter().filter(|line| line.starts_with("decided")).count(), 1, "{lines:?}");
}

/// The log stored one decision twice, because the acknowledgement of the first copy was lost.
#[tokio::test]
async fn a_decision_that_is_stored_twice_counted() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let (a, ids) = pause(&coordinator, &worker).await;
    let request = "7a4d3f62-6a4e-4f2e-8a3c-0a9f0b7c5d22";
    let fact = Fact::Decided(Decided {
        stage: a.task.stage.clone(),
        attempt: 1,
        resume: 0,
        question: 0,
        nonce: None,
        approved: true,
        reason: "looks right".into(),
        decided_by: "ada".into(),
        values: object(json!({"n": 5})),
        request_id: request.into(),
    });
    worker.input(&a, &fact).await;
    let approval = decide_as(&coordinator, &ids[0], "ada", request).await.unwrap();
    assert_eq!(approval.state(), State::Approved);
}

#[tokio::test]
async fn an_approval_expires_with_its_execution() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let (a, ids) = pause(&coordinator, &worker).await;
    coordinator.try_cancel(a.execution.as_str()).await.unwrap();
    assert_eq!(kinds(&coordinator.watch(a.execution.as_str(), 0).await).last().unwrap(), "cancelled enough");
    assert_eq!(get(&coordinator, &ids[0]).await.state(), State::Expired);
    refused(decide(&coordinator, &ids[0], "ada").await, Code::FailedPrecondition, "APPROVAL_NOT_PENDING");
    wait_for("nothing to wait for", async || list(&coordinator, &[]).await.is_empty().then_some(()))
        .await
        .unwrap();
}
