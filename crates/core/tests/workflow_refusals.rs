//! What is refused, where, and why: one table, each row with every violation that it must yield and no other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use mahavishnu_core::violation::{MAX_VIOLATIONS, Reason, Reason::*, Violations};
use mahavishnu_core::workflow::{Draft, Parsed, StageDraft, limits};
use serde_json::{Value, json};

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect", "custom"];

fn refuse(workflow: &Value) -> Violations {
    let text = serde_json::to_vec(workflow).unwrap();
    let violations = Parsed::json(&text).check(&ENGINES).expect_err(&format!("accepted: {workflow}"));
    assert_eq!(Parsed::yaml(&text).check(&ENGINES).unwrap_err(), violations, "YAML differs: {workflow}");
    violations
}

/// `expected` holds all violations, in any order.
fn check(workflow: &Value, expected: &[(&str, Reason)]) {
    let violations = refuse(workflow);
    let mut found: Vec<_> = violations.0.iter().map(|v| (v.field.as_str(), v.reason)).collect();
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{workflow}\n{violations}");
}

/// A workflow with one stage of an engine.
fn stage(engine: &str, task: Value) -> Value {
    json!({"stages": [{"type": engine, "task": task}]})
}

fn graph(workflow: Value) -> Value {
    stage("langgraph", json!({"workflow": workflow}))
}

fn ok() -> Value {
    json!({"type": "custom", "task": {}})
}

#[test]
fn form() {
    for (workflow, expected) in [
        (json!({}), vec![("stages", Required)]),
        (json!({"stages": []}), vec![("stages", Required)]),
        (json!([]), vec![("", WrongType)]),
        (json!(null), vec![("", WrongType)]),
        (json!("stages"), vec![("", WrongType)]),
        (json!({"stages": {}}), vec![("stages", WrongType)]),
        (json!({"stages": [1, null, ok()]}), vec![("stages[0]", WrongType), ("stages[1]", WrongType)]),
        (json!({"stages": [{}]}), vec![("stages[0].type", Required), ("stages[0].task", Required)]),
        (
            json!({"stages": [{"type": 1, "task": []}]}),
            vec![("stages[0].type", WrongType), ("stages[0].task", WrongType)],
        ),
        (json!({"stage": [], "stages": [ok()]}), vec![("stage", UnknownKey)]),
        (
            json!({"stages": [{"type": "custom", "pool": "a.b", "task": {}}, {"type": "custom", "pool": 1, "task": {}}]}),
            vec![("stages[0].pool", InvalidValue), ("stages[1].pool", WrongType)],
        ),
        (
            json!({"stages": [{"type": "custom", "pool": "", "task": {}}]}),
            vec![("stages[0].pool", InvalidValue)],
        ),
        (
            json!({"stages": [{"type": "custom", "taks": {}, "task": {}}]}),
            vec![("stages[0].taks", UnknownKey)],
        ),
        (json!({"stages": [ok()], "input": 3}), vec![("input", WrongType)]),
        (json!({"stages": [ok()], "repos": ["a", 1]}), vec![("repos[1]", WrongType)]),
        (json!({"stages": [ok()], "labels": {"a": 1}}), vec![("labels.a", WrongType)]),
        (json!({"stages": [ok()], "labels": {"a b": "x"}}), vec![("labels[\"a b\"]", InvalidValue)]),
        (json!({"stages": [ok()], "timeout": 30}), vec![("timeout", WrongType)]),
        (json!({"stages": [ok()], "timeout": "soon"}), vec![("timeout", InvalidValue)]),
        (json!({"stages": [ok()], "timeout": "0s"}), vec![("timeout", InvalidValue)]),
        (json!({"stages": [ok()], "timeout": "3years"}), vec![("timeout", InvalidValue)]),
        (
            json!({"stages": [ok()], "documents": {"../a": "x"}}),
            vec![("documents[\"../a\"]", UnsafePath), ("documents[\"../a\"]", InvalidValue)],
        ),
        (
            json!({"stages": [ok()], "repos": ["/etc", "..", "ok/"]}),
            vec![("repos[0]", UnsafePath), ("repos[1]", UnsafePath)],
        ),
    ] {
        check(&workflow, &expected);
    }
}

#[test]
fn stages() {
    let with = |key: &str, value: Value| {
        let mut stage = ok();
        stage[key] = value;
        json!({"stages": [stage]})
    };
    for (workflow, expected) in [
        (with("id", json!("a.b")), vec![("stages[0].id", InvalidValue)]),
        (with("id", json!("")), vec![("stages[0].id", InvalidValue)]),
        (with("type", json!("lamaindex")), vec![("stages[0].type", UnknownEngine)]),
        (with("timeout", json!("1x")), vec![("stages[0].timeout", InvalidValue)]),
        (with("retry", json!(3)), vec![("stages[0].retry", WrongType)]),
        (with("retry", json!({"max_attempts": 0})), vec![("stages[0].retry.max_attempts", InvalidValue)]),
        (with("retry", json!({"max_attempts": 101})), vec![("stages[0].retry.max_attempts", InvalidValue)]),
        (with("retry", json!({"max_attempts": 1.5})), vec![("stages[0].retry.max_attempts", WrongType)]),
        (with("retry", json!({"max_attempts": "3"})), vec![("stages[0].retry.max_attempts", WrongType)]),
        (with("retry", json!({"attempts": 3})), vec![("stages[0].retry.attempts", UnknownKey)]),
        (
            with("retry", json!({"non_retryable_reasons": ["TIMEOUT", "not a code"]})),
            vec![("stages[0].retry.non_retryable_reasons[1]", InvalidValue)],
        ),
        (
            with("retry", json!({"initial_backoff": "1m", "max_backoff": "1s"})),
            vec![("stages[0].retry.max_backoff", InvalidValue)],
        ),
        (
            with("retry", json!({"initial_backoff": "x", "max_backoff": "48h"})),
            vec![
                ("stages[0].retry.initial_backoff", InvalidValue),
                ("stages[0].retry.max_backoff", InvalidValue),
            ],
        ),
        (with("approval", json!([])), vec![("stages[0].approval", WrongType)]),
        (with("approval", json!({"approver": "a"})), vec![("stages[0].approval.approver", UnknownKey)]),
        (
            with(
                "approval",
                json!({"approvers": ["a", " b", "a", 3], "quorum": 5, "exclude_requester": "yes"}),
            ),
            vec![
                ("stages[0].approval.approvers[1]", InvalidValue),
                ("stages[0].approval.approvers[2]", InvalidValue),
                ("stages[0].approval.approvers[3]", WrongType),
                ("stages[0].approval.quorum", InvalidValue),
                ("stages[0].approval.exclude_requester", WrongType),
            ],
        ),
        (
            with("approval", json!({"quorum": 0, "timeout": "1h", "on_timeout": "fail"})),
            vec![
                ("stages[0].approval.quorum", InvalidValue),
                ("stages[0].approval.on_timeout", InvalidValue),
            ],
        ),
        (
            with("approval", json!({"on_timeout": "reject"})),
            vec![("stages[0].approval.on_timeout", InvalidValue)],
        ),
        (
            with("approval", json!({"timeout": "soon", "require_reason": 1})),
            vec![
                ("stages[0].approval.timeout", InvalidValue),
                ("stages[0].approval.require_reason", WrongType),
            ],
        ),
        (with("needs", json!("a")), vec![("stages[0].needs", WrongType)]),
        (
            with("needs", json!(["nobody", 1])),
            vec![("stages[0].needs[0]", UnknownReference), ("stages[0].needs[1]", WrongType)],
        ),
        (with("needs", json!(["custom"])), vec![("stages[0].needs", Cycle)]),
        (with("when", json!("state.x")), vec![("stages[0].when", UnknownReference)]),
        (with("when", json!("a b")), vec![("stages[0].when", InvalidExpression)]),
        (with("when", json!("")), vec![("stages[0].when", InvalidExpression)]),
        (with("when", json!(true)), vec![("stages[0].when", WrongType)]),
        (with("when", json!("${{ input.x }}")), vec![("stages[0].when", InvalidExpression)]),
        (with("when", json!("inputs.x")), vec![("stages[0].when", UnknownReference)]),
        (with("when", json!("stages.other.output.x")), vec![("stages[0].when", UnknownReference)]),
        (with("when", json!("stages.custom.output.x")), vec![("stages[0].when", NotBefore)]),
        (with("when", json!("stages.all(s, true)")), vec![("stages[0].when", InvalidExpression)]),
        (with("when", json!("[".repeat(90) + &"]".repeat(90))), vec![("stages[0].when", TooDeep)]),
        (with("when", json!("1 ".repeat(5000))), vec![("stages[0].when", TooLarge)]),
        (
            json!({"stages": [{"id": "a", "type": "custom", "task": {}}, {"id": "a", "type": "custom", "task": {}}]}),
            vec![("stages[1].id", Duplicate)],
        ),
        (
            json!({"stages": [{"id": "a", "type": "custom", "task": {}, "needs": ["b"]}, {"id": "b", "type": "custom", "task": {}, "needs": ["a", "a"]}]}),
            vec![("stages[0].needs", Cycle), ("stages[1].needs[1]", Duplicate)],
        ),
        // What is omitted counts: the second needs the first.
        (
            json!({"stages": [{"id": "a", "type": "custom", "task": {}, "needs": ["b"]}, {"id": "b", "type": "custom", "task": {}}]}),
            vec![("stages[0].needs", Cycle)],
        ),
    ] {
        check(&workflow, &expected);
    }
}

#[test]
fn messages_help() {
    let message = |workflow: Value| refuse(&workflow).0[0].message.clone();
    assert_eq!(
        message(stage("lamaindex", json!({}))),
        "there is no engine \"lamaindex\", did you mean \"llamaindex\"?"
    );
    assert!(
        message(stage("crewai", json!({})))
            .ends_with("known are agno, langgraph, llamaindex, prefect, custom")
    );
    assert_eq!(
        message(stage("agno", json!({"agents": ["a"], "taks": ""}))),
        "unknown key, did you mean \"task\"?"
    );
    assert_eq!(message(stage("agno", json!({"agents": {}}))), "must be a list, not an object");
    let ring =
        |n: usize, need: &str| json!({"id": format!("s{n}"), "type": "custom", "task": {}, "needs": [need]});
    let cycle = json!({"stages": [ring(1, "s3"), ring(2, "s1"), ring(3, "s2")]});
    assert_eq!(message(cycle), "these stages need each other: s1 -> s3 -> s2 -> s1");
}

#[test]
fn templates() {
    let chain = |second: Value| json!({"stages": [{"id": "a", "type": "custom", "task": {}}, second], "input": {"x": 1}});
    let two = |task: Value| chain(json!({"id": "b", "type": "custom", "task": task}));
    for (workflow, expected) in [
        (two(json!({"k": "${{ stages.c.output }}"})), vec![("stages[1].task.k", UnknownReference)]),
        (
            two(json!({"k": ["x", {"deep": "a ${{ stages.b.output }}"}]})),
            vec![("stages[1].task.k[1].deep", NotBefore)],
        ),
        (two(json!({"k": "${{ stages.a.outputs.x }}"})), vec![("stages[1].task.k", UnknownReference)]),
        (two(json!({"k": "${{ input.y }}"})), vec![("stages[1].task.k", UnknownReference)]),
        (two(json!({"k": "${{ state.y }}"})), vec![("stages[1].task.k", UnknownReference)]),
        (two(json!({"k": "${{ stages[input.x].output }}"})), vec![("stages[1].task.k", InvalidExpression)]),
        (two(json!({"k": "${{ stages.a.output"})), vec![("stages[1].task.k", InvalidExpression)]),
        (two(json!({"k": "${{ 1 + }} ${{ f(1) }}"})), vec![("stages[1].task.k", InvalidExpression)]),
        (
            chain(json!({"id": "b", "type": "custom", "task": {"k": "${{ stages.a.output }}"}, "needs": []})),
            vec![("stages[1].task.k", NotBefore)],
        ),
        (
            chain(
                json!({"id": "b", "type": "custom", "task": {}, "needs": [], "when": "stages.a.state == 'failed'"}),
            ),
            vec![("stages[1].when", NotBefore)],
        ),
    ] {
        check(&workflow, &expected);
    }
}

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

#[test]
fn everything_wrong_is_said_at_once() {
    check(
        &json!({
            "stagess": 1,
            "timeout": "x",
            "stages": [
                {"type": "llamaindex", "task": {"type": "document_analysis", "docs": ["../a"]}, "id": "a"},
                {"type": "nobody", "needs": ["zzzzzz"], "when": "1 +"},
                {"type": "agno", "task": {"agents": "x", "k": "${{ stages.q.output }}"}, "id": "a"},
            ],
        }),
        &[
            ("stagess", UnknownKey),
            ("timeout", InvalidValue),
            ("stages[0].task.docs[0]", UnsafePath),
            ("stages[1].type", UnknownEngine),
            ("stages[1].task", Required),
            ("stages[1].needs[0]", UnknownReference),
            ("stages[1].when", InvalidExpression),
            ("stages[2].id", Duplicate),
            ("stages[2].task.agents", WrongType),
            ("stages[2].task.k", UnknownKey),
            ("stages[2].task.k", UnknownReference),
        ],
    );
}

fn reasons(violations: Result<impl std::fmt::Debug, Violations>) -> Vec<(String, Reason)> {
    violations.unwrap_err().0.into_iter().map(|v| (v.field, v.reason)).collect()
}

#[test]
fn text_that_is_not_well_formed() {
    for bad in [
        &b""[..],
        b"{",
        b"{\"stages\": [}",
        b"{} {}",
        b"nul",
        b"\xff\xfe",
        b"{\"a\": \"\\ud800\"}",
        b"{\"a\": \"\\ud800\\u0041\"}",
        b"{\"a\": \"\\x\"}",
        b"{\"a\": \"\x01\"}",
        b"{\"a\": 1e999}",
        b"{\"a\": \"\xc3\x28\"}",
        b"[1,]",
        b"\"\\udfff\"",
    ] {
        assert_eq!(
            reasons(Parsed::json(bad).check(&ENGINES)),
            [(String::new(), Malformed)],
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
    for bad in [
        &b"a: b: c"[..],
        b"a: [1",
        b"\t- x",
        b"a: *nobody",
        b"\"\\ud800\"",
        b"--- 1\n--- 2",
        b"%YAML 9",
        b"a: !!binary x",
    ] {
        let found = reasons(Parsed::yaml(bad).check(&ENGINES));
        assert!(!found.is_empty(), "{:?}", String::from_utf8_lossy(bad));
    }
    let twice = br#"{"stages": [{"type": "custom", "task": {"a": 1, "a": 2}}]}"#;
    assert_eq!(reasons(Parsed::json(twice).check(&ENGINES)), [("stages[0].task.a".to_owned(), Duplicate)]);
    assert_eq!(reasons(Parsed::yaml(twice).check(&ENGINES)), [("stages[0].task.a".to_owned(), Duplicate)]);
    let nul = br#"{"stages": [{"type": "custom", "task": {"a": ["\u0000"], "b\u0000": 1}, "when": "'\u0000'"}], "input": {"x": "\u0000"}}"#;
    let found = reasons(Parsed::json(nul).check(&ENGINES));
    let malformed = found.iter().filter(|(_, reason)| *reason == Malformed).count();
    assert_eq!(malformed, 4, "{found:?}");
}

#[test]
fn too_large_or_too_deep() {
    let deep = |levels: usize| {
        let value = "[".repeat(levels) + &"]".repeat(levels);
        format!(
            r#"{{"stages": [{{"type": "custom", "task": {{"a": {value}}}}}], "input": {{"b": {value}}}}}"#
        )
    };
    let fits = deep(limits::MAX_DEPTH - 1);
    Parsed::json(fits.as_bytes()).check(&ENGINES).unwrap();
    Parsed::yaml(fits.as_bytes()).check(&ENGINES).unwrap();
    for levels in [limits::MAX_DEPTH, 30, 60, 126, 127, 128, 1000, 100_000] {
        for found in [
            reasons(Parsed::json(deep(levels).as_bytes()).check(&ENGINES)),
            reasons(Parsed::yaml(deep(levels).as_bytes()).check(&ENGINES)),
        ] {
            assert!(found.iter().all(|(_, reason)| *reason == TooDeep), "{levels}: {found:?}");
            assert!(
                found[0].0.starts_with("input.b[0]")
                    || found[0].0.starts_with("stages[0].task.a[0]")
                    || found[0].0.is_empty(),
                "{found:?}"
            );
        }
    }
    let blocks: String = (0..1_000).map(|n| " ".repeat(n) + "a:\n").collect();
    assert!(
        reasons(Parsed::yaml(blocks.as_bytes()).check(&ENGINES)).iter().all(|(_, reason)| *reason == TooDeep)
    );
    for deep in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
        "{a: ".repeat(50_000),
        "[{".repeat(50_000),
        "? ".repeat(50_000),
        "!a ".repeat(50_000),
        "&a ".repeat(10_000),
        "a:\n".repeat(1000),
        (0..2_000).map(|n| " ".repeat(n) + "a:\n").collect(),
    ] {
        assert!(!reasons(Parsed::json(deep.as_bytes()).check(&ENGINES)).is_empty());
        assert!(!reasons(Parsed::yaml(deep.as_bytes()).check(&ENGINES)).is_empty());
    }
    let large = format!(
        r#"{{"stages": [{{"type": "custom", "task": {{"a": "{}"}}}}]}}"#,
        "x".repeat(limits::MAX_BYTES)
    );
    assert_eq!(reasons(Parsed::json(large.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    assert_eq!(reasons(Parsed::yaml(large.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let many = json!({"stages": vec![ok(); limits::MAX_STAGES + 1]});
    check(&many, &[("stages", TooLarge)]);
    let noisy = json!({"stages": vec![json!({"type": "custom", "taks": {}}); 500]});
    let violations = refuse(&noisy);
    assert_eq!(violations.0.len(), MAX_VIOLATIONS + 1);
}

#[test]
fn aliases_do_not_multiply() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
    }
    assert_eq!(reasons(Parsed::yaml(bomb.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let fat = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 5_000].join(","));
    assert_eq!(reasons(Parsed::yaml(fat.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let honest =
        "stages:\n- &s {type: custom, task: {k: 1}, needs: []}\n- *s\n- {<<: *s, needs: [custom2]}\n";
    let workflow = Parsed::yaml(honest.as_bytes()).check(&ENGINES).unwrap();
    assert_eq!(workflow.stages[2].needs[0].as_str(), "custom2");
}

#[test]
fn a_draft_from_elsewhere_is_checked_as_well() {
    let mut deep = json!(1);
    for _ in 0..limits::MAX_DEPTH {
        deep = json!([deep]);
    }
    let Value::Object(task) = json!({"a": deep, "b": "\0"}) else { unreachable!() };
    let stage = StageDraft { engine: Some("custom".into()), task: Some(task), ..StageDraft::default() };
    let draft = Draft { stages: vec![stage], ..Draft::default() };
    let found = reasons(draft.check(&ENGINES));
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|(field, reason)| field == "stages[0].task.b" && *reason == Malformed));
    let huge = Draft {
        stages: vec![StageDraft { when: Some("x".repeat(limits::MAX_BYTES + 1)), ..StageDraft::default() }],
        ..Draft::default()
    };
    assert_eq!(reasons(huge.check(&ENGINES)), [(String::new(), TooLarge)]);
}

#[test]
fn large_hostile_documents_are_answered() {
    let fill = |unit: &str| vec![unit; limits::MAX_BYTES / 2 / unit.len()].join(",");
    let task =
        |engine: &str, task: &str| format!(r#"{{"stages": [{{"type": "{engine}", "task": {task}}}]}}"#);
    let numbered =
        |form: &str| (0..100_000).map(|n| form.replace('#', &n.to_string())).collect::<Vec<_>>().join(",");
    for text in [
        format!("[{}]", fill("[]")),
        format!("{{{}}}", numbered(r#""k#": 1"#)),
        format!("{{{}}}", fill(r#""k": 1"#)),
        format!(r#"{{"stages": [{}]}}"#, fill("{}")),
        format!(r#"{{"stages": [{{"type": "custom", "task": {{}}, "needs": [{}]}}]}}"#, fill(r#""nobody""#)),
        format!(r#"{{"stages": [{}]}}"#, numbered(r#"{"id": "s#"}"#)),
        task("custom", &format!("{{{}}}", numbered(r#""k#": "${{ stages.x#.output }}""#))),
        task("agno", &format!(r#"{{"agents": [{}]}}"#, numbered(r#""agent#""#))),
        task(
            "llamaindex",
            &format!(r#"{{"type": "document_analysis", "docs": [{}]}}"#, numbered(r#""../#""#)),
        ),
        task("langgraph", &format!(r#"{{"workflow": {{"nodes": [{}]}}}}"#, numbered(r#""node#""#))),
        task(
            "langgraph",
            &format!(
                r#"{{"workflow": {{"nodes": ["a"], "conditional": {{{}}}}}}}"#,
                numbered(r#""node#": "'end'""#)
            ),
        ),
        task(
            "langgraph",
            &format!(
                r#"{{"workflow": {{"nodes": ["a"], "conditional": {{"a": [{}]}}}}}}"#,
                numbered(r#"{"when": "state.x#", "to": "b#"}"#)
            ),
        ),
        task(
            "prefect",
            &format!(
                r#"{{"type": "dag", "tasks": {{"a": {{"sql": "x", "needs": [{}]}}}}}}"#,
                numbered(r#""t#""#)
            ),
        ),
        task(
            "prefect",
            &format!(
                r#"{{"type": "dag", "tasks": {{{}}}}}"#,
                numbered(r#""t#": {"sql": "x", "needs": ["t0"]}"#)
            ),
        ),
    ] {
        let violations = Parsed::json(text.as_bytes()).check(&ENGINES).unwrap_err();
        assert!((1..=MAX_VIOLATIONS + 1).contains(&violations.0.len()), "{}", &text[..100]);
    }
}

#[test]
fn secrets() {
    let workflow = |task: &str| stage("custom", json!({"a": {"b": [task]}}));
    for (text, reason) in [
        ("${{ secrets }}", InvalidExpression),
        ("${{ secrets.a.b }}", InvalidExpression),
        ("${{ secrets.db-password }}", InvalidExpression),
        ("${{ size(secrets.A) }}", InvalidExpression),
        ("${{ has(secrets.A) }}", InvalidExpression),
        ("${{ secrets['a/b'] }}", InvalidValue),
        ("${{ secrets.A }} ${{ input }}", InvalidExpression),
    ] {
        let found = refuse(&workflow(text));
        assert!(
            found.0.iter().any(|v| (v.field.as_str(), v.reason) == ("stages[0].task.a.b[0]", reason)),
            "{text}: {found}"
        );
        assert!(found.0.iter().all(|v| v.field == "stages[0].task.a.b[0]"), "{text}: {found}");
    }
    let mut condition = workflow("x");
    condition["stages"][0]["when"] = json!("secrets.A == 'x'");
    check(&condition, &[("stages[0].when", UnknownReference)]);
}
