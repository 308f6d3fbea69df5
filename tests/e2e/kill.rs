//! SIGKILL, or SIGSTOP, wherever it hurts: an execution ends rightly all the same, its watcher misses nothing, nobody is left.
//!
//! A stage of these tests waits in the real engine until the test opens its gate, so every kill hits it in the
//! middle.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::otlp::{Collector, Span};
use mahavishnu_test_support::processes::{Process, alive, below, still_alive};
use mahavishnu_test_support::system::{Home, Running, eventually, finished, programs};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::ran::Ran;
use crate::support::{RUN, SHORT, SOON, START, json_lines, mahavishnu, provisioned, test, traced};
use crate::trace::connected;

/// A graph with one node of the user's own, which waits for the gate.
const WORKFLOW: &str = "stages:
  - id: gate
    type: langgraph
    task: {workflow: {nodes: [{name: wait, kind: python, ref: \"gate.py:wait\"}]}}
  - id: after
    type: langgraph
    task:
      workflow: {nodes: [{name: count, kind: set, values: {passed: state.passed}}]}
      input: {passed: \"${{ stages.gate.output.state.passed }}\"}
";
const GATE: &str = r#"
import os, time
from pathlib import Path

HERE = Path(__file__).parent


def wait(state):
    """Says who waits here, then waits until the gate is open."""
    said = HERE / f"{os.getpid()}.part"
    said.write_text(str(os.getpid()))
    said.rename(HERE / f"{os.getpid()}.waits")
    while not (HERE / "open").exists():
        time.sleep(0.01)
    return {"passed": os.getpid()}
"#;

/// A project with a gate, and a workflow that waits at it.
struct Gate(TempDir);

impl Gate {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("gate.py"), GATE).unwrap();
        std::fs::write(directory.path().join("gate.yaml"), WORKFLOW).unwrap();
        Self(directory)
    }

    fn project(&self) -> &Path {
        self.0.path()
    }

    fn workflow(&self) -> PathBuf {
        self.0.path().join("gate.yaml")
    }

    /// The processes that have come to the gate.
    fn waiting(&self) -> Vec<u32> {
        let names = std::fs::read_dir(self.project()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.to_str()?.strip_suffix(".waits")?.parse().ok()).collect()
    }

    /// Waits for one that is not among `known`.
    async fn reached(&self, known: &[u32]) -> u32 {
        let new = || self.waiting().into_iter().find(|pid| !known.contains(pid));
        eventually("the stage waits at its gate", START, new).await.unwrap()
    }

    fn open(&self) {
        std::fs::write(self.project().join("open"), "").unwrap();
    }
}

/// Coordinator and workers, each started alone, as in a deployment.
struct Parts {
    home: Home,
    nats: TestNats,
    gate: Gate,
    collector: Collector,
}

impl Parts {
    async fn new() -> Self {
        provisioned().await;
        let (nats, collector) = (TestNats::start().await.unwrap(), Collector::start().await.unwrap());
        Self { home: Home::temporary().unwrap(), nats, gate: Gate::new(), collector }
    }

    async fn command(&self, program: &str) -> Command {
        let mut command = programs().await.unwrap().command(program, &self.home).unwrap();
        traced(&mut command, &self.collector);
        command
    }

    async fn coordinator(&self, listen: &str) -> (Running, String) {
        let mut command = self.command("mahavishnu-coordinator").await;
        command.args(["--listen", listen, "--nats", self.nats.url()]);
        let mut coordinator = Running::start(command, &self.home.path().join("coordinator.log")).unwrap();
        let said = coordinator.ready(START).await.unwrap();
        (coordinator, said["address"].as_str().unwrap().to_owned())
    }

    async fn worker(&self, name: &str) -> Running {
        let mut command = self.command("mahavishnu-worker-langgraph").await;
        command.args(["--slots", "1", "--nats", self.nats.url(), "--project"]).arg(self.gate.project());
        let mut worker = Running::start(command, &self.home.path().join(name).with_extension("log")).unwrap();
        worker.ready(START).await.unwrap();
        worker
    }

    /// A client that runs the workflow and watches it to the end.
    async fn client(&self, address: &str) -> Running {
        let endpoint = format!("http://{address}");
        let mut command = self.command("mahavishnu").await;
        command.args(["run", "--json", "--endpoint", &endpoint]).arg(self.gate.workflow());
        Running::start(command, &self.home.path().join("client.log")).unwrap()
    }

    /// What the client saw; it must be the whole history, which is told again to whoever asks, and one trace.
    async fn seen(&self, client: Running, address: &str) -> Ran {
        let (events, status) = client.end(RUN).await.unwrap();
        let log = std::fs::read_to_string(self.home.path().join("client.log")).unwrap_or_default();
        let ran = Ran { code: status.code(), events, err: log };
        ran.ended_once("execution_completed");
        assert_eq!(ran.code, Some(0), "{}", ran.story());
        let endpoint = format!("http://{address}");
        let again =
            mahavishnu(&self.home, &["executions", "watch", ran.id(), "--json", "--endpoint", &endpoint])
                .await;
        let again = finished(again, b"", SHORT).await.unwrap();
        let durable = |events: &[Value]| -> Vec<Value> {
            events.iter().filter(|event| event["ephemeral"] != true).cloned().collect()
        };
        assert_eq!(
            durable(&json_lines(&again.out)),
            durable(&ran.events),
            "the history is what the client saw"
        );
        let accepted = ran.of("execution_accepted").next().unwrap();
        let trace = accepted["execution_accepted"]["trace_id"].as_str().unwrap();
        let whole = |all: &[Span]| {
            let spans = connected(all, ran.id(), trace)?;
            let ends = spans.iter().filter(|span| span.name == "run langgraph").count();
            if ends >= 2 { Ok(()) } else { Err(format!("{ends} of two stages told their spans")) }
        };
        self.collector.wait_for(SOON, whole).await.unwrap();
        ran
    }
}

#[test]
fn a_killed_workers_stage_is_finished_by_another() {
    test(async {
        let parts = Parts::new().await;
        let (_coordinator, address) = parts.coordinator("127.0.0.1:0").await;
        let mut workers = vec![parts.worker("one").await, parts.worker("two").await];
        let client = parts.client(&address).await;
        let first = parts.gate.reached(&[]).await;
        let all = alive().unwrap();
        let holds =
            |worker: &Running| below(&all, worker.pid().unwrap()).iter().any(|process| process.pid == first);
        let index = workers.iter().position(holds).expect("a worker holds the stage");
        let victim = workers.remove(index);
        let children = below(&all, victim.pid().unwrap());
        victim.signal(Signal::KILL).unwrap();
        let second = parts.gate.reached(&[first]).await;
        gone(&children).await;
        parts.gate.open();
        let ran = parts.seen(client, &address).await;
        assert_eq!(ran.output("gate")["state"]["passed"], second, "the second process passed the gate");
        assert_eq!(ran.output("after")["state"]["passed"], second);
        let completed = ran.of("stage_completed").next().unwrap();
        let started: Vec<&Value> =
            ran.of("stage_started").filter(|event| event["stage_id"] == "gate").collect();
        assert_eq!(started.len(), 2, "{}", ran.story());
        assert_ne!(started[0]["stage_started"]["worker_id"], started[1]["stage_started"]["worker_id"]);
        assert_eq!(completed["stage_completed"]["worker_id"], started[1]["stage_started"]["worker_id"]);
    });
}

#[test]
fn a_worker_that_was_stopped_for_too_long_gives_up_what_another_has() {
    test(async {
        let parts = Parts::new().await;
        let (_coordinator, address) = parts.coordinator("127.0.0.1:0").await;
        let workers = [parts.worker("one").await, parts.worker("two").await];
        let client = parts.client(&address).await;
        let first = parts.gate.reached(&[]).await;
        let all = alive().unwrap();
        let holds =
            |worker: &&Running| below(&all, worker.pid().unwrap()).iter().any(|process| process.pid == first);
        let victim = workers.iter().find(holds).expect("a worker holds the stage");
        let engine: Vec<Process> = all.iter().filter(|process| process.pid == first).cloned().collect();
        victim.signal(Signal::STOP).unwrap();
        let second = parts.gate.reached(&[first]).await;
        victim.signal(Signal::CONT).unwrap();
        // The gate is closed, so the engine's process ends because its worker ends it.
        gone(&engine).await;
        parts.gate.open();
        let ran = parts.seen(client, &address).await;
        assert_eq!(ran.output("gate")["state"]["passed"], second, "the second process passed the gate");
        assert!(ran.events.iter().all(|event| event["stage_failed"].is_null()), "{}", ran.story());
    });
}

#[test]
fn a_killed_engine_host_is_an_attempt_that_is_tried_again() {
    test(async {
        let parts = Parts::new().await;
        let (_coordinator, address) = parts.coordinator("127.0.0.1:0").await;
        let _worker = parts.worker("one").await;
        let client = parts.client(&address).await;
        let first = parts.gate.reached(&[]).await;
        let pid = rustix::process::Pid::from_raw(first.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
        parts.gate.reached(&[first]).await;
        parts.gate.open();
        let ran = parts.seen(client, &address).await;
        let failed = ran.of("stage_failed").next().unwrap();
        assert_eq!(failed["stage_failed"]["error"]["reason"], "HOST_DIED", "{}", ran.story());
        assert_eq!(ran.of("stage_retry_scheduled").count(), 1, "{}", ran.story());
        assert_eq!(ran.of("stage_completed").next().unwrap()["attempt"], 2, "{}", ran.story());
    });
}

#[test]
fn a_killed_coordinator_goes_on_where_it_was() {
    test(async {
        let parts = Parts::new().await;
        let (coordinator, address) = parts.coordinator("127.0.0.1:0").await;
        let _worker = parts.worker("one").await;
        let client = parts.client(&address).await;
        parts.gate.reached(&[]).await;
        // What a killed process has not yet sent of its spans is lost with it.
        let sent = |all: &[Span]| {
            let has = |name: &str| all.iter().any(|span| span.name == name);
            let both = has("send task.langgraph") && has("mahavishnu.v1.OrchestratorService/Execute");
            if both { Ok(()) } else { Err("the coordinator's spans have not come".to_owned()) }
        };
        parts.collector.wait_for(SOON, sent).await.unwrap();
        coordinator.signal(Signal::KILL).unwrap();
        let (_, status) = coordinator.end(SHORT).await.unwrap();
        assert_eq!(status.code(), None, "it was killed");
        // The result is stored while no coordinator is there to see it.
        parts.gate.open();
        let (_coordinator, again) = parts.coordinator(&address).await;
        assert_eq!(again, address);
        let ran = parts.seen(client, &address).await;
        assert_eq!(ran.of("stage_completed").count(), 2, "{}", ran.story());
    });
}

#[test]
fn a_killed_nats_server_loses_nothing() {
    test(async {
        let mut parts = Parts::new().await;
        let (_coordinator, address) = parts.coordinator("127.0.0.1:0").await;
        let _worker = parts.worker("one").await;
        let client = parts.client(&address).await;
        parts.gate.reached(&[]).await;
        parts.nats.kill().await.unwrap();
        parts.gate.open();
        parts.nats.restart().await.unwrap();
        let ran = parts.seen(client, &address).await;
        ran.output("gate");
        ran.output("after");
    });
}

#[test]
fn a_killed_run_leaves_nobody() {
    test(async {
        let (_gate, run, children) = own_system().await;
        run.signal(Signal::KILL).unwrap();
        let (_, status) = run.end(SHORT).await.unwrap();
        assert_eq!(status.code(), None, "it was killed");
        gone(&children).await;
    });
}

#[test]
fn an_interrupted_run_exits_130_and_leaves_nobody() {
    test(async {
        let (_gate, run, children) = own_system().await;
        run.signal(Signal::INT).unwrap();
        let (_, status) = run.end(SOON).await.unwrap();
        assert_eq!(status.code(), Some(130));
        // Orderly: it waited for its children, so there is nothing to wait for here.
        assert_eq!(still_alive(&children).unwrap(), []);
    });
}

#[test]
fn a_killed_dev_leaves_nobody_not_even_prefects_server() {
    test(async {
        provisioned().await;
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dev");
        let home = Home::kept(&kept).unwrap();
        let mut command = mahavishnu(&home, &["dev", "--listen", "127.0.0.1:0", "--json"]).await;
        command.args(["--engines", "prefect"]).arg("--project").arg(&kept);
        let mut dev = Running::start(command, &kept.join("dev.log")).unwrap();
        dev.ready(START).await.unwrap();
        let pid = dev.pid().unwrap();
        let complete = || {
            let children = below(&alive().ok()?, pid);
            let has = |part: &str| children.iter().any(|process| process.arguments.contains(part));
            let all = ["nats-server", "coordinator", "worker", "prefect_server", "--engine prefect"];
            all.into_iter().all(has).then_some(children)
        };
        let children = eventually("dev has started all its parts", START, complete).await.unwrap();
        dev.signal(Signal::KILL).unwrap();
        gone(&children).await;
    });
}

/// `run` with a system of its own, whose stage waits; and all processes below it.
async fn own_system() -> (Gate, Running, Vec<Process>) {
    provisioned().await;
    let gate = Gate::new();
    // In the gate's directory, which goes when the test does.
    let kept = gate.project().join("home");
    let home = Home::kept(&kept).unwrap();
    let mut command = mahavishnu(&home, &["run", "--json"]).await;
    command.arg("--project").arg(gate.project()).arg(gate.workflow());
    let run = Running::start(command, &gate.project().join("run.log")).unwrap();
    let host = gate.reached(&[]).await;
    let children = below(&alive().unwrap(), run.pid().unwrap());
    assert!(children.iter().any(|process| process.pid == host), "{children:#?}");
    for part in ["nats-server", "coordinator", "worker", "mahavishnu-guard"] {
        assert!(children.iter().any(|process| process.arguments.contains(part)), "no {part}: {children:#?}");
    }
    (gate, run, children)
}

/// Nobody of them is alive, soon.
async fn gone(processes: &[Process]) {
    assert!(!processes.is_empty());
    let limit = Duration::from_secs(20);
    let nobody = || still_alive(processes).ok().filter(Vec::is_empty);
    if let Err(error) = eventually("nobody is left", limit, nobody).await {
        panic!("{error}: {:#?}", still_alive(processes).unwrap());
    }
}
