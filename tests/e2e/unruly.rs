//! User code that does what a worker must survive, whatever the engine: it hangs, does not obey, floods, prints, leaks.

use std::path::Path;
use std::time::{Duration, Instant};

use mahavishnu_test_support::system::eventually;
use rustix::process::{Pid, test_kill_process};
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{SOON, START, test};

/// Nodes of a graph. Each that does not end says in which process it is.
const NODES: &str = r#"
import os, subprocess, sys, threading
from pathlib import Path

from langgraph.config import get_stream_writer

HERE = Path(__file__).parent


def say(name):
    (HERE / "part").write_text(str(os.getpid()))
    (HERE / "part").rename(HERE / name)


def hang(state):
    say("hang")
    threading.Event().wait()


def deaf(state):
    say("deaf")
    threading.Event().wait()


def flood(state):
    write = get_stream_writer()
    for n in range(6_000):
        write({"n": n, "text": "x" * 500})
    return {"big": "y" * 3_000_000}


def print_much(state):
    for n in range(20_000):
        print("a line on standard output", n)
    os.write(1, b"\x00\x00\x00\x05bytes that look like a frame\n" * 1000)
    subprocess.run(["sh", "-c", "echo a child; echo an error >&2"], check=True)
    return {"printed": True}


def leak(state):
    say("leak")
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 20)))


def fine(state):
    return {"fine": True}
"#;
/// The ceiling of an attempt's process.
const MEMORY_MIB: &str = "256";

fn stage(function: &str) -> Value {
    let node = json!({"name": "n", "kind": "python", "ref": format!("nodes.py:{function}")});
    json!({"id": "s", "type": "langgraph", "retry": {"max_attempts": 1}, "task": {"workflow": {"nodes": [node]}}})
}

fn workflow(function: &str) -> Value {
    json!({"stages": [stage(function)], "labels": {"case": function}})
}

fn failure(ran: &Ran) -> &Value {
    let failed = ran.of("stage_failed").next();
    &failed.unwrap_or_else(|| panic!("{}", ran.story()))["stage_failed"]["error"]
}

/// The process that a node is in.
async fn process(project: &Path, node: &str) -> Pid {
    let said = || std::fs::read_to_string(project.join(node)).ok()?.parse().ok();
    Pid::from_raw(eventually("the node runs", START, said).await.unwrap()).unwrap()
}

async fn gone(process: Pid) {
    let gone = || test_kill_process(process).is_err().then_some(());
    eventually("the process is gone", SOON, gone).await.unwrap();
}

#[test]
fn unruly_code_harms_its_own_attempt_only() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        std::fs::write(project.join("nodes.py"), NODES).unwrap();
        let site = Site::new(project).await;
        let _worker = site.worker("one", &["--slots", "6", "--memory-mib", MEMORY_MIB]).await;

        let hang = async {
            let mut workflow = workflow("hang");
            workflow["stages"][0]["timeout"] = "2s".into();
            let ran = site.run(workflow).await;
            assert_eq!(failure(&ran)["reason"], "TIMEOUT", "{}", ran.story());
            gone(process(project, "hang").await).await;
        };
        let deaf = async {
            let cancel = async {
                let pid = process(project, "deaf").await;
                let listed = site.mahavishnu(&["executions", "list", "--label", "case=deaf"]).await;
                let listed: Value = serde_json::from_str(&listed.out).unwrap();
                let id = listed["executions"][0]["id"].as_str().unwrap();
                let cancelled = site.mahavishnu(&["executions", "cancel", id]).await;
                assert_eq!(cancelled.code, Some(0), "{}", cancelled.err);
                let began = Instant::now();
                gone(pid).await;
                // A second, and another one for a busy machine.
                assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            };
            let (ran, ()) = tokio::join!(site.run(workflow("deaf")), cancel);
            ran.ended_once("execution_cancelled");
        };
        let flood = async {
            let ran = site.run(workflow("flood")).await;
            assert_eq!(ran.output("s")["state"]["big"].as_str().unwrap().len(), 3_000_000);
            let told = ran.of("stage_progress").count();
            assert!((1..=2_000).contains(&told), "{told} events of progress");
        };
        let print = async {
            let ran = site.run(workflow("print_much")).await;
            assert_eq!(ran.output("s")["state"]["printed"], true);
            let log = std::fs::read_to_string(site.log("one")).unwrap();
            assert!(log.contains("a line on standard output 19999") && log.contains("a child"));
        };
        let leak = async {
            let ran = site.run(workflow("leak")).await;
            assert_eq!(failure(&ran)["reason"], "MEMORY_EXCEEDED", "{}", ran.story());
            let message = failure(&ran)["message"].as_str().unwrap();
            assert!(message.contains("256 MiB") && message.contains("--memory-mib"), "{message}");
            gone(process(project, "leak").await).await;
        };
        tokio::join!(hang, deaf, flood, print, leak);
        assert_eq!(site.run(workflow("fine")).await.output("s")["state"]["fine"], true);
    });
}
