//! The contract of the command line: what scripts are written against.

use mahavishnu_test_support::system::{Home, Said, finished};
use serde_json::{Value, json};

use crate::support::{SHORT, json_lines, mahavishnu, run, system, test, workflow, workflows};

/// Asks here, then the running system; both must say the same.
async fn both(arguments: &[&str], input: &str) -> Said {
    let home = Home::temporary().unwrap();
    let here = finished(mahavishnu(&home, arguments).await, input.as_bytes(), SHORT).await.unwrap();
    let mut remote = mahavishnu(&home, arguments).await;
    remote.args(["--endpoint", &system().await.endpoint]);
    let there = finished(remote, input.as_bytes(), SHORT).await.unwrap();
    assert_eq!(here.code, there.code, "{arguments:?}: {} / {}", here.err, there.err);
    let common = |out: &str| json_lines(out).into_iter().map(known_anywhere).collect::<Vec<_>>();
    assert_eq!(common(&here.out), common(&there.out), "{arguments:?}: a server answers otherwise");
    here
}

/// Without what only a server knows: who is there, and how long the stages of a plan took.
fn known_anywhere(mut answer: Value) -> Value {
    if let Some(members) = answer.as_object_mut() {
        members.remove("workers");
        if members.contains_key("levels") {
            members.remove("overhead");
        }
    }
    answer
}

async fn answer(arguments: &[&str]) -> Value {
    let said = both(arguments, "").await;
    assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.err);
    let mut lines = json_lines(&said.out);
    assert_eq!(lines.len(), 1, "{arguments:?}: {}", said.out);
    lines.remove(0)
}

#[test]
fn select_names_the_engine_and_the_rule() {
    test(async {
        let cases: &[(&[&str], &str)] = &[
            (&["--task-type", "batch", "--requires-scheduling"], "prefect"),
            (&["--task-type", "rag_workflow"], "llamaindex"),
            (&["--task-type", "generic", "--requires-state"], "langgraph"),
            (&["--task-type", "approval_workflow", "--requires-state", "--requires-routing"], "langgraph"),
            (&["--task-type", "simple"], "agno"),
        ];
        for (arguments, engine) in cases {
            let answer = answer(&[&["select", "--json"], *arguments].concat()).await;
            assert_eq!(answer["engine"], *engine, "{arguments:?}");
            assert!(answer["rule"].as_str().is_some_and(|rule| !rule.is_empty()), "{answer}");
        }
    });
}

#[test]
fn engines_have_the_documented_profile_everywhere() {
    test(async {
        let agno = answer(&["engines", "get", "agno", "--json"]).await;
        assert_eq!((&agno["name"], &agno["complexity"]), (&json!("Agno"), &json!("low")));
        assert_eq!(agno["weaknesses"], json!(["No state management", "Limited routing", "No scheduling"]));
        let overhead = json!({"setup_max_ms": 10, "runtime": "Fast", "overhead": "Lowest"});
        assert_eq!(agno["overhead"], overhead, "{agno:#}");
        let guide = answer(&["guide", "--json"]).await;
        assert_eq!(guide["entries"].as_array().unwrap().len(), 12);
    });
}

#[test]
fn recommend_explains_itself() {
    test(async {
        let answer = answer(&["recommend", "--json", "Need to analyze documents and get approval"]).await;
        assert_eq!(answer["primary"], "llamaindex");
        assert_eq!(answer["profile"]["complexity"], "medium");
        let confidence = answer["confidence"].as_f64().unwrap();
        assert!(confidence > 0.0 && confidence <= 1.0);
        let plan: Vec<_> = answer["plan"].as_array().unwrap().iter().map(|stage| &stage["type"]).collect();
        assert_eq!(plan, ["llamaindex", "langgraph"]);
        assert!(!answer["evidence"].as_array().unwrap().is_empty());
        assert!(answer["alternatives"].is_array());
    });
}

#[test]
fn recommend_answers_a_line_with_a_line() {
    test(async {
        let input = "Run the nightly ETL at 2 AM\nAnswer questions about our PDF manuals\nAsk a person before the deployment\n";
        let said = both(&["recommend", "--json", "--file", "-"], input).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        let primaries: Vec<Value> =
            json_lines(&said.out).into_iter().map(|answer| answer["primary"].clone()).collect();
        assert_eq!(primaries, ["prefect", "llamaindex", "langgraph"]);
    });
}

#[test]
fn plan_shows_stages_and_notes() {
    test(async {
        let file = workflow("pattern-2.yaml");
        let plan = answer(&["plan", "--json", file.to_str().unwrap()]).await;
        let stages = plan["stages"].as_array().unwrap();
        assert_eq!(stages.len(), 2);
        assert_eq!((&stages[0]["id"], &stages[0]["engine"]), (&json!("llamaindex"), &json!("llamaindex")));
        assert_eq!(
            (&stages[1]["engine"], &stages[1]["needs"]),
            (&json!("langgraph"), &json!(["llamaindex"]))
        );
        let notes = plan["notes"].to_string();
        assert!(notes.contains("implement_jwt") && notes.contains("implement_session"), "{notes}");
    });
}

#[test]
fn plan_says_when_a_schedule_would_fire() {
    test(async {
        let file = workflow("example-3.yaml");
        let plan = answer(&["plan", "--json", file.to_str().unwrap()]).await;
        assert!(plan.to_string().contains("T02:00:00"), "{plan:#}");
    });
}

#[test]
fn a_servers_plan_says_who_is_there_and_what_was_measured() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("measured.yaml");
        // No model, so that it takes no long.
        let text = "
stages:
  - {type: prefect, task: {type: scheduled_etl, schedule: 0 2 * * *, sources: [releases]}}
  - {type: langgraph, task: {workflow: {nodes: [{name: keep, kind: set, values: {kept: '1'}}]}}}
";
        std::fs::write(&file, text).unwrap();
        let ran = run(&file, &[]).await.completed();
        let endpoint = &system().await.endpoint;
        let plan = async |arguments: &[&str]| {
            let mut command = mahavishnu(&system().await.home, &["plan"]).await;
            command.args(arguments).arg(&file);
            let said = finished(command, b"", SHORT).await.unwrap();
            assert_eq!(said.code, Some(0), "{}", said.err);
            said.out
        };
        let there: Value = serde_json::from_str(&plan(&["--json", "--endpoint", endpoint]).await).unwrap();
        let engines = there["overhead"]["engines"].as_array().unwrap();
        for (n, stage) in ran.of("stage_completed").enumerate() {
            let (known, worker) = (&engines[n], &there["workers"][n]);
            assert_eq!((&known["engine"], &worker["engine"]), (&stage["stage_id"], &stage["stage_id"]));
            assert_eq!(known["source"], "measured", "{there:#}");
            assert!(
                known["stages"].as_u64().unwrap() >= 1 && known["run_ms"].as_f64().unwrap() > 0.0,
                "{known}"
            );
            assert!(worker["live"].as_u64().unwrap() >= 1 && worker["start"].is_null(), "{worker}");
        }
        let here: Value = serde_json::from_str(&plan(&["--json"]).await).unwrap();
        assert_eq!(here["overhead"]["engines"][0]["source"], "profile");
        assert_eq!(here["overhead"]["engines"][0]["setup_ms"], json!({"min": 200, "max": 500}));
        assert_eq!((&here["overhead"]["least_ms"], &here["overhead"]["most_ms"]), (&json!(300), &json!(700)));
        assert!(here["workers"].is_null(), "nobody was asked: {here:#}");

        let mermaid = plan(&["--mermaid", "--endpoint", endpoint]).await;
        assert_eq!(mermaid, plan(&["--mermaid"]).await);
        assert!(mermaid.starts_with("flowchart TD\n"), "{mermaid}");
        let text = plan(&["--endpoint", endpoint]).await;
        for part in
            ["prefect (prefect, scheduled_etl)\n↓ langgraph", "measured", "connected workers", "T02:00:00"]
        {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert!(
            plan(&[])
                .await
                .contains("200-500ms to be ready, slow to run, highest overhead, from the profile")
        );
    });
}

#[test]
fn json_and_yaml_of_one_workflow_have_one_plan() {
    test(async {
        let json = answer(&["plan", "--json", workflow("quick-start.json").to_str().unwrap()]).await;
        let yaml = answer(&["plan", "--json", workflow("quick-start.yaml").to_str().unwrap()]).await;
        assert_eq!(json, yaml);
    });
}

#[test]
fn every_sample_can_be_planned() {
    test(async {
        let home = Home::temporary().unwrap();
        let files = std::fs::read_dir(workflows()).unwrap().map(|entry| entry.unwrap().path());
        let samples: Vec<_> = files
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "yaml" || extension == "json")
            })
            .collect();
        assert!(samples.len() >= 9, "{samples:?}");
        for file in samples {
            let mut command = mahavishnu(&home, &["plan", "--json"]).await;
            command.arg(&file);
            let said = finished(command, b"", SHORT).await.unwrap();
            assert_eq!(said.code, Some(0), "{}: {}{}", file.display(), said.out, said.err);
        }
    });
}

/// `Ran` itself asserts that every line of standard output is an event.
#[test]
fn a_failed_stage_is_exit_1_with_the_engines_reason() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("failing.yaml");
        let text = "stages:\n  - {type: prefect, task: {type: etl, sources: [database1], transform: SELECT nothing FROM database1}}\n";
        std::fs::write(&file, text).unwrap();
        let ran = run(&file, &[]).await;
        assert_eq!(ran.code, Some(1), "{}", ran.story());
        ran.ended_once("execution_failed");
        let failed = ran.of("execution_failed").next().unwrap();
        assert_eq!(failed["execution_failed"]["error"]["reason"], "TRANSFORM_FAILED", "{}", ran.story());
        assert_eq!(ran.of("stage_completed").count(), 0);
    });
}

#[test]
fn a_document_that_is_nowhere_fails_and_one_that_is_attached_is_read() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("attached.yaml");
        std::fs::write(
            &file,
            "stages:\n  - {type: llamaindex, task: {type: document_analysis, docs: [note.pdf]}}\n",
        )
        .unwrap();
        let ran = run(&file, &[]).await;
        assert_eq!(ran.code, Some(1), "{}", ran.story());
        let failed = ran.of("execution_failed").next().unwrap();
        assert_eq!(failed["execution_failed"]["error"]["reason"], "DOCUMENT_NOT_FOUND", "{}", ran.story());
        let attach = format!("note.pdf={}", workflow("doc1.pdf").display());
        let ran = run(&file, &["--doc", &attach]).await.completed();
        assert!(ran.output("llamaindex")["summary"].to_string().contains("Larkspur"));
    });
}
