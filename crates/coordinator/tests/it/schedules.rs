//! Schedules over a real server. Where time is to pass, the test moves back the time up to which slots are settled, as
//! if nobody had been there since; the rule names an hour that is far away, so that no slot comes in between.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use futures::StreamExt as _;
use mahavishnu_bus::{Bus, Options};
use mahavishnu_core::id::ScheduleId;
use mahavishnu_proto::wire;
use v1::schedule_spec::{CatchUp, Overlap};

use super::*;

/// The first `slots` minutes of an hour that is about twelve hours away.
fn far(slots: u32) -> String {
    format!("0-{} {} * * *", slots - 1, (Utc::now().hour() + 12) % 24)
}

fn spec(cron: &str, overlap: Overlap, catch_up: CatchUp) -> v1::ScheduleSpec {
    v1::ScheduleSpec {
        cron: cron.into(),
        workflow: Some(workflow([stage("a", &[])])),
        overlap: overlap.into(),
        catch_up: catch_up.into(),
        ..v1::ScheduleSpec::default()
    }
}

impl Coordinator {
    async fn schedule(&self, id: &str, spec: v1::ScheduleSpec) -> v1::Schedule {
        self.try_schedule(id, spec, "").await.unwrap()
    }

    async fn try_schedule(
        &self,
        id: &str,
        spec: v1::ScheduleSpec,
        request_id: &str,
    ) -> Result<v1::Schedule, Status> {
        let request = v1::CreateScheduleRequest {
            id: id.into(),
            spec: Some(spec),
            paused: false,
            request_id: request_id.into(),
            requested_by: "ann".into(),
        };
        Ok(self.schedules().create_schedule(request).await?.into_inner().schedule.unwrap())
    }

    async fn schedule_now(&self, id: &str) -> Result<v1::Schedule, Status> {
        let request = v1::GetScheduleRequest { id: id.into() };
        Ok(self.schedules().get_schedule(request).await?.into_inner().schedule.unwrap())
    }

    /// Its executions by time, once there are `count`.
    async fn fired(&self, schedule: &str, count: usize) -> Vec<v1::Execution> {
        let mut fired = wait_for(&format!("{count} executions of {schedule}"), async || {
            let filter =
                v1::ExecutionFilter { schedule_id: schedule.into(), ..v1::ExecutionFilter::default() };
            let request =
                v1::ListExecutionsRequest { page_size: 1_000, filter: Some(filter), ..Default::default() };
            let listed = self.executions().list_executions(request).await.unwrap().into_inner().executions;
            (listed.len() >= count).then_some(listed)
        })
        .await
        .unwrap();
        assert_eq!(fired.len(), count, "{fired:?}");
        fired.sort_by_key(|execution| execution.fire_time.unwrap().seconds);
        fired
    }
}

fn schedule_id(id: &str) -> ScheduleId {
    ScheduleId::parse(id).unwrap()
}

/// As if no coordinator had been there for a day.
async fn a_day_goes_by(bus: &Bus, id: &str) {
    let id = schedule_id(id);
    loop {
        let kept = bus.schedule(&id).await.unwrap();
        let mut state: Value = serde_json::from_slice(&kept.body).unwrap();
        state["settled"] = json!(Utc::now() - TimeDelta::hours(24) + TimeDelta::seconds(1));
        let body = serde_json::to_vec(&state).unwrap();
        match bus.put_schedule(&id, body, kept.revision, None).await {
            Ok(_) => break,
            Err(mahavishnu_bus::Error::Conflict) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    bus.wake_schedule(&id).await.unwrap();
}

async fn bus(nats: &TestNats) -> Bus {
    Bus::connect(Options::new(nats.url(), "test")).await.unwrap()
}

fn skips(schedule: &v1::Schedule) -> Vec<(&str, u64)> {
    let skipped = schedule.past.iter().filter(|past| past.execution.is_none());
    skipped.map(|past| (past.skip_reason.as_str(), past.count)).collect()
}

/// The one test that waits for a real minute.
#[tokio::test]
async fn of_two_coordinators_one_fires_a_slot_at_its_time() {
    let (nats, first) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let made = first.schedule("minutely", spec("* * * * *", Overlap::Allow, CatchUp::Latest)).await;
    let due = made.next[0].time.unwrap();
    // The minute may have just begun.
    let delivery = tokio::time::timeout(Duration::from_secs(120), worker.next()).await.unwrap();
    let now = Utc::now();
    let late = now - wire::time(Some(due), "due").unwrap();
    assert!((TimeDelta::zero()..TimeDelta::seconds(10)).contains(&late), "{late}");
    worker.report(&delivery, Outcome::Completed(json!({}))).await;
    let execution = second.get(delivery.execution.as_str()).await;
    assert_eq!((execution.schedule_id.as_str(), execution.fire_time), ("minutely", Some(due)));
    let fired = second.fired("minutely", 1).await;
    assert_eq!(fired[0].id, execution.id);
    let now = wait_for("its end to be noticed", async || {
        let now = second.schedule_now("minutely").await.unwrap();
        now.running.is_empty().then_some(now)
    });
    let now = now.await.unwrap();
    assert_eq!((now.fired, now.skipped, now.past.len()), (1, 0, 1));
    assert_eq!(now.past[0].execution.as_ref().unwrap().execution_id, execution.id);
    assert_eq!(now.next[0].time.unwrap().seconds, due.seconds + 60);
}

/// The test is the coordinator that was woken, stored what it was about to start, and died.
#[tokio::test]
async fn a_coordinator_that_dies_between_fire_and_start_loses_nothing() {
    let (nats, first) = start().await;
    first.schedule("s", spec(&far(2), Overlap::Queue, CatchUp::All)).await;
    drop(first);
    let bus = bus(&nats).await;
    let mut wakes = bus.wakes().await.unwrap();
    a_day_goes_by(&bus, "s").await;
    let wake = in_time("the wake", async {
        loop {
            let wake = wakes.next().await.unwrap().unwrap();
            if wake.time > Utc::now() - TimeDelta::seconds(5) {
                break wake;
            }
        }
    })
    .await
    .unwrap();
    let kept = bus.schedule(&wake.id).await.unwrap();
    let state: mahavishnu_core::schedule::State = serde_json::from_slice(&kept.body).unwrap();
    let about_to = state.advance(Utc::now(), &mahavishnu_core::schedule::Events::default());
    assert_eq!((about_to.starting.len(), about_to.queue.len()), (1, 1));
    bus.put_schedule(&wake.id, serde_json::to_vec(&about_to).unwrap(), kept.revision, None).await.unwrap();
    drop((wake, wakes));

    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    worker.complete("a", json!({})).await;
    worker.complete("a", json!({})).await;
    let fired = second.fired("s", 2).await;
    assert_eq!(fired[0].fire_time.unwrap(), wire::timestamp(about_to.starting[0].time));
    assert_eq!(fired[1].fire_time.unwrap(), wire::timestamp(about_to.queue[0].time));
}

#[tokio::test]
async fn coordinators_that_die_while_they_catch_up_fire_each_slot_once() {
    let (nats, mut one) = start().await;
    let other = Coordinator::start(&nats).await;
    let workers = [Worker::join(&nats).await.serve(), Worker::join(&nats).await.serve()];
    let bus = bus(&nats).await;
    one.schedule("s", spec(&far(60), Overlap::Allow, CatchUp::All)).await;
    a_day_goes_by(&bus, "s").await;
    for _ in 0..3 {
        wait_for("some to be started", async || {
            (other.schedule_now("s").await.unwrap().fired > 0).then_some(())
        })
        .await
        .unwrap();
        drop(one);
        one = Coordinator::start(&nats).await;
        bus.wake_schedule(&schedule_id("s")).await.unwrap();
    }
    drop(other);
    let fired = one.fired("s", 60).await;
    let times: BTreeSet<_> = fired.iter().map(|execution| execution.fire_time.unwrap().seconds).collect();
    assert_eq!(times.len(), 60);
    let settled = wait_for("all to have ended", async || {
        let now = one.schedule_now("s").await.unwrap();
        (now.running.is_empty() && now.queued == 0).then_some(now)
    });
    let settled = settled.await.unwrap();
    assert_eq!((settled.fired, settled.skipped), (60, 0));
    drop(workers);
}

#[tokio::test]
async fn after_downtime_the_latest_fires_or_none() {
    let (nats, coordinator) = start().await;
    let bus = bus(&nats).await;
    for (id, catch_up, expected, fires) in [
        ("latest", CatchUp::Latest, vec![("SUPERSEDED", 4)], 1),
        ("skip", CatchUp::Skip, vec![("MISSED", 5)], 0),
    ] {
        coordinator.schedule(id, spec(&far(5), Overlap::Skip, catch_up)).await;
        a_day_goes_by(&bus, id).await;
        let now = wait_for("the slots to be settled", async || {
            let now = coordinator.schedule_now(id).await.unwrap();
            (now.fired + now.skipped == 5).then_some(now)
        });
        let now = now.await.unwrap();
        assert_eq!((skips(&now), now.fired), (expected, fires));
    }
    let hour = TimeDelta::hours(1).to_std().unwrap();
    let narrow = v1::ScheduleSpec {
        catch_up_window: Some(hour.try_into().unwrap()),
        ..spec(&far(5), Overlap::Skip, CatchUp::All)
    };
    coordinator.schedule("narrow", narrow).await;
    a_day_goes_by(&bus, "narrow").await;
    wait_for("the slots to be skipped", async || {
        (skips(&coordinator.schedule_now("narrow").await.unwrap()) == [("OUTSIDE_WINDOW", 5)]).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_execution_that_runs_is_waited_for_skipped_or_cancelled() {
    let (nats, coordinator) = start().await;
    let bus = bus(&nats).await;
    let worker = Worker::join(&nats).await;

    // Queued: the next starts when the one before has ended, and not earlier.
    coordinator.schedule("queue", spec(&far(3), Overlap::Queue, CatchUp::All)).await;
    a_day_goes_by(&bus, "queue").await;
    for waiting in [2, 1, 0] {
        let delivery = worker.take().await;
        let now = coordinator.schedule_now("queue").await.unwrap();
        assert_eq!((now.queued, now.running.len()), (waiting, 1));
        assert_eq!(now.running[0].execution_id, delivery.execution.as_str());
        worker.report(&delivery, Outcome::Completed(json!({}))).await;
    }
    coordinator.fired("queue", 3).await;

    // Skipped: a slot while one runs that somebody asked for.
    coordinator.schedule("skip", spec(&far(1), Overlap::Skip, CatchUp::Latest)).await;
    let request = v1::TriggerScheduleRequest { id: "skip".into(), request_id: String::new() };
    let triggered = coordinator.schedules().trigger_schedule(request).await.unwrap().into_inner();
    let triggered = triggered.execution.unwrap();
    let delivery = worker.take().await;
    assert_eq!(delivery.execution.as_str(), triggered.id);
    a_day_goes_by(&bus, "skip").await;
    wait_for("the slot to be skipped", async || {
        (skips(&coordinator.schedule_now("skip").await.unwrap()) == [("OVERLAP", 1)]).then_some(())
    })
    .await
    .unwrap();
    worker.report(&delivery, Outcome::Completed(json!({}))).await;

    // Cancelled: what runs gives way, and the latest of those that wait starts.
    coordinator.schedule("cancel", spec(&far(3), Overlap::CancelPrevious, CatchUp::Latest)).await;
    let request = v1::TriggerScheduleRequest { id: "cancel".into(), request_id: String::new() };
    coordinator.schedules().trigger_schedule(request).await.unwrap();
    let delivery = worker.take().await;
    a_day_goes_by(&bus, "cancel").await;
    let next = worker.take().await;
    // Whoever looks at the schedule a second time meanwhile asks again, in vain.
    let lines = kinds(&coordinator.watch(delivery.execution.as_str(), 0).await);
    let cancelled = "cancelled the next slot of the schedule cancel is due";
    assert!(lines.iter().any(|line| line == cancelled), "{lines:?}");
    delivery.ack().await;
    worker.report(&next, Outcome::Completed(json!({}))).await;
    let fired = coordinator.fired("cancel", 2).await;
    assert_eq!(fired.iter().filter(|execution| execution.id == next.execution.as_str()).count(), 1);
}

#[tokio::test]
async fn calls_that_come_again_change_nothing() {
    let (nats, coordinator) = start().await;
    let second = Coordinator::start(&nats).await;
    let ids: Vec<String> = (0..9).map(|n| format!("8c7bd8a4-6b1c-4b0e-9c55-0d2f6d1f3a1{n}")).collect();
    let one = spec(&far(3), Overlap::Queue, CatchUp::Skip);
    let made = coordinator.try_schedule("s", one.clone(), &ids[0]).await.unwrap();
    assert_eq!(second.try_schedule("s", one.clone(), &ids[0]).await.unwrap().create_time, made.create_time);
    let other = spec("0 0 1 1 *", Overlap::Queue, CatchUp::Skip);
    refused(second.try_schedule("s", other.clone(), &ids[0]).await, Code::AlreadyExists, "REQUEST_ID_REUSED");
    refused(second.try_schedule("s", one.clone(), &ids[1]).await, Code::AlreadyExists, "ALREADY_EXISTS");
    refused(second.try_schedule("a b", one.clone(), "").await, Code::InvalidArgument, "INVALID_VALUE");

    let trigger =
        |request_id: &str| v1::TriggerScheduleRequest { id: "s".into(), request_id: request_id.into() };
    let mut executions = BTreeSet::new();
    for coordinator in [&coordinator, &second, &coordinator] {
        let answer = coordinator.schedules().trigger_schedule(trigger(&ids[2])).await.unwrap().into_inner();
        executions.insert(answer.execution.unwrap().id);
    }
    assert_eq!(executions.len(), 1);

    let end = Utc::now();
    let backfill = |request_id: &str| v1::BackfillScheduleRequest {
        id: "s".into(),
        start_time: Some(wire::timestamp(end - TimeDelta::hours(24) + TimeDelta::seconds(5))),
        end_time: Some(wire::timestamp(end)),
        request_id: request_id.into(),
    };
    for (request_id, expected) in [(&ids[3], (3, 0)), (&ids[3], (3, 0)), (&ids[4], (0, 3))] {
        let answer = second.schedules().backfill_schedule(backfill(request_id)).await.unwrap().into_inner();
        assert_eq!((answer.added, answer.existing), expected);
    }
    let worker = Worker::join(&nats).await.serve();
    assert_eq!(coordinator.fired("s", 4).await[3].id, *executions.first().unwrap());
    drop(worker);

    let update = |expected_revision, request_id: &str| v1::UpdateScheduleRequest {
        id: "s".into(),
        spec: Some(other.clone()),
        expected_revision,
        request_id: request_id.into(),
        requested_by: "ann".into(),
    };
    refused(
        coordinator.schedules().update_schedule(update(1, "")).await,
        Code::FailedPrecondition,
        "SCHEDULE_CHANGED",
    );
    let now = wait_for("nothing to change", async || {
        let now = coordinator.schedule_now("s").await.unwrap();
        (now.running.is_empty() && now.queued == 0).then_some(now)
    });
    let revision = now.await.unwrap().revision;
    for _ in 0..2 {
        let answer = coordinator.schedules().update_schedule(update(revision, &ids[5])).await;
        assert_eq!(answer.unwrap().into_inner().schedule.unwrap().spec.unwrap().cron, "0 0 1 1 *");
    }

    let delete = || v1::DeleteScheduleRequest { id: "s".into(), request_id: ids[6].clone() };
    coordinator.schedules().delete_schedule(delete()).await.unwrap();
    second.schedules().delete_schedule(delete()).await.unwrap();
    refused(coordinator.schedule_now("s").await, Code::NotFound, "NOT_FOUND");
    refused(second.schedules().trigger_schedule(trigger("")).await, Code::NotFound, "NOT_FOUND");
    // One of the same name is another one: its executions are new ones.
    let made = second.try_schedule("s", one, &ids[7]).await.unwrap();
    assert_eq!((made.fired, made.past.len()), (0, 0));
}

#[tokio::test]
async fn a_paused_schedule_lets_its_slots_go() {
    let (nats, coordinator) = start().await;
    let bus = bus(&nats).await;
    coordinator.schedule("s", spec(&far(4), Overlap::Queue, CatchUp::All)).await;
    let pause = v1::PauseScheduleRequest { id: "s".into(), reason: "holidays".into(), ..Default::default() };
    let paused = coordinator.schedules().pause_schedule(pause).await.unwrap().into_inner().schedule.unwrap();
    assert!(paused.paused && paused.pause_reason == "holidays" && paused.next.is_empty());
    a_day_goes_by(&bus, "s").await;
    let resume = v1::ResumeScheduleRequest { id: "s".into(), ..Default::default() };
    let resumed =
        coordinator.schedules().resume_schedule(resume).await.unwrap().into_inner().schedule.unwrap();
    assert!(!resumed.paused && resumed.next.len() == 5);
    assert_eq!((skips(&resumed), resumed.fired), (vec![("PAUSED", 4)], 0));
}

#[tokio::test]
async fn lists_previews_and_refusals() {
    let (_nats, coordinator) = start().await;
    for id in ["b", "c", "a"] {
        coordinator.schedule(id, spec("@daily", Overlap::Skip, CatchUp::Latest)).await;
    }
    let list = async |page_size, page_token: &str| {
        let request = v1::ListSchedulesRequest { page_size, page_token: page_token.into() };
        let answer = coordinator.schedules().list_schedules(request).await.unwrap().into_inner();
        let ids: Vec<_> = answer.schedules.into_iter().map(|schedule| schedule.id).collect();
        (ids.join(" "), answer.next_page_token)
    };
    let (page, token) = list(2, "").await;
    assert_eq!(page, "a b");
    assert_eq!(list(2, &token).await, ("c".into(), String::new()));

    let preview = |cron: &str, timezone: &str, after: &str| v1::PreviewScheduleRequest {
        cron: cron.into(),
        timezone: timezone.into(),
        count: 2,
        after: Some(wire::timestamp(after.parse::<DateTime<Utc>>().unwrap())),
        ..Default::default()
    };
    let across = preview("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z");
    let answer = coordinator.schedules().preview_schedule(across).await.unwrap().into_inner();
    let local: Vec<_> = answer.fire_times.iter().map(|fire| fire.local.as_str()).collect();
    assert_eq!(local, ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
    assert!(answer.clock_change.contains("skip 02:30"), "{}", answer.clock_change);
    let own = v1::PreviewScheduleRequest { id: "a".into(), ..Default::default() };
    let answer = coordinator.schedules().preview_schedule(own).await.unwrap().into_inner();
    assert_eq!(answer.fire_times.len(), 10);
    let wrong =
        v1::PreviewScheduleRequest { count: -1, ..preview("* *", "Mars/Olympus", "2026-03-28T12:00:00Z") };
    let status = refused(
        coordinator.schedules().preview_schedule(wrong).await,
        Code::InvalidArgument,
        "INVALID_VALUE",
    );
    let fields = |status: &Status| -> Vec<String> {
        let violations = status.get_details_bad_request().unwrap().field_violations;
        violations.into_iter().map(|violation| violation.field).collect()
    };
    assert_eq!(fields(&status), ["count", "timezone", "cron"]);

    let all_wrong = v1::ScheduleSpec {
        timezone: "Mars".into(),
        catch_up_window: seconds(8 * 24 * 3600),
        workflow: Some(workflow([v1::Stage { r#type: "excel".into(), ..stage("a", &[]) }])),
        ..spec("61 * * * *", Overlap::Skip, CatchUp::Skip)
    };
    let status =
        refused(coordinator.try_schedule("x", all_wrong, "").await, Code::InvalidArgument, "TOO_LARGE");
    assert_eq!(fields(&status), ["spec.catch_up_window", "stages[0].type", "spec.timezone", "spec.cron"]);
    let none = spec("", Overlap::Skip, CatchUp::Skip);
    refused(coordinator.try_schedule("x", none, "").await, Code::InvalidArgument, "REQUIRED");
    let own = v1::Stage {
        r#type: "prefect".into(),
        task: Some(structure(
            json!({"type": "scheduled_etl", "schedule": "0 2 * * *", "timezone": "Asia/Kolkata"}),
        )),
        ..stage("etl", &[])
    };
    let from_stage =
        v1::ScheduleSpec { workflow: Some(workflow([own])), ..spec("", Overlap::Skip, CatchUp::Skip) };
    let made = coordinator.schedule("", from_stage).await;
    assert!(made.next[0].local.ends_with("T02:00:00+05:30"), "{made:?}");
}
