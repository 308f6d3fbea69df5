//! Schedules that fire every minute while things break, and people who trigger, pause, resume and make up for slots.
//!
//! All kinds of overlap and of catching up are there. Slots that people make up for lie before the schedule was made, so
//! that none is asked for twice.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::v1;
use mahavishnu_simulation::check::Acknowledged;
use prost_types::Timestamp;
use tokio::task::JoinSet;
use tonic::Status;
use uuid::Uuid;
use v1::schedule_spec::{CatchUp, Overlap};

use crate::client::Client;
use crate::load::Load;
use crate::workflows;

/// Kinds of overlap times kinds of catching up.
const SCHEDULES: usize = 12;
/// Calls that change one schedule: fewer than it remembers, so that its counts can be checked.
const CALLS: u32 = 50;
/// The mean time between two of them.
const BETWEEN: Duration = Duration::from_secs(8);
/// After the faults, every schedule has looked at a new slot by then: a slot comes every minute.
const ALIVE: Duration = Duration::from_secs(150);
/// And by then all that it began has ended.
const REST: Duration = Duration::from_secs(120);

/// One schedule and the person who looks after it.
struct Keeper {
    load: Load,
    client: Client,
    rng: Rng,
    id: String,
    /// Of the next slots to be made up for, the last.
    before: DateTime<Utc>,
}

/// Starts them.
pub fn start(load: &Load) -> JoinSet<()> {
    let mut keepers = JoinSet::new();
    for n in 0..SCHEDULES {
        let mut rng = Rng::with_seed(load.seed ^ ((n as u64 + 1) << 40));
        let client = Client::new(&load.channels, &mut rng);
        // Long before anything fires by itself.
        let before = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let keeper = Keeper { load: load.clone(), client, rng, id: format!("schedule-{n}"), before };
        keepers.spawn(keeper.keep(n));
    }
    keepers
}

impl Keeper {
    async fn keep(mut self, n: usize) {
        let overlaps = [Overlap::Skip, Overlap::Queue, Overlap::Allow, Overlap::CancelPrevious];
        let catch_ups = [CatchUp::Skip, CatchUp::Latest, CatchUp::All];
        let request = v1::CreateScheduleRequest {
            id: self.id.clone(),
            spec: Some(v1::ScheduleSpec {
                cron: "* * * * *".to_owned(),
                workflow: Some(self.load.made(workflows::scheduled(&mut self.rng, &self.id))),
                overlap: overlaps[n % 4].into(),
                catch_up: catch_ups[n / 4].into(),
                ..v1::ScheduleSpec::default()
            }),
            request_id: self.request_id(),
            ..v1::CreateScheduleRequest::default()
        };
        let made = self.client.create_schedule(&mut self.rng, &request).await;
        if !self.went_well("CreateSchedule", made.as_ref().err()) {
            return;
        }
        self.load.count("schedules");
        let mut calls = 0;
        while !self.load.is_enough() {
            tokio::time::sleep(BETWEEN.mul_f64(0.5 + self.rng.f64())).await;
            if calls < CALLS {
                calls += self.change().await;
            }
        }
        self.come_to_rest().await;
    }

    /// Does something with it; how many calls that were.
    async fn change(&mut self) -> u32 {
        match self.rng.u32(..10) {
            0..4 => self.trigger().await,
            4..6 => self.make_up().await,
            6 => {
                self.load.count("pauses of schedules");
                self.pause().await;
                tokio::time::sleep(BETWEEN.mul_f64(2.0 * self.rng.f64())).await;
                self.resume().await;
                2
            }
            _ => 0,
        }
    }

    async fn trigger(&mut self) -> u32 {
        let request = v1::TriggerScheduleRequest { id: self.id.clone(), request_id: self.request_id() };
        // Asking twice starts one.
        for _ in 0..self.rng.u32(1..3) {
            match self.client.trigger_schedule(&mut self.rng, &request).await {
                Ok(answer) => {
                    self.load.count("triggers");
                    let id = answer.execution.unwrap_or_default().id;
                    let Ok(execution) = ExecutionId::parse(&id) else { return 1 };
                    let digest = self.id.as_bytes().to_vec();
                    let request = Some(request.request_id.clone());
                    self.load.acknowledged(Acknowledged { request, execution, digest });
                    if self.rng.bool() {
                        self.load.watch(&self.client, &mut self.rng, &id, None).await;
                    }
                }
                Err(status) => drop(self.went_well("TriggerSchedule", Some(&status))),
            }
        }
        1
    }

    /// Asks for slots of the past; twice adds them once.
    async fn make_up(&mut self) -> u32 {
        let slots = self.rng.u32(1..6);
        let from = self.before - TimeDelta::minutes(i64::from(slots) - 1);
        let request = v1::BackfillScheduleRequest {
            id: self.id.clone(),
            start_time: Some(timestamp(from)),
            end_time: Some(timestamp(self.before)),
            request_id: self.request_id(),
        };
        for _ in 0..self.rng.u32(1..3) {
            match self.client.backfill_schedule(&mut self.rng, &request).await {
                Ok(answer) if answer.added == slots => self.load.count("backfills"),
                Ok(answer) => {
                    self.load.wrong(format!("{}: {} slots of {slots} were added", self.id, answer.added));
                }
                Err(status) => drop(self.went_well("BackfillSchedule", Some(&status))),
            }
        }
        self.before = from - TimeDelta::minutes(1);
        1
    }

    async fn pause(&mut self) {
        let (reason, request_id) = ("chaos".to_owned(), self.request_id());
        let request = v1::PauseScheduleRequest { id: self.id.clone(), reason, request_id };
        let paused = self.client.pause_schedule(&mut self.rng, &request).await;
        self.went_well("PauseSchedule", paused.as_ref().err());
    }

    async fn resume(&mut self) {
        let request = v1::ResumeScheduleRequest { id: self.id.clone(), request_id: self.request_id() };
        let resumed = self.client.resume_schedule(&mut self.rng, &request).await;
        self.went_well("ResumeSchedule", resumed.as_ref().err());
    }

    /// Fires once more by itself, then is paused until everything that it began has ended.
    async fn come_to_rest(&mut self) {
        let healed = Utc::now().timestamp();
        let seen = |schedule: &v1::Schedule| {
            let latest =
                schedule.past.iter().filter_map(|past| past.last_time.as_ref().or(past.time.as_ref()));
            latest.map(|time| time.seconds).max().is_some_and(|latest| latest > healed)
        };
        if !self.becomes(ALIVE, seen).await {
            return self.load.wrong(format!("{} looks at no slot any more", self.id));
        }
        self.pause().await;
        let rests = |schedule: &v1::Schedule| schedule.running.is_empty() && schedule.queued == 0;
        if !self.becomes(REST, rests).await {
            self.load.wrong(format!("{} never comes to rest", self.id));
        }
    }

    async fn becomes(&mut self, limit: Duration, condition: impl Fn(&v1::Schedule) -> bool) -> bool {
        let wait = async {
            loop {
                let request = v1::GetScheduleRequest { id: self.id.clone() };
                match self.client.get_schedule(&mut self.rng, &request).await {
                    Ok(answer) if answer.schedule.as_ref().is_some_and(&condition) => return true,
                    Ok(_) => {}
                    Err(status) => return self.went_well("GetSchedule", Some(&status)),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }

    fn went_well(&self, call: &str, error: Option<&Status>) -> bool {
        if let Some(status) = error {
            self.load.wrong(format!("{call} {}: {status}", self.id));
        }
        error.is_none()
    }

    fn request_id(&mut self) -> String {
        Uuid::from_u128(self.rng.u128(..)).to_string()
    }
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: 0 }
}
