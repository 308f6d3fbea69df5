//! Real engines: our stage around the smallest object that each can run without a model, against calling the same
//! object in a warm Python process. (Agno is not here: its agents do nothing without a model.)

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mahavishnu_provision::Environment;
use mahavishnu_test_support::system::provision;
use serde_json::{Value, json};

use super::Bench;
use crate::client::{Client, channel, of, once, workflow};
use crate::report::Target;
use crate::samples::Samples;

struct Engine {
    name: &'static str,
    requirements: &'static str,
    task: fn() -> Value,
    /// Executions, and calls.
    times: usize,
    /// The most that a stage should take, in milliseconds.
    most: f64,
}

const ENGINES: [Engine; 3] = [
    Engine {
        name: "langgraph",
        requirements: include_str!("../../../../crates/worker-langgraph/requirements.lock"),
        task: || json!({"graph": "graph.py:graph", "input": {"n": 1}}),
        times: 100,
        most: 100.0,
    },
    Engine {
        name: "llamaindex",
        requirements: include_str!("../../../../crates/worker-llamaindex/requirements.lock"),
        task: || json!({"workflow": "steps.py:workflow", "input": {"n": 1}}),
        times: 100,
        most: 50.0,
    },
    Engine {
        name: "prefect",
        requirements: include_str!("../../../../crates/worker-prefect/requirements.lock"),
        task: || json!({"flow": "flows.py:add", "parameters": {"n": 1}}),
        times: 10,
        most: 200.0,
    },
];

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    let coordinator = bench.parts.coordinator(&nats, bench.mode, "127.0.0.1:0").await?;
    let mut client = Client::new(channel(&coordinator.endpoint()?).await?);
    for engine in &ENGINES {
        let mut direct = None;
        for (isolation, most) in [("shared", 1.5), ("process", 15.0)] {
            let worker = bench.parts.worker(&nats, engine.name, &["--isolation", isolation]).await?;
            if direct.is_none() {
                let sidecar = worker.said.get("sidecar").and_then(Value::as_str).map(str::to_owned);
                direct = Some(directly(engine, sidecar).await?);
                let cold = worker.start.as_secs_f64() * 1e3;
                bench.report.tell("engines", &format!("{}, worker start to ready", engine.name), cold, "ms");
            }
            let direct = direct.as_ref().map_or(f64::NAN, Samples::p50);
            let one = workflow([of(engine.name, (engine.task)())]);
            let mut times = Vec::new();
            for n in 0..engine.times + 3 {
                let took = once(&mut client, &one).await.context(engine.name)?;
                times.extend(Some(took.whole).filter(|_| n >= 3));
            }
            let stage = Samples::new(times).p50();
            let report = &mut bench.report;
            let name = |what: &str| format!("{}, {isolation}: {what}", engine.name);
            let limit = (isolation == "process").then_some(Target::AtMost(engine.most));
            report.add("engines", &name("execution of one stage, p50"), stage, "ms", limit);
            report.add(
                "engines",
                &name("beyond the direct call"),
                stage - direct,
                "ms",
                Some(Target::AtMost(most)),
            );
        }
        let direct = direct.as_ref().map_or(f64::NAN, Samples::p50);
        bench.report.tell("engines", &format!("{}, direct call, p50", engine.name), direct, "ms");
    }
    Ok(())
}

/// Calls the object in a Python process of its own.
async fn directly(engine: &Engine, sidecar: Option<String>) -> Result<Samples> {
    let environment = Environment::new(engine.name, engine.requirements);
    let python = provision()?.environment(&environment).await?;
    let mut command = tokio::process::Command::new(python);
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("project");
    command.current_dir(project).args(["direct.py", engine.name, &engine.times.to_string()]);
    if let Some(sidecar) = sidecar {
        command.env("PREFECT_API_URL", sidecar);
    }
    let output = command.env("PREFECT_LOGGING_LEVEL", "ERROR").output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let times: Vec<f64> = serde_json::from_slice(&output.stdout).context(said)?;
    Ok(Samples::new(times.into_iter().map(|time| Duration::from_secs_f64(time / 1e3))))
}
