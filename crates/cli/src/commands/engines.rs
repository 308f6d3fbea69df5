//! `engines list`, `engines get`: profiles; from a server also live workers and their versions.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_core::engine::SetupTime;
use mahavishnu_proto::{public, v1};

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
        None => context.registry()?.profiles().map(public::profile).collect(),
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
        lines.push(format!(
            "{}  {}{} of {} slots in use",
            paint.strong(&worker.id),
            pool(worker),
            worker.busy,
            worker.slots
        ));
        lines.push(format!("  {}", paint.faint(versions.join(", "))));
    }
    lines
}

fn pool(worker: &v1::Worker) -> String {
    if worker.pool.is_empty() { String::new() } else { format!("pool {}, ", worker.pool) }
}

/// One engine's profile; from a server also its live workers.
pub async fn get(context: &Context, engine: String) -> anyhow::Result<ExitCode> {
    let profile = match Client::find(context).await? {
        Some(client) => {
            let response = client.orchestrator().get_profile(v1::GetProfileRequest { engine }).await;
            response.map_err(failure::at(&client.endpoint))?.into_inner().profile.context("no profile")?
        }
        None => {
            let registry = context.registry()?;
            let near = || registry.nearest(&engine).map(|near| format!(", did you mean {near}?"));
            let found = registry.find(&engine);
            let unknown = || format!("there is no engine {engine:?}{}", near().unwrap_or_default());
            public::profile(found.with_context(unknown)?)
        }
    };
    if context.global.json {
        output::line(json::message("Profile", &profile));
    } else {
        output::lines(described(&profile));
    }
    Ok(ExitCode::SUCCESS)
}

fn described(profile: &v1::Profile) -> Vec<String> {
    let yes = |flag: bool| if flag { "yes" } else { "no" };
    let mut lines = vec![
        format!("Name: {}", profile.name),
        format!("Complexity: {}", profile.complexity),
        format!("Stateful: {}", yes(profile.stateful)),
        format!("Routing: {}", yes(profile.routing)),
        format!("Scheduling: {}", yes(profile.scheduling)),
        format!("Strengths: {}", profile.strengths.join(", ")),
        format!("Weaknesses: {}", profile.weaknesses.join(", ")),
        format!("Best for: {}", profile.best_for.join(", ")),
        format!("Avoid for: {}", profile.avoid_for.join(", ")),
    ];
    if let Some(overhead) = &profile.overhead {
        let setup = SetupTime { min: overhead.setup_min_ms, max: overhead.setup_max_ms };
        let note = if overhead.note.is_empty() { String::new() } else { format!(" ({})", overhead.note) };
        lines.push(format!("Setup time: {setup}"));
        lines.push(format!("Runtime: {}", overhead.runtime));
        lines.push(format!("Overhead: {}{note}", overhead.overhead));
    }
    if !profile.worker.is_empty() {
        lines.push(format!("Worker: {}", profile.worker));
    }
    let workers = profile.workers.iter();
    lines.extend(workers.map(|worker| {
        format!("Connected: {}, {}{} of {} slots in use", worker.id, pool(worker), worker.busy, worker.slots)
    }));
    lines
}
