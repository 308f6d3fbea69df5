//! `guide`: the quick reference. From here, or from a server.

use std::process::ExitCode;

use mahavishnu_core::engine::guide;
use mahavishnu_proto::v1::GetGuideRequest;
use serde_json::{Value, json};

use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output;

/// Runs it.
pub async fn run(context: &Context) -> anyhow::Result<ExitCode> {
    let entries: Vec<(String, String)> = match &context.global.endpoint {
        Some(endpoint) => {
            let client = Client::new(endpoint)?;
            let response = client
                .orchestrator()
                .get_guide(GetGuideRequest {})
                .await
                .map_err(failure::at(&client.endpoint))?;
            response.into_inner().entries.into_iter().map(|entry| (entry.task, entry.engine)).collect()
        }
        None => {
            guide(&context.registry()?).into_iter().map(|(task, engine)| (task, engine.to_string())).collect()
        }
    };
    if context.global.json {
        let entries: Vec<Value> =
            entries.iter().map(|(task, engine)| json!({"task": task, "engine": engine})).collect();
        output::line(json!({ "entries": entries }));
    } else {
        output::lines(entries.iter().map(|(task, engine)| format!("{task}: {engine}")));
    }
    Ok(ExitCode::SUCCESS)
}
