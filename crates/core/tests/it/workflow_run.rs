//! What a checked workflow yields: its ids and order, its plan, its conditions and its resolved tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mahavishnu_core::id::{SecretName, StageId};
use mahavishnu_core::violation::Reason;
use mahavishnu_core::workflow::plan::{NoteCode, Plan, plan};
use mahavishnu_core::workflow::{
    Parsed, StageOutcome, StageView, Workflow, condition_holds, resolve_task, secrets, variables,
};
use serde_json::{Map, Value, json};

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect", "custom"];

fn accept(workflow: Value) -> Workflow {
    Parsed::json(workflow.to_string().as_bytes())
        .check(&ENGINES)
        .unwrap_or_else(|violations| panic!("{violations}"))
}

fn planned(workflow: Value) -> Plan {
    plan(&accept(workflow), "2026-11-22T10:00:00Z".parse().unwrap())
}

fn ids(workflow: &Workflow) -> Vec<&str> {
    workflow.stages.iter().map(|stage| stage.id.as_str()).collect()
}

fn custom() -> Value {
    json!({"type": "custom", "task": {}})
}

fn ended(views: &[(&str, StageOutcome, Value)]) -> BTreeMap<StageId, StageView> {
    let view = |state, output: &Value| StageView { state, output: output.as_object().cloned().map(Arc::new) };
    views.iter().map(|(id, state, output)| (StageId::parse(id).unwrap(), view(*state, output))).collect()
}

#[test]
fn ids_and_needs_by_default() {
    let workflow = accept(
        json!({"stages": [custom(), {"id": "custom2", "type": "agno", "task": {"agents": ["a"]}}, custom(), custom()]}),
    );
    assert_eq!(ids(&workflow), ["custom", "custom2", "custom3", "custom4"]);
    let needs: Vec<Vec<&str>> =
        workflow.stages.iter().map(|stage| stage.needs.iter().map(StageId::as_str).collect()).collect();
    assert_eq!(needs, [vec![], vec!["custom"], vec!["custom2"], vec!["custom3"]]);
    let retry = workflow.stages[0].retry.clone();
    assert_eq!((retry.max_attempts, workflow.stages[0].timeout), (3, None));
}

#[test]
fn durations_and_retries() {
    let workflow = accept(json!({"timeout": "1h 30m", "stages": [
        {"type": "custom", "task": {}, "timeout": "30s", "retry": {"max_attempts": 5, "initial_backoff": "2s", "max_backoff": "1m"}},
        {"type": "custom", "task": {}, "retry": {"initial_backoff": "5m"}},
        {"type": "custom", "task": {}, "retry": {"max_backoff": "500ms"}},
    ]}));
    assert_eq!(workflow.timeout, Some(Duration::from_secs(5400)));
    assert_eq!(workflow.stages[0].timeout, Some(Duration::from_secs(30)));
    let waits: Vec<_> = (1..=7).map(|n| workflow.stages[0].retry.backoff(n).as_secs()).collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
    let wait = |n: usize| (workflow.stages[n].retry.initial_backoff, workflow.stages[n].retry.max_backoff);
    assert_eq!(wait(1), (Duration::from_secs(300), Duration::from_secs(300)));
    assert_eq!(wait(2), (Duration::from_millis(500), Duration::from_millis(500)));
}

#[test]
fn a_plan_knows_levels_and_draws_them() {
    let stage =
        |id: &str, needs: Value| json!({"id": id, "type": "custom", "task": {"type": "t"}, "needs": needs});
    let plan = planned(json!({"stages": [
        stage("fetch", json!([])), stage("left", json!(["fetch"])), stage("right", json!(["fetch"])),
        {"id": "join", "type": "langgraph", "task": {"workflow": {"nodes": ["a", "approve"]}}, "needs": ["left", "right"], "when": "stages.left.output.n > 1"},
        stage("last", json!(["join"])), stage("alone", json!([])),
    ]}));
    let levels: Vec<Vec<&str>> =
        plan.levels.iter().map(|level| level.iter().map(StageId::as_str).collect()).collect();
    assert_eq!(levels, [vec!["fetch", "alone"], vec!["left", "right"], vec!["join"], vec!["last"]]);
    assert_eq!(
        plan.to_text(),
        "fetch (custom, t)\n\
         ├─ left (custom, t)\n\
         └─ right (custom, t)\n   \
            ↓ join (langgraph, workflow) when stages.left.output.n > 1, asks for approval at approve, also after left\n   \
            ↓ last (custom, t)\n\
         alone (custom, t)\n"
    );
    let chart = plan.to_mermaid();
    assert!(chart.contains("s3[\"join<br/><i>langgraph</i><br/>workflow\"]"), "{chart}");
    assert!(chart.contains("s1 -->|\"stages.left.output.n #gt; 1\"| s3"), "{chart}");
    let value = serde_json::to_value(&plan).unwrap();
    assert_eq!(value["stages"][3]["level"], 2);
    assert_eq!(serde_json::from_value::<Plan>(value).unwrap(), plan);
}

#[test]
fn a_chain_of_a_thousand_stages_is_drawn_in_one_column() {
    let plan = planned(json!({"stages": vec![custom(); 1000]}));
    let text = plan.to_text();
    assert_eq!(text.lines().count(), 1000);
    assert!(text.lines().all(|line| line.len() < 40));
}

#[test]
fn what_is_never_reached_is_noted() {
    let rules = json!([{"when": "1 > 2", "to": "b"}, {"when": "true", "to": "c"}, {"when": "state.n > 1", "to": "d"}]);
    let plan = planned(json!({"stages": [
        {"id": "g", "type": "langgraph", "task": {"workflow": {"nodes": ["a", "b", "c", "d"], "conditional": {"a": rules}, "edges": {"c": "end"}}}},
        {"id": "never", "type": "custom", "task": {}, "when": "1 == 2"},
        {"id": "after", "type": "custom", "task": {}},
        {"id": "joins", "type": "custom", "task": {}, "needs": ["g", "after"]},
        {"id": "asks", "type": "custom", "task": {}, "needs": ["after"], "when": "stages.after.state == 'skipped'"},
    ]}));
    let notes: Vec<_> = plan.notes.iter().map(|note| (note.field.as_str(), note.code)).collect();
    let graph = "stages[0].task.workflow";
    assert_eq!(
        notes,
        [
            ("stages[1].when", NoteCode::UnreachableStage),
            ("stages[2]", NoteCode::UnreachableStage),
            (format!("{graph}.nodes[1]").as_str(), NoteCode::UnreachableNode),
            (format!("{graph}.nodes[3]").as_str(), NoteCode::UnreachableNode),
            (format!("{graph}.conditional.a[0]").as_str(), NoteCode::UnreachableRoute),
            (format!("{graph}.conditional.a[2]").as_str(), NoteCode::UnreachableRoute),
        ]
    );
}

#[test]
fn what_to_expect_is_measured_or_from_the_profiles() {
    use mahavishnu_core::engine::Registry;
    use mahavishnu_core::workflow::plan::{Measured, Source};
    let mut plan = planned(json!({"stages": [
        {"id": "etl", "type": "prefect", "task": {"type": "etl"}},
        {"id": "a", "type": "agno", "task": {"agents": ["x"]}, "needs": []},
        {"id": "b", "type": "langgraph", "task": {"workflow": {"nodes": ["n"]}}, "needs": ["a"]},
        {"id": "c", "type": "custom", "task": {}, "needs": ["etl", "b"]},
    ]}));
    plan.expect(&Registry::builtin(), |_| None);
    let expected = plan.overhead.clone().unwrap();
    assert_eq!(
        (expected.least_ms, expected.most_ms),
        (200.0, 500.0),
        "Prefect alone takes longer than Agno and LangGraph"
    );
    assert_eq!(expected.engines.len(), 4);
    assert_eq!(expected.engines[3].source, Source::Unknown);
    let measured = Measured { start_ms: 4.0, run_ms: 900.0, stages: 7 };
    plan.expect(&Registry::builtin(), |queue| (queue.engine.as_str() == "prefect").then_some(measured));
    let expected = plan.overhead.clone().unwrap();
    assert_eq!((expected.least_ms, expected.most_ms), (100.0, 210.0));
    assert_eq!(expected.engines[0].source, Source::Measured(measured));
    let text = plan.to_text();
    for part in [
        "  prefect: starts within 4ms and works for 900ms, measured: the median of 7 stages\n",
        "  langgraph: 100-200ms to be ready, medium to run, high overhead (checkpointing), from the profile\n",
        "  custom: not known",
        "  in all: 100-210ms along the longest chain of stages\n",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["overhead"]["engines"][0]["source"], "measured");
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
}

#[test]
fn pools_are_planned_apart() {
    use mahavishnu_core::engine::Registry;
    use mahavishnu_core::workflow::plan::{Measured, Source};
    let text = json!({"stages": [
        {"id": "a", "type": "custom", "task": {}},
        {"id": "b", "type": "custom", "pool": "reports", "task": {}},
        {"id": "c", "type": "custom", "pool": "reports", "task": {}},
    ]});
    let mut plan = planned(text);
    let queues: Vec<_> = plan.queues().iter().map(ToString::to_string).collect();
    assert_eq!(queues, ["custom", "custom@reports"]);
    let measured = Measured { start_ms: 4.0, run_ms: 900.0, stages: 7 };
    plan.expect(&Registry::builtin(), |queue| queue.pool.is_some().then_some(measured));
    let expected = plan.overhead.clone().unwrap();
    assert_eq!((expected.engines[0].source.clone(), expected.most_ms), (Source::Unknown, 8.0));
    assert!(plan.to_text().contains("b (custom@reports)"), "{}", plan.to_text());
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!((json["stages"][0].get("pool"), &json["stages"][1]["pool"]), (None, &json!("reports")));
    assert_eq!(serde_json::from_value::<Plan>(json).unwrap(), plan);
}

#[test]
fn notes_of_a_plan() {
    let plan = planned(json!({
        "documents": {"a.pdf": format!("artifact:{}", "0".repeat(64)), "b.pdf": "1".repeat(64)},
        "stages": [
            {"type": "llamaindex", "task": {"type": "document_analysis", "docs": ["a.pdf"]}, "when": "false"},
            {"type": "langgraph", "needs": [], "task": {"workflow": {"nodes": ["a", "b", "c"], "edges": {"b": ["x", "end"]}, "conditional": {"a": [{"when": "state.n > 1", "to": "c"}]}}}},
            {"type": "prefect", "task": {"flow": "f.py:f", "schedule": "30 2 * * *", "timezone": "Europe/Berlin"}},
        ],
    }));
    let notes: Vec<_> = plan.notes.iter().map(|note| (note.field.as_str(), note.code)).collect();
    assert_eq!(
        notes,
        [
            ("stages[0].when", NoteCode::UnreachableStage),
            ("stages[1].task.workflow.edges.b", NoteCode::ImplicitNode),
            ("stages[1].task.workflow.nodes[1]", NoteCode::UnreachableNode),
            ("stages[1].task.workflow.conditional.a", NoteCode::EndsWithoutRoute),
            ("stages[2].task.schedule", NoteCode::Scheduled),
            ("stages[2].task.schedule", NoteCode::ClockChange),
            ("documents[\"b.pdf\"]", NoteCode::UnusedDocument),
        ]
    );
    assert_eq!(plan.schedules[0].next[0], "2026-11-23T02:30:00+01:00");
    assert_eq!(serde_json::to_value(plan.notes[0].code).unwrap(), "UNREACHABLE_STAGE");
    assert!(
        plan.to_text()
            .contains("prefect fires at 30 2 * * * (Europe/Berlin):\n  2026-11-23T02:30:00+01:00\n")
    );
}

#[test]
fn a_loop_and_a_computed_route_reach_every_node() {
    let graph = |workflow: Value| {
        planned(json!({"stages": [{"type": "langgraph", "task": {"workflow": workflow}}]})).notes
    };
    let looped = json!({"nodes": ["draft", "check"], "conditional": {"check": "state.good ? 'end' : 'draft'"}, "max_steps": 9});
    assert_eq!(graph(looped), []);
    let computed = graph(json!({"nodes": ["route", "a", "b"], "conditional": {"route": "state.next"}}));
    assert_eq!(computed.iter().map(|note| note.code).collect::<Vec<_>>(), [NoteCode::EndsWithoutRoute]);
}

#[test]
fn conditions_of_stages() {
    let workflow = accept(json!({"input": {"limit": 3}, "stages": [
        {"id": "a", "type": "custom", "task": {}},
        {"id": "b", "type": "custom", "task": {}, "when": "stages.a.output.count > input.limit && size(repos) == 0"},
        {"id": "c", "type": "custom", "task": {}, "when": "stages.b.state == 'skipped' && !stages.b.output.done"},
    ]}));
    let holds = |n: usize, views: &[(&str, StageOutcome, Value)]| {
        condition_holds(&workflow.stages[n], &variables(&workflow, &ended(views))).unwrap()
    };
    assert!(holds(0, &[]));
    assert!(holds(1, &[("a", StageOutcome::Completed, json!({"count": 4}))]));
    assert!(!holds(1, &[("a", StageOutcome::Completed, json!({"count": 2}))]));
    assert!(!holds(1, &[("a", StageOutcome::Completed, json!({}))]));
    assert!(!holds(1, &[]));
    assert!(holds(2, &[("b", StageOutcome::Skipped, Value::Null)]));
    assert!(!holds(2, &[("b", StageOutcome::Failed, Value::Null)]));
}

fn task_of(task: Value, output: Value) -> Result<Map<String, Value>, Vec<(String, Reason)>> {
    let workflow = accept(json!({"input": {"topic": "auth"}, "repos": ["src"], "stages": [
        {"id": "a", "type": "custom", "task": {}}, {"type": "llamaindex", "task": task},
    ]}));
    let variables = variables(&workflow, &ended(&[("a", StageOutcome::Completed, output)]));
    resolve_task(&workflow.stages[1], &variables)
        .map_err(|violations| violations.0.into_iter().map(|v| (v.field, v.reason)).collect())
}

#[test]
fn tasks_get_their_values() {
    let task = json!({"type": "rag_workflow", "query": "How does ${{ input.topic }} work in ${{ repos[0] }}?",
        "docs": "${{ stages.a.output.files }}", "top_k": "${{ stages.a.output.k }}"});
    let resolved = task_of(task, json!({"files": ["x.pdf"], "k": 4})).unwrap();
    assert_eq!(
        Value::Object(resolved),
        json!({"type": "rag_workflow", "query": "How does auth work in src?", "docs": ["x.pdf"], "top_k": 4})
    );
}

#[test]
fn what_a_template_yields_is_checked_too() {
    let task = json!({"type": "document_analysis", "docs": ["${{ stages.a.output.file }}"]});
    assert!(task_of(task.clone(), json!({"file": "x.pdf"})).is_ok());
    assert_eq!(
        task_of(task.clone(), json!({"file": "../../etc/passwd"})),
        Err(vec![("task.docs[0]".into(), Reason::UnsafePath)])
    );
    assert_eq!(
        task_of(task.clone(), json!({"file": 3})),
        Err(vec![("task.docs[0]".into(), Reason::WrongType)])
    );
    assert_eq!(task_of(task, json!({})), Err(vec![("task.docs[0]".into(), Reason::UnknownReference)]));
    let rag = json!({"type": "rag_workflow", "query": "q", "top_k": "${{ stages.a.output.k }}"});
    assert_eq!(task_of(rag, json!({"k": 1000})), Err(vec![("task.top_k".into(), Reason::InvalidValue)]));
    // A value that looks like a template is a value, not a template.
    let text = json!({"type": "rag_workflow", "query": "${{ stages.a.output.text }}"});
    assert_eq!(task_of(text, json!({"text": "${{ input }}"})).unwrap()["query"], "${{ input }}");
}

#[test]
fn a_result_has_a_limit() {
    let task = json!({"type": "rag_workflow", "query": "q", "docs": vec!["${{ stages.a.output.text }}"; 20]});
    let found = task_of(task, json!({"text": "x".repeat(1 << 20)})).unwrap_err();
    assert!(found.iter().any(|(_, reason)| *reason == Reason::TooLarge));
}

#[test]
fn secrets_stay_references_and_only_what_the_author_wrote_is_one() {
    let task = json!({"type": "rag_workflow", "query": "q ${{ stages.a.output.text }}",
        "docs": ["$${{ x }}-${{ secrets.DOC }}-${{ secrets[\"d-2\"] }}.pdf"]});
    let workflow = accept(
        json!({"stages": [{"id": "a", "type": "custom", "task": {}}, {"type": "llamaindex", "task": task}]}),
    );
    let output = json!({"text": "${{ secrets.DOC }}"});
    let variables = variables(&workflow, &ended(&[("a", StageOutcome::Completed, output)]));
    let resolved = resolve_task(&workflow.stages[1], &variables).unwrap();
    assert_eq!(resolved["query"], "q ${{ secrets.DOC }}", "what a stage yields is text");
    assert_eq!(resolved["docs"], task["docs"]);
    let fields = secrets::fields(&workflow.stages[1].task);
    assert_eq!(fields, ["/docs/0"]);
    let names: Vec<String> = secrets::names(&workflow.stages[1].task).into_iter().map(String::from).collect();
    assert_eq!(names, ["DOC", "d-2"]);
    let text = resolved["docs"][0].as_str().unwrap();
    let name = |name| SecretName::parse(name).unwrap();
    let mut values = BTreeMap::from([(name("DOC"), "${{ input }}".to_owned())]);
    assert!(secrets::fill(text, &values).is_err(), "one of them is not known");
    values.insert(name("d-2"), "2".to_owned());
    assert_eq!(secrets::fill(text, &values).unwrap(), "${{ x }}-${{ input }}-2.pdf");
    assert_eq!(secrets::names_in(text), values.into_keys().collect());
}

#[test]
fn a_plan_says_who_needs_which_secrets_and_where_they_are_none() {
    let plan = planned(json!({"input": {"token": {"of": "${{ secrets.A }}"}}, "stages": [
        {"type": "custom", "task": {"headers": {"authorization": "Bearer ${{ secrets.B }}"}, "x/y": ["${{ secrets.A }}", "${{ secrets.B }}"]}},
        {"type": "custom", "task": {}},
    ]}));
    let names = |n: usize| plan.stages[n].secrets.iter().map(SecretName::as_str).collect::<Vec<_>>();
    assert_eq!((names(0), names(1)), (vec!["A", "B"], vec![]));
    assert!(plan.to_text().contains("custom needs these secrets at its worker: A, B"), "{}", plan.to_text());
    let notes: Vec<_> = plan.notes.iter().map(|note| (note.field.as_str(), note.code)).collect();
    assert_eq!(notes, [("input.token", NoteCode::SecretInInput)]);
}
