//! Workers of one engine on two machines: state directories of their own, one NATS.

use std::path::Path;

use mahavishnu_test_support::system::{Home, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{START, run, test};

/// A task that says that it runs, and one that waits for its gate.
const STEPS: &str = r#"
import os, time
from pathlib import Path

HERE = Path(__file__).parent


def first(inputs):
    with open(HERE / "first", "a") as ran:
        ran.write("x")
    return {"pid": os.getpid()}


def second(inputs):
    (HERE / "second").write_text(str(os.getpid()))
    while not (HERE / "open").exists():
        time.sleep(0.01)
    return {"pid": os.getpid(), "first": inputs["first"]["pid"]}
"#;

fn stage(engine: &str, task: &Value) -> Value {
    json!({"stages": [{"id": "s", "type": engine, "task": task}]})
}

/// The documents of an answer, and whether their passages and vectors were there already.
fn kept(ran: &Ran) -> Vec<(String, bool)> {
    let documents = ran.output("s")["documents"].as_array().unwrap();
    let entry = |document: &Value| {
        (document["name"].as_str().unwrap().to_owned(), document["kept"].as_bool().unwrap())
    };
    documents.iter().map(entry).collect()
}

#[test]
fn an_index_that_one_machine_made_is_not_made_again_by_another() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let docs = project.path().join("docs");
        std::fs::create_dir(&docs).unwrap();
        std::fs::write(docs.join("gate.md"), "The gate of the depot is vermilion.\n").unwrap();
        std::fs::write(docs.join("mill.md"), "The mill stands by the northern stream.\n").unwrap();
        let site = Site::new(project.path()).await;
        // Nobody is there: the answer does not depend on a model.
        let task = json!({"type": "rag_workflow", "query": "What colour is the gate?", "model": "m@http://127.0.0.1:9/v1"});
        let homes = [Home::temporary().unwrap(), Home::temporary().unwrap()];
        let one = site.elsewhere("llamaindex", &homes[0], &[]).await;
        let ran = site.run(stage("llamaindex", &task)).await.completed();
        assert_eq!(kept(&ran), [("gate.md".to_owned(), false), ("mill.md".to_owned(), false)]);
        one.signal(Signal::KILL).unwrap();
        let _two = site.elsewhere("llamaindex", &homes[1], &[]).await;
        std::fs::write(docs.join("tide.md"), "The tide is led by the moon.\n").unwrap();
        let ran = site.run(stage("llamaindex", &task)).await.completed();
        let expected = [("gate.md", true), ("mill.md", true), ("tide.md", false)];
        assert_eq!(kept(&ran), expected.map(|(name, kept)| (name.to_owned(), kept)));
        assert!(ran.output("s")["answer"].as_str().unwrap().contains("vermilion"), "{}", ran.story());
    });
}

#[test]
fn a_session_that_began_on_one_machine_is_known_on_another() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let site = Site::new(project.path()).await;
        let homes = [Home::temporary().unwrap(), Home::temporary().unwrap()];
        let task = json!({"agents": ["tester"], "task": "Say hello.", "session": "ann"});
        let asked = async |task: &Value| {
            let ran = site.run(stage("agno", task)).await.completed();
            ran.output("s")["tokens"]["input"].as_u64().unwrap()
        };
        let one = site.elsewhere("agno", &homes[0], &[]).await;
        let first = asked(&task).await;
        one.signal(Signal::KILL).unwrap();
        let _two = site.elsewhere("agno", &homes[1], &[]).await;
        let second = asked(&task).await;
        assert!(second > first, "the model was shown what was said before: {first}, then {second} tokens");
        let other = asked(&json!({"agents": ["tester"], "task": "Say hello.", "session": "ben"})).await;
        assert_eq!(other, first, "another session knows nothing of it");
    });
}

#[test]
fn a_flow_whose_machine_died_goes_on_with_its_finished_tasks() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path();
        std::fs::write(project.join("steps.py"), STEPS).unwrap();
        let site = Site::new(project).await;
        let server = prefect(project).await;
        let environment = [("PREFECT_API_URL", server.as_str())];
        let homes = [Home::temporary().unwrap(), Home::temporary().unwrap()];
        let one = site.elsewhere("prefect", &homes[0], &environment).await;
        let killing = async {
            let second = || project.join("second").exists().then_some(());
            eventually("the second task runs", START, second).await.unwrap();
            one.signal(Signal::KILL).unwrap();
            std::fs::write(project.join("open"), "").unwrap();
            site.elsewhere("prefect", &homes[1], &environment).await
        };
        let tasks = json!({
            "first": {"python": "steps.py:first"},
            "second": {"python": "steps.py:second", "needs": ["first"]},
        });
        let whole = stage("prefect", &json!({"type": "dag", "tasks": tasks}));
        let (ran, _two) = tokio::join!(site.run(whole), killing);
        assert_eq!(ran.code, Some(0), "{}", ran.story());
        assert_eq!(std::fs::read_to_string(project.join("first")).unwrap(), "x", "it ran once");
        let tasks = &ran.output("s")["tasks"];
        assert_eq!(tasks["second"]["first"], tasks["first"]["pid"]);
        assert_ne!(tasks["second"]["pid"], tasks["first"]["pid"]);
    });
}

/// The Prefect server of the system that tests share: it takes long to make one.
async fn prefect(directory: &Path) -> String {
    let file = directory.join("one.json");
    let task = json!({"type": "dag", "tasks": {"one": {"sql": "SELECT 1 AS n"}}});
    std::fs::write(&file, stage("prefect", &task).to_string()).unwrap();
    let ran = run(&file, &[]).await.completed();
    let url = ran.output("s")["flow_run"]["url"].as_str().unwrap();
    let (server, _) = url.split_once("/runs/").unwrap();
    format!("{server}/api")
}
