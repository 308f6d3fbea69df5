//! `executions`: list, look at, watch, cancel, continue, vary.

use std::process::ExitCode;

use anyhow::Context as _;
use chrono::Utc;
use mahavishnu_proto::v1::{
    CancelExecutionRequest, DeleteExecutionRequest, Execution, ExecutionFilter, ForkExecutionRequest,
    GetExecutionRequest, ListExecutionsRequest, ListExecutionsResponse, RetryExecutionRequest, StageStatus,
    execution, stage_status,
};
use prost_types::Timestamp;

use super::run::exit;
use super::watch::Watch;
use crate::approver::user;
use crate::args::{ExecutionState, Executions, ListExecutions, Since};
use crate::client::Client;
use crate::context::Context;
use crate::events::{self, Follow};
use crate::failure;
use crate::output::{self, Paint, json, plain, result, table, words};
use crate::signals::Signals;

/// The largest page that a server gives.
const PAGE: u32 = 1_000;

/// Runs all but `watch`.
pub async fn run(context: &Context, args: Executions) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    let at = || failure::at(&client.endpoint);
    match args {
        Executions::List(args) => return list(context, &client, args).await,
        // Handled before.
        Executions::Watch { .. } => {}
        Executions::Get { id } => {
            let response =
                client.executions().get_execution(GetExecutionRequest { id }).await.map_err(at())?;
            show(context, &response.into_inner().execution.context("the server sent no execution")?);
        }
        Executions::Cancel { id, reason } => {
            let request = CancelExecutionRequest { id, reason };
            let response = client.executions().cancel_execution(request).await.map_err(at())?;
            let execution = response.into_inner().execution.context("the server sent no execution")?;
            if context.global.json {
                output::line(json::message("Execution", &execution));
            } else {
                context.say(&format!("{} {}", execution.id, state(&execution, Paint::stderr())));
            }
        }
        Executions::Retry { id } => {
            let response =
                client.executions().retry_execution(RetryExecutionRequest { id }).await.map_err(at())?;
            goes_on(context, response.into_inner().execution)?;
        }
        Executions::Delete { id } => {
            let request = DeleteExecutionRequest { id: id.clone() };
            client.executions().delete_execution(request).await.map_err(at())?;
            if context.global.json {
                output::line(serde_json::json!({"deleted": id}));
            } else {
                context.say(&format!("{id} is removed"));
            }
        }
        Executions::Fork(args) => {
            let input: serde_json::Map<_, _> = args.inputs.into_iter().flat_map(|input| input.0).collect();
            let request = ForkExecutionRequest {
                id: args.id,
                from_stage: args.from,
                input: (!input.is_empty()).then(|| mahavishnu_proto::json::to_struct(&input)),
                engine: args.engine,
                pool: args.pool,
                task: args.task.map(|task| mahavishnu_proto::json::to_struct(&task.0)),
                checkpoint_id: args.from_checkpoint,
                state: args.state.map(|state| mahavishnu_proto::json::to_struct(&state.0)),
                as_node: args.as_node,
                request_id: args.request_id.unwrap_or_else(uuid::Uuid::new_v4).to_string(),
                requested_by: args.by.unwrap_or_else(user),
            };
            let response = client.executions().fork_execution(request).await.map_err(at())?;
            goes_on(context, response.into_inner().execution)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The execution that goes on from another, with what it takes over.
pub fn goes_on(context: &Context, execution: Option<Execution>) -> anyhow::Result<()> {
    let execution = execution.context("the server sent no execution")?;
    if context.global.json {
        output::line(json::message("Execution", &execution));
        return Ok(());
    }
    output::line(&execution.id);
    let reused: Vec<_> =
        execution.stages.iter().filter(|stage| stage.reused).map(|stage| stage.id.as_str()).collect();
    let from = execution.forked_from.as_ref().map(|from| from.stage_id.as_str()).unwrap_or_default();
    let over = if reused.is_empty() { String::new() } else { format!("; takes over {}", reused.join(", ")) };
    context.say(&format!("goes on from {from}{over}"));
    context.say(&format!("follow it with: mahavishnu executions watch {}", execution.id));
    Ok(())
}

/// Follows one from an event on.
pub async fn watch(context: &Context, id: String, after: i64, signals: &Signals) -> anyhow::Result<ExitCode> {
    let client = tokio::select! {
        client = Client::required(context) => client?,
        () = signals.stop.cancelled() => return Err(failure::Failure::Interrupted.into()),
    };
    let mut watch = Watch {
        client: &client,
        view: output::view(context, false),
        approver: None,
        system: None,
        id: id.clone(),
        last: after,
    };
    let items = events::follow(client.clone(), Follow::Watch { id, after });
    let end = watch.run(items, signals).await;
    exit(context, &client, end, &watch.id, watch.last, true)
}

async fn list(context: &Context, client: &Client, args: ListExecutions) -> anyhow::Result<ExitCode> {
    let filter = ExecutionFilter {
        states: args.state.iter().map(|state| i32::from(wire_state(*state))).collect(),
        engine: args.engine,
        created_after: args.since.map(timestamp),
        created_before: None,
        labels: args.labels.into_iter().collect(),
        schedule_id: args.schedule,
    };
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut all = ListExecutionsResponse::default();
    loop {
        let request = ListExecutionsRequest {
            page_size: i32::try_from(args.limit.min(PAGE)).unwrap_or_default(),
            page_token: std::mem::take(&mut all.next_page_token),
            filter: Some(filter.clone()),
        };
        let response =
            client.executions().list_executions(request).await.map_err(failure::at(&client.endpoint))?;
        let page = response.into_inner();
        all.executions.extend(page.executions);
        all.next_page_token = page.next_page_token;
        if all.executions.len() >= limit || all.next_page_token.is_empty() {
            break;
        }
    }
    let more = all.executions.len() > limit || !all.next_page_token.is_empty();
    all.executions.truncate(limit);
    if context.global.json {
        output::line(json::list("ListExecutionsResponse", "executions", &all));
        return Ok(ExitCode::SUCCESS);
    }
    if all.executions.is_empty() {
        context.say("no execution matches; start one with: mahavishnu run FILE");
        return Ok(ExitCode::SUCCESS);
    }
    output::lines(table::lines(&rows(&all.executions, Paint::stdout())));
    if more {
        context.say(&format!("more than {limit}; --limit shows them"));
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(executions: &[Execution], paint: Paint) -> Vec<Vec<String>> {
    let heading = ["ID", "STATE", "ACCEPTED", "TOOK", "ENGINES", "LABELS"].map(str::to_owned).to_vec();
    let row = |execution: &Execution| {
        let mut labels: Vec<_> =
            execution.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        labels.sort();
        vec![
            execution.id.clone(),
            state(execution, paint),
            words::date(execution.create_time.as_ref()),
            took(execution),
            execution.engines.join(", "),
            words::one_line(&labels.join(", ")),
        ]
    };
    std::iter::once(heading).chain(executions.iter().map(row)).collect()
}

fn show(context: &Context, execution: &Execution) {
    if context.global.json {
        output::line(json::message("Execution", execution));
        return;
    }
    let paint = Paint::stdout();
    output::line(format!(
        "{}  {}  {}",
        paint.strong(&execution.id),
        state(execution, paint),
        took(execution)
    ));
    output::line(paint.faint(format!("accepted {}", words::date(execution.create_time.as_ref()))));
    let heading = ["STAGE", "ENGINE", "STATE", "ATTEMPT", ""].map(str::to_owned).to_vec();
    let row = |stage: &StageStatus| {
        let failed = stage.error.as_ref().map(|error| words::failure(Some(error)));
        let detail =
            if stage.waiting_for.is_empty() { failed.unwrap_or_default() } else { stage.waiting_for.clone() };
        vec![
            stage.id.clone(),
            words::queue(&stage.engine, &stage.pool),
            stage_state(stage, paint),
            stage.attempt.to_string(),
            words::short(&detail),
        ]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(execution.stages.iter().map(row)).collect();
    output::lines(table::lines(&rows));
    let outputs = execution
        .stages
        .iter()
        .filter_map(|stage| Some((stage.id.as_str(), stage.engine.as_str(), stage.output.as_ref()?)));
    output::lines(result::stages(outputs, paint));
    if !execution.voids.is_empty() {
        output::line(String::new());
        output::line(paint.strong("without effect"));
        output::lines(
            execution
                .voids
                .iter()
                .filter_map(|event| plain::line(event, false))
                .map(|line| format!("  {line}")),
        );
    }
    for approval in execution.stages.iter().flat_map(|stage| &stage.pending_approvals) {
        context.say(&format!(
            "\n{:?} waits for a decision: mahavishnu approvals decide {} --approve   (or --reject)",
            approval.title, approval.approval_id
        ));
    }
}

fn state(execution: &Execution, paint: Paint) -> String {
    use execution::State;
    match execution.state() {
        State::Unspecified => "unknown".to_owned(),
        State::Running => paint.active("running"),
        State::Waiting => paint.attention("waiting"),
        State::Completed => paint.good("completed"),
        State::Failed => paint.bad("failed"),
        State::Cancelled => paint.faint("cancelled"),
    }
}

fn stage_state(stage: &StageStatus, paint: Paint) -> String {
    use stage_status::State;
    match stage.state() {
        State::Unspecified => "unknown".to_owned(),
        State::Pending => paint.faint("pending"),
        State::Scheduled => paint.active("scheduled"),
        State::WaitingApproval => paint.attention("waiting for approval"),
        State::WaitingRetry => paint.attention("waiting for retry"),
        State::Completed => paint.good("completed"),
        State::Failed => paint.bad("failed"),
        State::Skipped => paint.faint("skipped"),
        State::Cancelled => paint.faint("cancelled"),
    }
}

fn took(execution: &Execution) -> String {
    let Some(began) = words::instant(execution.create_time.as_ref()) else { return String::new() };
    let ended = words::instant(execution.end_time.as_ref()).unwrap_or_else(Utc::now);
    words::elapsed((ended - began).to_std().unwrap_or_default())
}

const fn wire_state(state: ExecutionState) -> execution::State {
    match state {
        ExecutionState::Running => execution::State::Running,
        ExecutionState::Waiting => execution::State::Waiting,
        ExecutionState::Completed => execution::State::Completed,
        ExecutionState::Failed => execution::State::Failed,
        ExecutionState::Cancelled => execution::State::Cancelled,
    }
}

fn timestamp(since: Since) -> Timestamp {
    let at = match since {
        Since::At(at) => at,
        Since::Ago(ago) => chrono::TimeDelta::from_std(ago)
            .ok()
            .and_then(|ago| Utc::now().checked_sub_signed(ago))
            .unwrap_or_default(),
    };
    mahavishnu_proto::wire::timestamp(at)
}
