//! `explain`: why an execution is where it is. `info`: what the server is.

use std::process::ExitCode;

use mahavishnu_proto::v1::{ExplainExecutionRequest, GetInfoRequest, Retention, get_info_response};
use prost_types::Duration;

use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, words};

/// Explains an execution.
pub async fn run(context: &Context, id: String) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    let response = client.executions().explain_execution(ExplainExecutionRequest { id }).await;
    let explained = response.map_err(failure::at(&client.endpoint))?.into_inner();
    if context.global.json {
        output::line(json::message("ExplainExecutionResponse", &explained));
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::stdout();
    for stage in &explained.stages {
        output::line(words::one_line(&stage.sentence));
        if stage.sequence > 0 {
            output::line(paint.faint(format!("  known from event {}", stage.sequence)));
        }
        if !stage.command.is_empty() {
            output::line(format!("  {}", stage.command));
        }
    }
    if explained.command.is_empty() {
        context.say("there is nothing to be done");
    }
    Ok(ExitCode::SUCCESS)
}

/// How long things are kept, in words.
pub fn kept(retention: &Retention) -> Vec<String> {
    let long = |duration: Option<&Duration>| {
        let duration = duration.copied().and_then(|duration| std::time::Duration::try_from(duration).ok());
        duration.map(words::long)
    };
    let said = |duration| long(duration).unwrap_or_else(|| "a time that it does not say".to_owned());
    let executions = match long(retention.executions.as_ref()) {
        Some(age) => format!("for {age} after their end"),
        None => "until they are deleted".to_owned(),
    };
    let room = retention.history_bytes.map(|bytes| format!(", all histories together up to {bytes} bytes"));
    vec![
        format!("executions are kept {executions}{}", room.unwrap_or_default()),
        format!("artifacts that nothing refers to are kept for {}", said(retention.artifacts.as_ref())),
        format!(
            "checkpoints of stages that have ended are kept for {}, all together up to {} bytes",
            said(retention.checkpoints.as_ref()),
            retention.checkpoint_bytes
        ),
        format!(
            "what engines keep beyond their stages is kept for {}, all together up to {} bytes",
            said(retention.engine_state.as_ref()),
            retention.engine_state_bytes
        ),
    ]
}

/// Says what the server is.
pub async fn info(context: &Context) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    let response = client.orchestrator().get_info(GetInfoRequest {}).await;
    let info = response.map_err(failure::at(&client.endpoint))?.into_inner();
    if context.global.json {
        output::line(json::message("GetInfoResponse", &info));
        return Ok(ExitCode::SUCCESS);
    }
    let level = match info.durability() {
        get_info_response::Durability::Process => "process",
        get_info_response::Durability::Power => "power",
        get_info_response::Durability::Unspecified => "unknown",
    };
    output::line(format!("coordinator {} at {}", info.version, client.endpoint));
    let partitions = Some(info.partitions).filter(|partitions| *partitions > 1);
    let partitions = partitions.map(|partitions| format!(", histories in {partitions}")).unwrap_or_default();
    output::line(format!("nats-server {}, {} of every stream{partitions}", info.nats_version, info.replicas));
    output::line(format!("durability {level}: can lose {}", info.loss_budget));
    output::lines(info.retention.iter().flat_map(kept));
    output::line(format!("an artifact, document or payload, has up to {} bytes", info.max_artifact_bytes));
    for pool in &info.pools {
        output::line(format!("workers of {}: {}", words::pool(pool), words::capacity(pool)));
    }
    Ok(ExitCode::SUCCESS)
}
