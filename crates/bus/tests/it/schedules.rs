use std::time::Duration;

use futures::StreamExt as _;
use mahavishnu_bus::Error;
use mahavishnu_test_support::wait::{in_time, wait_for};

use super::*;

fn schedule(text: &str) -> ScheduleId {
    ScheduleId::parse(text).unwrap()
}

#[tokio::test]
async fn a_state_is_stored_over_the_revision_that_it_was_made_from() {
    let (_nats, bus) = start().await;
    let id = schedule("nightly");
    assert!(matches!(bus.schedule(&id).await, Err(Error::NotFound)));
    let first = bus.put_schedule(&id, b"one".to_vec(), 0, None).await.unwrap();
    assert!(matches!(bus.put_schedule(&id, b"x".to_vec(), 0, None).await, Err(Error::Conflict)));
    let second = bus.put_schedule(&id, b"two".to_vec(), first, None).await.unwrap();
    assert!(matches!(bus.put_schedule(&id, b"x".to_vec(), first, None).await, Err(Error::Conflict)));
    let kept = bus.schedule(&id).await.unwrap();
    assert_eq!((kept.body.as_ref(), kept.revision), (b"two".as_slice(), second));
    bus.put_schedule(&schedule("other"), b"three".to_vec(), 0, None).await.unwrap();
    bus.wake_schedule(&id).await.unwrap();
    let mut all: Vec<_> = bus.schedules().await.unwrap().into_iter().map(|kept| kept.body).collect();
    all.sort();
    assert_eq!(all, ["three", "two"]);
    // Gone after its time, as if it had never been.
    bus.put_schedule(&id, b"gone".to_vec(), second, Some(Duration::from_secs(1))).await.unwrap();
    wait_for("the state to vanish", async || bus.schedule(&id).await.is_err().then_some(())).await.unwrap();
    bus.put_schedule(&id, b"new".to_vec(), 0, None).await.unwrap();
}

#[tokio::test]
async fn a_wake_stays_until_it_is_acknowledged_and_timers_stand_side_by_side() {
    let (mut nats, bus) = start().await;
    let id = schedule("nightly");
    bus.wake_schedule(&id).await.unwrap();
    let mut wakes = bus.wakes().await.unwrap();
    let first = in_time("the wake", wakes.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.id, id);
    drop(first);
    let again = in_time("the wake again", wakes.next()).await.unwrap().unwrap().unwrap();
    again.ack().await;
    // Somebody who is late sets one for a later time: the earlier one fires all the same, also after a restart.
    let (soon, later) = (now() + Duration::from_secs(2), now() + Duration::from_secs(3600));
    bus.wake_schedule_at(&id, soon).await.unwrap();
    bus.wake_schedule_at(&id, later).await.unwrap();
    nats.restart().await.unwrap();
    let fired = in_time("the timer", async {
        loop {
            // The acknowledgement above may not have reached the server before its end.
            match wakes.next().await {
                Some(Ok(wake)) if wake.time >= soon => break wake,
                Some(Ok(wake)) => wake.ack().await,
                _ => {}
            }
        }
    });
    let fired = fired.await.unwrap();
    assert!(fired.time < soon + Duration::from_secs(20), "{}", fired.time);
    fired.ack().await;
}
