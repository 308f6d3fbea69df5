//! `artifacts`: documents and large payloads, and removing what nothing uses.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_proto::v1::artifact_referrer::Referrer;
use mahavishnu_proto::v1::{
    Artifact, DeleteArtifactRequest, GetArtifactRequest, ListArtifactsRequest, ListArtifactsResponse,
    PruneArtifactsRequest,
};

use crate::args::Artifacts;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, table, words};

/// Runs it.
pub async fn run(context: &Context, args: Artifacts) -> anyhow::Result<ExitCode> {
    let client = Client::required(context).await?;
    let at = || failure::at(&client.endpoint);
    match args {
        Artifacts::List { unused } => list(context, &client, unused).await?,
        Artifacts::Show { id } => {
            let response = client.artifacts().get_artifact(GetArtifactRequest { id }).await.map_err(at())?;
            show(context, &response.into_inner().artifact.context("the server sent no artifact")?);
        }
        Artifacts::Delete { id } => {
            let request = DeleteArtifactRequest { id: id.clone() };
            client.artifacts().delete_artifact(request).await.map_err(at())?;
            if context.global.json {
                output::line(serde_json::json!({"deleted": id}));
            } else {
                context.say(&format!("{id} is removed"));
            }
        }
        Artifacts::Prune { min_age, dry_run } => {
            let min_age = min_age.map(TryInto::try_into).transpose().context("--min-age")?;
            let request = PruneArtifactsRequest { min_age, dry_run };
            let pruned = client.artifacts().prune_artifacts(request).await.map_err(at())?.into_inner();
            if context.global.json {
                output::line(json::list("PruneArtifactsResponse", "artifacts", &pruned));
            } else {
                output::lines(pruned.artifacts.iter().map(|artifact| &artifact.id));
                let what = if dry_run { "would be removed" } else { "removed" };
                context.say(&format!("{} {what}, {} bytes", pruned.artifacts.len(), pruned.freed_bytes));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(context: &Context, client: &Client, unused: bool) -> anyhow::Result<()> {
    let mut listed = ListArtifactsResponse::default();
    loop {
        let page_token = std::mem::take(&mut listed.next_page_token);
        let request = ListArtifactsRequest { page_size: 1_000, page_token, unused };
        let response = client.artifacts().list_artifacts(request).await;
        let page = response.map_err(failure::at(&client.endpoint))?.into_inner();
        listed.artifacts.extend(page.artifacts);
        listed.next_page_token = page.next_page_token;
        if listed.next_page_token.is_empty() {
            break;
        }
    }
    listed.artifacts.sort_by_key(|artifact| words::instant(artifact.update_time.as_ref()));
    if context.global.json {
        output::line(json::list("ListArtifactsResponse", "artifacts", &listed));
    } else if listed.artifacts.is_empty() {
        context.say("no artifacts");
    } else {
        let heading = ["ID", "BYTES", "STORED OR NAMED"].map(str::to_owned).to_vec();
        let row = |artifact: &Artifact| {
            vec![artifact.id.clone(), artifact.size.to_string(), words::date(artifact.update_time.as_ref())]
        };
        let rows: Vec<_> = std::iter::once(heading).chain(listed.artifacts.iter().map(row)).collect();
        output::lines(table::lines(&rows));
    }
    Ok(())
}

fn show(context: &Context, artifact: &Artifact) {
    if context.global.json {
        output::line(json::message("Artifact", artifact));
        return;
    }
    output::line(Paint::stdout().strong(&artifact.id));
    let stored = words::date(artifact.update_time.as_ref());
    output::line(format!("{} bytes, stored or named last at {stored}", artifact.size));
    for referrer in artifact.referrers.iter().filter_map(|referrer| referrer.referrer.as_ref()) {
        output::line(match referrer {
            Referrer::ExecutionId(id) => format!("  execution {id}"),
            Referrer::ScheduleId(id) => format!("  schedule {id}"),
        });
    }
    if artifact.referrers.is_empty() {
        context.say("nothing refers to it");
    }
}
