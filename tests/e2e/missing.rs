//! An engine that is not there is an error and never a success.

use std::path::{Path, PathBuf};

use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::system::{Home, Running, finished, programs, provision};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{MODEL, RUN, START, mahavishnu, provisioned, test};

/// Each engine with its worker's program and the smallest task.
const ENGINES: [(&str, &str); 4] = [
    ("agno", "{agents: [tester]}"),
    ("langgraph", "{workflow: {nodes: [{name: one, kind: set, values: {n: '1'}}]}}"),
    ("llamaindex", "{type: rag_workflow, query: What?}"),
    ("prefect", "{type: etl, sources: [releases]}"),
];

/// A Python without any package.
async fn empty_python(directory: &Path) -> PathBuf {
    let base = provision().unwrap().python().await.unwrap().executable.clone();
    let environment = directory.join("empty");
    let mut command = std::process::Command::new(base);
    command.args(["-m", "venv", "--without-pip"]).arg(&environment);
    let said = finished(command, b"", START).await.unwrap();
    assert_eq!(said.code, Some(0), "{}", said.err);
    environment.join("bin/python")
}

fn workflow(directory: &TempDir, engine: &str, task: &str, more: &str) -> PathBuf {
    let file = directory.path().join(format!("{engine}.yaml"));
    std::fs::write(&file, format!("stages:\n  - {{type: {engine}, task: {task}}}\n{more}")).unwrap();
    file
}

#[test]
fn a_worker_without_its_engine_does_not_start() {
    test(async {
        provisioned().await;
        let home = Home::temporary().unwrap();
        let nats = TestNats::start().await.unwrap();
        let python = empty_python(home.path()).await;
        for (engine, _) in ENGINES {
            let mut command =
                programs().await.unwrap().command(&format!("mahavishnu-worker-{engine}"), &home).unwrap();
            command
                .args(["--nats", nats.url()])
                .arg("--project")
                .arg(home.path())
                .arg("--python")
                .arg(&python);
            let said = finished(command, b"", START).await.unwrap();
            assert_eq!(said.code, Some(1), "{engine}: {}{}", said.out, said.err);
            assert_eq!(said.out, "", "{engine} said that it is ready");
            assert!(
                said.err.contains("-m pip install"),
                "{engine} does not say what is missing: {}",
                said.err
            );
        }
    });
}

/// A workflow of Agno's that uses what only the environment of the user has.
const OWN: &str = "
import sys

import rhymes
from agno.workflow import Workflow
from agno.workflow.types import StepInput, StepOutput


def find(step_input: StepInput) -> StepOutput:
    return StepOutput(content=[rhymes.of(step_input.input.split()[0]), sys.prefix])


own = Workflow(name='own', steps=[find])
";

#[test]
fn an_engine_in_an_environment_of_the_users_own() {
    test(async {
        provisioned().await;
        let project = tempfile::tempdir().unwrap();
        let python = empty_python(project.path()).await;
        let environment = python.ancestors().nth(2).unwrap();
        // As if Agno were installed there: its packages, and one more.
        let pinned =
            provision().unwrap().environment(&mahavishnu_worker_agno::ENGINE.environment()).await.unwrap();
        let packages = |python: &Path| {
            let lib = std::fs::read_dir(python.ancestors().nth(2).unwrap().join("lib")).unwrap();
            lib.map(|entry| entry.unwrap().path().join("site-packages")).find(|path| path.is_dir()).unwrap()
        };
        let own = packages(&python);
        std::fs::write(own.join("pinned.pth"), packages(&pinned).to_str().unwrap()).unwrap();
        std::fs::write(own.join("rhymes.py"), "def of(word):\n    return {'tide': 'pride'}[word]\n").unwrap();
        std::fs::write(project.path().join("own.py"), OWN).unwrap();
        let site = Site::new(project.path()).await;
        let arguments = ["--python", python.to_str().unwrap(), "--project", project.path().to_str().unwrap()];
        let _worker = site.start("agno", site.home(), &site.log("own"), &arguments, &[]).await;
        let stage = json!({"id": "s", "type": "agno", "task": {"agent": "own.py:own", "task": "tide"}});
        let ran = site.run(json!({"stages": [stage]})).await.completed();
        assert_eq!(ran.output("s")["content"], json!(["pride", environment.to_str().unwrap()]));
    });
}

#[test]
fn a_stage_without_its_engine_is_no_success() {
    test(async {
        provisioned().await;
        let directory = tempfile::tempdir().unwrap();
        let python = empty_python(directory.path()).await;
        for (engine, task) in ENGINES {
            let home = Home::temporary().unwrap();
            let file = workflow(&directory, engine, task, "");
            let chosen = format!("{engine}={}", python.display());
            let model = format!("local:{MODEL}@http://127.0.0.1:9/v1");
            // Nothing asks the model, so none is started.
            let mut command =
                mahavishnu(&home, &["run", "--json", "--python", &chosen, "--model", &model]).await;
            command.arg("--project").arg(directory.path()).arg(file);
            let said = finished(command, b"", RUN).await.unwrap();
            let ran = Ran::new(said.code, &said.out, said.err);
            assert_eq!(ran.code, Some(1), "{engine}: {}", ran.story());
            assert_eq!(ran.of("stage_completed").count(), 0, "{engine}: {}", ran.story());
            assert_eq!(ran.of("execution_completed").count(), 0, "{engine}: {}", ran.story());
            assert!(
                ran.story().contains("-m pip install"),
                "{engine} does not say what is missing: {}",
                ran.story()
            );
        }
    });
}

#[test]
fn a_missing_worker_is_told_at_once_and_waited_for_until_the_deadline() {
    test(async {
        provisioned().await;
        let home = Home::temporary().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let nats = TestNats::start().await.unwrap();
        let mut command = programs().await.unwrap().command("mahavishnu-coordinator", &home).unwrap();
        command.args(["--listen", "127.0.0.1:0", "--nats", nats.url()]);
        let mut coordinator = Running::start(command, &home.path().join("coordinator.log")).unwrap();
        let said = coordinator.ready(START).await.unwrap();
        let endpoint = format!("http://{}", said["address"].as_str().unwrap());
        let (engine, task) = ENGINES[3];
        let file = workflow(&directory, engine, task, "timeout: 2s\n");
        let mut command = mahavishnu(&home, &["run", "--json", "--endpoint", &endpoint]).await;
        command.arg(file);
        let said = finished(command, b"", START).await.unwrap();
        let ran = Ran::new(said.code, &said.out, said.err);
        assert_eq!(ran.code, Some(1), "{}", ran.story());
        ran.ended_once("execution_failed");
        let waiting: Vec<&Value> = ran.of("stage_waiting").collect();
        assert_eq!(waiting.len(), 1, "{}", ran.story());
        assert_eq!(waiting[0]["stage_waiting"]["reason"], "NO_WORKER");
        let message = waiting[0]["stage_waiting"]["message"].as_str().unwrap();
        assert!(message.starts_with("no worker for prefect is connected"), "{message}");
        let failed = ran.of("execution_failed").next().unwrap();
        assert_eq!(failed["execution_failed"]["error"]["reason"], "DEADLINE_EXCEEDED");
    });
}
