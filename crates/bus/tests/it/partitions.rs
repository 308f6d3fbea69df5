//! Several streams that share the histories.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use mahavishnu_bus::Error;
use mahavishnu_bus::log::TailItem;
use mahavishnu_bus::partition::Partition;
use mahavishnu_core::id::Queue;
use mahavishnu_core::inputs::Cursor;
use mahavishnu_test_support::wait::{in_time, wait_for};

use super::*;

const PARTITIONS: u32 = 3;

fn options(nats: &TestNats, partitions: Option<u32>) -> Options {
    Options { lease: LEASE, partitions, ..Options::new(nats.url(), "test") }
}

/// A server whose store has some partitions, and executions in each of them.
async fn partitioned() -> (TestNats, Bus, Vec<ExecutionId>) {
    let nats = TestNats::start().await.unwrap();
    let bus = Bus::connect(options(&nats, Some(PARTITIONS))).await.unwrap();
    bus.ensure(&[engine()]).await.unwrap();
    let ids: Vec<_> = (0..12).map(|n| execution(&format!("e{n}"))).collect();
    let used: BTreeSet<_> = ids.iter().map(|id| Partition::of(id, PARTITIONS)).collect();
    assert_eq!(used.len(), 3, "{used:?}");
    (nats, bus, ids)
}

#[tokio::test]
async fn an_execution_is_found_in_its_partition_by_everybody() {
    let (nats, bus, ids) = partitioned().await;
    let mut tail = bus.tail(&[]).await.unwrap();
    assert_eq!(tail.start.len(), 3);
    for id in &ids {
        bus.accept(id, &accepted(), &trace()).await.unwrap();
        let task = bus.decide(id, &scheduled(1), 0, &trace()).await.unwrap();
        bus.input(id, &completed(json!({"n": 1})), &trace()).await.unwrap();
        assert!(matches!(bus.decide(id, &ended(), task - 1, &trace()).await, Err(Error::Conflict)), "{id}");
        bus.decide(id, &ended(), task, &trace()).await.unwrap();
    }
    // Whoever comes later learns from the store how many there are.
    let other = Bus::connect(options(&nats, None)).await.unwrap();
    for id in &ids {
        let history = other.history(id, other.last_position(id).await.unwrap()).await.unwrap();
        assert_eq!(history.len(), 4, "{id}");
    }
    let mut followed = BTreeMap::new();
    while followed.values().sum::<usize>() < 4 * ids.len() {
        let (partition, item) = in_time("the tail", tail.items.next()).await.unwrap().unwrap();
        let TailItem::Record(stored) = item else { panic!("not a record") };
        assert_eq!(partition, Partition::of(&stored.execution, PARTITIONS));
        *followed.entry(stored.execution).or_insert(0) += 1;
    }
    assert!(followed.values().all(|count| *count == 4), "{followed:?}");
    let mut cursors = vec![Cursor::default(); 3];
    cursors[2] = Cursor { passed: 7, waiting: vec![(5, ids[0].clone())] };
    bus.save_input_cursor(2, &cursors[2]).await.unwrap();
    assert_eq!(other.input_cursors().await.unwrap(), cursors);
    for id in &ids {
        other.remove(id).await.unwrap();
        assert!(matches!(bus.history(id, 0).await, Err(Error::NotFound)), "{id}");
    }
}

#[tokio::test]
async fn one_slot_takes_the_tasks_of_all_partitions_and_never_two() {
    let (_nats, bus, ids) = partitioned().await;
    let queue = bus.task_queue(&engine()).await.unwrap();
    for id in &ids {
        bus.decide(id, &scheduled(1), 0, &trace()).await.unwrap();
    }
    let name = Queue::from(&engine());
    let mut intake = queue.intake().await.unwrap();
    let mut taken = BTreeSet::new();
    for n in 1..=ids.len() {
        let arrival = in_time("a task", intake.next(1)).await.unwrap().unwrap();
        let delivery = arrival.read().await.unwrap().unwrap();
        let depth = bus.queue_depth(&name, &delivery.execution).await.unwrap().unwrap();
        assert_eq!((depth.queued, depth.in_flight), (u64::try_from(ids.len() - n).unwrap(), 1));
        bus.input(&delivery.execution, &completed(json!({})), &trace()).await.unwrap();
        delivery.ack().await;
        let acknowledged = async || {
            let depth = bus.queue_depth(&name, &delivery.execution).await.unwrap().unwrap();
            (depth.in_flight == 0).then_some(())
        };
        wait_for("the acknowledgement", acknowledged).await.unwrap();
        taken.insert(delivery.execution);
    }
    assert_eq!(taken, ids.into_iter().collect());
}

#[tokio::test]
async fn the_number_is_the_stores() {
    let (nats, _bus, _) = partitioned().await;
    let other = Bus::connect(options(&nats, Some(2))).await.unwrap();
    let refused = other.ensure(&[engine()]).await;
    assert!(matches!(refused, Err(Error::Partitions { asked: 2, has: PARTITIONS })), "{refused:?}");
    let again = Bus::connect(options(&nats, None)).await.unwrap();
    again.ensure(&[engine()]).await.unwrap();
    assert_eq!(again.partitions().await.unwrap(), PARTITIONS);

    // A store from before there were partitions has one.
    let (nats, bus) = start().await;
    assert_eq!(bus.partitions().await.unwrap(), 1);
    let refused = Bus::connect(options(&nats, Some(2))).await.unwrap().ensure(&[]).await;
    assert!(matches!(refused, Err(Error::Partitions { asked: 2, has: 1 })), "{refused:?}");
}
