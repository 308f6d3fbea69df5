//! The model of what is stored of schedules against a real server: the same operations, the same answers.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use mahavishnu_bus::schedules::Wake;
use mahavishnu_bus::{Bus, Error, Options};
use mahavishnu_core::id::ScheduleId;
use mahavishnu_core::schedule::{CatchUp, Definition, Overlap, Schedule, State};
use mahavishnu_core::workflow::Parsed;
use mahavishnu_simulation::schedules::store::Store;
use mahavishnu_test_support::nats::TestNats;

const LEASE: Duration = Duration::from_secs(1);
/// Whatever comes comes within this time.
const SOON: Duration = Duration::from_secs(20);
/// What has not come within this time does not come.
const NEVER: Duration = Duration::from_millis(2_500);

fn state(now: DateTime<Utc>) -> State {
    let engines: &[&str] = &["alpha"];
    let text = r#"{"stages": [{"type": "alpha", "task": {}}]}"#;
    let definition = Definition {
        rule: Schedule::parse("* * * * *", None).unwrap(),
        workflow: Parsed::json(text.as_bytes()).check(&engines).unwrap(),
        overlap: Overlap::Skip,
        catch_up: CatchUp::Latest,
        window: Duration::from_secs(60),
    };
    State::new(definition, now, false, "ann")
}

#[tokio::test]
async fn schedules_are_stored_as_the_model_says() {
    let nats = TestNats::start().await.unwrap();
    let options = Options { lease: LEASE, ..Options::new(nats.url(), "conformance") };
    let real = Bus::connect(options).await.unwrap();
    real.ensure(&[]).await.unwrap();
    let mut model = Store::new(TimeDelta::from_std(LEASE).unwrap());
    let mut now = Utc::now();
    let id = ScheduleId::parse("nightly").unwrap();

    // A state is stored over the revision that it was made from, and over no other.
    let put = |after| real.put_schedule(&id, b"{}".to_vec(), after, None);
    let revision = put(0).await.unwrap();
    model.put(&id, state(now), Some(0), now).unwrap();
    assert!(matches!(put(0).await, Err(Error::Conflict)));
    assert!(model.put(&id, state(now), Some(0), now).is_err());
    let (_, of_model) = model.get(&id).unwrap();
    assert!(put(revision).await.is_ok() && model.put(&id, state(now), Some(of_model), now).is_ok());

    // A state wakes by itself, the last one of it once.
    let mut wakes = real.wakes().await.unwrap();
    let mut next = async |limit| -> Option<Wake> {
        tokio::time::timeout(limit, wakes.next()).await.ok().map(|wake| wake.unwrap().unwrap())
    };
    let (of_real, of_model) = (next(SOON).await.unwrap(), model.pull(now).unwrap());
    of_real.ack().await;
    model.ack(&of_model);
    assert!(model.is_idle());

    // Of two wakes the later one is left; it comes again until it is acknowledged, then never.
    for _ in 0..2 {
        real.wake_schedule(&id).await.unwrap();
        model.wake(&id, now);
    }
    let mut last = None;
    for delivery in 1..=2 {
        // The first may be of the earlier wake, if the server was quicker than the second.
        last = Some((next(SOON).await.unwrap(), model.pull(now).unwrap()));
        assert!(model.pull(now).is_none(), "delivery {delivery}");
        now += TimeDelta::from_std(LEASE).unwrap();
    }
    let (of_real, of_model) = last.unwrap();
    of_real.ack().await;
    model.ack(&of_model);
    now += TimeDelta::seconds(10);
    assert!(next(NEVER).await.is_none() && model.pull(now).is_none());

    // Whoever acknowledges a wake takes nothing away from a later one.
    real.wake_schedule(&id).await.unwrap();
    model.wake(&id, now);
    let (of_real, of_model) = (next(SOON).await.unwrap(), model.pull(now).unwrap());
    real.wake_schedule(&id).await.unwrap();
    model.wake(&id, now);
    of_real.ack().await;
    model.ack(&of_model);
    let (of_real, of_model) = (next(SOON).await.unwrap(), model.pull(now).unwrap());
    of_real.ack().await;
    model.ack(&of_model);
    assert!(model.is_idle());

    // Timers of different times stand side by side.
    for seconds in [1, 3] {
        real.wake_schedule_at(&id, Utc::now() + TimeDelta::seconds(seconds)).await.unwrap();
        model.wake_at(&id, now + TimeDelta::seconds(seconds));
    }
    assert_eq!(model.wakes_of(&id).len(), 2);
    for _ in 0..2 {
        now += TimeDelta::seconds(2);
        model.pass(now);
        let (of_real, of_model) = (next(SOON).await.unwrap(), model.pull(now).unwrap());
        of_real.ack().await;
        model.ack(&of_model);
    }
    assert!(next(NEVER).await.is_none() && model.is_idle());
}
