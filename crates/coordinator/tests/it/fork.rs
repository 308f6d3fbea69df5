//! Executions that go on from others.

use mahavishnu_core::execution::Failure;

use super::*;

const REQUEST: &str = "5d2b1f0e-8f7a-4f39-9a3f-0f7f7d3c2b11";

async fn retry(coordinator: &Coordinator, id: &str) -> Result<v1::Execution, Status> {
    let request = v1::RetryExecutionRequest { id: id.into() };
    Ok(coordinator.executions().retry_execution(request).await?.into_inner().execution.unwrap())
}

async fn fork(coordinator: &Coordinator, request: v1::ForkExecutionRequest) -> Result<v1::Execution, Status> {
    Ok(coordinator.executions().fork_execution(request).await?.into_inner().execution.unwrap())
}

fn chain() -> v1::Workflow {
    let task = structure(json!({"n": "${{ stages.a.output.n + input.plus }}"}));
    let second = v1::Stage { task: Some(task), ..stage("b", &["a"]) };
    let mut chain = workflow([stage("a", &[]), second, stage("c", &["b"])]);
    chain.input = Some(structure(json!({"plus": 2, "other": true})));
    chain
}

#[tokio::test]
async fn a_failed_execution_is_continued_once_from_the_stage_that_failed() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let id = first.begin(chain()).await;
    worker.complete("a", json!({"n": 40})).await;
    let b = worker.take().await;
    refused(retry(&first, &id).await, Code::FailedPrecondition, "NOTHING_TO_RETRY");
    worker.report(&b, Outcome::Failed(Failure::terminal("BROKEN", "for good"))).await;
    assert_eq!(kinds(&first.watch(&id, 0).await).last().unwrap(), "failed BROKEN");

    let (here, there) = tokio::join!(retry(&first, &id), retry(&second, &id));
    let next = here.unwrap();
    assert_eq!(next.id, there.unwrap().id);
    assert_ne!(next.id, id);
    let from = next.forked_from.clone().unwrap();
    assert_eq!((from.execution_id.as_str(), from.stage_id.as_str()), (id.as_str(), "b"));
    assert_eq!(next.stages.iter().map(|stage| stage.reused).collect::<Vec<_>>(), [true, false, false]);
    let b = worker.take().await;
    assert_eq!((b.execution.as_str(), b.task.attempt), (next.id.as_str(), 1));
    assert_eq!(b.task.task, object(json!({"n": 42})), "a's result is there");
    worker.report(&b, Outcome::Completed(json!({"done": 1}))).await;
    worker.complete("c", json!({})).await;
    let events = second.watch(&next.id, 0).await;
    numbered(&events);
    let expected =
        ["accepted", "scheduled b.1", "completed b.1", "scheduled c.1", "completed c.1", "completed"];
    assert_eq!(kinds(&events), expected);
    let ended = second.get(&next.id).await;
    assert_eq!(ended.output, Some(structure(json!({"a": {"n": 40}, "b": {"done": 1}, "c": {}}))));
    assert_eq!(first.get(&id).await.state(), v1::execution::State::Failed, "the first one stays as it was");
    refused(retry(&first, &next.id).await, Code::FailedPrecondition, "NOTHING_TO_RETRY");
    refused(retry(&first, "nobody").await, Code::NotFound, "NOT_FOUND");
}

#[tokio::test]
async fn a_cancelled_execution_is_continued_too() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(chain()).await;
    worker.complete("a", json!({"n": 1})).await;
    let b = worker.take().await;
    coordinator.try_cancel(&id).await.unwrap();
    coordinator.watch(&id, 0).await;
    b.ack().await;
    let next = retry(&coordinator, &id).await.unwrap();
    assert_eq!(next.forked_from.unwrap().stage_id, "b");
    worker.complete("b", json!({})).await;
    worker.complete("c", json!({})).await;
    assert_eq!(kinds(&coordinator.watch(&next.id, 0).await).last().unwrap(), "completed");
}

#[tokio::test]
async fn a_fork_goes_its_own_way_from_a_stage_on() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let id = coordinator.begin(chain()).await;
    worker.complete("a", json!({"n": 40})).await;
    worker.complete("b", json!({})).await;
    worker.complete("c", json!({})).await;
    coordinator.watch(&id, 0).await;
    let request = v1::ForkExecutionRequest {
        id: id.clone(),
        from_stage: "b".into(),
        input: Some(structure(json!({"plus": 60}))),
        task: Some(structure(json!({"m": "${{ stages.a.output.n + input.plus }}"}))),
        request_id: REQUEST.into(),
        ..v1::ForkExecutionRequest::default()
    };
    let next = fork(&coordinator, request.clone()).await.unwrap();
    assert_eq!(fork(&coordinator, request.clone()).await.unwrap().id, next.id);
    let b = worker.take().await;
    assert_eq!((b.execution.as_str(), &b.task.task), (next.id.as_str(), &object(json!({"m": 100}))));
    assert_eq!(b.task.input, object(json!({"plus": 60, "other": true})));
    worker.report(&b, Outcome::Completed(json!({"other": 1}))).await;
    worker.complete("c", json!({})).await;
    assert_eq!(kinds(&coordinator.watch(&next.id, 0).await).last().unwrap(), "completed");

    let other = v1::ForkExecutionRequest { from_stage: "c".into(), ..request.clone() };
    refused(fork(&coordinator, other).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    for (wrong, field) in [
        (v1::ForkExecutionRequest { from_stage: "x".into(), ..request.clone() }, "from_stage"),
        (v1::ForkExecutionRequest { engine: "nobody".into(), ..request.clone() }, "stages[1].type"),
        (v1::ForkExecutionRequest { request_id: "x".into(), ..request.clone() }, "request_id"),
    ] {
        let status = fork(&coordinator, wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, field);
    }
    let elsewhere = v1::ForkExecutionRequest { engine: "other".into(), request_id: String::new(), ..request };
    let next = fork(&coordinator, elsewhere).await.unwrap();
    assert_eq!(next.stages[1].engine, "other");
}
