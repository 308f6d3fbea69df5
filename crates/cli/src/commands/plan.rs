//! `plan`: what a workflow would do. Here with the same crate as a server, or by one.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_core::workflow::{Plan, plan};
use mahavishnu_proto::{json, v1};
use serde_json::Value;

use crate::args;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output;
use crate::output::json::whole;
use crate::workflow::{self, Additions, Source};

/// Runs it.
pub async fn run(context: &Context, args: args::Plan) -> anyhow::Result<ExitCode> {
    let source = Source::read(&args.file)?;
    let registry = context.registry()?;
    let draft = source.draft(&Additions::default(), &registry, context.global.endpoint.is_some())?;
    let answer = match &context.global.endpoint {
        Some(endpoint) => {
            let client = Client::new(endpoint)?;
            let request = v1::PlanRequest { workflow: Some(workflow::message(draft)) };
            let response =
                client.orchestrator().plan(request).await.map_err(failure::at(&client.endpoint))?;
            Value::Object(response.into_inner().plan.map(json::from_struct).unwrap_or_default())
        }
        None => {
            let mut plan = plan(&draft.check(&registry)?, chrono::Utc::now());
            plan.expect(&registry, |_| None);
            whole(serde_json::to_value(&plan).context("the plan")?)
        }
    };
    if context.global.json {
        output::line(answer);
        return Ok(ExitCode::SUCCESS);
    }
    let plan: Plan = serde_json::from_value(answer).context("the server's plan")?;
    let text = if args.mermaid { plan.to_mermaid() } else { plan.to_text() };
    output::line(text.trim_end());
    Ok(ExitCode::SUCCESS)
}
