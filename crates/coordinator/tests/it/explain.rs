//! Why an execution is where it is, at each place where it can be.

use mahavishnu_core::execution::Failure;

use super::*;

async fn explain(coordinator: &Coordinator, id: &str) -> v1::ExplainExecutionResponse {
    let request = v1::ExplainExecutionRequest { id: id.into() };
    coordinator.executions().explain_execution(request).await.unwrap().into_inner()
}

/// Waits for it to be explained by this code.
async fn explained(coordinator: &Coordinator, id: &str, reason: &str) -> v1::StageExplanation {
    let mut last = String::new();
    let found = wait_for("the explanation", async || {
        let explained = explain(coordinator, id).await;
        last = format!("{explained:?}");
        explained.stages.into_iter().find(|stage| stage.reason == reason)
    })
    .await;
    found.unwrap_or_else(|error| panic!("{error}: no {reason} in {last}"))
}

fn evidence(stage: &v1::StageExplanation) -> Object {
    structs::from_struct(stage.evidence.clone().unwrap())
}

#[tokio::test]
async fn every_place_is_explained_with_the_command_that_moves_it() {
    let (nats, coordinator) = start().await;
    let retry =
        v1::RetryPolicy { max_attempts: 2, initial_backoff: seconds(2), ..v1::RetryPolicy::default() };
    let limited = v1::Stage { timeout: seconds(60), retry: Some(retry), ..stage("a", &[]) };
    let id = coordinator.begin(workflow([limited, stage("b", &["a"])])).await;
    let nobody = explained(&coordinator, &id, "NO_WORKER").await;
    assert_eq!((nobody.stage_id.as_str(), nobody.command.as_str()), ("a", "mahavishnu worker custom"));
    assert_eq!(nobody.sequence, 2, "{nobody:?}");
    assert_eq!(nobody.sentence, "a waits for a worker of custom: none is connected");
    assert_eq!(evidence(&nobody)["workers"], json!(0));

    let worker = Worker::join(&nats).await;
    let beating = worker.beat();
    let behind = coordinator.begin(workflow([stage("z", &[])])).await;
    let queued = explained(&coordinator, &behind, "QUEUED").await;
    let expected = "z waits in the queue of custom, 2 deep: 0 of 1 slots of 1 workers are busy";
    assert_eq!((queued.sentence.as_str(), queued.command.as_str()), (expected, "mahavishnu worker custom"));
    let (there, deep) = (&evidence(&queued)["workers"], &evidence(&queued)["queued"]);
    assert_eq!((there, deep), (&json!(1), &json!(2)));
    let a = worker.take().await;
    worker.start(&a).await;
    let running = explained(&coordinator, &id, "RUNNING").await;
    assert!(running.sentence.starts_with("attempt 1 of a runs on w1 since "), "{running:?}");
    worker.report(&a, Outcome::Failed(Failure::retryable("PASSING", "the net is down"))).await;
    let again = explained(&coordinator, &id, "RETRY_PENDING").await;
    let (first, left) = again.sentence.split_once(" in ").unwrap();
    let (left, rest) = left.split_once(" s, ").unwrap();
    assert_eq!((first, rest), ("a is tried again", "attempt 2 of 2, after PASSING: the net is down"));
    assert!(left.parse::<u32>().unwrap() <= 2, "{again:?}");
    let at = evidence(&again)["retry_time"].as_str().unwrap().to_owned();
    chrono::DateTime::parse_from_rfc3339(&at).unwrap();

    let z = worker.take().await;
    worker.report(&z, Outcome::Completed(json!({}))).await;
    let a = worker.take().await;
    worker.start(&a).await;
    drop(beating);
    let lost = explained(&coordinator, &id, "LEASE_LOST").await;
    let expected =
        "w1 had attempt 2 of a and gives no sign of life, and no other worker of custom is connected";
    assert_eq!((lost.sentence.as_str(), lost.command.as_str()), (expected, "mahavishnu worker custom"));
    let (delivered, had) = (&evidence(&lost)["delivered"], &evidence(&lost)["worker_id"]);
    assert_eq!((delivered, had), (&json!(true), &json!("w1")));
    worker.report(&a, Outcome::Paused(&["draft"])).await;
    let waits = explained(&coordinator, &id, "APPROVAL_PENDING").await;
    assert!(waits.command.contains(&format!("{id}.a.2.0.0 --approve")), "{waits:?}");
    coordinator.try_cancel(&id).await.unwrap();
    let ended = explained(&coordinator, &id, "CANCELLED").await;
    assert_eq!(ended.command, format!("mahavishnu executions retry {id}"));
    let whole = explain(&coordinator, &id).await;
    assert_eq!((whole.sentence.as_str(), whole.command), ("it was cancelled: enough", ended.command));
}

#[tokio::test]
async fn the_level_of_durability_is_told() {
    let (_nats, coordinator) = start().await;
    let info = coordinator.orchestrator().get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.durability(), v1::get_info_response::Durability::Power);
    assert!(info.nats_version.starts_with("2."), "{info:?}");
    assert_eq!((info.replicas, info.loss_budget.is_empty()), (1, false));
    assert_eq!(info.pools, [], "nobody is connected");
}

#[tokio::test]
async fn the_pools_of_connected_workers_are_told() {
    let (nats, coordinator) = start().await;
    let (plain, pooled) = (Worker::join(&nats).await, Worker::join_pool(&nats, "reports").await);
    let _beating = (plain.beat(), pooled.beat());
    let told = wait_for("both pools", async || {
        let info = coordinator.orchestrator().get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
        (info.pools.len() == 2).then_some(info.pools)
    });
    let of = |pool: &v1::Pool| {
        let isolation: Vec<_> = pool.workers.iter().map(|worker| worker.isolation.clone()).collect();
        (pool.engine.clone(), pool.name.clone(), pool.slots, pool.busy, isolation)
    };
    let told: Vec<_> = told.await.unwrap().iter().map(of).collect();
    let expected = |pool: &str| ("custom".to_owned(), pool.to_owned(), 1, 0, vec!["process".to_owned()]);
    assert_eq!(told, [expected(""), expected("reports")]);
}

/// A coordinator that has just started knows the workers that are there.
#[tokio::test]
async fn nobody_who_is_there_is_missing_at_first() {
    let (nats, first) = start().await;
    let worker = Worker::join(&nats).await;
    let _beating = worker.beat();
    let mut pings = worker.bus.worker_pings().await.unwrap();
    let answering = worker.clone();
    let _answers = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        while futures::StreamExt::next(&mut pings).await.is_some() {
            answering.heartbeat().await;
        }
    }));
    drop(first);
    let second = Coordinator::start(&nats).await;
    let profile = v1::GetProfileRequest { engine: "custom".into() };
    let profile = second.orchestrator().get_profile(profile).await.unwrap().into_inner().profile.unwrap();
    assert_eq!(profile.workers.len(), 1);
}
