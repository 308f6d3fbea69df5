//! `doctor`: what this machine has and lacks, each with what to do.

use std::process::ExitCode;

use mahavishnu_proto::v1::{GetInfoRequest, GetInfoResponse, Pool, Retention};
use mahavishnu_provision::doctor::{self, Check};
use mahavishnu_provision::model;
use mahavishnu_provision::nats::Durability;
use mahavishnu_worker::Engine;
use serde_json::json;

use crate::args::Doctor;
use crate::client::{Client, running_dev};
use crate::context::Context;
use crate::failure;
use crate::output::{self, Paint, json, words};
use crate::system::engines;

use super::explain::kept;

/// Runs it.
pub async fn run(context: &Context, args: Doctor) -> anyhow::Result<ExitCode> {
    let provision = context.provision(args.python)?;
    let mut environments: Vec<_> = engines::ALL.iter().map(Engine::environment).collect();
    environments.push(model::environment());
    let mut checks = doctor::examine(&provision, &environments, Durability::default()).await;
    let (check, client) = system(context).await?;
    checks.push(check);
    let info = match client {
        Some(client) => info(&client).await?,
        None => GetInfoResponse::default(),
    };
    checks.extend(info.retention.iter().map(retention));
    checks.extend(info.pools.iter().map(pool));
    let ok = checks.iter().all(|check| check.ok);
    if context.global.json {
        let info = json::message("GetInfoResponse", &info);
        let of = |key: &str, none| info.get(key).cloned().unwrap_or(none);
        let (pools, retention) = (of("pools", json!([])), of("retention", json!(null)));
        output::line(json!({"ok": ok, "checks": checks, "pools": pools, "retention": retention}));
    } else {
        output::lines(checks.iter().flat_map(|check| lines(check, Paint::stdout())));
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which system commands of this user would speak to, and it, if it answers.
async fn system(context: &Context) -> anyhow::Result<(Check, Option<Client>)> {
    let check = |ok, detail, advice| Check { check: "system".to_owned(), ok, detail, advice };
    if let Some(endpoint) = &context.global.endpoint {
        let client = Client::new(endpoint)?;
        let answers = client.answers().await;
        let advice =
            (!answers).then(|| "start it, or leave out --endpoint and MAHAVISHNU_ENDPOINT".to_owned());
        let detail = format!("{endpoint} {}", if answers { "answers" } else { "does not answer" });
        return Ok((check(answers, detail, advice), answers.then_some(client)));
    }
    Ok(match running_dev(context).await? {
        Some(dev) => {
            let detail = format!("mahavishnu dev (process {}) serves {}", dev.pid, dev.endpoint);
            (check(true, detail, None), Some(Client::new(&dev.endpoint)?))
        }
        None => (check(true, "none runs now; mahavishnu dev starts one".to_owned(), None), None),
    })
}

async fn info(client: &Client) -> anyhow::Result<GetInfoResponse> {
    let response = client.orchestrator().get_info(GetInfoRequest {}).await;
    Ok(response.map_err(failure::at(&client.endpoint))?.into_inner())
}

/// How long the system keeps things.
fn retention(retention: &Retention) -> Check {
    Check { check: "retention".to_owned(), ok: true, detail: kept(retention).join("; "), advice: None }
}

/// Who takes the tasks of a pool.
fn pool(pool: &Pool) -> Check {
    Check {
        check: format!("workers of {}", words::pool(pool)),
        ok: true,
        detail: words::capacity(pool),
        advice: None,
    }
}

fn lines(check: &Check, paint: Paint) -> Vec<String> {
    let mark = if check.ok { paint.good('✓') } else { paint.bad('✗') };
    let mut lines = vec![format!("{mark} {}: {}", paint.strong(&check.check), check.detail)];
    lines.extend(check.advice.iter().map(|advice| format!("  → {advice}")));
    lines
}
