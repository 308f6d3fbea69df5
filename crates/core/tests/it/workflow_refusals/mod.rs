//! What is refused, where, and why: tables, each row with every violation that it must yield and no other.

use mahavishnu_core::violation::{MAX_VIOLATIONS, Reason, Reason::*, Violations};
use mahavishnu_core::workflow::{Draft, Parsed, StageDraft, limits};
use serde_json::{Value, json};

mod tasks;
mod texts;

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
