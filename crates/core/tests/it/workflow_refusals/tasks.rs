//! The tasks of the four engines.

use super::*;

#[test]
fn llamaindex() {
    let docs = |docs: Value| stage("llamaindex", json!({"type": "document_analysis", "docs": docs}));
    let at = "stages[0].task.docs[0]";
    for bad in [
        "../x.pdf",
        "/etc/passwd",
        "file:///etc/passwd",
        "C:\\x",
        "a\\b",
        "",
        "https://a/b",
        "a/../../b",
        "~/.ssh/id",
    ] {
        check(&docs(json!([bad])), &[(at, UnsafePath)]);
    }
    for (task, expected) in [
        (json!({}), vec![("stages[0].task.type", Required)]),
        (json!({"type": "analysis"}), vec![("stages[0].task.type", UnknownTaskType)]),
        (json!({"type": 1}), vec![("stages[0].task.type", WrongType)]),
        (json!({"type": "document_analysis"}), vec![("stages[0].task.docs", Required)]),
        (json!({"type": "document_analysis", "docs": []}), vec![("stages[0].task.docs", Required)]),
        (json!({"type": "document_analysis", "docs": "a.pdf"}), vec![("stages[0].task.docs", WrongType)]),
        (
            json!({"type": "document_analysis", "docs": [1, "artifact:12"]}),
            vec![(at, WrongType), ("stages[0].task.docs[1]", InvalidValue)],
        ),
        (
            json!({"type": "document_analysis", "docs": ["a"], "question": ["x"]}),
            vec![("stages[0].task.question", UnknownKey)],
        ),
        (
            json!({"type": "document_analysis", "docs": ["a"], "top_k": 3}),
            vec![("stages[0].task.top_k", UnknownKey)],
        ),
        (json!({"type": "rag_workflow"}), vec![("stages[0].task.query", Required)]),
        (json!({"type": "rag_workflow", "query": " "}), vec![("stages[0].task.query", InvalidValue)]),
        (
            json!({"type": "rag_workflow", "query": "q", "top_k": 0}),
            vec![("stages[0].task.top_k", InvalidValue)],
        ),
        (
            json!({"type": "rag_workflow", "query": "q", "top_k": 51, "docs": ["../a"]}),
            vec![("stages[0].task.top_k", InvalidValue), (at, UnsafePath)],
        ),
        (json!({"query_engine": "x"}), vec![("stages[0].task.query_engine", InvalidValue)]),
        (json!({"query_engine": "../x.py:engine"}), vec![("stages[0].task.query_engine", UnsafePath)]),
        (json!({"query_engine": "/x/y:engine"}), vec![("stages[0].task.query_engine", UnsafePath)]),
        (json!({"query_engine": "x.py:"}), vec![("stages[0].task.query_engine", InvalidValue)]),
        (
            json!({"query_engine": "x.py:e", "workflow": "y.py:w"}),
            vec![("stages[0].task.workflow", InvalidValue)],
        ),
        (json!({"workflow": "y.py:w", "docs": []}), vec![("stages[0].task.docs", UnknownKey)]),
    ] {
        check(&stage("llamaindex", task), &expected);
    }
}

#[test]
fn agno() {
    for (task, expected) in [
        (json!({}), vec![("stages[0].task.agents", Required)]),
        (json!({"agents": []}), vec![("stages[0].task.agents", Required)]),
        (
            json!({"agents": ["a", "a", "", 1]}),
            vec![
                ("stages[0].task.agents[1]", Duplicate),
                ("stages[0].task.agents[2]", InvalidValue),
                ("stages[0].task.agents[3]", WrongType),
            ],
        ),
        (json!({"agents": ["a"], "agent": "a.py:b"}), vec![("stages[0].task.agent", InvalidValue)]),
        (
            json!({"agents": ["a"], "mode": "fight", "task": 1}),
            vec![("stages[0].task.mode", InvalidValue), ("stages[0].task.task", WrongType)],
        ),
        (json!({"team": "a.py:b", "mode": "route"}), vec![("stages[0].task.mode", UnknownKey)]),
        (json!({"agent": "no colon"}), vec![("stages[0].task.agent", InvalidValue)]),
    ] {
        check(&stage("agno", task), &expected);
    }
}

#[test]
fn langgraph() {
    let nodes = "stages[0].task.workflow.nodes";
    let at = |rest: &str| format!("stages[0].task.workflow.{rest}");
    for (workflow, expected) in [
        (json!({}), vec![("nodes", Required)]),
        (json!({"nodes": []}), vec![("nodes", Required)]),
        (json!({"nodes": ["a", "a"]}), vec![("nodes[1]", Duplicate)]),
        (
            json!({"nodes": ["end", "START", "__x__", "a:b", "", 3]}),
            vec![
                ("nodes[0]", InvalidValue),
                ("nodes[1]", InvalidValue),
                ("nodes[2]", InvalidValue),
                ("nodes[3]", InvalidValue),
                ("nodes[4]", InvalidValue),
                ("nodes[5]", WrongType),
            ],
        ),
        (json!({"node": ["a"], "nodes": ["a"]}), vec![("node", UnknownKey)]),
        (json!({"nodes": [{"kind": "agent"}]}), vec![("nodes[0].name", Required)]),
        (json!({"nodes": [{"name": "a", "kind": "agnet"}]}), vec![("nodes[0].kind", InvalidValue)]),
        (json!({"nodes": [{"name": "a", "kind": "python"}]}), vec![("nodes[0].ref", Required)]),
        (
            json!({"nodes": [{"name": "a", "kind": "python", "ref": "../x.py:f"}]}),
            vec![("nodes[0].ref", UnsafePath)],
        ),
        (json!({"nodes": [{"name": "a", "kind": "set"}]}), vec![("nodes[0].values", Required)]),
        (
            json!({"nodes": [{"name": "a", "kind": "set", "values": {"x": "1 +", "y": 1, "z": "input.q"}}]}),
            vec![
                ("nodes[0].values.x", InvalidExpression),
                ("nodes[0].values.y", WrongType),
                ("nodes[0].values.z", UnknownReference),
            ],
        ),
        (
            json!({"nodes": [{"name": "a", "kind": "approval", "ref": "x"}]}),
            vec![("nodes[0].ref", UnknownKey)],
        ),
        (
            json!({"nodes": [{"name": "a", "kind": "tool", "ref": "t.py:f", "args": {"x": "1 +"}}], "max_steps": 0}),
            vec![("nodes[0].args.x", InvalidExpression), ("max_steps", InvalidValue)],
        ),
        (json!({"nodes": ["a"], "conditional": {"b": "'end'"}}), vec![("conditional.b", UnknownReference)]),
        (
            json!({"nodes": ["a"], "conditional": {"a": "lambda s: s"}}),
            vec![("conditional.a", InvalidExpression)],
        ),
        (
            json!({"nodes": ["a"], "conditional": {"a": "s.approved ? 'a' : 'end'"}}),
            vec![("conditional.a", UnknownReference)],
        ),
        (
            json!({"nodes": ["a"], "conditional": {"a": "state.x ? '__x__' : 'end'"}}),
            vec![("conditional.a", InvalidValue)],
        ),
        (
            json!({"nodes": ["a"], "conditional": {"a": "'${{ repos }}'"}}),
            vec![("conditional.a", InvalidExpression)],
        ),
        (json!({"nodes": ["a"], "conditional": {"a": []}}), vec![("conditional.a", Required)]),
        (json!({"nodes": ["a"], "conditional": {"a": {}}}), vec![("conditional.a", WrongType)]),
        (
            json!({"nodes": ["a"], "conditional": {"a": [{"when": "state.", "too": "a"}, "x"]}}),
            vec![
                ("conditional.a[0].when", InvalidExpression),
                ("conditional.a[0].too", UnknownKey),
                ("conditional.a[0].to", Required),
                ("conditional.a[1]", WrongType),
            ],
        ),
        (
            json!({"nodes": ["a"], "conditional": {"a": [{"to": "end"}, {"when": "state.x", "to": "a"}]}}),
            vec![("conditional.a[1]", InvalidValue)],
        ),
        (json!({"nodes": ["a"], "edges": {"b": "a"}}), vec![("edges.b", UnknownReference)]),
        (
            json!({"nodes": ["a"], "edges": {"a": ["start", 1]}}),
            vec![("edges.a[0]", InvalidValue), ("edges.a[1]", WrongType)],
        ),
        (
            json!({"nodes": ["a"], "edges": {"a": "end"}, "conditional": {"a": "'end'"}}),
            vec![("edges.a", Duplicate)],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(field, reason)| (at(field), reason)).collect();
        let expected: Vec<_> = expected.iter().map(|(field, reason)| (field.as_str(), *reason)).collect();
        check(&graph(workflow), &expected);
    }
    check(&stage("langgraph", json!({})), &[("stages[0].task.workflow", Required)]);
    check(
        &stage("langgraph", json!({"nodes": ["a"]})),
        &[("stages[0].task.workflow", Required), ("stages[0].task.nodes", UnknownKey)],
    );
    check(&stage("langgraph", json!({"graph": "agent.py"})), &[("stages[0].task.graph", InvalidValue)]);
    check(&stage("langgraph", json!({"workflow": {"nodes": "a"}})), &[(nodes, WrongType)]);
}

#[test]
fn prefect() {
    for (task, expected) in [
        (json!({}), vec![("stages[0].task.type", Required)]),
        (json!({"type": "elt"}), vec![("stages[0].task.type", UnknownTaskType)]),
        (json!({"type": "scheduled_etl"}), vec![("stages[0].task.schedule", Required)]),
        (
            json!({"type": "scheduled_etl", "schedule": "0 25 * * *"}),
            vec![("stages[0].task.schedule", InvalidSchedule)],
        ),
        (
            json!({"type": "scheduled_etl", "schedule": "0 2 * *", "timezone": "Europe/Berlim"}),
            vec![("stages[0].task.schedule", InvalidSchedule), ("stages[0].task.timezone", InvalidSchedule)],
        ),
        (json!({"type": "scheduled_etl", "schedule": 2}), vec![("stages[0].task.schedule", WrongType)]),
        (json!({"type": "etl", "timezone": "UTC"}), vec![("stages[0].task.timezone", UnknownKey)]),
        (json!({"type": "etl", "source": ["a"]}), vec![("stages[0].task.source", UnknownKey)]),
        (
            json!({"type": "etl", "sources": [1, ""]}),
            vec![("stages[0].task.sources[0]", WrongType), ("stages[0].task.sources[1]", InvalidValue)],
        ),
        (json!({"type": "dag"}), vec![("stages[0].task.tasks", Required)]),
        (json!({"type": "dag", "tasks": {}}), vec![("stages[0].task.tasks", InvalidValue)]),
        (
            json!({"type": "dag", "tasks": {"a": {"sql": "x", "needs": ["b"]}, "b": {"sql": "y", "needs": ["a"]}}}),
            vec![("stages[0].task.tasks.a.needs", Cycle)],
        ),
        (
            json!({"type": "dag", "tasks": {"a": {"needs": ["c"]}, "b": 1}}),
            vec![
                ("stages[0].task.tasks.a.python", Required),
                ("stages[0].task.tasks.a.needs[0]", UnknownReference),
                ("stages[0].task.tasks.b", WrongType),
            ],
        ),
        (
            json!({"type": "dag", "tasks": {"a": {"python": "x.py:f", "sql": "y"}}}),
            vec![("stages[0].task.tasks.a.sql", InvalidValue)],
        ),
        (json!({"flow": "flows.py:nightly", "sources": []}), vec![("stages[0].task.sources", UnknownKey)]),
        (
            json!({"type": "dag", "tasks": [{"name": "a", "sql": "x"}, {"name": "a", "http": "ftp://x"}, {"sql": "x"}, {"name": "1b", "sql": "x", "needs": ["1b"]}]}),
            vec![
                ("stages[0].task.tasks[1].name", Duplicate),
                ("stages[0].task.tasks[1].http", InvalidValue),
                ("stages[0].task.tasks[2].name", Required),
                ("stages[0].task.tasks[3].name", InvalidValue),
                ("stages[0].task.tasks[3].needs", Cycle),
            ],
        ),
        (
            json!({"type": "etl", "transform": {"a b": "SELECT 1", "c": 1}, "target": {"kind": "excel", "path": "../x"}}),
            vec![
                ("stages[0].task.transform[\"a b\"]", InvalidValue),
                ("stages[0].task.transform.c", WrongType),
                ("stages[0].task.target.kind", InvalidValue),
                ("stages[0].task.target.path", UnsafePath),
            ],
        ),
        (
            json!({"type": "etl", "transform": 1, "target": "exel"}),
            vec![("stages[0].task.transform", WrongType), ("stages[0].task.target", InvalidValue)],
        ),
        (
            json!({"flow": "nightly", "parameters": 1}),
            vec![("stages[0].task.flow", InvalidValue), ("stages[0].task.parameters", WrongType)],
        ),
    ] {
        check(&stage("prefect", task), &expected);
    }
}
