//! What is refused, what is repeated, what is cancelled.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use futures::future::join_all;

use super::*;

const REQUEST: &str = "0c5fca3f-6f0b-4d7c-9a55-3f4c2a1b7e90";

async fn count(coordinator: &Coordinator) -> usize {
    let listed =
        coordinator.executions().list_executions(v1::ListExecutionsRequest::default()).await.unwrap();
    listed.into_inner().executions.len()
}

#[tokio::test]
async fn a_request_id_yields_one_execution() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let same = || workflow([stage("a", &[])]);
    let starts =
        (0..10).map(|n| if n % 2 == 0 { &first } else { &second }).map(|one| one.try_start(same(), REQUEST));
    let ids: BTreeSet<_> =
        join_all(starts).await.into_iter().map(|execution| execution.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    for coordinator in [&first, &second] {
        let other = workflow([stage("b", &[])]);
        let status =
            refused(coordinator.try_start(other, REQUEST).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, REQUEST);
    }
    // Execute is the same request as StartExecution: it follows what exists.
    let worker = Worker::join(&nats).await;
    let request = v1::ExecuteRequest {
        workflow: Some(same()),
        request_id: REQUEST.into(),
        ..v1::ExecuteRequest::default()
    };
    let stream = second.orchestrator().execute(request).await.unwrap().into_inner();
    worker.complete("a", json!({})).await;
    let events = collect(stream).await;
    numbered(&events);
    assert_eq!(Some(&events[0].execution_id), ids.first());
    // Lists lag a little.
    let listed = async || Some(count(&first).await).filter(|count| *count > 0);
    assert_eq!(wait_for("the list", listed).await.unwrap(), 1);
    let status = refused(first.try_start(same(), "not a uuid").await, Code::InvalidArgument, "INVALID_VALUE");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "request_id");
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let (_nats, coordinator) = start().await;
    let mut wrong = workflow([
        v1::Stage { r#type: "langraph".into(), ..stage("a", &[]) },
        v1::Stage { task: None, when: "1 +".into(), ..stage("b", &["nobody"]) },
        stage("twice", &[]),
        stage("twice", &[]),
        stage("x", &["y"]),
        stage("y", &["x"]),
        v1::Stage { task: Some(structure(json!({"t": "${{ stages.z.output }}"}))), ..stage("t", &[]) },
        v1::Stage { at_once: true, ..stage("u", &["a"]) },
    ]);
    wrong.documents.insert("a.pdf".into(), "not an artifact".into());
    wrong.repos.push("../up".into());
    let without_at_once = |mut wrong: v1::Workflow| {
        wrong.stages.pop();
        wrong
    };
    for (workflow, expected) in [
        (wrong.clone(), vec!["stages[7].at_once"]),
        (
            without_at_once(wrong),
            vec![
                "stages[0].type",
                "stages[1].task",
                "stages[1].when",
                "stages[1].needs[0]",
                "stages[3].id",
                "stages[4].needs",
                "stages[6].task.t",
                "documents[\"a.pdf\"]",
                "repos[0]",
            ],
        ),
    ] {
        let status = coordinator.try_start(workflow, "").await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let said = status.get_details_bad_request().unwrap().field_violations;
        let fields: Vec<_> = said.iter().map(|violation| violation.field.as_str()).collect();
        for field in expected {
            assert!(fields.contains(&field), "{field} is not in {said:?}");
        }
    }
    let missing = coordinator.executions().start_execution(v1::StartExecutionRequest::default()).await;
    refused(missing, Code::InvalidArgument, "REQUIRED");
    refused(coordinator.try_start(v1::Workflow::default(), "").await, Code::InvalidArgument, "REQUIRED");
    let mut unknown = workflow([stage("a", &[])]);
    unknown.documents.insert("a.pdf".into(), "0".repeat(64));
    let status =
        refused(coordinator.try_start(unknown, "").await, Code::InvalidArgument, "UNKNOWN_REFERENCE");
    assert!(status.message().contains("upload it first"), "{status}");
    assert_eq!(count(&coordinator).await, 0, "nothing ran");
}

#[tokio::test]
async fn what_is_nested_too_deeply_is_the_callers_fault() {
    let (_nats, coordinator) = start().await;
    for depth in [23, 25, 40, 300] {
        let mut value = json!(1);
        for _ in 1..depth {
            value = json!({"d": value});
        }
        let deep = workflow([v1::Stage { task: Some(structure(json!({"d": value}))), ..stage("a", &[]) }]);
        let answer = coordinator.try_start(deep, "").await;
        if depth == 23 {
            answer.unwrap();
        } else {
            let status = refused(answer, Code::InvalidArgument, "TOO_DEEP");
            assert!(!status.get_details_bad_request().unwrap().field_violations.is_empty(), "{depth}");
        }
    }
}

#[tokio::test]
async fn cancelling_ends_an_execution_once_and_reaches_the_workers() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let mut signals = worker.bus.cancelled_attempts().await.unwrap();
    let stream = coordinator.execute(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let a = worker.take().await;
    let id = a.execution.to_string();
    for _ in 0..2 {
        assert_eq!(coordinator.try_cancel(&id).await.unwrap().id, id);
    }
    let (signalled, _) = in_time("the signal", signals.next()).await.unwrap().unwrap();
    assert_eq!(signalled, a.execution);
    let events = collect(stream).await;
    numbered(&events);
    let lines = kinds(&events);
    assert_eq!(lines.iter().filter(|line| *line == "cancelled enough").count(), 1, "{lines:?}");
    worker.report(&a, Outcome::Completed(json!({}))).await;
    let lines = wait_for("the late result", async || {
        let lines = kinds(&coordinator.watch(&id, 0).await);
        lines.last().unwrap().starts_with("completed a.1").then_some(lines)
    });
    assert_eq!(lines.await.unwrap().last().unwrap(), "completed a.1 void AFTER_END");
    let execution = coordinator.try_cancel(&id).await.unwrap();
    assert_eq!(execution.state(), v1::execution::State::Cancelled);
    refused(coordinator.try_cancel("nobody").await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_nothing() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let stream = coordinator.execute(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let a = worker.take().await;
    drop(stream);
    let id = a.execution.to_string();
    worker.report(&a, Outcome::Completed(json!({}))).await;
    worker.complete("b", json!({})).await;
    assert_eq!(kinds(&coordinator.watch(&id, 0).await).last().unwrap(), "completed");
}
