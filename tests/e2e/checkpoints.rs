//! LangGraph's checkpoints: real worker, real JetStream, real engine.

use std::path::Path;

use mahavishnu_provision::Environment;
use mahavishnu_test_support::processes::{alive, below};
use mahavishnu_test_support::system::{Running, eventually, provision};
use mahavishnu_test_support::wait::wait_for;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::Site;
use crate::support::{START, provisioned, test};

/// The worker's environment and the suite.
const CONFORMANCE: &str = concat!(
    include_str!("../../crates/worker-langgraph/requirements.lock"),
    "\n",
    include_str!("../conformance/requirements.lock"),
);

/// Three nodes that say that they run; the second waits for its gate.
const GRAPH: &str = r#"
import os, time
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

HERE = Path(__file__).parent


def say(name):
    with open(HERE / "ran", "a") as ran:
        ran.write(f"{name} {os.getpid()}\n")


def one(state):
    say("one")
    return {"one": os.getpid()}


def two(state):
    say("two")
    while not (HERE / "open").exists():
        time.sleep(0.01)
    return {"two": os.getpid()}


def three(state):
    say("three")
    return {"three": os.getpid()}


graph = StateGraph(TypedDict("State", {"one": int, "two": int, "three": int}))
for node in (one, two, three):
    graph.add_node(node)
graph.add_edge(START, "one").add_edge("one", "two").add_edge("two", "three").add_edge("three", END)
"#;

/// A workflow with a graph of the project as its only stage.
fn one_stage(graph: &str) -> Value {
    json!({"stages": [{"id": "s", "type": "langgraph", "task": {"graph": graph}}]})
}

/// Which nodes ran, in order, with the processes that they ran in.
fn ran(project: &Path) -> Vec<(String, u32)> {
    let text = std::fs::read_to_string(project.join("ran")).unwrap_or_default();
    let entry = |line: &str| {
        let (name, pid) = line.split_once(' ')?;
        Some((name.to_owned(), pid.parse().ok()?))
    };
    text.lines().filter_map(entry).collect()
}

#[test]
fn a_killed_workers_graph_goes_on_at_the_node_where_it_stood() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        std::fs::write(project.join("graph.py"), GRAPH).unwrap();
        let site = Site::new(project).await;
        let mut workers = vec![site.worker("one", &[]).await, site.worker("two", &[]).await];
        let killing = async {
            let second = || ran(project).into_iter().find(|(name, _)| name == "two");
            let (_, host) = eventually("the second node runs", START, second).await.unwrap();
            let all = alive().unwrap();
            let holds = |worker: &Running| {
                below(&all, worker.pid().unwrap()).iter().any(|process| process.pid == host)
            };
            workers.remove(workers.iter().position(holds).unwrap()).signal(Signal::KILL).unwrap();
            let again = || ran(project).into_iter().filter(|(name, _)| name == "two").nth(1);
            eventually("the second node runs again", START, again).await.unwrap();
            std::fs::write(project.join("open"), "").unwrap();
        };
        let (executed, ()) = tokio::join!(site.run(one_stage("graph.py:graph")), killing);
        assert_eq!(executed.code, Some(0), "{}", executed.story());
        let ran = ran(project);
        let names: Vec<&str> = ran.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["one", "two", "two", "three"], "no finished node ran again");
        let output = executed.output("s");
        assert_eq!(output["path"], json!(["one", "two", "three"]));
        assert_eq!(output["state"]["one"], ran[0].1, "of the process that was killed");
        assert_eq!(output["state"]["two"], ran[2].1, "of the process that went on");
        assert_ne!(ran[0].1, ran[2].1);
        let resumed =
            executed.of("stage_progress").find(|event| event["stage_progress"]["name"] == "resumed");
        assert_eq!(resumed.unwrap()["stage_progress"]["data"]["next"], json!(["two"]));
        assert_eq!(executed.of("stage_failed").count(), 0, "{}", executed.story());
    });
}

#[test]
fn the_saver_passes_langgraphs_whole_conformance_suite() {
    test(async {
        provisioned().await;
        let environment = Environment::new("langgraph-conformance", CONFORMANCE);
        let python = provision().unwrap().environment(&environment).await.unwrap();
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance");
        let site = Site::new(&project).await;
        let _worker = site.worker("conformance", &["--python", python.to_str().unwrap()]).await;
        let ran = site.run(one_stage("conformance.py:graph")).await;
        assert_eq!(ran.code, Some(0), "{}", ran.story());
        let report = ran.output("s")["state"]["report"].as_object().unwrap().clone();
        let parts: Vec<&str> = report.keys().map(String::as_str).collect();
        let all = [
            "copy_thread",
            "delete_for_runs",
            "delete_thread",
            "get_tuple",
            "list",
            "prune",
            "put",
            "put_writes",
        ];
        assert_eq!(parts, all);
        let passed: u64 = report.values().filter_map(|part| part["passed"].as_u64()).sum();
        let failed: Vec<&Value> =
            report.values().flat_map(|part| part["failures"].as_array().unwrap()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert!(passed >= 70, "{passed} tests passed: {report:#?}");
    });
}

/// Says in which process it asks, and in which it goes on.
const ASKS: &str = r#"
import os
from pathlib import Path
from typing import TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

HERE = Path(__file__).parent


def ask(state):
    with open(HERE / "ran", "a") as ran:
        ran.write(f"ask {os.getpid()}\n")
    return {"approved": interrupt("may it?")["approved"]}


graph = StateGraph(TypedDict("State", {"approved": bool}))
graph.add_node("ask", ask)
graph.add_edge(START, "ask").add_edge("ask", END)
other = StateGraph(TypedDict("State", {"approved": bool}))
other.add_node("fine", lambda state: {"approved": False})
other.add_edge(START, "fine").add_edge("fine", END)
"#;

#[test]
fn an_approval_that_waits_holds_no_slot_and_no_process() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        std::fs::write(project.join("asks.py"), ASKS).unwrap();
        let site = Site::new(project).await;
        // One slot.
        let _worker = site.worker("one", &[]).await;
        let meanwhile = async {
            let asking = || ran(project).first().map(|(_, pid)| *pid);
            let process = eventually("it asks", START, asking).await.unwrap();
            let gone = || alive().unwrap().iter().all(|other| other.pid != process).then_some(());
            eventually("the process that asked is gone", START, gone).await.unwrap();
            let other = site.run(one_stage("asks.py:other")).await.completed();
            assert_eq!(other.output("s")["state"]["approved"], false);
            let listed = wait_for("the approval", async || {
                let said = site.mahavishnu(&["approvals", "list"]).await;
                let listed: Value = serde_json::from_str(&said.out).unwrap();
                listed["approvals"].as_array()?.first().cloned()
            });
            let listed = listed.await.unwrap();
            let decided =
                site.mahavishnu(&["approvals", "decide", listed["id"].as_str().unwrap(), "--approve"]).await;
            assert_eq!(decided.code, Some(0), "{}", decided.err);
            process
        };
        let (asked, process) = tokio::join!(site.run(one_stage("asks.py:graph")), meanwhile);
        assert_eq!(asked.output("s")["state"]["approved"], true, "{}", asked.story());
        let ran = ran(project);
        assert!(ran.len() == 2 && ran[1].1 != process, "{ran:?}");
    });
}
