//! `schedules`: rules that start executions.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Utc;
use mahavishnu_core::id::ScheduleId;
use mahavishnu_core::schedule;
use mahavishnu_proto::v1::{
    BackfillScheduleRequest, CreateScheduleRequest, DeleteScheduleRequest, FireTime, GetScheduleRequest,
    ListSchedulesRequest, ListSchedulesResponse, PastSlot, PauseScheduleRequest, PreviewScheduleRequest,
    PreviewScheduleResponse, ResumeScheduleRequest, Schedule, ScheduleSpec, TriggerScheduleRequest,
    UpdateScheduleRequest, schedule_spec,
};
use mahavishnu_proto::{v1, wire};

use crate::approver::user;
use crate::args::{
    BackfillSchedule, CatchUp, CreateSchedule, Overlap, PreviewSchedule, Rule, Schedules, UpdateSchedule,
};
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, table, words};
use crate::upload;
use crate::workflow::{self, Additions, Source};

/// Runs it.
pub async fn run(context: &Context, args: Schedules) -> anyhow::Result<ExitCode> {
    if let Schedules::Preview(args) = args {
        return preview(context, args).await;
    }
    let client = Client::required(context).await?;
    let at = || failure::at(&client.endpoint);
    let mut schedules = client.schedules();
    // With an id of our own a broken call can be repeated.
    let request_id = || uuid::Uuid::new_v4().to_string();
    let changed = match args {
        Schedules::Preview(_) => None,
        Schedules::Create(args) => return create_from(context, &client, args).await,
        Schedules::List => return list(context, &client).await,
        Schedules::Get { id } => {
            let response = schedules.get_schedule(GetScheduleRequest { id }).await.map_err(at())?;
            show(context, &response.into_inner().schedule.context("the server sent no schedule")?);
            return Ok(ExitCode::SUCCESS);
        }
        Schedules::Update(args) => update(context, &client, args).await?,
        Schedules::Pause { id, reason } => {
            let request = PauseScheduleRequest { id, reason, request_id: request_id() };
            schedules.pause_schedule(request).await.map_err(at())?.into_inner().schedule
        }
        Schedules::Resume { id } => {
            let request = ResumeScheduleRequest { id, request_id: request_id() };
            schedules.resume_schedule(request).await.map_err(at())?.into_inner().schedule
        }
        Schedules::Delete { id } => {
            let request = DeleteScheduleRequest { id: id.clone(), request_id: request_id() };
            schedules.delete_schedule(request).await.map_err(at())?;
            if context.global.json {
                output::line(serde_json::json!({"deleted": id}));
            } else {
                context.say(&format!("{id} is deleted; its executions go on"));
            }
            return Ok(ExitCode::SUCCESS);
        }
        Schedules::Trigger { id, request_id } => {
            let request_id = request_id.unwrap_or_else(uuid::Uuid::new_v4).to_string();
            let request = TriggerScheduleRequest { id, request_id };
            let response = schedules.trigger_schedule(request).await.map_err(at())?.into_inner();
            let execution = response.execution.context("the server did not say what it started")?;
            if context.global.json {
                output::line(json::message("Execution", &execution));
            } else {
                output::line(&execution.id);
                context.say(&format!("watch it with: mahavishnu executions watch {}", execution.id));
            }
            return Ok(ExitCode::SUCCESS);
        }
        Schedules::Backfill(args) => return backfill(context, &client, args).await,
    };
    told(context, &changed.context("the server sent no schedule")?);
    Ok(ExitCode::SUCCESS)
}

/// Makes one and says when it will start executions.
pub async fn create(
    context: &Context,
    client: &Client,
    request: CreateScheduleRequest,
) -> anyhow::Result<ExitCode> {
    let response =
        client.schedules().create_schedule(request).await.map_err(failure::at(&client.endpoint))?;
    told(context, &response.into_inner().schedule.context("the server sent no schedule")?);
    Ok(ExitCode::SUCCESS)
}

/// The name of a schedule that is made from a file; none if the file's name is not one.
pub fn name_of(file: Option<&Path>) -> String {
    let stem = file.and_then(Path::file_stem).and_then(|stem| stem.to_str()).unwrap_or_default();
    ScheduleId::parse(stem).map(|id| id.to_string()).unwrap_or_default()
}

async fn create_from(context: &Context, client: &Client, args: CreateSchedule) -> anyhow::Result<ExitCode> {
    let workflow = read(context, client, &args.file, &args.docs).await?;
    let mut spec = ScheduleSpec { workflow: Some(workflow), ..ScheduleSpec::default() };
    apply(&mut spec, args.rule);
    let request = CreateScheduleRequest {
        id: args.id.unwrap_or_else(|| name_of(Some(&args.file))),
        spec: Some(spec),
        paused: args.paused,
        request_id: args.request_id.unwrap_or_else(uuid::Uuid::new_v4).to_string(),
        requested_by: args.by.unwrap_or_else(user),
    };
    create(context, client, request).await
}

async fn update(
    context: &Context,
    client: &Client,
    args: UpdateSchedule,
) -> anyhow::Result<Option<Schedule>> {
    let at = || failure::at(&client.endpoint);
    let request = GetScheduleRequest { id: args.id.clone() };
    let now = client.schedules().get_schedule(request).await.map_err(at())?.into_inner().schedule;
    let now = now.context("the server sent no schedule")?;
    let mut spec = now.spec.context("the server sent no spec")?;
    if let Some(file) = &args.file {
        spec.workflow = Some(read(context, client, file, &[]).await?);
    }
    apply(&mut spec, args.rule);
    let request = UpdateScheduleRequest {
        id: args.id,
        spec: Some(spec),
        expected_revision: now.revision,
        request_id: uuid::Uuid::new_v4().to_string(),
        requested_by: args.by.unwrap_or_else(user),
    };
    Ok(client.schedules().update_schedule(request).await.map_err(at())?.into_inner().schedule)
}

async fn read(
    context: &Context,
    client: &Client,
    file: &Path,
    docs: &[(String, String)],
) -> anyhow::Result<v1::Workflow> {
    let source = Source::read(file)?;
    let mut draft = source.draft(&Additions::default(), &context.registry()?, true)?;
    let documents = upload::documents(&draft, &source.directory, docs)?;
    draft.documents.extend(upload::send(client, documents).await?);
    Ok(workflow::message(draft))
}

fn apply(spec: &mut ScheduleSpec, rule: Rule) {
    if let Some(cron) = rule.cron {
        spec.cron = cron;
    }
    if let Some(timezone) = rule.timezone {
        spec.timezone = timezone;
    }
    if let Some(overlap) = rule.overlap {
        spec.set_overlap(match overlap {
            Overlap::Skip => schedule_spec::Overlap::Skip,
            Overlap::Queue => schedule_spec::Overlap::Queue,
            Overlap::Allow => schedule_spec::Overlap::Allow,
            Overlap::CancelPrevious => schedule_spec::Overlap::CancelPrevious,
        });
    }
    if let Some(catch_up) = rule.catch_up {
        spec.set_catch_up(match catch_up {
            CatchUp::Skip => schedule_spec::CatchUp::Skip,
            CatchUp::Latest => schedule_spec::CatchUp::Latest,
            CatchUp::All => schedule_spec::CatchUp::All,
        });
    }
    if let Some(window) = rule.catch_up_window {
        spec.catch_up_window = window.try_into().ok();
    }
}

async fn backfill(context: &Context, client: &Client, args: BackfillSchedule) -> anyhow::Result<ExitCode> {
    let request = BackfillScheduleRequest {
        id: args.id,
        start_time: Some(wire::timestamp(args.from)),
        end_time: Some(wire::timestamp(args.to.unwrap_or_else(Utc::now))),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let response = client.schedules().backfill_schedule(request).await;
    let answer = response.map_err(failure::at(&client.endpoint))?.into_inner();
    if context.global.json {
        output::line(json::message("BackfillScheduleResponse", &answer));
    } else {
        context.say(&format!("{} are made up for; {} had an execution", answer.added, answer.existing));
    }
    Ok(ExitCode::SUCCESS)
}

/// Of a rule on the command line here, with the same crate as a server; of a schedule by the server.
async fn preview(context: &Context, args: PreviewSchedule) -> anyhow::Result<ExitCode> {
    let answer = match (args.id, args.cron) {
        (None, Some(cron)) => {
            let rule = schedule::Schedule::parse(&cron, args.timezone.as_deref())?;
            let after = args.after.unwrap_or_else(Utc::now);
            let told = |at: &chrono::DateTime<_>| FireTime {
                time: Some(wire::timestamp(at.to_utc())),
                local: at.to_rfc3339(),
            };
            PreviewScheduleResponse {
                fire_times: rule.next(after, args.count.into()).iter().map(told).collect(),
                clock_change: rule.clock_change(after).unwrap_or_default(),
            }
        }
        (id, _) => {
            let client = Client::required(context).await?;
            let request = PreviewScheduleRequest {
                id: id.unwrap_or_default(),
                count: args.count.into(),
                after: args.after.map(wire::timestamp),
                ..PreviewScheduleRequest::default()
            };
            let response = client.schedules().preview_schedule(request).await;
            response.map_err(failure::at(&client.endpoint))?.into_inner()
        }
    };
    if context.global.json {
        output::line(json::list("PreviewScheduleResponse", "fire_times", &answer));
    } else {
        output::lines(answer.fire_times.iter().map(|at| &at.local));
        if !answer.clock_change.is_empty() {
            context.say(&answer.clock_change);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, client: &Client) -> anyhow::Result<ExitCode> {
    let mut listed = ListSchedulesResponse::default();
    loop {
        let page_token = std::mem::take(&mut listed.next_page_token);
        let request = ListSchedulesRequest { page_size: 1_000, page_token };
        let response = client.schedules().list_schedules(request).await;
        let page = response.map_err(failure::at(&client.endpoint))?.into_inner();
        listed.schedules.extend(page.schedules);
        listed.next_page_token = page.next_page_token;
        if listed.next_page_token.is_empty() {
            break;
        }
    }
    if context.global.json {
        output::line(json::list("ListSchedulesResponse", "schedules", &listed));
    } else if listed.schedules.is_empty() {
        context.say("no schedules; make one with: mahavishnu schedules create FILE");
    } else {
        let heading = ["ID", "CRON", "ZONE", "NEXT", "FIRED", "SKIPPED", "BY"].map(str::to_owned).to_vec();
        let row = |schedule: &Schedule| {
            let spec = schedule.spec.clone().unwrap_or_default();
            let (fired, skipped) = (schedule.fired.to_string(), schedule.skipped.to_string());
            let by = schedule.requested_by.clone();
            vec![schedule.id.clone(), spec.cron, spec.timezone, next(schedule), fired, skipped, by]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(listed.schedules.iter().map(row)).collect();
        output::lines(table::lines(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn next(schedule: &Schedule) -> String {
    match schedule.next.first() {
        _ if schedule.paused => "paused".to_owned(),
        Some(next) => next.local.clone(),
        None => "never".to_owned(),
    }
}

fn told(context: &Context, schedule: &Schedule) {
    if context.global.json {
        output::line(json::message("Schedule", schedule));
        return;
    }
    output::line(&schedule.id);
    context.say(&format!("next: {}", next(schedule)));
}

fn show(context: &Context, schedule: &Schedule) {
    if context.global.json {
        output::line(json::message("Schedule", schedule));
        return;
    }
    let paint = Paint::stdout();
    let spec = schedule.spec.clone().unwrap_or_default();
    let rule = paint.faint(format!("{} in {}", spec.cron, spec.timezone));
    output::line(format!("{}  {rule}", paint.strong(&schedule.id)));
    output::line(format!("  when     {}", in_the_way(&spec)));
    if !schedule.requested_by.is_empty() {
        let made = match &schedule.created_by {
            maker if maker == &schedule.requested_by => String::new(),
            maker => format!(", made by {maker}"),
        };
        output::line(format!("  by       {}{made}", schedule.requested_by));
    }
    if schedule.paused {
        let why = words::short(&schedule.pause_reason);
        output::line(format!("  {}  {why}", paint.attention("paused")).trim_end());
    }
    output::lines(schedule.next.iter().map(|at| format!("  next     {}", at.local)));
    let running = |execution: &v1::ScheduledExecution| {
        format!("  running  {}  {}", words::date(execution.fire_time.as_ref()), execution.execution_id)
    };
    output::lines(schedule.running.iter().map(running));
    if schedule.queued > 0 {
        output::line(format!("  waiting  {}", schedule.queued));
    }
    output::lines(schedule.past.iter().map(|past| format!("  past     {}", became(past, paint))));
}

/// What happens when something is in the way of a slot.
fn in_the_way(spec: &ScheduleSpec) -> String {
    use schedule_spec::{CatchUp, Overlap};
    let runs = match spec.overlap() {
        Overlap::Unspecified | Overlap::Skip => "an earlier one runs, it is skipped",
        Overlap::Queue => "an earlier one runs, it waits",
        Overlap::Allow => "an earlier one runs, both run",
        Overlap::CancelPrevious => "an earlier one runs, that is cancelled",
    };
    let window = spec.catch_up_window.and_then(|window| window.try_into().ok()).map(words::long);
    let within = window.map(|window| format!(" within {window}")).unwrap_or_default();
    let missed = match spec.catch_up() {
        CatchUp::Skip => "is skipped".to_owned(),
        CatchUp::Unspecified | CatchUp::Latest => format!("is made up for, the latest{within}"),
        CatchUp::All => format!("is made up for, all{within}"),
    };
    format!("{runs}; what was missed {missed}")
}

fn became(past: &PastSlot, paint: Paint) -> String {
    let at = words::date(past.time.as_ref());
    match &past.execution {
        Some(execution) => {
            let asked = if execution.triggered { "  on request" } else { "" };
            format!("{at}  {}{asked}", execution.execution_id)
        }
        None => {
            let many = match past.count {
                0 | 1 => String::new(),
                count => format!(", {count} times until {}", words::date(past.last_time.as_ref())),
            };
            format!("{at}  {}{many}", paint.attention(format!("skipped: {}", past.skip_reason)))
        }
    }
}
