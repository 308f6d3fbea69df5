//! The example of each engine's page, run as written; and a model that only a stage names.

use mahavishnu_provision::model::ModelServer;
use mahavishnu_test_support::system::provision;
use serde_json::json;

use crate::support::{MODEL, provisioned, run, test, workflow};

#[test]
fn the_example_of_agno() {
    test(async {
        let ran = run(&workflow("agno.yaml"), &[]).await.completed();
        for (stage, agents) in [
            ("alone", json!(["archivist"])),
            ("team", json!(["researcher", "writer"])),
            ("own", json!(["clerk"])),
        ] {
            let output = ran.output(stage);
            assert_eq!((&output["agents"], &output["model"]), (&agents, &json!(MODEL)));
            assert!(!output["content"].as_str().unwrap().is_empty(), "{output}");
            assert!(output["tokens"]["output"].as_u64().unwrap() > 0, "{output}");
        }
        assert_eq!(ran.output("alone")["session"], "archive");
    });
}

#[test]
fn the_example_of_langgraph() {
    test(async {
        let ran = run(&workflow("langgraph.yaml"), &["--approve"]).await.completed();
        let state = &ran.output("triage")["state"];
        assert_eq!((&state["urgent"], &state["plan"]), (&json!(["the shop is down"]), &json!("page")));
        let output = ran.output("gate");
        assert_eq!((&output["approved"], &output["state"]["n"]), (&json!(true), &json!(12)));
        assert_eq!(output["state"]["sum"], 25);
        let path: Vec<&str> = output["path"].as_array().unwrap().iter().filter_map(|n| n.as_str()).collect();
        assert_eq!(path.first_chunk(), Some(&["count", "double", "double", "double", "fork"]));
        assert_eq!(path.last_chunk(), Some(&["sum", "triage", "approve"]));
    });
}

#[test]
fn the_example_of_llamaindex() {
    test(async {
        let ran = run(&workflow("llamaindex.yaml"), &[]).await.completed();
        let answers = &ran.output("analysis")["answers"];
        assert!(answers[0]["answer"].as_str().unwrap().contains("847 seconds"), "{answers}");
        assert_eq!(ran.output("answer")["sources"][0]["file"], "auth.md");
        assert_eq!(ran.output("engine")["sources"][0]["file"], "auth.md");
        assert!(ran.output("words")["words"].as_u64().unwrap() > 50);
    });
}

#[test]
fn the_example_of_prefect() {
    test(async {
        let ran = run(&workflow("prefect.yaml"), &[]).await.completed();
        let pipeline = ran.output("pipeline");
        assert_eq!((&pipeline["rows"]["database1"], &pipeline["checks"]), (&json!(5), &json!(4)));
        assert_eq!(pipeline["target"]["tables"], json!(["sign_ins", "stewards"]));
        let graph = &ran.output("graph")["tasks"];
        assert_eq!(graph["busiest"], json!([{"account": "ada", "n": 2}, {"account": "ben", "n": 2}]));
        assert_eq!(graph["count"], json!([{"accounts": 3}]));
        assert_eq!(graph["lines"], 5, "the worker allows shell commands");
        let flow = ran.output("flow");
        assert_eq!(flow["total"], 30);
        assert!(flow["flow_run"]["url"].as_str().unwrap().starts_with("http://"), "{flow}");
    });
}

#[test]
fn a_stage_may_name_another_server() {
    test(async {
        provisioned().await;
        let server = ModelServer::start(&provision().unwrap()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let asks = async |url: &str| {
            let file = directory.path().join("other.yaml");
            let task = format!("{{agents: [tester], task: Say hello., model: '{MODEL}@{url}'}}");
            let stage = format!("stages:\n  - {{type: agno, retry: {{max_attempts: 1}}, task: {task}}}\n");
            std::fs::write(&file, stage).unwrap();
            run(&file, &[]).await
        };
        let ran = asks(server.base_url()).await.completed();
        let output = ran.output("agno");
        assert_eq!(output["model"], MODEL);
        assert!(output["tokens"]["input"].as_u64().unwrap() > 20, "{output}");
        let url = server.base_url().to_owned();
        server.stop().await.unwrap();
        let failed = asks(&url).await;
        failed.ended_once("execution_failed");
        assert!(failed.story().contains("MODEL_UNAVAILABLE"), "{}", failed.story());
    });
}
