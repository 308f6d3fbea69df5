//! `plan`: what a workflow would do. Here with the same crate as a server, or by one.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mahavishnu_core::workflow::plan;
use mahavishnu_proto::{json, v1};
use serde_json::Value;

use crate::args::Plan;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::json::whole;
use crate::output::{self, result};
use crate::workflow::{self, Additions, Source};

/// Runs it.
pub async fn run(context: &Context, args: Plan) -> anyhow::Result<ExitCode> {
    let source = Source::read(&args.file)?;
    let registry = context.registry()?;
    let draft = source.draft(&Additions::default(), &registry, context.global.endpoint.is_some())?;
    if let Some(endpoint) = &context.global.endpoint {
        if args.mermaid {
            bail!("--mermaid draws here; leave out --endpoint");
        }
        let client = Client::new(endpoint)?;
        let request = v1::PlanRequest { workflow: Some(workflow::message(draft)) };
        let response = client.orchestrator().plan(request).await.map_err(failure::at(&client.endpoint))?;
        let answer = Value::Object(response.into_inner().plan.map(json::from_struct).unwrap_or_default());
        if context.global.json {
            output::line(answer);
        } else {
            output::lines(result::value(&answer));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(&draft.check(&registry)?, chrono::Utc::now());
    if context.global.json {
        output::line(whole(serde_json::to_value(&plan).context("the plan")?));
    } else if args.mermaid {
        output::line(plan.to_mermaid().trim_end());
    } else {
        output::line(plan.to_text().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}
