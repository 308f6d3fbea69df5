//! `engines list`: profiles; from a server also live workers and their versions.

use std::process::ExitCode;

use mahavishnu_core::engine::Profile;
use mahavishnu_proto::v1;

use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, table};

/// Runs it.
pub async fn list(context: &Context) -> anyhow::Result<ExitCode> {
    let client = Client::find(context).await?;
    let profiles = match &client {
        Some(client) => {
            let response = client.orchestrator().list_profiles(v1::ListProfilesRequest {}).await;
            response.map_err(failure::at(&client.endpoint))?.into_inner().profiles
        }
        None => context.registry()?.profiles().map(profile).collect(),
    };
    if context.global.json {
        let response = v1::ListProfilesResponse { profiles };
        output::line(json::list("ListProfilesResponse", "profiles", &response));
        return Ok(ExitCode::SUCCESS);
    }
    output::lines(lines(&profiles, client.is_some(), Paint::stdout()));
    if client.is_none() {
        context
            .say("\nno system is running, so there are no workers to show; start one with: mahavishnu dev");
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(profiles: &[v1::Profile], workers: bool, paint: Paint) -> Vec<String> {
    let mut heading = vec!["ENGINE", "COMPLEXITY", "STATE", "ROUTING", "SCHEDULING", "BEST FOR"];
    if workers {
        heading.insert(5, "WORKERS");
    }
    let mut rows = vec![heading.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for profile in profiles {
        let yes = |flag: bool| if flag { "yes" } else { "-" }.to_owned();
        let mut row = vec![
            paint.strong(&profile.engine),
            profile.complexity.clone(),
            yes(profile.stateful),
            yes(profile.routing),
            yes(profile.scheduling),
            profile.best_for.iter().take(2).cloned().collect::<Vec<_>>().join(", "),
        ];
        if workers {
            row.insert(5, profile.workers.len().to_string());
        }
        rows.push(row);
    }
    let mut lines = table::lines(&rows);
    for worker in profiles.iter().flat_map(|profile| &profile.workers) {
        let mut versions: Vec<_> =
            worker.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        versions.sort();
        lines.push(String::new());
        lines.push(format!("{}  {} of {} slots in use", paint.strong(&worker.id), worker.busy, worker.slots));
        lines.push(format!("  {}", paint.faint(versions.join(", "))));
    }
    lines
}

fn profile(profile: &Profile) -> v1::Profile {
    v1::Profile {
        engine: profile.name.to_string(),
        name: profile.display_name.clone(),
        complexity: profile.complexity.to_string(),
        stateful: profile.stateful,
        routing: profile.routing,
        scheduling: profile.scheduling,
        strengths: profile.strengths.clone(),
        weaknesses: profile.weaknesses.clone(),
        best_for: profile.best_for.clone(),
        workers: Vec::new(),
    }
}
