//! `approvals`: what waits for a person, and the decision.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_proto::v1::{
    Approval, DecideApprovalRequest, GetApprovalRequest, ListApprovalsRequest, ListApprovalsResponse,
    approval,
};
use serde_json::Value;

use crate::approver::user;
use crate::args::{Approvals, Decide};
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, result, table, words};

/// Runs it.
pub async fn run(context: &Context, args: Approvals) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    match args {
        Approvals::List { all, execution } => list(context, &client, all, execution).await?,
        Approvals::Get { id } => {
            let response = client.approvals().get_approval(GetApprovalRequest { id }).await;
            let response = response.map_err(failure::at(&client.endpoint))?.into_inner();
            show(context, &response.approval.context("the server sent no approval")?);
        }
        Approvals::Decide(args) => decide(context, &client, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, client: &Client, all: bool, execution: String) -> anyhow::Result<()> {
    use approval::State::{Approved, Expired, Pending, Rejected};
    let states = if all { vec![Pending, Approved, Rejected, Expired] } else { vec![Pending] };
    let mut listed = ListApprovalsResponse::default();
    loop {
        let request = ListApprovalsRequest {
            page_size: 1_000,
            page_token: std::mem::take(&mut listed.next_page_token),
            states: states.iter().map(|state| i32::from(*state)).collect(),
            execution_id: execution.clone(),
        };
        let response =
            client.approvals().list_approvals(request).await.map_err(failure::at(&client.endpoint))?;
        let page = response.into_inner();
        listed.approvals.extend(page.approvals);
        listed.next_page_token = page.next_page_token;
        if listed.next_page_token.is_empty() {
            break;
        }
    }
    if context.global.json {
        output::line(json::list("ListApprovalsResponse", "approvals", &listed));
    } else if listed.approvals.is_empty() {
        context.say("nothing waits for a decision");
    } else {
        let paint = Paint::stdout();
        let heading =
            ["ID", "STATE", "STAGE", "TITLE", "ASKED", "APPROVED BY", "UNTIL"].map(str::to_owned).to_vec();
        let row = |approval: &Approval| {
            vec![
                approval.id.clone(),
                state(approval, paint),
                approval.stage_id.clone(),
                words::short(&approval.title),
                words::date(approval.create_time.as_ref()),
                votes(approval),
                words::date(approval.expire_time.as_ref()),
            ]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(listed.approvals.iter().map(row)).collect();
        output::lines(table::lines(&rows));
    }
    Ok(())
}

async fn decide(context: &Context, client: &Client, args: Decide) -> anyhow::Result<()> {
    let values: serde_json::Map<_, _> = args.values.into_iter().flat_map(|input| input.0).collect();
    let request = DecideApprovalRequest {
        id: args.id,
        approved: args.approve,
        reason: args.reason,
        decided_by: args.by.unwrap_or_else(user),
        values: (!values.is_empty()).then(|| mahavishnu_proto::json::to_struct(&values)),
        request_id: uuid::Uuid::new_v4().to_string(),
        nonce: args.nonce,
    };
    let response =
        client.approvals().decide_approval(request).await.map_err(failure::at(&client.endpoint))?;
    let approval = response.into_inner().approval.context("the server sent no approval")?;
    if context.global.json {
        output::line(json::message("Approval", &approval));
    } else {
        let votes = if approval.policy.is_some() { format!(": {}", votes(&approval)) } else { String::new() };
        context.say(&format!("{} {}{votes}", approval.id, state(&approval, Paint::stderr())));
    }
    Ok(())
}

fn show(context: &Context, approval: &Approval) {
    if context.global.json {
        output::line(json::message("Approval", approval));
        return;
    }
    let paint = Paint::stdout();
    output::line(format!(
        "{}  {}  {}",
        paint.strong(words::short(&approval.title)),
        state(approval, paint),
        paint.faint(format!("stage {} of execution {}", approval.stage_id, approval.execution_id))
    ));
    let payload = approval.payload.clone().map(mahavishnu_proto::json::from_struct).unwrap_or_default();
    output::lines(result::value(&Value::Object(payload)).into_iter().map(|line| format!("  {line}")));
    if let Some(policy) = &approval.policy {
        output::line(format!("for {}", words::policy(policy)));
    }
    for vote in &approval.votes {
        let answer = if vote.approved { paint.good("approved") } else { paint.bad("rejected") };
        let by = if vote.decided_by.is_empty() { "somebody" } else { vote.decided_by.as_str() };
        let why = words::short(&vote.reason);
        let line = format!("{} {answer} by {by}  {why}", words::date(vote.time.as_ref()));
        output::line(line.trim_end());
    }
    if let Some(until) = &approval.expire_time {
        output::line(format!("until {}", words::date(Some(until))));
    }
    output::line(paint.faint(format!("nonce {}", approval.nonce)));
    if approval.state() == approval::State::Pending {
        context.say(&format!(
            "decide with: mahavishnu approvals decide {} --approve   (or --reject)",
            approval.id
        ));
    } else if approval.votes.is_empty() && !approval.reason.is_empty() {
        output::line(words::short(&approval.reason));
    }
}

/// How many have approved, of how many; who.
fn votes(approval: &Approval) -> String {
    let names: Vec<_> = approval.votes.iter().map(|vote| words::short(&vote.decided_by)).collect();
    let Some(policy) = &approval.policy else { return names.join(", ") };
    let approvals = approval.votes.iter().filter(|vote| vote.approved).count();
    format!(
        "{approvals} of {}{}{}",
        policy.quorum,
        if names.is_empty() { "" } else { ": " },
        names.join(", ")
    )
}

fn state(approval: &Approval, paint: Paint) -> String {
    use approval::State;
    match approval.state() {
        State::Unspecified => "unknown".to_owned(),
        State::Pending => paint.attention("pending"),
        State::Approved => paint.good("approved"),
        State::Rejected => paint.bad("rejected"),
        State::Expired => paint.faint("expired"),
    }
}
