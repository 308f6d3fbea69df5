//! Every workflow of the specification is accepted and planned, in JSON and in YAML.

use mahavishnu_core::workflow::{Draft, NoteCode, Parsed, Plan, Workflow, plan};
use serde_json::{Value, json};

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect"];

fn accept(workflow: &Value) -> Workflow {
    let text = serde_json::to_vec_pretty(workflow).unwrap();
    let from_json =
        Parsed::json(&text).check(&ENGINES).unwrap_or_else(|violations| panic!("{violations}\n{workflow:#}"));
    // JSON is YAML too, so the same text must mean the same to both readers.
    let from_yaml = Parsed::yaml(&text).check(&ENGINES).unwrap_or_else(|violations| panic!("{violations}"));
    let from_value = Draft::from_value(workflow).unwrap().check(&ENGINES).unwrap();
    assert_eq!(from_json, from_yaml);
    assert_eq!(from_json, from_value);
    from_json
}

fn planned(workflow: &Value) -> Plan {
    plan(&accept(workflow), "2026-11-22T10:00:00Z".parse().unwrap())
}

fn notes(plan: &Plan) -> Vec<(&str, NoteCode)> {
    plan.notes.iter().map(|note| (note.field.as_str(), note.code)).collect()
}

#[test]
fn quick_start() {
    let plan = planned(&json!({"stages": [
        {"type": "llamaindex", "task": {"type": "document_analysis", "docs": ["doc1.pdf"]}},
        {"type": "langgraph", "task": {"workflow": {"nodes": ["analyze", "approve"]}, "input": {}}},
        {"type": "agno", "task": {"agents": ["implementer"], "input": {}}},
    ]}));
    let stages = serde_json::to_value(&plan).unwrap()["stages"].clone();
    assert_eq!(stages[0]["id"], "llamaindex");
    assert_eq!(stages[0]["task_type"], "document_analysis");
    assert_eq!(stages[1]["needs"], json!(["llamaindex"]));
    assert_eq!(stages[1]["approvals"], json!(["approve"]));
    assert_eq!(stages[2]["engine"], "agno");
    assert_eq!(stages[2]["needs"], json!(["langgraph"]));
    assert_eq!(notes(&plan), []);
}

#[test]
fn pattern_1_analysis_then_approval() {
    for route in [
        json!([{"when": "state.approved", "to": "implement"}, {"to": "end"}]),
        json!("state.approved ? 'implement' : 'end'"),
    ] {
        let plan = planned(&json!({"stages": [
            {"type": "llamaindex", "task": {"type": "document_analysis", "docs": ["requirements.pdf"]}},
            {"type": "langgraph", "task": {
                "workflow": {"nodes": ["review", "approve", "implement"], "conditional": {"approve": route}},
                "input": {"requirements": "${{ stages.llamaindex.output.summary }}"},
            }},
        ]}));
        assert_eq!(notes(&plan), []);
    }
}

#[test]
fn pattern_2_routes_to_nodes_that_are_not_listed() {
    for route in [
        json!([{"when": "state.use_jwt", "to": "implement_jwt"}, {"to": "implement_session"}]),
        json!("state.use_jwt ? 'implement_jwt' : 'implement_session'"),
    ] {
        let plan = planned(&json!({"stages": [
            {"type": "llamaindex", "task": {"type": "rag_workflow", "query": "How do I implement auth?"}},
            {"type": "langgraph", "task": {"workflow": {"nodes": ["analyze", "route", "implement"], "conditional": {"route": route}}}},
        ]}));
        let implicit = ("stages[1].task.workflow.conditional.route", NoteCode::ImplicitNode);
        let unreachable = ("stages[1].task.workflow.nodes[2]", NoteCode::UnreachableNode);
        assert_eq!(notes(&plan), [implicit, implicit, unreachable]);
        assert!(
            plan.notes[0].message.contains("implement_jwt")
                && plan.notes[1].message.contains("implement_session")
        );
    }
}

#[test]
fn pattern_3_scheduled_then_several_nodes() {
    let plan = planned(&json!({"stages": [
        {"type": "prefect", "task": {"type": "scheduled_etl", "schedule": "0 2 * * *"}},
        {"type": "langgraph", "task": {"workflow": {"nodes": ["extract", "transform", "load", "verify"]}}},
    ]}));
    assert_eq!(notes(&plan), [("stages[0].task.schedule", NoteCode::Scheduled)]);
    assert_eq!(plan.schedules.len(), 1);
    assert_eq!(plan.schedules[0].timezone, "UTC");
    assert_eq!(plan.schedules[0].next.len(), 5);
    assert_eq!(plan.schedules[0].next[0], "2026-11-23T02:00:00+00:00");
}

#[test]
fn the_approval_workflow_of_the_decision_tree() {
    let nodes = ["analyze", "security_check", "performance_check", "approve", "implement"];
    let plan = planned(&json!({"stages": [{"type": "langgraph", "task": {"workflow": {
        "nodes": nodes,
        "conditional": {"approve": "!state.critical_issues ? 'implement' : 'end'"},
    }}}]}));
    assert_eq!(notes(&plan), []);
}

#[test]
fn example_1_delivery_with_approval() {
    planned(&json!({"stages": [
        {"type": "agno", "task": {"agents": ["tester"], "task": "Run tests"}},
        {"type": "langgraph", "task": {
            "workflow": {"nodes": ["review", "approve", "deploy"], "conditional": {"approve": "state.approved ? 'deploy' : 'end'"}},
            "input": {"test_results": "..."},
        }},
    ]}));
}

#[test]
fn example_2_code_from_documents() {
    planned(&json!({"stages": [
        {"type": "llamaindex", "task": {"type": "document_analysis", "docs": ["spec.pdf", "requirements.docx"]}},
        {"type": "agno", "task": {"agents": ["python-pro"], "task": "Generate code from spec", "input": {"spec": "..."}}},
    ]}));
}

#[test]
fn example_3_scheduled_data_pipeline() {
    planned(&json!({"stages": [
        {"type": "prefect", "task": {"type": "scheduled_etl", "schedule": "0 2 * * *", "sources": ["database1", "api1"]}},
        {"type": "langgraph", "task": {"workflow": {"nodes": ["extract", "transform", "load", "verify"]}}},
    ]}));
}

#[test]
fn the_shipped_workflows_are_accepted() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/workflows");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let parsed = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => Parsed::yaml(&std::fs::read(&path).unwrap()),
            Some("json") => Parsed::json(&std::fs::read(&path).unwrap()),
            _ => continue,
        };
        parsed.check(&ENGINES).unwrap_or_else(|violations| panic!("{}: {violations}", path.display()));
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}
