use mahavishnu_core::execution::Timer;
use mahavishnu_test_support::wait::wait_for;

use super::*;

async fn fired(bus: &Bus, id: &ExecutionId, count: usize) -> Vec<(Timer, DateTime<Utc>)> {
    wait_for("timers to fire", async || {
        let history = bus.history(id, 0).await.unwrap();
        let fired: Vec<_> = (history.into_iter())
            .filter_map(|stored| match stored.record.fact {
                Fact::TimerFired(timer) => {
                    assert_eq!(stored.trace, trace(), "the context travels with the timer");
                    Some((timer, stored.record.time))
                }
                _ => None,
            })
            .collect();
        (fired.len() >= count).then_some(fired)
    })
    .await
    .unwrap()
}

fn retry(attempt: u32) -> Timer {
    Timer::Retry { stage: StageId::parse("a").unwrap(), attempt }
}

#[tokio::test]
async fn timers_fire_into_the_inputs_each_once() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    let soon = now() + Duration::from_secs(1);
    let later = now() + Duration::from_secs(3);
    bus.set_timer(&id, &Timer::Deadline, soon, &trace()).await.unwrap();
    // Set again, as by a coordinator that goes on for another: it replaces the first.
    bus.set_timer(&id, &retry(2), soon, &trace()).await.unwrap();
    bus.set_timer(&id, &retry(2), later, &trace()).await.unwrap();
    bus.set_timer(&id, &retry(3), later, &trace()).await.unwrap();
    let fired = fired(&bus, &id, 3).await;
    assert_eq!(fired.len(), 3, "{fired:?}");
    for (timer, at) in [(Timer::Deadline, soon), (retry(2), later), (retry(3), later)] {
        let (_, time) = fired.iter().find(|(fired, _)| *fired == timer).expect("not fired");
        assert!(*time >= at, "{timer:?} fired {time}, before {at}");
    }
}

/// Coordinators that were away set timers for times that are over.
#[tokio::test]
async fn a_timer_for_a_time_that_is_over_fires_at_once() {
    let (_nats, bus) = start().await;
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    bus.set_timer(&id, &retry(2), now() - Duration::from_secs(3600), &trace()).await.unwrap();
    assert_eq!(fired(&bus, &id, 1).await[0].0, retry(2));
}

#[tokio::test]
async fn a_timer_outlives_the_server() {
    let (mut nats, bus) = start().await;
    let id = execution("e1");
    bus.accept(&id, &accepted(), &trace()).await.unwrap();
    bus.set_timer(&id, &Timer::Deadline, now() + Duration::from_secs(2), &trace()).await.unwrap();
    nats.restart().await.unwrap();
    let bus = connect(&nats).await;
    assert_eq!(fired(&bus, &id, 1).await[0].0, Timer::Deadline);
}
