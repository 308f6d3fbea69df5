//! Templates and conditions against what the stages before can yield: certain mistakes are refused by field path, and
//! nothing that may be right is.

use mahavishnu_core::engine::Registry;
use mahavishnu_core::violation::Reason::{self, UnknownReference, WrongType};
use mahavishnu_core::workflow::Parsed;
use serde_json::{Value, json};

/// A stage of each kind, then one with this task and condition.
fn after(engine: &str, task: Value, when: Option<&str>) -> Vec<(String, Reason, String)> {
    let mut last = json!({"id": "last", "type": engine, "task": task});
    if let Some(when) = when {
        last["when"] = json!(when);
    }
    let workflow = json!({
        "input": {"n": 3, "name": "ada", "names": ["a.pdf"], "mixed": [1, "a"], "deep": {"flag": true}},
        "stages": [
            {"id": "docs", "type": "llamaindex", "task": {"type": "document_analysis", "docs": ["a.pdf"]}},
            {"id": "asked", "type": "llamaindex", "task": {"type": "document_analysis", "docs": ["a.pdf"], "questions": ["why?"]}},
            {"id": "rag", "type": "llamaindex", "task": {"type": "rag_workflow", "query": "why?"}},
            {"id": "graph", "type": "langgraph", "task": {"workflow": {"nodes": ["a"]}}},
            {"id": "etl", "type": "prefect", "task": {"type": "etl", "sources": ["orders", "rates"]}},
            {"id": "all", "type": "prefect", "task": {"type": "scheduled_etl", "schedule": "0 2 * * *"}},
            {"id": "dag", "type": "prefect", "task": {"type": "dag", "tasks": [{"name": "totals", "sql": "SELECT 1"}]}},
            {"id": "agent", "type": "agno", "task": {"agents": ["tester"]}},
            {"id": "own", "type": "agno", "task": {"agent": "a.py:b"}},
            {"id": "flow", "type": "prefect", "task": {"flow": "a.py:b"}},
            {"id": "free", "type": "llamaindex", "task": {"workflow": "a.py:b"}},
            {"id": "added", "type": "custom", "task": {}},
            last,
        ],
    });
    let file = "engines: [{name: custom, words: [custom]}]";
    let registry = Registry::builtin().with_file(file).unwrap();
    match Parsed::json(workflow.to_string().as_bytes()).check(&registry) {
        Ok(_) => Vec::new(),
        Err(violations) => violations
            .0
            .into_iter()
            .map(|violation| (violation.field, violation.reason, violation.message))
            .collect(),
    }
}

fn condition(when: &str) -> Vec<(String, Reason, String)> {
    after("custom", json!({}), Some(when))
}

fn template(cel: &str) -> Vec<(String, Reason, String)> {
    after("custom", json!({"x": format!("${{{{ {cel} }}}}")}), None)
}

#[test]
fn mistakes_are_named_by_field() {
    let when = "stages[12].when";
    for (source, reason, message) in [
        (
            "stages.docs.output.sumary != ''",
            UnknownReference,
            "stages.docs.output has no \"sumary\", did you mean \"summary\"?",
        ),
        (
            "stages.docs.output.answers[0].answered",
            UnknownReference,
            "stages.docs.output has no \"answers\", known are",
        ),
        ("stages.asked.output.answers[0].answred", UnknownReference, "did you mean \"answered\"?"),
        (
            "stages.rag.output.sources.page == 1",
            UnknownReference,
            "stages.rag.output.sources is a list, which has no \"page\"",
        ),
        (
            "stages.rag.output.answer.text == 'a'",
            UnknownReference,
            "stages.rag.output.answer is a text, which has no \"text\"",
        ),
        (
            "stages.etl.output.rows.order > 1",
            UnknownReference,
            "stages.etl.output.rows has no \"order\", did you mean \"orders\"?",
        ),
        ("stages.dag.output.tasks.total == 1", UnknownReference, "did you mean \"totals\"?"),
        (
            "stages.rag.output.sources.exists(s, s.pge > 2)",
            UnknownReference,
            "s has no \"pge\", did you mean \"page\"?",
        ),
        (
            "stages.etl.output.loaded == '3'",
            WrongType,
            "stages.etl.output.loaded is a number and \"3\" is a text: they are never equal",
        ),
        ("'a' < stages.etl.output.loaded", WrongType, "they cannot be compared"),
        ("stages.docs.output.summary + 1 == 'a'", WrongType, "they cannot be added"),
        ("stages.rag.output.answered == 'true'", WrongType, "is a boolean and \"true\" is a text"),
        ("size(stages.etl.output.loaded) > 1", WrongType, "size takes a text or a list or an object"),
        ("1 in stages.graph.output.path", WrongType, "it is never in it"),
        ("input.n > 'a'", WrongType, "input.n is a number"),
        ("stages.docs.state == 1", WrongType, "stages.docs.state is a text"),
        (
            "stages.docs.output.summary",
            WrongType,
            "this one yields a text: compare it, as in stages.docs.output.summary != \"\"",
        ),
        ("stages.etl.output.loaded", WrongType, "compare it, as in stages.etl.output.loaded > 0"),
        (
            "stages.docs.output.requirements",
            WrongType,
            "compare it, as in size(stages.docs.output.requirements) > 0",
        ),
        ("true ? 'yes' : 'no'", WrongType, "this one yields a text"),
    ] {
        let found = condition(source);
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (when, reason), "{source}: {found:?}");
        assert!(found[0].2.contains(message), "{source}: {:?}", found[0].2);
    }
    let found = template("!stages.docs.output.summary");
    assert!(found[0].2.contains("logic takes a boolean"), "{found:?}");
    assert_eq!(template("stages.graph.output.stat").len(), 1);
}

#[test]
fn what_may_be_right_is_not_refused() {
    for source in [
        "stages.docs.output.summary != ''",
        "size(stages.docs.output.requirements) > 0 && stages.etl.output.loaded > 2.5",
        "!stages.docs.output.requirements",
        "has(stages.docs.output.nothing)",
        "stages.docs.output.model == null",
        "stages.asked.output.answers.all(a, a.answered && a.sources.size() > 0)",
        "stages.all.output.rows.anything > 1",
        "stages.all.output.next_fire_times[0].startsWith('2026')",
        "stages.etl.output.sample.orders[0].anything == 'x'",
        "stages.graph.output.state.anything.at.all",
        "stages.graph.output.approved == 'of my own'",
        "stages.graph.output.approved",
        "stages.own.output.content.structured.field == 3",
        "stages.flow.output.anything",
        "stages.free.output.anything == 'x' || stages.free.output.other > 1",
        "stages.added.output.anything",
        "stages.added.state == 'completed'",
        "input.absent == 'x' || input.absent > 3",
        "input.n",
        "input.name",
        "input.mixed[0] == 'a'",
        "input.names",
        "input.deep.flag || input.deep.more",
        "type(stages.docs.output.summary) == string",
        "timestamp('2026-01-01T00:00:00Z') < timestamp('2027-01-01T00:00:00Z')",
        "stages.graph.output.path.map(p, p + '!').exists(p, p == 'a!')",
        "dyn(stages.etl.output.loaded) == 'x'",
    ] {
        let found = condition(source);
        assert_eq!(found, [], "{source}");
        if !source.starts_with("!stages") {
            let found = template(source);
            let missing = source.starts_with("input.absent");
            assert!(found.is_empty() || missing, "{source}: {found:?}");
        }
    }
}

#[test]
fn a_template_fits_the_key_that_it_stands_for() {
    let texts = |value: &str| format!("${{{{ {value} }}}}");
    let task = "stages[12].task";
    for (engine, body, at, message) in [
        (
            "llamaindex",
            json!({"type": "document_analysis", "docs": texts("stages.docs.output.summary")}),
            "docs",
            "must be a list, and this template yields a text",
        ),
        (
            "llamaindex",
            json!({"type": "document_analysis", "docs": [texts("stages.graph.output.path")]}),
            "docs[0]",
            "must be a text, and this template yields a list",
        ),
        (
            "llamaindex",
            json!({"type": "document_analysis", "docs": ["a"], "questions": texts("stages.docs.output.requirements")}),
            "questions",
            "every item must be a text, and each that this template yields is an object",
        ),
        (
            "llamaindex",
            json!({"type": "rag_workflow", "query": texts("stages.docs.output.requirements")}),
            "query",
            "must be a text, and this template yields a list",
        ),
        (
            "llamaindex",
            json!({"type": "rag_workflow", "query": "a", "top_k": texts("input.name")}),
            "top_k",
            "must be a whole number, and this template yields a text",
        ),
        (
            "llamaindex",
            json!({"type": "rag_workflow", "query": "a", "top_k": "n = ${{ input.n }}"}),
            "top_k",
            "must be a whole number",
        ),
        ("agno", json!({"agents": texts("input.name")}), "agents", "must be a list"),
        (
            "agno",
            json!({"agents": ["a"], "task": texts("stages.agent.output")}),
            "task",
            "must be a text, and this template yields an object",
        ),
        (
            "prefect",
            json!({"flow": "a.py:b", "parameters": texts("stages.docs.output.summary")}),
            "parameters",
            "must be an object",
        ),
        (
            "prefect",
            json!({"type": "etl", "transform": texts("input.n")}),
            "transform",
            "must be a text or an object",
        ),
        (
            "prefect",
            json!({"type": "etl", "target": texts("input.names")}),
            "target",
            "must be a text or an object",
        ),
        (
            "prefect",
            json!({"type": "dag", "tasks": texts("input.n")}),
            "tasks",
            "must be an object or a list",
        ),
        (
            "langgraph",
            json!({"workflow": texts("stages.docs.output.summary")}),
            "workflow",
            "must be an object",
        ),
    ] {
        let found = after(engine, body.clone(), None);
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert_eq!((found[0].0.as_str(), found[0].1), (format!("{task}.{at}").as_str(), WrongType), "{body}");
        assert!(found[0].2.contains(message), "{body}: {:?}", found[0].2);
    }
    for (engine, body) in [
        (
            "llamaindex",
            json!({"type": "document_analysis", "docs": texts("input.names"), "questions": texts("stages.graph.output.path")}),
        ),
        ("llamaindex", json!({"type": "document_analysis", "docs": texts("stages.free.output.docs")})),
        (
            "llamaindex",
            json!({"type": "rag_workflow", "query": "About ${{ stages.docs.output.requirements }}", "top_k": texts("input.n")}),
        ),
        (
            "agno",
            json!({"agents": ["a"], "task": texts("stages.docs.output.summary"), "input": texts("stages.docs.output")}),
        ),
        (
            "prefect",
            json!({"type": "etl", "transform": texts("stages.free.output.sql"), "target": texts("stages.etl.output.target")}),
        ),
        ("prefect", json!({"type": "dag", "tasks": texts("stages.etl.output.rows")})),
        (
            "langgraph",
            json!({"workflow": {"nodes": ["a"]}, "input": {"n": texts("stages.etl.output.loaded")}}),
        ),
    ] {
        assert_eq!(after(engine, body.clone(), None), [], "{body}");
    }
}
