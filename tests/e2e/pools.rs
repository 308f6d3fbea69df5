//! Workers of one engine with different projects: the same reference is another graph in each pool.

use serde_json::{Value, json};

use crate::site::Site;
use crate::support::test;

const GRAPH: &str = r#"
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

graph = StateGraph(TypedDict("State", {"project": str}))
graph.add_node("say", lambda state: {"project": "NAME"})
graph.add_edge(START, "say").add_edge("say", END)
"#;

fn stage(id: &str, pool: Option<&str>) -> Value {
    json!({"id": id, "type": "langgraph", "pool": pool, "needs": [], "task": {"graph": "graph.py:graph"}})
}

#[test]
fn each_stage_gets_the_project_of_its_pool() {
    test(async {
        let directory = tempfile::tempdir().unwrap();
        let projects = ["plain", "reports"].map(|name| directory.path().join(name));
        for project in &projects {
            std::fs::create_dir(project).unwrap();
            let name = project.file_name().unwrap().to_str().unwrap();
            std::fs::write(project.join("graph.py"), GRAPH.replace("NAME", name)).unwrap();
        }
        let site = Site::new(&projects[0]).await;
        let (_plain, _reports) = tokio::join!(
            site.worker("plain", &[]),
            site.worker_of("reports", &projects[1], &["--pool", "reports"])
        );
        let both = json!({"stages": [stage("a", None), stage("b", Some("reports")), stage("c", None)]});
        let ran = site.run(both).await.completed();
        let project = |stage: &str| ran.output(stage)["state"]["project"].as_str().unwrap().to_owned();
        assert_eq!(["a", "b", "c"].map(project), ["plain", "reports", "plain"]);

        let listed = site.mahavishnu(&["engines", "get", "langgraph"]).await;
        let listed: Value = serde_json::from_str(&listed.out).unwrap();
        let mut pools: Vec<_> =
            listed["workers"].as_array().unwrap().iter().map(|worker| worker["pool"].as_str()).collect();
        pools.sort_unstable();
        assert_eq!(pools, [None, Some("reports")], "{listed}");

        for command in ["info", "doctor"] {
            let said: Value = serde_json::from_str(&site.mahavishnu(&[command]).await.out).unwrap();
            let pools = said["pools"].as_array().unwrap();
            let of = |pool: &Value| (pool["engine"].clone(), pool["name"].clone(), pool["slots"].clone());
            let told: Vec<_> = pools.iter().map(of).collect();
            let expected = |name: Value| (json!("langgraph"), name, json!(1));
            assert_eq!(told, [expected(Value::Null), expected(json!("reports"))], "{command}: {said}");
        }

        // Nobody takes the tasks of this pool, until the deadline.
        let nobody = json!({"stages": [stage("a", Some("nobody"))], "timeout": "2s"});
        let ran = site.run(nobody).await;
        assert_eq!(ran.code, Some(1), "{}", ran.story());
        let waiting = ran.of("stage_waiting").next().unwrap();
        assert_eq!(waiting["stage_waiting"]["reason"], "NO_WORKER");
        let message = waiting["stage_waiting"]["message"].as_str().unwrap();
        let told = "no worker for langgraph in pool nobody is connected; start one: mahavishnu worker langgraph --pool nobody";
        assert_eq!(message, told);
    });
}
