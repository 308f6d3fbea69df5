//! I5: what a client receives is the history, however often it comes back and to whom.

use mahavishnu_test_support::proxy::Proxy;

use super::*;

#[tokio::test]
async fn every_cut_of_the_history_can_be_resumed_on_every_replica() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let id = first.begin(workflow([stage("a", &[]), stage("b", &["a"])])).await;
    let a = worker.take().await;
    for name in ["one", "two", "three"] {
        worker.progress(&a, name).await;
    }
    worker.report(&a, Outcome::Completed(json!({}))).await;
    worker.complete_after(&worker.take().await, &["four", "five"]).await;
    let all = first.watch(&id, 0).await;
    numbered(&all);
    let told = kinds(&all[6..]);
    assert_eq!(
        told,
        ["scheduled b.1", "progress b.1 four", "progress b.1 five", "completed b.1", "completed"]
    );
    let third = Coordinator::start(&nats).await;
    for coordinator in [&first, &second, &third] {
        for cut in 0..=all.len() {
            assert_eq!(coordinator.watch(&id, cut as i64).await, all[cut..], "after {cut}");
        }
        for beyond in [all.len() as i64 + 1, i64::MAX, -1] {
            let status =
                refused(coordinator.try_watch(&id, beyond).await, Code::OutOfRange, "CURSOR_OUT_OF_RANGE");
            assert!(status.message().contains(&format!("from 0 to {}", all.len())), "{status}");
        }
        refused(coordinator.try_watch("nobody", 0).await, Code::NotFound, "NOT_FOUND");
        refused(coordinator.try_watch("../..", 0).await, Code::NotFound, "NOT_FOUND");
    }
}

/// The connection breaks after every single event, and the next replica may lag behind the one before.
#[tokio::test]
async fn a_client_that_goes_from_replica_to_replica_misses_nothing() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let _serving = worker.serve();
    let chain: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let stages = chain.iter().enumerate().map(|(n, id)| match n {
        0 => stage(id, &[]),
        n => stage(id, &[&chain[n - 1]]),
    });
    let id = first.begin(workflow(stages)).await;
    let mut seen: Vec<v1::Event> = Vec::new();
    while seen.last().is_none_or(|event| line(event) != "completed") {
        let replica = if seen.len().is_multiple_of(2) { &second } else { &first };
        let mut stream = replica.try_watch(&id, seen.len() as i64).await.unwrap();
        while let Some(answer) = in_time("the next event", stream.message()).await.unwrap().unwrap() {
            let event = answer.event.unwrap();
            if !event.ephemeral {
                seen.push(event);
                break;
            }
        }
    }
    numbered(&seen);
    assert_eq!(seen, first.watch(&id, 0).await);
}

#[tokio::test]
async fn a_coordinator_that_ends_says_so_to_its_watchers() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let id = first.begin(workflow([stage("a", &[])])).await;
    let a = worker.take().await;
    let mut stream = first.try_watch(&id, 0).await.unwrap();
    let mut last = 0;
    while last < 2 {
        last = in_time("the next event", stream.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .event
            .unwrap()
            .sequence;
    }
    first.stop();
    let status = loop {
        match in_time("the end", stream.message()).await.unwrap() {
            Ok(answer) => assert!(answer.unwrap().event.unwrap().ephemeral),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"));
    assert!(status.get_details_retry_info().is_some());
    worker.report(&a, Outcome::Completed(json!({}))).await;
    assert_eq!(kinds(&second.watch(&id, last).await), ["completed a.1", "completed"]);
}

/// The client saw on one replica what the other has not folded yet.
#[tokio::test]
async fn a_cursor_from_a_replica_that_is_ahead_is_in_range() {
    let (nats, ahead) = start().await;
    let proxy = Proxy::start(nats.url()).await.unwrap();
    let behind = Coordinator::behind(&nats, &proxy.url()).await;
    let worker = Worker::join(&nats).await;
    let id = ahead.begin(workflow([stage("a", &[])])).await;
    let a = worker.take().await;
    let known = wait_for("the slow replica to know it", async || {
        let execution = behind.get(&id).await;
        (execution.last_sequence == 2).then_some(execution.last_sequence)
    });
    assert_eq!(known.await.unwrap(), 2);

    proxy.hold(true);
    for name in ["one", "two"] {
        worker.progress(&a, name).await;
    }
    let mut fast = ahead.try_watch(&id, 2).await.unwrap();
    let mut last = 2;
    while last < 4 {
        last = in_time("progress", fast.message()).await.unwrap().unwrap().unwrap().event.unwrap().sequence;
    }
    assert_eq!(behind.get(&id).await.last_sequence, 2, "it is held up");
    let resumed = behind.try_watch(&id, last);
    tokio::pin!(resumed);
    // It must not answer before it knows.
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut resumed).await;
    assert!(early.is_err(), "{early:?}");
    proxy.hold(false);
    let stream = in_time("the stream", resumed).await.unwrap().unwrap();
    worker.report(&a, Outcome::Completed(json!({}))).await;
    let rest = durable(collect(stream).await);
    assert_eq!(kinds(&rest), ["completed a.1", "completed"]);
    assert_eq!(rest[0].sequence, last + 1);
}
