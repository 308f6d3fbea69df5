use mahavishnu_bus::Error;
use mahavishnu_bus::tasks::{Delivery, TaskQueue};
use mahavishnu_core::id::{PoolName, Queue};
use mahavishnu_test_support::wait::{in_time, wait_for};

use super::*;

async fn take(queue: &TaskQueue) -> Delivery {
    in_time("a task", queue.next()).await.unwrap().unwrap().expect("no task")
}

/// Publishes a task of an execution of this name.
async fn publish(bus: &Bus, name: &str) {
    bus.decide(&execution(name), &scheduled(1), 0, &trace()).await.unwrap();
}

fn place(delivery: &Delivery) -> (&str, u32) {
    (delivery.execution.as_str(), delivery.delivery)
}

#[tokio::test]
async fn a_task_arrives_as_it_was_sent() {
    let (_nats, bus) = start().await;
    publish(&bus, "e1").await;
    let delivery = take(&bus.task_queue(&engine()).await.unwrap()).await;
    assert_eq!((place(&delivery), &delivery.trace), (("e1", 1), &trace()));
    assert_eq!(Fact::Scheduled(delivery.task), scheduled(1));
    assert!(bus.task_queue(&EngineName::parse("nobody").unwrap()).await.is_err());
}

#[tokio::test]
async fn a_pool_has_a_queue_of_its_own() {
    let (_nats, bus) = start().await;
    let pool = Queue { pool: Some(PoolName::parse("reports").unwrap()), ..Queue::from(&engine()) };
    let in_pool = |fact| match fact {
        Fact::Scheduled(task) => Fact::Scheduled(Task { pool: pool.pool.clone(), ..task }),
        fact => fact,
    };
    let id = execution("e1");
    bus.accept(&id, &accepted_in(pool.pool.as_ref()), &trace()).await.unwrap();
    let first = bus.decide(&id, &in_pool(scheduled(1)), 0, &trace()).await.unwrap();
    assert!(bus.task_queue(&pool).await.is_err());
    assert!(bus.queue_depth(&pool, &id).await.unwrap().is_none());
    publish(&bus, "e2").await;

    // What was meant for it before it was there is in it.
    bus.ensure_queue(&pool).await.unwrap();
    bus.ensure_queue(&pool).await.unwrap();
    assert_eq!(bus.queue_depth(&pool, &id).await.unwrap().unwrap().queued, 1);
    let taken = take(&bus.task_queue(&pool).await.unwrap()).await;
    assert_eq!((place(&taken), taken.task.queue()), (("e1", 1), pool.clone()));
    let other = take(&bus.task_queue(&engine()).await.unwrap()).await;
    assert_eq!((place(&other), &other.task.pool), (("e2", 1), &None));
    for queue in [pool, Queue::from(&engine())] {
        let depth = bus.queue_depth(&queue, &id).await.unwrap().unwrap();
        assert_eq!((depth.queued, depth.in_flight), (0, 1), "{queue}");
    }
    // One condition holds for what all queues of an execution get, and one history has it.
    let stale = bus.decide(&id, &scheduled(1), 0, &trace()).await;
    assert!(matches!(stale, Err(Error::Conflict)), "{stale:?}");
    let history = bus.history(&id, 0).await.unwrap();
    assert_eq!(history.last().map(|stored| stored.record.position), Some(first));
}

#[tokio::test]
async fn without_a_sign_of_life_the_task_goes_to_another() {
    let (nats, bus) = start().await;
    publish(&bus, "e1").await;
    let taken = take(&bus.task_queue(&engine()).await.unwrap()).await;
    let other = connect(&nats).await.task_queue(&engine()).await.unwrap();
    let since = std::time::Instant::now();
    let again = take(&other).await;
    assert_eq!((place(&taken), place(&again)), (("e1", 1), ("e1", 2)));
    assert!(since.elapsed() > LEASE / 2, "only when the lease is over");
}

#[tokio::test]
async fn a_sign_of_life_keeps_the_lease() {
    let (_nats, bus) = start().await;
    publish(&bus, "e1").await;
    let queue = bus.task_queue(&engine()).await.unwrap();
    let taken = take(&queue).await;
    let alive = async {
        let mut ticks = tokio::time::interval(LEASE / 4);
        for _ in 0..16 {
            ticks.tick().await;
            taken.progress().await;
        }
    };
    tokio::select! {
        () = alive => {}
        other = queue.next() => panic!("taken away: {:?}", other.unwrap().map(|delivery| delivery.delivery)),
    }
    taken.ack().await;
    publish(&bus, "e2").await;
    assert_eq!(place(&take(&queue).await), ("e2", 1));
}

#[tokio::test]
async fn what_is_given_back_comes_again_and_what_is_acknowledged_does_not() {
    let (nats, bus) = start().await;
    publish(&bus, "e1").await;
    let queue = bus.task_queue(&engine()).await.unwrap();
    let taken = take(&queue).await;
    let since = std::time::Instant::now();
    taken.give_back(Duration::from_millis(300)).await;
    let again = take(&queue).await;
    assert_eq!(place(&again), ("e1", 2));
    assert!(since.elapsed() >= Duration::from_millis(250));
    again.ack().await;
    let raw = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    wait_for("everything is acknowledged", async || {
        let stream = raw.get_stream("MAHAVISHNU_HISTORY").await.unwrap();
        let info = stream.consumer_info("task-custom").await.unwrap();
        (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
    })
    .await
    .unwrap();
}

/// A request that waits long gets idle heartbeats in between.
#[tokio::test]
async fn a_task_that_comes_after_an_idle_heartbeat_is_taken() {
    let (_nats, bus) = start().await;
    let queue = bus.task_queue(&engine()).await.unwrap();
    let next = queue.next();
    tokio::pin!(next);
    assert!(tokio::time::timeout(Duration::from_millis(5_500), &mut next).await.is_err());
    publish(&bus, "e1").await;
    let taken = in_time("the task", next).await.unwrap().unwrap().unwrap();
    assert_eq!(place(&taken), ("e1", 1));
}

#[tokio::test]
async fn every_task_goes_to_one_of_many_workers() {
    let (nats, bus) = start().await;
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let queue = connect(&nats).await.task_queue(&engine()).await.unwrap();
        workers.spawn(async move {
            let taken = take(&queue).await;
            taken.ack().await;
            (taken.execution.to_string(), taken.delivery)
        });
    }
    let names: Vec<String> = (0..8).map(|n| format!("e{n}")).collect();
    for name in &names {
        publish(&bus, name).await;
    }
    let mut taken = in_time("all tasks", workers.join_all()).await.unwrap();
    taken.sort();
    assert_eq!(taken, names.into_iter().map(|name| (name, 1)).collect::<Vec<_>>());
}
