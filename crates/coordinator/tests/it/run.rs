//! Executions from the first event to the last.

use std::collections::BTreeSet;

use futures::StreamExt as _;
use futures::future::join_all;
use mahavishnu_core::execution::Failure;
use mahavishnu_proto::v1::event::Kind;

use super::*;

fn templated(id: &str, needs: &[&str], task: Value) -> v1::Stage {
    v1::Stage { task: Some(structure(task)), ..stage(id, needs) }
}

#[tokio::test]
async fn the_stream_is_the_history_numbered_from_one() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let second = templated("b", &["a"], json!({"n": "${{ stages.a.output.n + input.plus }}"}));
    let mut hybrid = workflow([stage("a", &[]), second]);
    hybrid.input = Some(structure(json!({"plus": 2})));
    let stream = coordinator.execute(hybrid).await;
    let a = worker.take().await;
    worker.progress(&a, "node").await;
    worker.store(&a, Outcome::Completed(json!({"n": 40}))).await;
    // Its acknowledgement was lost, say; the engine ran twice.
    worker.report(&a, Outcome::Completed(json!({"n": 41}))).await;
    let b = worker.take().await;
    assert_eq!(b.task.task, object(json!({"n": 42})));
    worker.report(&b, Outcome::Completed(json!({"done": true}))).await;

    let events = collect(stream).await;
    numbered(&events);
    let lines = kinds(&events);
    let without: Vec<_> = lines.iter().filter(|line| !line.contains("void")).map(String::as_str).collect();
    let expected = [
        "accepted",
        "scheduled a.1",
        "progress a.1 node",
        "completed a.1",
        "scheduled b.1",
        "completed b.1",
        "completed",
    ];
    assert_eq!(without, expected);
    assert_eq!(
        lines.iter().filter(|line| *line == "completed a.1 void DUPLICATE_RESULT").count(),
        1,
        "{lines:?}"
    );
    let Some(Kind::ExecutionCompleted(end)) = events.last().unwrap().kind.clone() else {
        panic!("not the end")
    };
    assert_eq!(end.output, Some(structure(json!({"a": {"n": 40}, "b": {"done": true}}))));
    let execution = coordinator.get(&events[0].execution_id).await;
    assert_eq!(execution.state(), v1::execution::State::Completed);
    assert_eq!((execution.last_sequence, execution.output), (lines.len() as i64, end.output));
}

#[tokio::test]
async fn two_coordinators_finish_joins_exactly_once() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let wide = || {
        let sides: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
        let sides: Vec<&str> = sides.iter().map(String::as_str).collect();
        let stages = sides.iter().map(|id| stage(id, &["root"])).collect::<Vec<_>>();
        workflow([stage("root", &[]), stage("join", &sides)].into_iter().chain(stages))
    };
    let mut workers = Vec::new();
    for _ in 0..6 {
        workers.push(Worker::join(&nats).await.serve());
    }
    let ids =
        join_all((0..8).map(|n| if n % 2 == 0 { first.begin(wide()) } else { second.begin(wide()) })).await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 8);
    for id in ids {
        let (here, there) = tokio::join!(first.watch(&id, 0), second.watch(&id, 0));
        numbered(&here);
        assert_eq!(here, there);
        let lines = kinds(&here);
        let count = |text: &str| lines.iter().filter(|line| *line == text).count();
        assert_eq!(
            (count("scheduled join.1"), count("completed join.1"), count("completed")),
            (1, 1, 1),
            "{lines:?}"
        );
        let at = |text: &str| lines.iter().position(|line| line == text).unwrap();
        for n in 0..6 {
            assert!(at(&format!("completed s{n}.1")) < at("scheduled join.1"), "{lines:?}");
        }
        assert_eq!(first.get(&id).await, second.get(&id).await);
    }
}

#[tokio::test]
async fn a_stage_whose_condition_does_not_hold_is_skipped() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let when = |id: &str, when: &str| v1::Stage { when: when.into(), ..stage(id, &["a"]) };
    let stages = [stage("a", &[]), when("yes", "stages.a.output.n > 1"), when("no", "stages.a.output.n < 1")];
    let stream = coordinator.execute(workflow(stages.into_iter().chain([stage("after", &["no"])]))).await;
    worker.complete("a", json!({"n": 2})).await;
    worker.complete("yes", json!({})).await;
    let events = collect(stream).await;
    numbered(&events);
    let mut lines = kinds(&events);
    lines.sort();
    let expected = [
        "accepted",
        "completed",
        "completed a.1",
        "completed yes.1",
        "scheduled a.1",
        "scheduled yes.1",
        "skipped after",
        "skipped no",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn a_passing_failure_is_tried_again_after_a_while() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let retry = |nanos, attempts| v1::RetryPolicy {
        max_attempts: attempts,
        initial_backoff: Some(prost_types::Duration { seconds: 0, nanos }),
        max_backoff: seconds(1),
        ..v1::RetryPolicy::default()
    };
    let patient = v1::Stage { retry: Some(retry(900_000_000, 2)), ..stage("a", &[]) };
    // Its timer is due before it is set.
    let hasty = v1::Stage { retry: Some(retry(1_000, 6)), ..stage("b", &["a"]) };
    let stream = coordinator.execute(workflow([patient, hasty])).await;
    let passing = || Outcome::Failed(Failure::retryable("PASSING", "try again"));
    worker.report(&worker.take().await, passing()).await;
    let again = worker.take().await;
    assert_eq!((again.task.stage.as_str(), again.task.attempt), ("a", 2));
    worker.report(&again, Outcome::Completed(json!({}))).await;
    for attempt in 1..=5 {
        let delivery = worker.take().await;
        assert_eq!((delivery.task.stage.as_str(), delivery.task.attempt), ("b", attempt));
        worker.report(&delivery, passing()).await;
    }
    worker.complete("b", json!({})).await;
    let events = durable(collect(stream).await);
    numbered(&events);
    let lines = kinds(&events);
    let first = ["scheduled a.1", "failed a.1 PASSING", "retry a.2", "retry timer", "scheduled a.2"];
    assert_eq!(lines[1..6], first);
    let time = |n: usize| std::time::SystemTime::try_from(events[n].time.unwrap()).unwrap();
    let waited = time(5).duration_since(time(2)).unwrap();
    assert!(waited.as_millis() >= 700, "{waited:?}, of 900 ms at most a fifth is cut");
    assert_eq!(lines.last().unwrap(), "completed");
}

#[tokio::test]
async fn a_failure_for_good_ends_it_and_stops_the_others() {
    let (nats, coordinator) = start().await;
    let worker = Worker::join(&nats).await;
    let mut cancelled = worker.bus.cancelled_attempts().await.unwrap();
    let stream = coordinator.execute(workflow([stage("a", &[]), stage("b", &[])])).await;
    let (one, other) = (worker.take().await, worker.take().await);
    let error = Failure {
        traceback: "line 1".into(),
        field: "task.x".into(),
        ..Failure::terminal("BROKEN", "for good")
    };
    worker.report(&one, Outcome::Failed(error)).await;
    let events = collect(stream).await;
    assert_eq!(kinds(&events).last().unwrap(), "failed BROKEN");
    let (id, _) = in_time("the signal", cancelled.next()).await.unwrap().unwrap();
    assert_eq!(id.as_str(), events[0].execution_id);
    worker.report(&other, Outcome::Completed(json!({}))).await;
    let execution = coordinator.get(id.as_str()).await;
    let error = execution.error.clone().unwrap();
    assert_eq!((execution.state(), error.reason.as_str()), (v1::execution::State::Failed, "BROKEN"));
    assert_eq!((error.traceback.as_str(), error.field.as_str()), ("line 1", "task.x"));
    // The late result is kept, and void.
    let all = wait_for("the late result", async || {
        let all = coordinator.watch(id.as_str(), 0).await;
        (kinds(&all).last().unwrap().ends_with("void AFTER_END")).then_some(all)
    });
    let all = all.await.unwrap();
    numbered(&all);
    // Who looks at the execution sees it, without knowing that there is something to look for.
    let shown = coordinator.get(id.as_str()).await;
    assert_eq!(shown.voids, [all.last().unwrap().clone()]);
    assert_eq!(shown.voids[0].void_reason, "AFTER_END");
    let request = v1::ExplainExecutionRequest { id: id.to_string() };
    let why = coordinator.executions().explain_execution(request).await.unwrap().into_inner().sentence;
    assert!(why.ends_with("BROKEN: for good; what came after that, one event, had no effect"), "{why}");
}

#[tokio::test]
async fn a_deadline_ends_an_execution_and_repeated_requests_do_not_move_it() {
    let (_nats, coordinator) = start().await;
    let id = "8c7bd8a4-6b1c-4b0e-9c55-0d2f6d1f3a11";
    let timed = |timeout| v1::Workflow { timeout: seconds(timeout), ..workflow([stage("a", &[])]) };
    let execution = coordinator.try_start(timed(3), id).await.unwrap();
    let again = coordinator.try_start(timed(3), id).await.unwrap();
    assert_eq!(execution.id, again.id);
    refused(coordinator.try_start(timed(3600), id).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let lines = kinds(&coordinator.watch(&execution.id, 0).await);
    assert_eq!(lines, ["accepted", "scheduled a.1", "deadline timer", "failed DEADLINE_EXCEEDED"]);
    let ended = coordinator.get(&execution.id).await;
    assert_eq!(ended.state(), v1::execution::State::Failed);
    assert_eq!(ended.stages[0].state(), v1::stage_status::State::Cancelled);
}

#[tokio::test]
async fn a_missing_worker_is_said_at_once() {
    let (nats, coordinator) = start().await;
    let mut stream = coordinator.execute(workflow([stage("a", &[])])).await;
    let mut lines = Vec::new();
    while lines.len() < 3 {
        let answer = in_time("the next event", stream.message()).await.unwrap().unwrap().unwrap();
        lines.push(line(&answer.event.unwrap()));
    }
    assert_eq!(lines, ["accepted", "scheduled a.1", "waiting a.1 NO_WORKER"]);
    let executions = coordinator.get(&collect_id(&coordinator).await).await;
    assert!(executions.stages[0].waiting_for.contains("no worker for custom"), "{executions:?}");

    let worker = Worker::join(&nats).await;
    let _beating = worker.beat();
    wait_for("the coordinator to see the worker", async || {
        let request = v1::GetProfileRequest { engine: "custom".into() };
        let profile = coordinator.orchestrator().get_profile(request).await.unwrap().into_inner().profile;
        (!profile.unwrap().workers.is_empty()).then_some(())
    })
    .await
    .unwrap();
    worker.complete("a", json!({})).await;
    assert_eq!(kinds(&collect(stream).await), ["completed a.1", "completed"]);
    let stream = coordinator.execute(workflow([stage("a", &[])])).await;
    worker.complete("a", json!({})).await;
    assert!(collect(stream).await.iter().all(|event| !line(event).contains("NO_WORKER")));
}

/// The id of the only execution.
async fn collect_id(coordinator: &Coordinator) -> String {
    wait_for("the execution in the list", async || {
        let request = v1::ListExecutionsRequest::default();
        let listed = coordinator.executions().list_executions(request).await.unwrap().into_inner().executions;
        listed.first().map(|execution| execution.id.clone())
    })
    .await
    .unwrap()
}
