//! The value of a secret reaches the engine and nothing else: it is searched for in every file that a system leaves
//! behind, in every log, in what the command said and in every span. The same search finds a text that is no secret.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use mahavishnu_test_support::otlp::Collector;
use mahavishnu_test_support::processes::{alive, below};
use mahavishnu_test_support::system::{Home, Running, Said, finished};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::api::Api;
use crate::ran::Ran;
use crate::support::{RUN, SHORT, START, mahavishnu, provisioned, test, traced};

/// From the environment.
const TOKEN: &str = "tok-7f3a91c2e84b";
/// From a file: with what JSON, addresses and Python escape.
const PASSWORD: &str = "pä\"ss\\w0rd/ d41d8c";
/// The key of the model.
const KEY: &str = "sk-live-00c0ffee99aa";
/// No secret: the task says it as it is.
const CANARY: &str = "canary-5d9e1f77b0";

const PROJECT: &str = r#"
import hashlib
import logging
import sys
from typing import Any, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def first(state):
    token, password = state["token"], state["password"]
    print("out", token, password)
    print("err", repr(password), file=sys.stderr)
    logging.getLogger("user").warning("logged %s", token)
    get_stream_writer()({"note": token, password: 1})
    return {"before": digest(token), "note": f"<{password}>", "url": f"db://u:{token}@h"}


def ask(state):
    decision = interrupt({"title": f"with {state['token']}?", "state": dict(state)})
    return {"after": digest(state["token"]) + digest(state["password"]), "approved": decision["approved"]}


graph = StateGraph(TypedDict("State", {name: Any for name in ("token", "password", "canary", "before", "after", "note", "url", "approved")}))
graph.add_node(first).add_node(ask)
graph.add_edge(START, "first").add_edge("first", "ask").add_edge("ask", END)


def fail(state):
    raise ValueError(f"refused {state['token']} and {state['password']!r}")


failing = StateGraph(TypedDict("Failing", {"token": str, "password": str}))
failing.add_node(fail)
failing.add_edge(START, "fail").add_edge("fail", END)
"#;

const FLOWS: &str = r#"
import hashlib
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact


@task(persist_result=True)
def kept(token):
    get_run_logger().warning("task %s", token)
    return {"token": token}


@flow(log_prints=True, persist_result=True)
def nightly(token: str, password: str, canary: str):
    print("flow", token, password, canary)
    create_markdown_artifact(key="note", markdown=f"{token} {password}")
    value = kept(token)
    return {"digest": hashlib.sha256((token + password).encode()).hexdigest(), "kept": value}


@flow
def broken(password: str):
    raise RuntimeError(f"no entry with {password}")


def back(inputs, token):
    return {"token": token, "n": len(inputs)}
"#;

struct Place {
    home: Home,
    project: tempfile::TempDir,
    secrets: tempfile::TempDir,
    collector: Collector,
}

impl Place {
    async fn new() -> Self {
        provisioned().await;
        let [project, secrets] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        std::fs::write(project.path().join("graphs.py"), PROJECT).unwrap();
        std::fs::write(project.path().join("flows.py"), FLOWS).unwrap();
        std::fs::write(secrets.path().join("db-password"), format!("{PASSWORD}\n")).unwrap();
        Self {
            home: Home::temporary().unwrap(),
            project,
            secrets,
            collector: Collector::start().await.unwrap(),
        }
    }

    async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = mahavishnu(&self.home, arguments).await;
        command.env("MAHAVISHNU_SECRET_TOKEN", TOKEN).env("MAHAVISHNU_SECRETS_DIR", self.secrets.path());
        command.env("MAHAVISHNU_MODEL_API_KEY", KEY);
        traced(&mut command, &self.collector);
        command.current_dir(self.home.path());
        command
    }

    /// Runs a workflow, on a system that stays or on one of its own; what the command said, in parts and as it is.
    async fn run(&self, endpoint: Option<&str>, stages: Value) -> (Ran, Said) {
        let mut command = self.command(&["run", "--json", "--approve", "--project"]).await;
        command.arg(self.project.path()).args(endpoint.map(|url| format!("--endpoint={url}"))).arg("-");
        let workflow = json!({"stages": stages}).to_string();
        let said = finished(command, workflow.as_bytes(), RUN).await.unwrap();
        (Ran::new(said.code, &said.out, said.err.clone()), said)
    }

    /// A system that stays until it is told to end.
    async fn system(&self, model: &str) -> (Running, String) {
        let engines = ["--engines", "langgraph,prefect,agno"];
        let mut command = self.command(&["dev", "--json", "--listen", "127.0.0.1:0", "--model", model]).await;
        command.args(engines).arg("--project").arg(self.project.path());
        command.env_remove("MAHAVISHNU_SECRETS_DIR").arg("--secrets-dir").arg(self.secrets.path());
        let mut dev = Running::start(command, &self.home.path().join("dev.log")).unwrap();
        let endpoint = dev.ready(START).await.unwrap()["endpoint"].as_str().unwrap().to_owned();
        (dev, endpoint)
    }
}

/// Which processes below `dev` were given something secret, and all that there are: by what they are.
fn entrusted(place: &Place, dev: u32) -> (BTreeSet<String>, BTreeSet<String>) {
    let directory = place.secrets.path().to_str().unwrap();
    let (mut holding, mut all) = (BTreeSet::new(), BTreeSet::new());
    for process in below(&alive().unwrap(), dev) {
        // One that has ended meanwhile has nothing any more.
        let Ok(environment) = std::fs::read(format!("/proc/{}/environ", process.pid)) else { continue };
        let words: Vec<_> = process.arguments.split_whitespace().collect();
        let what = match words.as_slice() {
            [_, role @ ("worker" | "coordinator"), ..] => (*role).to_owned(),
            [program, ..] => program.rsplit('/').next().unwrap().to_owned(),
            [] => continue,
        };
        let has = |text: &str| memchr::memmem::find(&environment, text.as_bytes()).is_some();
        if [TOKEN, KEY, directory, "MAHAVISHNU_SECRET"].into_iter().any(has) {
            holding.insert(what.clone());
        }
        all.insert(what);
    }
    (holding, all)
}

/// Files, and what else was said, in which a text is found: as it is, in JSON, or within base64.
fn holding(place: &Place, said: &[&Said], text: &str) -> Vec<PathBuf> {
    let json = |text: &str| Value::from(text).to_string().trim_matches('"').to_owned();
    let mut forms: Vec<Vec<u8>> = vec![text.into(), json(text).into(), json(&json(text)).into()];
    forms.extend((0..3).map(|shift| within_base64(text, shift)));
    let is_in = |bytes: &[u8]| forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some());
    let mut found: Vec<PathBuf> = files(place.home.path())
        .into_iter()
        .filter(|path| is_in(&std::fs::read(path).unwrap_or_default()))
        .collect();
    for (n, said) in said.iter().enumerate() {
        if is_in(said.out.as_bytes()) || is_in(said.err.as_bytes()) {
            found.push(format!("what command {n} said").into());
        }
    }
    if is_in(format!("{:?}", place.collector.spans()).as_bytes()) {
        found.push("a span".into());
    }
    found
}

/// The part of the base64 of a text that is the same whatever stands around it.
fn within_base64(text: &str, shift: usize) -> Vec<u8> {
    use base64::Engine as _;
    let encoded =
        base64::prelude::BASE64_STANDARD.encode([&b"xyz"[..shift], text.as_bytes(), b"xyz"].concat());
    encoded.as_bytes()[4..encoded.len() - 8].to_vec()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(files(&entry.path())),
            kind if kind.is_file() => found.push(entry.path()),
            // Environments are the shared ones, by link.
            _ => {}
        }
    }
    found
}

fn digest(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_secret_reaches_the_engine_and_nothing_else() {
    test(async {
        let place = Place::new().await;
        let provider = Api::refusing(KEY);
        let (dev, endpoint) = place.system(&format!("gpt@{}", provider.url)).await;
        let run = async |stages: Value| place.run(Some(&endpoint), stages).await;
        let (token, password) = ("${{ secrets.TOKEN }}", "${{ secrets[\"db-password\"] }}");
        let (ran, all) = run(
                json!([
                    {"id": "graph", "type": "langgraph", "needs": [], "task": {"graph": "graphs.py:graph",
                        "input": {"token": token, "password": password, "canary": CANARY}}},
                    {"id": "flow", "type": "prefect", "needs": [], "task": {"flow": "flows.py:nightly",
                        "parameters": {"token": token, "password": password, "canary": CANARY}}},
                    {"id": "dag", "type": "prefect", "needs": [], "task": {"type": "dag", "tasks": [
                        {"name": "made", "sql": format!("SELECT '{token}' AS token")},
                        {"name": "back", "python": "flows.py:back", "needs": ["made"], "parameters": {"token": token}}]}},
                ])).await;
        assert_eq!(ran.code, Some(0), "{}", ran.story());
        let state = &ran.output("graph")["state"];
        assert_eq!(state["before"], digest(TOKEN), "the node got the value");
        assert_eq!(state["after"], digest(TOKEN) + &digest(PASSWORD), "so did the process that went on");
        assert_eq!((&state["note"], &state["url"]), (&json!("<***>"), &json!("db://u:***@h")));
        assert_eq!((&state["token"], &state["canary"]), (&json!("***"), &json!(CANARY)));
        assert_eq!(ran.output("flow")["digest"], digest(&format!("{TOKEN}{PASSWORD}")));
        assert_eq!(ran.output("flow")["kept"], json!({"token": "***"}));
        assert_eq!(ran.output("dag")["tasks"]["back"], json!({"token": "***", "n": 1}));
        let (entrusted, processes) = entrusted(&place, dev.pid().unwrap());
        assert_eq!(entrusted, BTreeSet::from(["worker".to_owned()]), "of {processes:?}");
        let is_there = |one: &&str| processes.iter().any(|process| process.starts_with(one));
        assert!(["nats-server", "coordinator", "python"].iter().all(is_there), "{processes:?}");

        let fails = |engine: &str, task: Value| json!([{"id": "s", "type": engine, "task": task}]);
        let given = json!({"token": token, "password": password});
        let failing = json!({"graph": "graphs.py:failing", "input": given});
        let (graph, one) = run(fails("langgraph", failing)).await;
        let broken = json!({"flow": "flows.py:broken", "parameters": {"password": password}});
        let (flow, two) = run(fails("prefect", broken)).await;
        for ran in [&graph, &flow] {
            let told = ran.events.last().unwrap().to_string();
            assert!(ran.code == Some(1) && told.contains("***"), "{told}\n{}", ran.story());
        }

        let (refused, three) = run(fails("agno", json!({"agents": ["tester"], "task": "Say yes."}))).await;
        assert_eq!(refused.code, Some(1), "{}", refused.story());
        assert!(provider.requests() > 0, "the provider was asked");

        dev.signal(Signal::TERM).unwrap();
        dev.end(START).await.unwrap();
        let said = [&all, &one, &two, &three];
        for secret in [TOKEN, PASSWORD, KEY] {
            assert_eq!(holding(&place, &said, secret), Vec::<PathBuf>::new(), "{secret}");
        }
        // The search finds what is there: in the log of executions, in checkpoints, in Prefect's database.
        let canaries = holding(&place, &said, CANARY);
        let stores = |name: &str| canaries.iter().any(|path| path.to_string_lossy().contains(name));
        for store in
            ["MAHAVISHNU_HISTORY", "MAHAVISHNU_CHECKPOINTS", "prefect.db", "worker-prefect", "command 0"]
        {
            assert!(stores(store), "{store}: {canaries:#?}");
        }
    });
}

#[test]
fn a_secret_that_is_not_there_fails_its_stage_at_once() {
    test(async {
        let place = Place::new().await;
        let task = json!({"graph": "graphs.py:failing", "input": {"a": ["x", "${{ secrets.NOBODY }}"]}});
        let (ran, _) = place.run(None, json!([{"id": "s", "type": "langgraph", "task": task}])).await;
        assert_eq!(ran.code, Some(1), "{}", ran.story());
        let failed: Vec<&Value> = ran.of("stage_failed").collect();
        assert_eq!(failed.len(), 1, "it is not tried again: {}", ran.story());
        let error = &failed[0]["stage_failed"]["error"];
        assert_eq!((&error["reason"], &error["field"]), (&json!("SECRET_NOT_FOUND"), &json!("input.a[1]")));
        assert!(error["message"].as_str().unwrap().contains("MAHAVISHNU_SECRET_NOBODY"), "{error}");
        assert!(!error.to_string().contains("db-password"), "what else there is, is not told: {error}");
        let mut command = place.command(&["plan", "--json", "-"]).await;
        command.current_dir(place.home.path());
        let workflow = json!({"stages": [{"type": "langgraph", "task": {"graph": "g.py:g", "input": {"a": "${{ secrets.NOBODY }}"}}}]});
        let said = finished(command, workflow.to_string().as_bytes(), SHORT).await.unwrap();
        let plan: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(plan["stages"][0]["secrets"], json!(["NOBODY"]), "{}", said.err);
    });
}
