//! Whatever comes in: no panic, the same answer twice, and what is accepted keeps the promises of `Workflow`.

use std::collections::BTreeSet;

use mahavishnu_core::expression::{Expression, Template};
use mahavishnu_core::workflow::plan::plan;
use mahavishnu_core::workflow::{Draft, Parsed, Workflow};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Map, Value, json};

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect", "custom"];

/// Words that make a random document hit the code behind them.
const WORDS: &[&str] = &[
    "stages",
    "type",
    "task",
    "id",
    "needs",
    "when",
    "retry",
    "timeout",
    "input",
    "repos",
    "labels",
    "documents",
    "agno",
    "langgraph",
    "llamaindex",
    "prefect",
    "custom",
    "document_analysis",
    "rag_workflow",
    "scheduled_etl",
    "dag",
    "docs",
    "query",
    "top_k",
    "workflow",
    "nodes",
    "conditional",
    "edges",
    "approve",
    "end",
    "to",
    "tasks",
    "sql",
    "python",
    "agents",
    "mode",
    "schedule",
    "timezone",
    "0 2 * * *",
    "Europe/Berlin",
    "30s",
    "max_attempts",
    "a.py:b",
    "../x",
    "state.approved",
    "stages.a.output.x",
    "${{ input.x }}",
    "${{ stages.a.output }}",
    "${{",
    "",
    "\0",
    "a",
    "b",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(WORDS).prop_map(str::to_owned), 1 => "\\PC{0,8}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..3_u8).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A task that is right for its engine.
fn good_task() -> impl Strategy<Value = (&'static str, Value)> {
    prop::sample::select(vec![
        ("custom", json!({"any": [1, {"thing": null}], "x": "${{ input.n }}"})),
        ("llamaindex", json!({"type": "rag_workflow", "query": "why?", "top_k": 3})),
        ("llamaindex", json!({"type": "document_analysis", "docs": ["a.pdf", "b/c.docx"]})),
        ("agno", json!({"agents": ["tester", "reviewer"], "mode": "coordinate"})),
        (
            "langgraph",
            json!({"workflow": {"nodes": ["a", "approve", "b"], "conditional": {"approve": "state.approved ? 'b' : 'end'"}}}),
        ),
        (
            "prefect",
            json!({"type": "dag", "tasks": {"a": {"sql": "SELECT 1"}, "b": {"sql": "SELECT 2", "needs": ["a"]}}}),
        ),
        (
            "prefect",
            json!({"type": "scheduled_etl", "schedule": "*/5 * * * *", "timezone": "America/New_York"}),
        ),
    ])
}

fn stage() -> impl Strategy<Value = Value> {
    let right = |value: Value| Just(Some(value));
    let (id, when) = (
        prop::sample::select(vec!["a", "b", "c", "d"]),
        prop::sample::select(vec!["true", "input.n > 1", "!repos"]),
    );
    let needs = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..3);
    let stage = (
        prop_oneof![6 => Just(None), 1 => id.prop_map(|id| Some(json!(id)))],
        prop_oneof![8 => good_task().prop_map(Some), 1 => (prop::sample::select(ENGINES), value()).prop_map(Some), 1 => Just(None)],
        prop_oneof![6 => Just(None), 2 => right(json!([])), 1 => needs.prop_map(|needs| Some(json!(needs)))],
        prop_oneof![6 => Just(None), 2 => when.prop_map(|when| Some(json!(when))), 1 => word().prop_map(|when| Some(json!(when)))],
        prop_oneof![6 => Just(None), 2 => right(json!({"max_attempts": 2, "initial_backoff": "1s"})), 1 => value().prop_map(Some)],
    );
    stage.prop_map(|(id, task, needs, when, retry)| {
        let (engine, task) = task.map(|(engine, task)| (json!(engine), task)).unzip();
        let members = [
            ("id", id),
            ("type", engine),
            ("task", task),
            ("needs", needs),
            ("when", when),
            ("retry", retry),
        ];
        members
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect::<Map<_, _>>()
            .into()
    })
}

/// A document with the shape of a workflow: often right, with anything in any of its places.
fn workflow() -> impl Strategy<Value = Value> {
    let input = prop_oneof![6 => Just(json!({"n": 2})), 1 => value()];
    (prop::collection::vec(stage(), 0..5), input)
        .prop_map(|(stages, input)| json!({"stages": stages, "input": input}))
}

/// What holds of every accepted workflow.
fn promises(workflow: &Workflow) {
    assert!(!workflow.stages.is_empty());
    let ids: BTreeSet<_> = workflow.stages.iter().map(|stage| &stage.id).collect();
    assert_eq!(ids.len(), workflow.stages.len());
    let plan = plan(workflow, "2026-11-22T10:00:00Z".parse().unwrap());
    assert_eq!(plan.levels.iter().map(Vec::len).sum::<usize>(), workflow.stages.len());
    for stage in &workflow.stages {
        assert!(stage.needs.iter().all(|need| ids.contains(need) && *need != stage.id));
        assert!(stage.retry.max_attempts >= 1 && stage.retry.initial_backoff <= stage.retry.max_backoff);
        let level = |id| plan.levels.iter().position(|level| level.contains(id)).unwrap();
        assert!(stage.needs.iter().all(|need| level(need) < level(&stage.id)));
        assert!(stage.when.iter().all(|when| Expression::parse(when).is_ok()));
    }
    assert_eq!(
        serde_json::from_value::<Workflow>(serde_json::to_value(workflow).unwrap()).unwrap(),
        *workflow
    );
    assert!(!plan.to_text().is_empty() && plan.to_mermaid().starts_with("flowchart TD\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Parsed::json(&bytes).check(&ENGINES);
        let _ = Parsed::yaml(&bytes).check(&ENGINES);
    }

    #[test]
    fn no_yaml_like_text_panics(tokens in prop::collection::vec(prop::sample::select(vec![
        "stages", ":", " ", "\n", "\n  ", "- ", "{", "}", "[", "]", ",", "&a ", "*a", "<<", "!!str ", "!!binary ", "|", ">", "'", "\"", "? ", "#", "---\n",
        "...", "%YAML 1.2\n", "~", "1", "0x", ".nan", "true", "\t", "task", "type", "\u{feff}", "\\",
    ]), 0..40)) {
        let _ = Parsed::yaml(tokens.concat().as_bytes()).check(&ENGINES);
    }

    #[test]
    fn anything_is_either_accepted_or_explained(document in prop_oneof![value(), workflow()]) {
        let text = serde_json::to_vec(&document).unwrap();
        let first = Parsed::json(&text).check(&ENGINES);
        prop_assert_eq!(&first, &Parsed::json(&text).check(&ENGINES), "not deterministic");
        match first {
            Ok(workflow) => promises(&workflow),
            Err(violations) => {
                prop_assert!(!violations.0.is_empty());
                for violation in &violations.0 {
                    prop_assert!(!violation.message.is_empty() && !violation.message.contains('\0'), "{:?}", violation);
                }
            }
        }
    }

    #[test]
    fn a_draft_survives_its_own_json(document in workflow()) {
        if let Ok(draft) = Draft::from_value(&document) {
            let text = serde_json::to_vec(&draft).unwrap();
            prop_assert_eq!(Draft::from_json(&text).unwrap(), draft);
        }
    }

    #[test]
    fn expressions_and_templates_of_words(words in prop::collection::vec(word(), 0..6)) {
        let text = words.concat();
        let _ = Expression::parse(&text).map(|expression| expression.references());
        let _ = Template::parse(&text).map(|template| template.render(&Map::new()));
    }
}

#[test]
fn random_workflows_are_accepted_often_enough() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..2_000 {
        let document = workflow().new_tree(&mut runner).unwrap().current();
        accepted += usize::from(Parsed::json(document.to_string().as_bytes()).check(&ENGINES).is_ok());
    }
    // Otherwise the properties above would say little about workflows that are right.
    assert!(accepted > 200, "{accepted} of 2000");
}
