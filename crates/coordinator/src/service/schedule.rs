//! `ScheduleService`.

use chrono::{DateTime, Utc};
use mahavishnu_core::schedule::{CatchUp, Outcome, Overlap, Schedule, Slot};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::v1::schedule_service_server::ScheduleService;
use mahavishnu_proto::v1::{
    BackfillScheduleRequest, BackfillScheduleResponse, CreateScheduleRequest, CreateScheduleResponse,
    DeleteScheduleRequest, DeleteScheduleResponse, GetScheduleRequest, GetScheduleResponse,
    ListSchedulesRequest, ListSchedulesResponse, PauseScheduleRequest, PauseScheduleResponse,
    PreviewScheduleRequest, PreviewScheduleResponse, ResumeScheduleRequest, ResumeScheduleResponse,
    ScheduleSpec, TriggerScheduleRequest, TriggerScheduleResponse, UpdateScheduleRequest,
    UpdateScheduleResponse, schedule_spec,
};
use mahavishnu_proto::{public, v1, wire};
use prost_types::Timestamp;
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller};
use crate::app::{Error, Page, Spec, Standing};

/// Coming slots that a schedule shows.
const SHOWN: usize = 5;
const DEFAULT_PREVIEW: i32 = 10;
const MAX_PREVIEW: i32 = 1_000;
/// The years in which calendars are known well enough, as Unix times: 1970 to 3000.
const TIMES: std::ops::Range<i64> = 0..32_503_680_000;

#[async_trait]
impl ScheduleService for Api {
    async fn create_schedule(
        &self,
        request: Request<CreateScheduleRequest>,
    ) -> Result<Response<CreateScheduleResponse>, Status> {
        let by = caller(&request, &request.get_ref().requested_by)?;
        let request = request.into_inner();
        let spec = spec(request.spec).map_err(Error::Invalid)?;
        let made =
            self.app.create_schedule(&request.id, spec, request.paused, &by, &request.request_id).await?;
        Ok(Response::new(CreateScheduleResponse { schedule: Some(schedule(&made, true)) }))
    }

    async fn get_schedule(
        &self,
        request: Request<GetScheduleRequest>,
    ) -> Result<Response<GetScheduleResponse>, Status> {
        let found = self.app.schedule(&request.into_inner().id).await?;
        Ok(Response::new(GetScheduleResponse { schedule: Some(schedule(&found, true)) }))
    }

    async fn list_schedules(
        &self,
        request: Request<ListSchedulesRequest>,
    ) -> Result<Response<ListSchedulesResponse>, Status> {
        let request = request.into_inner();
        let page = Page { size: request.page_size, token: request.page_token };
        let (found, next_page_token) = self.app.list_schedules(&page).await?;
        let schedules = found.iter().map(|standing| schedule(standing, false)).collect();
        Ok(Response::new(ListSchedulesResponse { schedules, next_page_token }))
    }

    async fn update_schedule(
        &self,
        request: Request<UpdateScheduleRequest>,
    ) -> Result<Response<UpdateScheduleResponse>, Status> {
        let by = caller(&request, &request.get_ref().requested_by)?;
        let request = request.into_inner();
        let spec = spec(request.spec).map_err(Error::Invalid)?;
        // No schedule has a negative revision.
        let expected = u64::try_from(request.expected_revision).unwrap_or(u64::MAX);
        let changed = self.app.update_schedule(&request.id, spec, expected, &by, &request.request_id).await?;
        Ok(Response::new(UpdateScheduleResponse { schedule: Some(schedule(&changed, true)) }))
    }

    async fn pause_schedule(
        &self,
        request: Request<PauseScheduleRequest>,
    ) -> Result<Response<PauseScheduleResponse>, Status> {
        let request = request.into_inner();
        let changed = self.app.pause_schedule(&request.id, &request.reason, &request.request_id).await?;
        Ok(Response::new(PauseScheduleResponse { schedule: Some(schedule(&changed, true)) }))
    }

    async fn resume_schedule(
        &self,
        request: Request<ResumeScheduleRequest>,
    ) -> Result<Response<ResumeScheduleResponse>, Status> {
        let request = request.into_inner();
        let changed = self.app.resume_schedule(&request.id, &request.request_id).await?;
        Ok(Response::new(ResumeScheduleResponse { schedule: Some(schedule(&changed, true)) }))
    }

    async fn delete_schedule(
        &self,
        request: Request<DeleteScheduleRequest>,
    ) -> Result<Response<DeleteScheduleResponse>, Status> {
        let request = request.into_inner();
        self.app.delete_schedule(&request.id, &request.request_id).await?;
        Ok(Response::new(DeleteScheduleResponse {}))
    }

    async fn trigger_schedule(
        &self,
        request: Request<TriggerScheduleRequest>,
    ) -> Result<Response<TriggerScheduleResponse>, Status> {
        let request = request.into_inner();
        let id = self.app.trigger_schedule(&request.id, &request.request_id).await?;
        let history = self.app.find(id.as_str()).await?;
        Ok(Response::new(TriggerScheduleResponse { execution: Some(self.app.describe(&history)) }))
    }

    async fn preview_schedule(
        &self,
        request: Request<PreviewScheduleRequest>,
    ) -> Result<Response<PreviewScheduleResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        if !(0..=MAX_PREVIEW).contains(&request.count) {
            let message = format!("use 1 to {MAX_PREVIEW}, or 0 for {DEFAULT_PREVIEW}");
            violations.push("count", Reason::InvalidValue, message);
        }
        let after = request.after.map_or_else(Utc::now, |after| time(Some(after), "after", &mut violations));
        let rule = match request.id.as_str() {
            "" => {
                let zone = Some(request.timezone.as_str()).filter(|zone| !zone.is_empty());
                Schedule::parse(&request.cron, zone).map_err(|mut of_rule| {
                    for violation in &mut of_rule.0 {
                        if violation.field == "schedule" {
                            "cron".clone_into(&mut violation.field);
                        }
                    }
                    violations.0.append(&mut of_rule.0);
                })
            }
            id => Ok(self.app.schedule(id).await?.state.definition.rule),
        };
        let (Ok(rule), true) = (rule, violations.0.is_empty()) else {
            return Err(Error::Invalid(violations).into());
        };
        let count = if request.count == 0 { DEFAULT_PREVIEW } else { request.count };
        let fire_times = fire_times(&rule, after, usize::try_from(count).unwrap_or_default());
        let clock_change = rule.clock_change(after).unwrap_or_default();
        Ok(Response::new(PreviewScheduleResponse { fire_times, clock_change }))
    }

    async fn backfill_schedule(
        &self,
        request: Request<BackfillScheduleRequest>,
    ) -> Result<Response<BackfillScheduleResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let from = time(request.start_time, "start_time", &mut violations);
        let to = time(request.end_time, "end_time", &mut violations);
        violations.into_result(()).map_err(Error::Invalid)?;
        let (changed, added, existing) =
            self.app.backfill_schedule(&request.id, from, to, &request.request_id).await?;
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(BackfillScheduleResponse {
            added: count(added),
            existing: count(existing),
            schedule: Some(schedule(&changed, true)),
        }))
    }
}

fn time(stamp: Option<Timestamp>, field: &str, violations: &mut Violations) -> DateTime<Utc> {
    match wire::time(stamp, "time") {
        Ok(time) if TIMES.contains(&time.timestamp()) => time,
        _ => {
            violations.push(field, Reason::InvalidValue, "give a time from the year 1970 to 2999");
            DateTime::UNIX_EPOCH
        }
    }
}

fn spec(spec: Option<ScheduleSpec>) -> Result<Spec, Violations> {
    let mut violations = Violations::default();
    let Some(spec) = spec else {
        violations.push("spec", Reason::Required, "the request has no spec");
        return Err(violations);
    };
    let overlap = match schedule_spec::Overlap::try_from(spec.overlap) {
        Ok(schedule_spec::Overlap::Unspecified | schedule_spec::Overlap::Skip) => Overlap::Skip,
        Ok(schedule_spec::Overlap::Queue) => Overlap::Queue,
        Ok(schedule_spec::Overlap::Allow) => Overlap::Allow,
        Ok(schedule_spec::Overlap::CancelPrevious) => Overlap::CancelPrevious,
        Err(_) => {
            violations.push("spec.overlap", Reason::InvalidValue, "not an overlap policy");
            Overlap::Skip
        }
    };
    let catch_up = match schedule_spec::CatchUp::try_from(spec.catch_up) {
        Ok(schedule_spec::CatchUp::Unspecified | schedule_spec::CatchUp::Latest) => CatchUp::Latest,
        Ok(schedule_spec::CatchUp::Skip) => CatchUp::Skip,
        Ok(schedule_spec::CatchUp::All) => CatchUp::All,
        Err(_) => {
            violations.push("spec.catch_up", Reason::InvalidValue, "not a catch-up policy");
            CatchUp::Latest
        }
    };
    let window = spec.catch_up_window.and_then(|window| {
        let window = window.try_into();
        if window.is_err() {
            violations.push("spec.catch_up_window", Reason::InvalidValue, "a duration cannot be negative");
        }
        window.ok()
    });
    let workflow = match public::draft(spec.workflow) {
        Ok(workflow) => workflow,
        Err(mut of_workflow) => {
            violations.0.append(&mut of_workflow.0);
            return Err(violations);
        }
    };
    let (cron, timezone) = (spec.cron.trim().to_owned(), spec.timezone);
    violations.into_result(Spec { cron, timezone, workflow, overlap, catch_up, window })
}

fn fire_times(rule: &Schedule, after: DateTime<Utc>, count: usize) -> Vec<v1::FireTime> {
    let told =
        |at: &DateTime<_>| v1::FireTime { time: Some(wire::timestamp(at.to_utc())), local: at.to_rfc3339() };
    rule.next(after, count).iter().map(told).collect()
}

/// The resource. `full` adds what lists leave out.
fn schedule(standing: &Standing, full: bool) -> v1::Schedule {
    let state = &standing.state;
    let definition = &state.definition;
    let overlap = match definition.overlap {
        Overlap::Skip => schedule_spec::Overlap::Skip,
        Overlap::Queue => schedule_spec::Overlap::Queue,
        Overlap::Allow => schedule_spec::Overlap::Allow,
        Overlap::CancelPrevious => schedule_spec::Overlap::CancelPrevious,
    };
    let catch_up = match definition.catch_up {
        CatchUp::Skip => schedule_spec::CatchUp::Skip,
        CatchUp::Latest => schedule_spec::CatchUp::Latest,
        CatchUp::All => schedule_spec::CatchUp::All,
    };
    let execution = |slot: &Slot| v1::ScheduledExecution {
        execution_id: standing.execution(slot).map(|id| id.to_string()).unwrap_or_default(),
        fire_time: Some(wire::timestamp(slot.time)),
        triggered: slot.triggered,
    };
    let past = state.past.iter().rev().filter(|_| full).map(|past| {
        let (execution, skip_reason) = match past.outcome {
            Outcome::Fired { triggered } => (Some(execution(&Slot { time: past.from, triggered })), ""),
            Outcome::Skipped(why) => (None, why.code()),
        };
        v1::PastSlot {
            time: Some(wire::timestamp(past.from)),
            last_time: Some(wire::timestamp(past.to)),
            count: past.count,
            execution,
            skip_reason: skip_reason.to_owned(),
        }
    });
    v1::Schedule {
        id: standing.id.to_string(),
        spec: Some(ScheduleSpec {
            cron: definition.rule.cron().to_owned(),
            timezone: definition.rule.zone().name().to_owned(),
            workflow: full.then(|| public::workflow(&definition.workflow)),
            overlap: overlap.into(),
            catch_up: catch_up.into(),
            catch_up_window: definition.window.try_into().ok(),
        }),
        paused: state.paused,
        pause_reason: state.note.clone(),
        revision: i64::try_from(standing.revision).unwrap_or(i64::MAX),
        create_time: Some(wire::timestamp(state.created)),
        update_time: Some(wire::timestamp(state.updated)),
        next: if state.is_live() { fire_times(&definition.rule, state.settled, SHOWN) } else { Vec::new() },
        running: state.running.iter().chain(&state.starting).map(execution).collect(),
        queued: u32::try_from(state.queue.len()).unwrap_or(u32::MAX),
        past: past.collect(),
        fired: state.fired,
        skipped: state.skipped,
        created_by: state.created_by.clone(),
        requested_by: state.requested_by.clone(),
    }
}
