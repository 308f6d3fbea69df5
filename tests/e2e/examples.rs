//! What the example of each engine's page gives; and models that only a stage, or a node of a graph, names.

use mahavishnu_provision::model::ModelServer;
use mahavishnu_test_support::system::{finished, provision};
use serde_json::json;

use crate::pages::runs_as_it_stands;
use crate::ran::Ran;
use crate::support::{
    MODEL, SHORT, mahavishnu, outputs_are_as_declared, provisioned, run, system, test, workflow,
};

/// Runs what an engine's page shows; what its example, which comes first, gave.
async fn page(engine: &str) -> Ran {
    let out = runs_as_it_stands(&format!("crates/worker-{engine}/README.md")).await;
    let accepted = |line: &str| Some(line.split_once("execution ")?.1.split_once(": accepted")?.0.to_owned());
    let id = out.lines().find_map(accepted).unwrap();
    let watch = ["executions", "watch", &id, "--json", "--endpoint", &system().await.endpoint];
    let said = finished(mahavishnu(&system().await.home, &watch).await, b"", SHORT).await.unwrap();
    let ran = Ran::new(said.code, &said.out, said.err).completed();
    outputs_are_as_declared(&ran, &std::fs::read(workflow(&format!("{engine}.yaml"))).unwrap());
    ran
}

#[test]
fn the_example_of_agno() {
    test(async {
        let ran = page("agno").await;
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
        let ran = page("langgraph").await;
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
        let ran = page("llamaindex").await;
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
        let ran = page("prefect").await;
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
fn a_stage_and_a_node_may_name_another_server_in_every_form() {
    test(async {
        provisioned().await;
        let server = ModelServer::start(&provision().unwrap()).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let asks = async |url: &str| {
            let file = directory.path().join("other.yaml");
            let model = |form: &str| form.replace("NAME", MODEL).replace("URL", url);
            let rag = json!({"type": "rag_workflow", "query": "How do I implement auth?", "model": model("anthropic:NAME@URL")});
            let node = json!({"name": "say", "model": model("ollama:NAME@URL")});
            let stages = [
                (
                    "agno",
                    "agno",
                    json!({"agents": ["tester"], "task": "Say hello.", "model": model("NAME@URL")}),
                ),
                (
                    "own",
                    "agno",
                    json!({"agent": "crew.py:clerk", "task": "Say hello.", "model": model("openai:NAME@URL")}),
                ),
                ("rag", "llamaindex", rag),
                (
                    "engine",
                    "llamaindex",
                    json!({"query_engine": "library.py:answers", "input": "How do I add auth?", "model": model("NAME@URL")}),
                ),
                ("node", "langgraph", json!({"workflow": {"nodes": [node]}})),
            ];
            let stages = stages.map(|(id, engine, task)| {
                json!({"id": id, "type": engine, "needs": [], "retry": {"max_attempts": 1}, "task": task})
            });
            std::fs::write(&file, json!({"stages": stages}).to_string()).unwrap();
            run(&file, &[]).await
        };
        let ran = asks(server.base_url()).await.completed();
        for stage in ["agno", "own", "rag", "engine", "node"] {
            let output = ran.output(stage);
            assert_eq!(output["model"], MODEL, "{stage}: {output}");
            for tokens in ["input", "output"] {
                assert!(output["tokens"][tokens].as_u64().unwrap() > 0, "{stage}: {output}");
            }
        }
        let url = server.base_url().to_owned();
        server.stop().await.unwrap();
        let failed = asks(&url).await;
        failed.ended_once("execution_failed");
        assert!(failed.story().contains("MODEL_UNAVAILABLE"), "{}", failed.story());
    });
}
