//! Pools: tasks go to the workers of the pool that their stage names, and to no others.

use super::*;

fn pooled(id: &str, pool: &str, needs: &[&str]) -> v1::Stage {
    v1::Stage { pool: pool.into(), ..stage(id, needs) }
}

async fn explain(coordinator: &Coordinator, id: &str) -> v1::ExplainExecutionResponse {
    let request = v1::ExplainExecutionRequest { id: id.into() };
    coordinator.executions().explain_execution(request).await.unwrap().into_inner()
}

async fn missing(coordinator: &Coordinator, workflow: v1::Workflow) -> Vec<String> {
    let request = v1::PlanRequest { workflow: Some(workflow) };
    coordinator.orchestrator().plan(request).await.unwrap().into_inner().engines_without_worker
}

#[tokio::test]
async fn a_task_goes_to_the_pool_that_its_stage_names() {
    let (nats, coordinator) = start().await;
    let plain = Worker::join(&nats).await;
    let _plain_beats = plain.beat();
    let whole =
        || workflow([stage("a", &[]), pooled("b", "reports", &[]), pooled("c", "other", &["a", "b"])]);
    wait_for("the worker is known", async || {
        let missing = missing(&coordinator, whole()).await;
        (missing == ["custom@reports", "custom@other"]).then_some(())
    })
    .await
    .unwrap();

    let id = coordinator.begin(whole()).await;
    plain.complete("a", json!({})).await;
    // Scheduled after `a`, whose worker may be quicker than that.
    let stage = wait_for("b is scheduled", async || {
        explain(&coordinator, &id).await.stages.into_iter().find(|stage| stage.stage_id == "b")
    })
    .await
    .unwrap();
    assert_eq!(stage.reason, "NO_WORKER", "{stage:?}");
    assert_eq!(stage.sentence, "b waits for a worker of custom in pool reports: none is connected");
    assert_eq!(stage.command, "mahavishnu worker custom --pool reports");
    let waiting = coordinator.get(&id).await.stages[1].waiting_for.clone();
    assert!(
        waiting.starts_with("no worker for custom in pool reports is connected; start one: "),
        "{waiting}"
    );

    // It is there after the task.
    let reports = Worker::join_pool(&nats, "reports").await;
    let _reports_beats = reports.beat();
    let b = reports.take().await;
    assert_eq!((b.task.stage.as_str(), b.task.queue().to_string()), ("b", "custom@reports".to_owned()));
    wait_for("it runs", async || {
        (explain(&coordinator, &id).await.stages[0].reason == "RUNNING").then_some(())
    })
    .await
    .unwrap();
    reports.report(&b, Outcome::Completed(json!({}))).await;

    // It is there before the task.
    assert_eq!(missing(&coordinator, whole()).await, ["custom@other"]);
    let profile = v1::GetProfileRequest { engine: "custom".into() };
    let profile =
        coordinator.orchestrator().get_profile(profile).await.unwrap().into_inner().profile.unwrap();
    let pools: Vec<_> = profile.workers.iter().map(|worker| worker.pool.as_str()).collect();
    assert_eq!(pools, ["", "reports"]);
    let other = Worker::join_pool(&nats, "other").await;
    other.complete("c", json!({})).await;
    let events = coordinator.watch(&id, 0).await;
    numbered(&events);
    assert_eq!(kinds(&events).last().unwrap(), "completed");
    let scheduled = events.iter().filter_map(|event| match event.kind.as_ref()? {
        v1::event::Kind::StageScheduled(scheduled) => {
            Some((event.stage_id.as_str(), scheduled.pool.as_str()))
        }
        _ => None,
    });
    assert_eq!(scheduled.collect::<Vec<_>>(), [("a", ""), ("b", "reports"), ("c", "other")]);
}

#[tokio::test]
async fn a_fork_keeps_its_pool_unless_its_engine_is_another() {
    let (nats, coordinator) = start().await;
    let reports = Worker::join_pool(&nats, "reports").await;
    let id = coordinator.begin(workflow([pooled("a", "reports", &[])])).await;
    reports.complete("a", json!({})).await;
    coordinator.watch(&id, 0).await;
    let fork = async |engine: &str, pool: Option<&str>| {
        let request = v1::ForkExecutionRequest {
            id: id.clone(),
            from_stage: "a".into(),
            engine: engine.into(),
            pool: pool.map(str::to_owned),
            ..v1::ForkExecutionRequest::default()
        };
        let answer = coordinator.executions().fork_execution(request).await;
        answer.map(|answer| answer.into_inner().execution.unwrap().stages.remove(0))
    };
    for (engine, pool, expected) in [
        ("", None, ("custom", "reports")),
        ("custom", None, ("custom", "reports")),
        ("", Some(""), ("custom", "")),
        ("", Some("other"), ("custom", "other")),
        ("other", None, ("other", "")),
        ("other", Some("quick"), ("other", "quick")),
    ] {
        let forked = fork(engine, pool).await.unwrap();
        assert_eq!((forked.engine.as_str(), forked.pool.as_str()), expected, "{engine:?} {pool:?}");
    }
    let status = fork("", Some("not a name")).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "stages[0].pool");
}
