//! Bad input is refused before anything runs, with every violation by field path: by the command and by the server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mahavishnu_proto::json;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use mahavishnu_proto::v1::orchestrator_service_client::OrchestratorServiceClient;
use mahavishnu_proto::v1::{ExecuteRequest, ListExecutionsRequest, PlanRequest, Stage, Workflow};
use mahavishnu_test_support::system::{Home, finished};
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{SHORT, mahavishnu, system, test, test_deep, workflows};

type Violation = (String, String);

/// Every workflow of `refusals/` with the violations that its `.expect` lists.
fn samples() -> Vec<(PathBuf, BTreeSet<Violation>)> {
    let files = std::fs::read_dir(workflows().join("refusals")).unwrap().map(|entry| entry.unwrap().path());
    let is_workflow = |path: &PathBuf| matches!(extension(path), "yaml" | "json");
    let mut samples: Vec<_> =
        files.filter(is_workflow).map(|path| (expected(&path), path)).map(|(e, p)| (p, e)).collect();
    samples.sort();
    assert!(samples.len() >= 19, "there are only {} refusals", samples.len());
    samples
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

fn expected(workflow: &Path) -> BTreeSet<Violation> {
    let text = std::fs::read_to_string(workflow.with_extension("expect")).unwrap();
    text.lines()
        .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{}: {line}", workflow.display())))
        .map(|(field, reason)| (field.replace('-', ""), reason.to_owned()))
        .collect()
}

/// Equal, but that `*` stands for any field.
fn assert_violations(found: BTreeSet<Violation>, expected: &BTreeSet<Violation>, what: &str) {
    let any: BTreeSet<&str> =
        expected.iter().filter(|(field, _)| field == "*").map(|(_, reason)| reason.as_str()).collect();
    let folded: BTreeSet<Violation> = found
        .into_iter()
        .map(
            |(field, reason)| {
                if any.contains(reason.as_str()) { ("*".to_owned(), reason) } else { (field, reason) }
            },
        )
        .collect();
    assert_eq!(&folded, expected, "{what}");
}

fn violations(answer: &Value) -> BTreeSet<Violation> {
    let text = |found: &Value, key: &str| {
        found[key]
            .as_str()
            .filter(|text| key == "field" || !text.is_empty())
            .unwrap_or_else(|| panic!("{key}: {found}"))
            .to_owned()
    };
    let list = answer["violations"].as_array().unwrap_or_else(|| panic!("{answer}"));
    for found in list {
        text(found, "message");
    }
    list.iter().map(|found| (text(found, "field"), text(found, "reason"))).collect()
}

#[test]
fn plan_refuses_with_every_violation_and_exit_2() {
    test(async {
        let home = Home::temporary().unwrap();
        for (file, expected) in samples() {
            let mut command = mahavishnu(&home, &["plan", "--json"]).await;
            command.arg(&file);
            let said = finished(command, b"", SHORT).await.unwrap();
            let what = format!("{} {} {}", file.display(), said.out, said.err);
            assert_eq!(said.code, Some(2), "{what}");
            let answer: Value =
                serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {what}"));
            assert_violations(violations(&answer), &expected, &what);
        }
    });
}

#[test]
fn run_refuses_before_anything_is_started() {
    test(async {
        let home = Home::temporary().unwrap();
        for (file, expected) in samples() {
            let mut command = mahavishnu(&home, &["run", "--json"]).await;
            command.arg(&file);
            let said = finished(command, b"", SHORT).await.unwrap();
            let what = format!("{} {} {}", file.display(), said.out, said.err);
            assert_eq!(said.code, Some(2), "{what}");
            let answer: Value =
                serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {what}"));
            assert_violations(violations(&answer), &expected, &what);
        }
        let logs: Vec<_> = std::fs::read_dir(home.path().join("log")).unwrap().collect();
        assert!(logs.is_empty(), "something was started: {logs:?}");
    });
}

/// The workflow of a file as a message, if a message can hold it.
fn message(file: &Path) -> Option<Workflow> {
    let text = std::fs::read_to_string(file).ok()?;
    let draft: Value = serde_saphyr::from_str(&text).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let texts = |value: &Value| value.as_array().map(|list| list.iter().filter_map(text).collect::<Vec<_>>());
    let stage = |stage: &Value| -> Option<Stage> {
        // What no message can carry is refused by the command alone.
        let known = ["id", "type", "task", "needs", "when"];
        let keys = stage.as_object()?.keys().all(|key| known.contains(&key.as_str()));
        let task = match stage.get("task") {
            None => None,
            Some(task) => Some(json::to_struct(task.as_object()?)),
        };
        keys.then(|| Stage {
            id: text(&stage["id"]).unwrap_or_default(),
            r#type: text(&stage["type"]).unwrap_or_default(),
            task,
            needs: texts(&stage["needs"]).unwrap_or_default(),
            when: text(&stage["when"]).unwrap_or_default(),
            ..Stage::default()
        })
    };
    let stages: Option<Vec<Stage>> = draft["stages"].as_array()?.iter().map(stage).collect();
    Some(Workflow {
        stages: stages?,
        repos: texts(&draft["repos"]).unwrap_or_default(),
        ..Workflow::default()
    })
}

fn refused(status: &Status, what: &str) -> BTreeSet<Violation> {
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let details =
        status.get_details_bad_request().unwrap_or_else(|| panic!("{what}: no BadRequest in {status:?}"));
    assert!(status.get_details_error_info().is_some(), "{what}: no ErrorInfo");
    let split = |text: &str| text.split_once(": ").map(|(reason, _)| reason.to_owned());
    details
        .field_violations
        .into_iter()
        .map(|violation| (violation.field, split(&violation.description).unwrap_or_else(|| panic!("{what}"))))
        .collect()
}

#[test]
fn the_server_refuses_what_a_message_can_hold() {
    test(async {
        let endpoint = system().await.endpoint.clone();
        let mut orchestrator = OrchestratorServiceClient::connect(endpoint.clone()).await.unwrap();
        let mut tried = 0;
        for (file, expected) in samples() {
            let Some(workflow) = message(&file) else { continue };
            tried += 1;
            let what = file.display().to_string();
            let planned = orchestrator.plan(PlanRequest { workflow: Some(workflow.clone()) }).await;
            assert_violations(refused(&planned.unwrap_err(), &what), &expected, &what);
            let request = ExecuteRequest { workflow: Some(workflow), ..ExecuteRequest::default() };
            let executed = orchestrator.execute(request).await.map(drop);
            assert_violations(refused(&executed.unwrap_err(), &what), &expected, &what);
        }
        assert!(tried >= 12, "only {tried} of the refusals were sent");
    });
}

/// As deep as a message gets: refused by a limit, not by a decoder's error, and the server is there afterwards.
#[test]
fn the_server_refuses_deep_input_by_a_limit() {
    test_deep(async {
        let endpoint = system().await.endpoint.clone();
        for depth in [40, 200, 2_000] {
            let mut deep = Value::Bool(true);
            for _ in 0..depth {
                deep = Value::Array(vec![deep]);
            }
            let task = serde_json::json!({"agents": ["tester"], "input": deep});
            let stage = Stage {
                r#type: "agno".into(),
                task: Some(json::to_struct(task.as_object().unwrap())),
                ..Stage::default()
            };
            let workflow = Workflow { stages: vec![stage], ..Workflow::default() };
            let mut orchestrator = OrchestratorServiceClient::connect(endpoint.clone()).await.unwrap();
            let status = orchestrator.plan(PlanRequest { workflow: Some(workflow) }).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "depth {depth}: {status:?}");
        }
        let mut executions = ExecutionServiceClient::connect(endpoint).await.unwrap();
        executions.list_executions(ListExecutionsRequest::default()).await.unwrap();
    });
}
