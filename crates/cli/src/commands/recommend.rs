//! `recommend`: a description in, engine and plan out. Here with the same crate as a server, or by one.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::recommendation;
use mahavishnu_proto::{json, v1};
use serde_json::Value;

use crate::args::Recommend;
use crate::client::Client;
use crate::context::Context;
use crate::failure::{self, REFUSED};
use crate::output::json::whole;
use crate::output::{self, Paint};

/// Runs it.
pub async fn run(context: &Context, args: Recommend) -> anyhow::Result<ExitCode> {
    let source = match &context.global.endpoint {
        Some(endpoint) => Source::Server(Client::new(endpoint)?),
        None => Source::Here(Box::new(context.registry()?)),
    };
    if let Some(file) = &args.file {
        return batch(&source, file).await;
    }
    let answer = source.ask(args.text.as_deref().unwrap_or_default()).await?;
    if context.global.json {
        output::line(answer);
    } else {
        output::lines(lines(&answer, Paint::stdout()));
    }
    Ok(ExitCode::SUCCESS)
}

enum Source {
    Here(Box<Registry>),
    Server(Client),
}

impl Source {
    async fn ask(&self, description: &str) -> anyhow::Result<Value> {
        Ok(match self {
            Self::Here(registry) => {
                let answer = recommendation::recommend(registry, description)?;
                whole(serde_json::to_value(answer).context("the answer")?)
            }
            Self::Server(client) => {
                let request = v1::RecommendRequest { description: description.to_owned() };
                let response =
                    client.orchestrator().recommend(request).await.map_err(failure::at(&client.endpoint))?;
                Value::Object(response.into_inner().explanation.map(json::from_struct).unwrap_or_default())
            }
        })
    }
}

/// One object a line, in order. A description that is refused gives its violations and does not end the rest.
async fn batch(source: &Source, file: &Path) -> anyhow::Result<ExitCode> {
    let input: Box<dyn std::io::Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?)
    };
    let mut refused = false;
    for line in BufReader::new(input).split(b'\n') {
        let line = line.with_context(|| format!("cannot read {}", file.display()))?;
        let description = String::from_utf8_lossy(&line);
        match source.ask(description.trim_end_matches('\r')).await {
            Ok(answer) => output::line(answer),
            Err(error) => {
                let found = failure::found(&error).ok_or(error)?;
                output::line(failure::violations_json(&found));
                refused = true;
            }
        }
    }
    Ok(if refused { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS })
}

fn lines(answer: &Value, paint: Paint) -> Vec<String> {
    let text =
        |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let percent =
        |value: Option<&Value>| format!("{:.0} %", value.and_then(Value::as_f64).unwrap_or_default() * 100.0);
    let mut lines = vec![format!(
        "{}  {} sure",
        paint.strong(text(answer, "primary")),
        percent(answer.get("confidence"))
    )];
    let plan = list("plan");
    for (n, stage) in plan.iter().enumerate().filter(|_| plan.len() > 1) {
        lines.push(format!("  {}. {}: {}", n + 1, text(stage, "type"), text(stage, "why")));
    }
    let words: Vec<_> = list("evidence")
        .iter()
        .map(|word| format!("{:?} ({})", text(word, "word"), text(word, "engine")))
        .collect();
    if !words.is_empty() {
        lines.push(paint.faint(format!("  because of {}", words.join(", "))));
    }
    let others: Vec<_> = list("alternatives")
        .iter()
        .map(|other| format!("{} {}", text(other, "engine"), percent(other.get("score"))))
        .collect();
    if !others.is_empty() {
        lines.push(paint.faint(format!("  others: {}", others.join(", "))));
    }
    if let Some(advice) = answer.get("advice").and_then(Value::as_str) {
        lines.push(paint.attention(format!("  {advice}")));
    }
    lines
}
