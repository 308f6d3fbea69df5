//! `select`: requirements in, engine out. Here with the same crate as a server, or by one.

use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_core::selection::{self, Request};
use mahavishnu_proto::{json, v1};
use serde_json::Value;

use crate::args::Select;
use crate::client::Client;
use crate::context::Context;
use crate::failure;
use crate::output::json::whole;
use crate::output::{self, Paint};

/// Runs it.
pub async fn run(context: &Context, args: Select) -> anyhow::Result<ExitCode> {
    let Select { task_type, requires_state, requires_routing, requires_scheduling } = args;
    let answer = match &context.global.endpoint {
        Some(endpoint) => {
            let client = Client::new(endpoint)?;
            let request =
                v1::SelectRequest { task_type, requires_state, requires_routing, requires_scheduling };
            let response =
                client.orchestrator().select(request).await.map_err(failure::at(&client.endpoint))?;
            Value::Object(response.into_inner().explanation.map(json::from_struct).unwrap_or_default())
        }
        None => {
            let request = Request { task_type, requires_state, requires_routing, requires_scheduling };
            let selection = selection::select(&context.registry()?, &request)?;
            whole(serde_json::to_value(selection).context("the answer")?)
        }
    };
    if context.global.json {
        output::line(answer);
    } else {
        output::lines(lines(&answer, Paint::stdout()));
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(answer: &Value, paint: Paint) -> Vec<String> {
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines = vec![format!("{}  {}", paint.strong(text(answer, "engine")), text(answer, "because"))];
    for need in list("unmet") {
        lines.push(format!("  it does not meet: {}", text(&need, "need")));
    }
    let plan: Vec<_> = list("hybrid_plan").iter().map(|stage| text(stage, "type")).collect();
    if plan.len() > 1 {
        lines.push(format!("  together: {}", plan.join(" → ")));
    }
    if let Some(flip) = answer.get("flip") {
        lines.push(paint.faint(format!("  {}", text(flip, "text"))));
    }
    lines
}
