//! `checkpoints`: where a graph stood, step by step.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_proto::v1::{
    Checkpoint, GetCheckpointRequest, ListCheckpointsRequest, ListCheckpointsResponse,
};
use serde_json::Value;

use crate::args::Checkpoints;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, result, table, words};

/// Runs it.
pub async fn run(context: &Context, args: Checkpoints) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    match args {
        Checkpoints::List { execution, stage, namespace } => {
            list(context, &client, &execution, &stage, &namespace).await?;
        }
        Checkpoints::Show { execution, stage, checkpoint, namespace } => {
            let request = GetCheckpointRequest {
                execution_id: execution.clone(),
                stage_id: stage.clone(),
                checkpoint_id: checkpoint,
                namespace,
            };
            let response = client.executions().get_checkpoint(request).await;
            let checkpoint = response.map_err(failure::at(&client.endpoint))?.into_inner().checkpoint;
            show(context, &execution, &stage, &checkpoint.context("the server sent no checkpoint")?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(
    context: &Context,
    client: &Client,
    execution: &str,
    stage: &str,
    namespace: &str,
) -> anyhow::Result<()> {
    let mut listed = ListCheckpointsResponse::default();
    loop {
        let request = ListCheckpointsRequest {
            execution_id: execution.to_owned(),
            stage_id: stage.to_owned(),
            namespace: namespace.to_owned(),
            page_size: 1_000,
            page_token: std::mem::take(&mut listed.next_page_token),
        };
        let response =
            client.executions().list_checkpoints(request).await.map_err(failure::at(&client.endpoint))?;
        let page = response.into_inner();
        listed.checkpoints.extend(page.checkpoints);
        listed.namespaces = page.namespaces;
        listed.next_page_token = page.next_page_token;
        if listed.next_page_token.is_empty() {
            break;
        }
    }
    if context.global.json {
        output::line(json::list("ListCheckpointsResponse", "checkpoints", &listed));
    } else if listed.checkpoints.is_empty() {
        context.say("the stage has no checkpoints");
    } else {
        let heading = ["CHECKPOINT", "STEP", "SOURCE", "NEXT", "STORED"].map(str::to_owned).to_vec();
        let row = |checkpoint: &Checkpoint| {
            vec![
                checkpoint.id.clone(),
                checkpoint.step.to_string(),
                checkpoint.source.clone(),
                next(checkpoint),
                words::date(checkpoint.create_time.as_ref()),
            ]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(listed.checkpoints.iter().map(row)).collect();
        output::lines(table::lines(&rows));
        if namespace.is_empty() && !listed.namespaces.is_empty() {
            let inner = listed.namespaces.join(", ");
            context.say(&format!("\ngraphs inside have their own (--namespace): {inner}"));
        }
    }
    Ok(())
}

fn show(context: &Context, execution: &str, stage: &str, checkpoint: &Checkpoint) {
    if context.global.json {
        output::line(json::message("Checkpoint", checkpoint));
        return;
    }
    let paint = Paint::stdout();
    output::line(format!(
        "{}  step {}, {}",
        paint.strong(&checkpoint.id),
        checkpoint.step,
        checkpoint.source
    ));
    let stored = words::date(checkpoint.create_time.as_ref());
    output::line(paint.faint(format!("stored {stored}, next: {}", next(checkpoint))));
    let values = checkpoint.values.clone().map(mahavishnu_proto::json::from_struct).unwrap_or_default();
    output::lines(result::value(&Value::Object(values)).into_iter().map(|line| format!("  {line}")));
    if checkpoint.shortened {
        context.say("these values are in short: the state is too large to be shown");
    }
    context.say(&format!(
        "go on from here with: mahavishnu executions fork {execution} --from {stage} --from-checkpoint {}",
        checkpoint.id
    ));
}

fn next(checkpoint: &Checkpoint) -> String {
    if checkpoint.next.is_empty() { "-".to_owned() } else { checkpoint.next.join(", ") }
}
