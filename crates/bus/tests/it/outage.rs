//! A server that dies and comes back.

use futures::StreamExt as _;
use mahavishnu_bus::log::TailItem;
use mahavishnu_test_support::wait::{in_time, wait_for};

use super::*;

#[tokio::test]
async fn the_tail_has_neither_gap_nor_duplicate_after_a_restart() {
    let (mut nats, bus) = start().await;
    let mut tail = connect(&nats).await.tail(&[]).await.unwrap();
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let writer = tokio::spawn({
        let (bus, id) = (bus.clone(), id.clone());
        async move {
            // Some travel as artifacts, which the tail has to fetch from the server that is away.
            for n in 0..60 {
                let name = if n % 6 == 0 { format!("{n}{}", "x".repeat(600_000)) } else { n.to_string() };
                bus.input(&id, &progressed(name), &trace()).await.unwrap();
                tell.send_replace(n);
            }
        }
    });
    for kill in [15, 40] {
        in_time("the writer", told.wait_for(|n| *n >= kill)).await.unwrap().unwrap();
        nats.restart().await.unwrap();
    }
    in_time("the writer", writer).await.unwrap().unwrap();

    let history = bus.history(&id, 0).await.unwrap();
    assert!(history.len() >= 61, "{} records", history.len());
    let mut followed = Vec::new();
    while followed.len() < history.len() {
        match in_time("the tail", tail.items.next()).await.unwrap().expect("the tail has ended").1 {
            TailItem::Record(stored) => followed.push(stored.record),
            TailItem::Unreadable { error, position, .. } => panic!("{position}: {error:?}"),
            TailItem::Disturbed(_) => {}
        }
    }
    assert!(followed.iter().eq(history.iter().map(|stored| &stored.record)));
}

#[tokio::test]
async fn streams_are_made_when_a_slow_server_answers_at_last() {
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(Options::new(nats.url(), "test")).await.unwrap();
    wait_for("a connection", async || bus.is_connected().then_some(())).await.unwrap();
    nats.stop(true);
    let mut ensured = tokio::spawn({
        let bus = bus.clone();
        async move { bus.ensure(&[engine()]).await }
    });
    // Longer than one request waits.
    assert!(tokio::time::timeout(Duration::from_secs(6), &mut ensured).await.is_err());
    nats.stop(false);
    in_time("the streams", ensured).await.unwrap().unwrap().unwrap();
    bus.task_queue(&engine()).await.unwrap();
}

#[tokio::test]
async fn tasks_go_on_after_a_restart() {
    let (mut nats, bus) = start().await;
    let queue = bus.task_queue(&engine()).await.unwrap();
    let id = execution("e1");
    nats.restart().await.unwrap();
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    bus.decide(&id, &scheduled(1), 0, &trace()).await.unwrap();
    let task = async {
        loop {
            match queue.next().await {
                Ok(Some(delivery)) => return delivery.execution,
                other => println!("not yet: {:?}", other.err()),
            }
        }
    };
    assert_eq!(in_time("the task", task).await.unwrap(), id);
}
