use super::*;
use crate::violation::Reason;

const FIFTH: &str = "
engines:
  - name: crewai
    display_name: CrewAI
    stateful: true
    words: [crew, role play, delegation]
    worker: python crew_worker.py
guide:
  - { task: Crew of roles, engine: crewai }
";

fn name(text: &str) -> EngineName {
    EngineName::parse(text).unwrap()
}

#[test]
fn the_four_engines_have_the_documented_values() {
    let registry = Registry::builtin();
    let table: Vec<_> = registry
        .profiles()
        .map(|p| (p.display_name.as_str(), p.complexity, p.stateful, p.routing, p.scheduling))
        .collect();
    assert_eq!(
        table,
        [
            ("Agno", Complexity::Low, false, false, false),
            ("LangGraph", Complexity::High, true, true, false),
            ("LlamaIndex", Complexity::Medium, false, false, false),
            ("Prefect", Complexity::High, false, false, true),
        ]
    );
    let agno = registry.find("agno").unwrap();
    assert_eq!(agno.strengths, ["Simple agent execution", "Fast setup", "Low overhead", "Direct API calls"]);
    assert_eq!(agno.weaknesses, ["No state management", "Limited routing", "No scheduling"]);
    assert_eq!(
        agno.best_for,
        ["Simple agent tasks", "Quick prototyping", "Single-stage workflows", "Low-latency execution"]
    );
    let costs: Vec<_> = registry
        .profiles()
        .filter_map(|p| p.overhead.as_ref())
        .map(|o| (o.setup_ms.to_string(), o.runtime.as_str(), o.overhead.as_str()))
        .collect();
    assert_eq!(
        costs,
        [
            ("<10ms".to_owned(), "Fast", "Lowest"),
            ("100-200ms".to_owned(), "Medium", "High"),
            ("50-100ms".to_owned(), "Medium", "Low"),
            ("200-500ms".to_owned(), "Slow", "Highest"),
        ]
    );
}

#[test]
fn the_guide_has_the_twelve_entries_in_order() {
    let guide = guide(&Registry::builtin());
    let lines: Vec<String> = guide.iter().map(|(task, engine)| format!("{task}: {engine}")).collect();
    assert_eq!(
        lines,
        [
            "Simple agent task: agno",
            "Document analysis: llamaindex",
            "RAG pipeline: llamaindex",
            "Approval workflow: langgraph",
            "Multi-stage workflow: langgraph",
            "Scheduled task: prefect",
            "DAG-based task: prefect",
            "ETL pipeline: prefect",
            "Low-latency execution: agno",
            "Stateful workflow: langgraph",
            "Conditional routing: langgraph",
            "Human-in-the-loop: langgraph",
        ]
    );
}

#[test]
fn a_profile_is_written_with_the_names_of_the_wire() {
    let registry = Registry::builtin();
    let json = serde_json::to_value(registry.find("langgraph").unwrap()).unwrap();
    assert_eq!(json["engine"], "langgraph");
    assert_eq!(json["name"], "LangGraph");
    assert_eq!(json["complexity"], "high");
    assert_eq!(json["overhead"]["setup_ms"]["max"], 200);
}

#[test]
fn a_file_adds_an_engine_after_the_builtin_ones() {
    let registry = Registry::builtin().with_file(FIFTH).unwrap();
    let names: Vec<_> = registry.profiles().map(|p| p.name.to_string()).collect();
    assert_eq!(names, ["agno", "langgraph", "llamaindex", "prefect", "crewai"]);
    let added = registry.get(&name("crewai")).unwrap();
    assert!(added.stateful && !added.routing && !added.builtin);
    assert_eq!(added.worker.as_deref(), Some("python crew_worker.py"));
    assert_eq!(guide(&registry).len(), 13);
}

#[test]
fn a_file_overrides_only_what_it_says() {
    let registry =
        Registry::builtin().with_file(r#"{"engines": [{"name": "agno", "stateful": true}]}"#).unwrap();
    let (before, after) = (Registry::builtin(), registry);
    let (before, after) = (before.find("agno").unwrap(), after.find("agno").unwrap());
    assert!(after.stateful && after.builtin);
    assert_eq!(after.strengths, before.strengths);
}

#[test]
fn a_file_is_refused_with_every_violation() {
    let text = "
engines:
  - { name: a.b, words: [x] }
  - { words: [x] }
  - { name: new }
  - { name: other, words: [why, 3], compexity: low, complexity: huge, stateful: maybe }
  - { name: other, words: [z] }
  - 7
guide: { task: x }
more: 1
";
    let violations = Registry::builtin().with_file(text).unwrap_err();
    let found: Vec<_> = violations.0.iter().map(|v| (v.field.as_str(), v.reason)).collect();
    assert_eq!(
        found,
        [
            ("more", Reason::UnknownKey),
            ("engines[0].name", Reason::InvalidValue),
            ("engines[1].name", Reason::Required),
            ("engines[2].words", Reason::Required),
            ("engines[3].compexity", Reason::UnknownKey),
            ("engines[3].stateful", Reason::WrongType),
            ("engines[3].words[1]", Reason::WrongType),
            ("engines[3].complexity", Reason::InvalidValue),
            ("engines[4].name", Reason::Duplicate),
            ("engines[5]", Reason::WrongType),
            ("guide", Reason::WrongType),
        ]
    );
    assert!(violations.0[4].message.contains("complexity"));
}

#[test]
fn text_that_is_no_file_is_refused() {
    let deep = format!("engines: {}", "[".repeat(100_000));
    for text in [
        "",
        "[",
        "engines: [",
        "\0",
        "- 1",
        "engines: {a: 1}",
        deep.as_str(),
        &"x".repeat(MAX_FILE_BYTES + 1),
    ] {
        assert!(Registry::builtin().with_file(text).is_err(), "{:?}", text.get(..20));
    }
}

#[test]
fn the_nearest_name_is_found_for_a_misspelt_one() {
    let registry = Registry::builtin();
    for (misspelt, nearest) in
        [("langraph", "langgraph"), ("Llama-Index", "llamaindex"), ("PREFECT", "prefect"), ("agnoo", "agno")]
    {
        assert_eq!(registry.nearest(misspelt), Some(nearest));
    }
    assert_eq!(registry.nearest("zzz"), None);
    assert_eq!(registry.nearest(""), None);
}
