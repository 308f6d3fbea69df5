//! Checkpoints over the API, written by the test as the worker.

use mahavishnu_bus::checkpoints::{Key, Save};
use mahavishnu_core::execution::{Failure, StateUpdate};

use super::*;

const REQUEST: &str = "3b0a7d4e-52a5-4b55-a51e-60c2f9e9c0de";

fn record(namespace: &str, id: &str, parent: &str, task: &str) -> Save {
    let key = Key {
        namespace: namespace.into(),
        checkpoint_id: id.into(),
        parent_id: parent.into(),
        task_id: task.into(),
        ..Key::default()
    };
    let view = json!({"source": "loop", "step": 1, "next": ["n"], "values": {"short": id}, "path": [id]});
    let values = if task.is_empty() { json!({"id": id}).to_string() } else { String::new() };
    Save { key, view: view.to_string().into(), values: values.into(), body: id.as_bytes().to_vec().into() }
}

async fn list(
    coordinator: &Coordinator,
    id: &str,
    page_size: i32,
    token: &str,
) -> Result<v1::ListCheckpointsResponse, Status> {
    let request = v1::ListCheckpointsRequest {
        execution_id: id.into(),
        stage_id: "a".into(),
        page_size,
        page_token: token.into(),
        ..v1::ListCheckpointsRequest::default()
    };
    Ok(coordinator.executions().list_checkpoints(request).await?.into_inner())
}

fn ids(listed: &v1::ListCheckpointsResponse) -> Vec<&str> {
    listed.checkpoints.iter().map(|checkpoint| checkpoint.id.as_str()).collect()
}

#[tokio::test]
async fn a_fork_begins_with_what_led_to_its_checkpoint() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let taken = worker.take().await;
    let mut log = worker.bus.claim_checkpoints(&taken.execution, &worker.origin(&taken)).await.unwrap();
    for (namespace, id, parent, task) in [
        ("", "c1", "", ""),
        ("", "c1", "", "task"),
        ("inner:1", "i1", "", ""),
        ("kept", "k1", "", ""),
        ("", "side", "c1", ""),
        ("", "c2", "c1", ""),
        ("", "c2", "", "task"),
        ("kept", "k2", "", ""),
        ("", "c3", "c2", ""),
    ] {
        log.save(record(namespace, id, parent, task)).await.unwrap();
    }
    worker.report(&taken, Outcome::Completed(json!({"n": 1}))).await;
    worker.complete("b", json!({})).await;
    coordinator.watch(&id, 0).await;

    let first = list(&coordinator, &id, 3, "").await.unwrap();
    assert_eq!((ids(&first), first.namespaces.len()), (vec!["c3", "c2", "side"], 2));
    let last = list(&coordinator, &id, 3, &first.next_page_token).await.unwrap();
    assert_eq!((ids(&last), last.next_page_token.as_str()), (vec!["c1"], ""));
    assert!(last.checkpoints[0].shortened);
    refused(list(&coordinator, &id, 1, "nonsense").await, Code::InvalidArgument, "INVALID_VALUE");
    let request = v1::GetCheckpointRequest {
        execution_id: id.clone(),
        stage_id: "a".into(),
        checkpoint_id: "c2".into(),
        ..v1::GetCheckpointRequest::default()
    };
    let got = coordinator.executions().get_checkpoint(request.clone()).await.unwrap().into_inner();
    let got = got.checkpoint.unwrap();
    assert_eq!((got.values, got.shortened), (Some(structure(json!({"id": "c2"}))), false));
    assert_eq!(got.progress, Some(structure(json!({"path": ["c2"]}))));
    let unknown = v1::GetCheckpointRequest { checkpoint_id: "x".into(), ..request.clone() };
    refused(coordinator.executions().get_checkpoint(unknown).await, Code::NotFound, "NOT_FOUND");
    let unknown = v1::GetCheckpointRequest { stage_id: "x".into(), ..request };
    refused(
        coordinator.executions().get_checkpoint(unknown).await,
        Code::InvalidArgument,
        "UNKNOWN_REFERENCE",
    );

    let fork = v1::ForkExecutionRequest {
        id: id.clone(),
        from_stage: "a".into(),
        checkpoint_id: "c2".into(),
        state: Some(structure(json!({"n": 7}))),
        as_node: "n".into(),
        request_id: REQUEST.into(),
        ..v1::ForkExecutionRequest::default()
    };
    let ask = async |request: v1::ForkExecutionRequest| {
        coordinator
            .executions()
            .fork_execution(request)
            .await
            .map(|answer| answer.into_inner().execution.unwrap())
    };
    let next = ask(fork.clone()).await.unwrap();
    assert_eq!(ask(fork.clone()).await.unwrap().id, next.id, "the same request");
    let other = v1::ForkExecutionRequest { state: Some(structure(json!({"n": 8}))), ..fork.clone() };
    refused(ask(other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let copied = list(&coordinator, &next.id, 0, "").await.unwrap();
    assert_eq!((ids(&copied), copied.checkpoints[0].attempt), (vec!["c2", "c1"], 0));
    let taken = worker.take().await;
    let update = Some(StateUpdate { values: object(json!({"n": 7})), as_node: "n".into() });
    assert_eq!(taken.task.update, update);
    let log = worker.bus.claim_checkpoints(&taken.execution, &worker.origin(&taken)).await.unwrap();
    let keys: Vec<_> = log
        .entries()
        .iter()
        .map(|entry| (entry.key.checkpoint_id.as_str(), entry.key.task_id.as_str()))
        .collect();
    assert_eq!(keys, [("c1", ""), ("c1", "task"), ("k1", ""), ("c2", "")], "nothing that came after");
    assert_eq!(log.read(log.entries()[3].position).await.unwrap(), "c2");

    // What failed before it ended begins there again.
    worker.report(&taken, Outcome::Failed(Failure::terminal("BROKEN", "for good"))).await;
    coordinator.watch(&next.id, 0).await;
    let retry = v1::RetryExecutionRequest { id: next.id.clone() };
    let again =
        coordinator.executions().retry_execution(retry).await.unwrap().into_inner().execution.unwrap();
    assert_eq!(ids(&list(&coordinator, &again.id, 0, "").await.unwrap()), ["c2", "c1"]);
    let taken = worker.take().await;
    assert_eq!((taken.execution.as_str(), &taken.task.update), (again.id.as_str(), &update));
    worker.report(&taken, Outcome::Completed(json!({}))).await;
    let b = worker.take().await;
    assert_eq!((b.task.stage.as_str(), &b.task.update), ("b", &None));

    for (wrong, field) in [
        (v1::ForkExecutionRequest { checkpoint_id: String::new(), ..fork.clone() }, "state"),
        (v1::ForkExecutionRequest { engine: "other".into(), ..fork.clone() }, "engine"),
    ] {
        let status = ask(v1::ForkExecutionRequest { request_id: String::new(), ..wrong }).await.unwrap_err();
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let unknown = v1::ForkExecutionRequest { checkpoint_id: "x".into(), request_id: String::new(), ..fork };
    refused(ask(unknown).await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_stage_that_waits_keeps_its_checkpoints_however_old_they_are() {
    const AGE: std::time::Duration = std::time::Duration::from_secs(1);
    let nats = TestNats::start().await.unwrap();
    let brief = || Coordinator::with(&nats, nats.url(), |options| options.checkpoint_age = AGE);
    let (coordinator, _second) = (brief().await, brief().await);
    let worker = Worker::join(&nats).await;
    let begin = async |outcome: Outcome| {
        let id = coordinator.begin(workflow([stage("a", &[])])).await;
        let a = worker.take().await;
        let mut log = worker.bus.claim_checkpoints(&a.execution, &worker.origin(&a)).await.unwrap();
        log.save(record("", "c1", "", "")).await.unwrap();
        worker.report(&a, outcome).await;
        id
    };
    let waits = begin(Outcome::Paused(&["ship"])).await;
    // It has ended later than the other one began to wait: when its checkpoints are gone, those of the other were looked at.
    let ended = begin(Outcome::Completed(json!({}))).await;
    let gone = async || ids(&list(&coordinator, &ended, 0, "").await.unwrap()).is_empty().then_some(());
    wait_for("what has ended to be forgotten", gone).await.unwrap();
    assert_eq!(ids(&list(&coordinator, &waits, 0, "").await.unwrap()), ["c1"]);

    let decision = v1::DecideApprovalRequest {
        id: format!("{waits}.a.1.0.0"),
        approved: true,
        decided_by: "ann".into(),
        ..v1::DecideApprovalRequest::default()
    };
    coordinator.approvals().decide_approval(decision).await.unwrap();
    let a = worker.take().await;
    let log = worker.bus.claim_checkpoints(&a.execution, &worker.origin(&a)).await.unwrap();
    assert_eq!(log.read(log.entries()[0].position).await.unwrap(), "c1", "it goes on");
    drop(log);
    worker.report(&a, Outcome::Completed(json!({}))).await;
    let gone = async || ids(&list(&coordinator, &waits, 0, "").await.unwrap()).is_empty().then_some(());
    wait_for("its checkpoints to go when it has ended", gone).await.unwrap();
}
