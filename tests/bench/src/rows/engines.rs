//! Real engines: our stage around the smallest object that each can run without a model, against calling the same
//! object in a warm Python process. What the difference is made of: an execution of one no-op stage, which is all of ours but the
//! host, and the rest, which is the host.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use mahavishnu_proto::v1;
use mahavishnu_provision::Environment;
use mahavishnu_test_support::system::provision;
use serde_json::{Value, json};

use super::{Bench, raw::Raw};
use crate::client::{Client, chain, channel, of, once, workflow};
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

const ENGINES: [Engine; 4] = [
    Engine {
        name: "agno",
        requirements: include_str!("../../../../crates/worker-agno/requirements.lock"),
        task: || json!({"agent": "flow.py:workflow", "task": "add"}),
        times: 60,
        most: 10.0,
    },
    Engine {
        name: "langgraph",
        requirements: include_str!("../../../../crates/worker-langgraph/requirements.lock"),
        task: || json!({"graph": "graph.py:graph", "input": {"n": 1}}),
        times: 60,
        most: 100.0,
    },
    Engine {
        name: "llamaindex",
        requirements: include_str!("../../../../crates/worker-llamaindex/requirements.lock"),
        task: || json!({"workflow": "steps.py:workflow", "input": {"n": 1}}),
        times: 60,
        most: 50.0,
    },
    Engine {
        name: "prefect",
        requirements: include_str!("../../../../crates/worker-prefect/requirements.lock"),
        task: || json!({"flow": "flows.py:add", "parameters": {"n": 1}}),
        times: 30,
        most: 200.0,
    },
];

/// Executions before those that count.
const WARM: usize = 3;
/// Stages of the chain that tells what one stage more takes.
const CHAIN: u32 = 6;
/// Raw publishes, beside each engine's executions.
const PUBLISHES: usize = 200;
/// Between executions, so that the next process is ready: it has been forked and has rehearsed.
const READY: Duration = Duration::from_millis(150);

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    let coordinator = bench.parts.coordinator(&nats, bench.mode, "127.0.0.1:0").await?;
    let mut client = Client::new(channel(&coordinator.endpoint()?).await?);
    let noop = {
        let _worker = bench.parts.worker(&nats, "noop", &[]).await?;
        executions(&mut client, &chain(1), 200, Duration::ZERO).await?.p50()
    };
    bench.report.tell("engines", "no-op, execution of one stage, p50", noop, "ms");
    let raw = Raw::open(&nats, bench.mode.replicas()).await?;
    for engine in &ENGINES {
        for (isolation, most) in [("shared", 1.5), ("process", 15.0)] {
            let worker = bench.parts.worker(&nats, engine.name, &["--isolation", isolation]).await?;
            let one = workflow([of(engine.name, (engine.task)())]);
            let first = once(&mut client, &one).await.context(engine.name)?.whole;
            let sidecar = worker.said.get("sidecar").and_then(Value::as_str).map(str::to_owned);
            let direct = directly(engine, sidecar).await?;
            let called = direct.called.p50();
            let mut each = async |workflow, pause| {
                executions(&mut client, workflow, engine.times, pause).await.context(engine.name)
            };
            let before = raw.stored().await?;
            let at_once = each(&one, Duration::ZERO).await?.p50();
            let stored = (raw.stored().await? - before) as f64 / (engine.times + WARM) as f64;
            let mut publishes = Vec::new();
            for _ in 0..PUBLISHES {
                publishes.push(raw.publish().await?);
            }
            let publishes = stored * Samples::new(publishes).p50();
            let stage = if isolation == "process" { each(&one, READY).await?.p50() } else { at_once };
            let more = if isolation == "shared" {
                let chain = workflow((0..CHAIN).map(|_| of(engine.name, (engine.task)())));
                Some((each(&chain, Duration::ZERO).await?.p50() - at_once) / f64::from(CHAIN - 1))
            } else {
                None
            };

            let name = |what: &str| format!("{}, {isolation}: {what}", engine.name);
            let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
            let report = &mut bench.report;
            report.tell("engines", &name("cold, start until ready"), milliseconds(worker.start), "ms");
            report.tell("engines", &name("cold, first stage after that"), milliseconds(first), "ms");
            report.tell("engines", &name("direct call, p50"), called, "ms");
            if let Some(kept) = direct.kept {
                let kept = kept.p50();
                report.tell(
                    "engines",
                    &name("direct call that keeps checkpoints in memory, p50"),
                    kept,
                    "ms",
                );
            }
            if isolation == "process" {
                report.tell("engines", &name("execution of one stage, no spare ready, p50"), at_once, "ms");
            }
            let limit = (isolation == "process").then_some(Target::AtMost(engine.most));
            report.add("engines", &name("execution of one stage, p50"), stage, "ms", limit);
            let most = Some(Target::AtMost(most));
            report.add("engines", &name("beyond the direct call"), stage - called, "ms", most);
            if let Some(more) = more {
                let what = name("one stage more, beyond the direct call");
                report.add("engines", &what, more - called, "ms", most);
            }
            report.tell("engines", &name("of that the engine host"), stage - called - noop, "ms");
            report.tell("engines", &name("messages that JetStream stores for it"), stored, "");
            report.tell("engines", &name("as many raw publishes, one after the other"), publishes, "ms");
        }
    }
    Ok(())
}

/// So many executions, one after the other, with a pause before each.
async fn executions(
    client: &mut Client,
    workflow: &v1::Workflow,
    times: usize,
    pause: Duration,
) -> Result<Samples> {
    let mut took = Vec::new();
    for n in 0..times + WARM {
        tokio::time::sleep(pause).await;
        let one = once(client, workflow).await?;
        took.extend(Some(one.whole).filter(|_| n >= WARM));
    }
    Ok(Samples::new(took))
}

/// Calls of the object without us.
struct Direct {
    called: Samples,
    /// The same, with the engine's own checkpoints in memory; of an engine that has such.
    kept: Option<Samples>,
}

/// Calls the object in a Python process of its own.
async fn directly(engine: &Engine, sidecar: Option<String>) -> Result<Direct> {
    let environment = Environment::new(engine.name, engine.requirements);
    let python = provision()?.environment(&environment).await?;
    let mut command = tokio::process::Command::new(python);
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("project");
    command.current_dir(project).args(["direct.py", engine.name, &engine.times.to_string()]);
    if let Some(sidecar) = sidecar {
        // As a worker has it that has started the server itself.
        command.env("PREFECT_API_URL", sidecar);
        command.env("PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED", "false");
        command.env("PREFECT_CLIENT_CSRF_SUPPORT_ENABLED", "false");
    }
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let times: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&output.stdout).context(said)?;
    let samples = |name: &str| {
        let times = times.get(name)?.iter();
        Some(Samples::new(times.map(|time| Duration::from_secs_f64(time / 1e3))))
    };
    Ok(Direct { called: samples("called").context("no times")?, kept: samples("kept") })
}
