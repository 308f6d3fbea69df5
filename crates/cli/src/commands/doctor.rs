//! `doctor`: what this machine has and lacks, each with what to do.

use std::process::ExitCode;

use mahavishnu_provision::doctor::{self, Check};
use mahavishnu_provision::model;
use mahavishnu_provision::nats::Durability;
use mahavishnu_worker::Engine;
use serde_json::json;

use crate::args::Doctor;
use crate::client::{Client, running_dev};
use crate::context::Context;
use crate::output::{self, Paint};
use crate::system::engines;

/// Runs it.
pub async fn run(context: &Context, args: Doctor) -> anyhow::Result<ExitCode> {
    let provision = context.provision(args.python)?;
    let mut environments: Vec<_> = engines::ALL.iter().map(Engine::environment).collect();
    environments.push(model::environment());
    let mut checks = doctor::examine(&provision, &environments, Durability::default()).await;
    checks.push(system(context).await?);
    let ok = checks.iter().all(|check| check.ok);
    if context.global.json {
        output::line(json!({"ok": ok, "checks": checks}));
    } else {
        output::lines(checks.iter().flat_map(|check| lines(check, Paint::stdout())));
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Which system commands of this user would speak to.
async fn system(context: &Context) -> anyhow::Result<Check> {
    let check = |ok, detail, advice| Check { check: "system".to_owned(), ok, detail, advice };
    if let Some(endpoint) = &context.global.endpoint {
        let answers = Client::new(endpoint)?.answers().await;
        let advice =
            (!answers).then(|| "start it, or leave out --endpoint and MAHAVISHNU_ENDPOINT".to_owned());
        let detail = format!("{endpoint} {}", if answers { "answers" } else { "does not answer" });
        return Ok(check(answers, detail, advice));
    }
    Ok(match running_dev(context).await? {
        Some(dev) => {
            check(true, format!("mahavishnu dev (process {}) serves {}", dev.pid, dev.endpoint), None)
        }
        None => check(true, "none runs now; mahavishnu dev starts one".to_owned(), None),
    })
}

fn lines(check: &Check, paint: Paint) -> Vec<String> {
    let mark = if check.ok { paint.good('✓') } else { paint.bad('✗') };
    let mut lines = vec![format!("{mark} {}: {}", paint.strong(&check.check), check.detail)];
    lines.extend(check.advice.iter().map(|advice| format!("  → {advice}")));
    lines
}
