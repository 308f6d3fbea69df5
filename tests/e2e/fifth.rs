//! A fifth engine, registered by a file: Select, Recommend, Plan and Execute know it, and nothing is built anew.

use std::process::Command;

use mahavishnu_test_support::system::{Home, finished};
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::support::{RUN, SHORT, json_lines, mahavishnu, provisioned, test, workflows};

/// A command that knows it, in its project.
async fn knowing(home: &Home, arguments: &[&str]) -> Command {
    let project = workflows().join("fifth");
    let mut command = mahavishnu(home, arguments).await;
    command.arg("--engines-file").arg(project.join("engines.yaml")).current_dir(&project);
    command
}

async fn answer(arguments: &[&str]) -> Value {
    let home = Home::temporary().unwrap();
    let said = finished(knowing(&home, arguments).await, b"", SHORT).await.unwrap();
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
    json_lines(&said.out).remove(0)
}

#[test]
fn it_is_selected_recommended_planned_and_in_the_guide() {
    test(async {
        assert_eq!(answer(&["select", "--json", "--task-type", "canon_singing"]).await["engine"], "chorus");
        let recommended = answer(&["recommend", "--json", "Say these lines in canon"]).await;
        assert_eq!(recommended["primary"], "chorus", "{recommended:#}");
        assert_eq!(recommended["profile"]["name"], "Chorus");
        let guide = answer(&["guide", "--json"]).await;
        assert_eq!(guide["entries"][12], json!({"task": "Canon", "engine": "chorus"}));
        let plan = answer(&["plan", "--json", "canon.yaml"]).await;
        assert_eq!(plan["stages"][1]["engine"], "chorus");
        assert_eq!(plan["overhead"]["engines"][0]["setup_ms"], json!({"max": 5}), "{plan:#}");
    });
}

#[test]
fn it_is_executed_by_a_worker_that_its_file_names() {
    test(async {
        provisioned().await;
        let home = Home::temporary().unwrap();
        let said = finished(knowing(&home, &["run", "--json", "canon.yaml"]).await, b"", RUN).await.unwrap();
        let ran = Ran::new(said.code, &said.out, said.err).completed();
        assert_eq!(ran.output("first")["sung"], json!(["Are you sleeping?", "Are you sleeping?"]));
        assert_eq!(ran.output("second")["sung"], json!(["Are you sleeping? Ding dang dong"]));
        assert_eq!(ran.of("stage_progress").count(), 3);
    });
}

#[test]
fn a_worker_of_an_engine_that_is_not_there_says_what_to_do() {
    test(async {
        let home = Home::temporary().unwrap();
        let said = finished(mahavishnu(&home, &["worker", "chorus"]).await, b"", SHORT).await.unwrap();
        assert_eq!(said.code, Some(64), "{}", said.err);
        assert!(
            said.err.contains("agno, langgraph, llamaindex, prefect") && said.err.contains("--module"),
            "{}",
            said.err
        );
    });
}
