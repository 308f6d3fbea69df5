//! The history of a graph, and a fork from one of its checkpoints, against plain LangGraph on the same graph.

use mahavishnu_test_support::system::{finished, provision};
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{RUN, mahavishnu, test};

/// Two nodes side by side that meet in a third, which a route leads on from. Each says in a file that it ran.
const GRAPH: &str = r#"
import operator
from pathlib import Path
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph

HERE = Path(__file__).parent


class State(TypedDict, total=False):
    n: int
    log: Annotated[list, operator.add]


def node(name, step):
    def run(state):
        with open(HERE / "ran", "a") as ran:
            ran.write(name + "\n")
        return step(state) | {"log": [name]}

    return run


graph = StateGraph(State)
graph.add_node("one", node("one", lambda state: {"n": state["n"] + 1}))
graph.add_node("left", node("left", lambda state: {"n": state["n"] * 10}))
graph.add_node("right", node("right", lambda state: {}))
graph.add_node("meet", node("meet", lambda state: {"n": state["n"] + 1000}))
graph.add_node("low", node("low", lambda state: {}))
graph.add_node("high", node("high", lambda state: {}))
graph.add_edge(START, "one").add_edge("one", "left").add_edge("one", "right")
graph.add_edge(["left", "right"], "meet")
graph.add_conditional_edges("meet", lambda state: "high" if state["n"] > 2000 else "low", ["low", "high"])
graph.add_edge("low", END).add_edge("high", END)
"#;

/// The same with the library alone.
const PLAIN: &str = r#"
import json

from langgraph.checkpoint.memory import InMemorySaver

from graph import graph


def told(snapshot):
    made = snapshot.metadata
    return {"values": snapshot.values, "next": sorted(snapshot.next), "source": made["source"], "step": made["step"]}


plain = graph.compile(checkpointer=InMemorySaver())
place = {"configurable": {"thread_id": "t"}}
plain.invoke({"n": 1}, place)
history = list(plain.get_state_history(place))
middle = next(snapshot for snapshot in history if sorted(snapshot.next) == ["left", "right"])
changed = plain.update_state(middle.config, {"n": 200, "log": ["changed"]})
fork = plain.invoke(None, changed)
as_node = plain.update_state(middle.config, {"n": 5}, as_node="meet")
skipped = plain.invoke(None, as_node)
again = plain.invoke(None, middle.config)
print(json.dumps({"history": [told(s) for s in history], "fork": fork, "skipped": skipped, "again": again}))
"#;

const STATE: &str = r#"{"n": 200, "log": ["changed"]}"#;

fn told(listed: &Value) -> Vec<Value> {
    let of = |checkpoint: &Value| {
        let mut next: Vec<&str> =
            checkpoint["next"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        next.sort_unstable();
        let step = checkpoint["step"].as_i64().unwrap_or_default();
        let values = if checkpoint["values"].is_null() { json!({}) } else { checkpoint["values"].clone() };
        json!({"values": values, "next": next, "source": checkpoint["source"], "step": step})
    };
    listed.as_array().unwrap().iter().map(of).collect()
}

#[test]
fn history_and_fork_are_those_of_plain_langgraph() {
    test(async {
        let project = tempfile::tempdir().unwrap();
        let project = project.path();
        std::fs::write(project.join("graph.py"), GRAPH).unwrap();
        std::fs::write(project.join("plain.py"), PLAIN).unwrap();
        let site = Site::new(project).await;
        let _worker = site.worker("one", &[]).await;
        let python =
            provision().unwrap().environment(&mahavishnu_worker_langgraph::ENGINE.environment()).await;
        let mut command = std::process::Command::new(python.unwrap());
        command.arg("plain.py").current_dir(project);
        let said = finished(command, b"", RUN).await.unwrap();
        let plain: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
        std::fs::remove_file(project.join("ran")).unwrap();
        let ran_nodes = || std::fs::read_to_string(project.join("ran")).unwrap_or_default();

        let first = json!({"id": "before", "type": "langgraph",
            "task": {"workflow": {"nodes": [{"name": "set", "kind": "set", "values": {"x": "1"}}]}}});
        let second =
            json!({"id": "s", "type": "langgraph", "task": {"graph": "graph.py:graph", "input": {"n": 1}}});
        let ran = site.run(json!({"stages": [first, second]})).await.completed();
        let id = ran.id().to_owned();
        let list = async |id: &str| -> Value {
            let said = site.mahavishnu(&["checkpoints", "list", id, "s"]).await;
            assert_eq!(said.code, Some(0), "{}", said.err);
            serde_json::from_str::<Value>(&said.out).unwrap()["checkpoints"].clone()
        };
        let listed = list(&id).await;
        let mut history = plain["history"].clone();
        for snapshot in history.as_array_mut().unwrap() {
            // A reducer's value that nobody has written is in no checkpoint; the library shows an empty one.
            snapshot["values"].as_object_mut().unwrap().retain(|_, value| *value != json!([]));
        }
        assert_eq!(Value::from(told(&listed)), history, "{listed:#}");

        // One in full; the newest is the first.
        let middle =
            listed.as_array().unwrap().iter().find(|c| c["next"].as_array().is_some_and(|n| n.len() == 2));
        let middle = middle.unwrap()["id"].as_str().unwrap();
        let show = async |arguments: &[&str]| -> Value {
            let said = site.mahavishnu(&[&["checkpoints", "show", &id, "s"], arguments].concat()).await;
            assert_eq!(said.code, Some(0), "{}", said.err);
            serde_json::from_str(&said.out).unwrap()
        };
        assert_eq!(show(&[]).await["id"], listed[0]["id"]);
        let shown = show(&[middle]).await;
        assert_eq!((&shown["values"], &shown["shortened"]), (&json!({"n": 2, "log": ["one"]}), &Value::Null));
        assert_eq!(shown["progress"]["path"], json!(["one"]));
        let missing = site.mahavishnu(&["checkpoints", "show", &id, "s", "nothing"]).await;
        assert_eq!(missing.code, Some(1), "{}", missing.err);

        let before = ran_nodes();
        let fork = async |arguments: &[&str]| {
            let said = site
                .mahavishnu(
                    &[&["executions", "fork", &id, "--from", "s", "--from-checkpoint", middle], arguments]
                        .concat(),
                )
                .await;
            assert_eq!(said.code, Some(0), "{}", said.err);
            let forked: Value = serde_json::from_str(&said.out).unwrap();
            assert_eq!(forked["stages"][0]["reused"], true, "{forked}");
            let next = forked["id"].as_str().unwrap();
            let mut command = mahavishnu(site.home(), &["executions", "watch", next]).await;
            command.args(["--json", "--endpoint", site.endpoint()]);
            let said = finished(command, b"", RUN).await.unwrap();
            Ran::new(said.code, &said.out, said.err).completed()
        };
        let forked = fork(&["--state", STATE]).await;
        let output = forked.output("s");
        assert_eq!(output["state"], plain["fork"], "{output}");
        assert_eq!(output["path"].as_array().unwrap().len(), 5, "what was before is in it: {output}");
        assert_eq!(output["path"].as_array().unwrap().last().unwrap(), "high");
        assert_eq!(ran.output("s")["state"]["n"], 1020, "the other way: {}", ran.output("s"));
        let mut nodes: Vec<_> = ran_nodes()[before.len()..].lines().map(str::to_owned).collect();
        nodes[..2].sort();
        assert_eq!(nodes, ["left", "right", "meet", "high"], "no node before the checkpoint ran again");
        // Its own history holds what it took over, the change, and its steps.
        let own = told(&list(forked.id()).await);
        let sources: Vec<_> = own.iter().map(|checkpoint| checkpoint["source"].as_str().unwrap()).collect();
        assert_eq!(sources, ["loop", "loop", "loop", "update", "loop", "loop", "input"]);
        assert_eq!(list(&id).await, listed, "the first one stays as it was");

        let skipped = fork(&["--state", r#"{"n": 5}"#, "--as-node", "meet"]).await;
        assert_eq!(skipped.output("s")["state"], plain["skipped"]);
        let again = fork(&[]).await;
        assert_eq!(again.output("s")["state"], plain["again"]);

        // What the engine refuses fails the stage; what nobody has is refused before anything is accepted.
        let arguments = ["executions", "fork", &id, "--from", "s", "--from-checkpoint"];
        let unknown = site.mahavishnu(&[&arguments[..], &["nothing"]].concat()).await;
        assert_eq!(unknown.code, Some(1));
        assert!(unknown.err.contains("checkpoints list"), "{}", unknown.err);
        let wrong = [&arguments[..], &[middle, "--state", "{}", "--as-node", "nobody"]].concat();
        let wrong: Value = serde_json::from_str(&site.mahavishnu(&wrong).await.out).unwrap();
        let mut command =
            mahavishnu(site.home(), &["executions", "watch", wrong["id"].as_str().unwrap()]).await;
        command.args(["--json", "--endpoint", site.endpoint()]);
        let said = finished(command, b"", RUN).await.unwrap();
        let ended = Ran::new(said.code, &said.out, said.err);
        ended.ended_once("execution_failed");
        assert!(ended.story().contains("STATE_INVALID"), "{}", ended.story());
    });
}
