//! Select: the whole truth table, the documented conflicts, properties, and an engine from a file.

use mahavishnu_core::engine::{Registry, guide};
use mahavishnu_core::id::EngineName;
use mahavishnu_core::selection::{Change, MAX_TASK_TYPE_BYTES, Request, Rule, Selection, select};
use proptest::prelude::*;

/// A task type of each class of words, with the engine for it when nothing is required.
const TASK_TYPES: [(&str, &str, Rule); 30] = [
    ("rag_workflow", "llamaindex", Rule::TaskTypeWords),
    ("RAG-Pipeline", "llamaindex", Rule::TaskTypeWords),
    ("ragPipeline", "llamaindex", Rule::TaskTypeWords),
    ("document_analysis", "llamaindex", Rule::TaskTypeWords),
    ("PDF processing", "llamaindex", Rule::TaskTypeWords),
    ("parsePDFs", "llamaindex", Rule::TaskTypeWords),
    ("vector-search", "llamaindex", Rule::TaskTypeWords),
    ("knowledge.extraction", "llamaindex", Rule::TaskTypeWords),
    ("approval_workflow", "langgraph", Rule::TaskTypeWords),
    ("Multi-Stage", "langgraph", Rule::TaskTypeWords),
    ("conditional routing", "langgraph", Rule::TaskTypeWords),
    ("human-in-the-loop", "langgraph", Rule::TaskTypeWords),
    ("HumanInTheLoop", "langgraph", Rule::TaskTypeWords),
    ("stateful workflow", "langgraph", Rule::TaskTypeWords),
    ("scheduled_etl", "prefect", Rule::TaskTypeWords),
    ("dag", "prefect", Rule::TaskTypeWords),
    ("batchJob", "prefect", Rule::TaskTypeWords),
    ("PERIODIC_TASK", "prefect", Rule::TaskTypeWords),
    ("simple_task", "agno", Rule::TaskTypeWords),
    ("low-latency execution", "agno", Rule::TaskTypeWords),
    ("generic", "agno", Rule::Default),
    ("my_task", "agno", Rule::Default),
    ("storage", "agno", Rule::Default),
    ("fragment", "agno", Rule::Default),
    ("docker build", "agno", Rule::Default),
    ("bank statement", "agno", Rule::Default),
    ("non_rag", "agno", Rule::Default),
    ("任务", "agno", Rule::Default),
    ("document_approval", "llamaindex", Rule::TaskTypeWords),
    ("approval_batch", "langgraph", Rule::TaskTypeWords),
];

fn ask(registry: &Registry, task_type: &str, [scheduling, state, routing]: [bool; 3]) -> Selection {
    let request = Request {
        task_type: task_type.to_owned(),
        requires_state: state,
        requires_routing: routing,
        requires_scheduling: scheduling,
    };
    select(registry, &request).unwrap()
}

fn combinations() -> impl Iterator<Item = [bool; 3]> {
    (0..8_u8).map(|bits| [bits & 1 != 0, bits & 2 != 0, bits & 4 != 0])
}

fn plan(selection: &Selection) -> Vec<&str> {
    selection.hybrid_plan.iter().map(|stage| stage.engine.as_str()).collect()
}

#[test]
fn truth_table() {
    let registry = Registry::builtin();
    for (task_type, engine, rule) in TASK_TYPES {
        for required in combinations() {
            let expected = match required {
                [true, _, _] => ("prefect", Rule::RequiresScheduling),
                [_, true, _] | [_, _, true] => ("langgraph", Rule::RequiresStateOrRouting),
                _ => (engine, rule),
            };
            let selection = ask(&registry, task_type, required);
            assert_eq!((selection.engine.as_str(), selection.rule), expected, "{task_type} {required:?}");
            let yes: Vec<_> = selection.path.iter().map(|step| step.yes).collect();
            let (last, before) = yes.split_last().unwrap();
            assert!(*last && before.iter().all(|yes| !yes), "the path ends with its only yes");
        }
    }
}

#[test]
fn the_guide_agrees_with_the_tree() {
    let registry = Registry::builtin();
    for (task, engine) in guide(&registry) {
        assert_eq!(ask(&registry, &task, [false; 3]).engine, engine, "{task}");
    }
}

#[test]
fn conflicts_have_the_documented_answer_and_a_hybrid_plan() {
    let registry = Registry::builtin();
    for (task_type, required, engine, stages) in [
        ("generic", [true, true, false], "prefect", vec!["prefect", "langgraph"]),
        ("generic", [true, false, true], "prefect", vec!["prefect", "langgraph"]),
        ("generic", [true, true, true], "prefect", vec!["prefect", "langgraph"]),
        ("rag", [false, true, false], "langgraph", vec!["llamaindex", "langgraph"]),
        ("rag", [true, false, false], "prefect", vec!["prefect", "llamaindex"]),
        ("rag", [true, true, false], "prefect", vec!["prefect", "llamaindex", "langgraph"]),
        ("document approval", [false; 3], "llamaindex", vec!["llamaindex", "langgraph"]),
        ("nightly rag", [false; 3], "llamaindex", vec!["prefect", "llamaindex"]),
        ("etl", [false, true, false], "langgraph", vec!["prefect", "langgraph"]),
        ("simple rag", [false; 3], "llamaindex", vec!["llamaindex"]),
        ("scheduled etl", [true, false, false], "prefect", vec!["prefect"]),
        ("approval_workflow", [false, true, true], "langgraph", vec!["langgraph"]),
    ] {
        let selection = ask(&registry, task_type, required);
        assert_eq!(selection.engine.as_str(), engine, "{task_type}");
        assert_eq!(plan(&selection), stages, "{task_type} {required:?}");
        assert_eq!(selection.needs_hybrid, stages.len() > 1, "{task_type}");
    }
}

#[test]
fn unmet_needs_and_runners_up_are_named() {
    let selection = ask(&Registry::builtin(), "generic", [true, true, false]);
    let unmet: Vec<_> = selection.unmet.iter().map(|need| need.need.as_str()).collect();
    assert_eq!(unmet, ["state"]);
    let runner_up = &selection.runners_up[0];
    assert_eq!((runner_up.engine.as_str(), runner_up.lacks.join(" ").as_str()), ("langgraph", "scheduling"));
    assert_eq!(selection.runners_up.len(), 3);
}

#[test]
fn the_flip_is_the_smallest_change_and_holds() {
    let registry = Registry::builtin();
    for (task_type, _, _) in TASK_TYPES {
        for required in combinations() {
            let selection = ask(&registry, task_type, required);
            let flip = selection.flip.expect("there is always one");
            assert_ne!(flip.engine, selection.engine);
            let mut changed = required;
            let mut text = task_type.to_owned();
            for change in &flip.changes {
                match change {
                    Change::Require(requirement) | Change::DoNotRequire(requirement) => {
                        let place =
                            ["scheduling", "state", "routing"].iter().position(|n| *n == requirement.name());
                        changed[place.unwrap()] ^= true;
                    }
                    Change::TaskType(other) => text.clone_from(other),
                }
            }
            assert_eq!(
                ask(&registry, &text, changed).engine,
                flip.engine,
                "{task_type} {required:?} {flip:?}"
            );
            if flip.changes.len() > 1 {
                for single in 0..3 {
                    let mut one = required;
                    one[single] ^= true;
                    assert_eq!(
                        ask(&registry, task_type, one).engine,
                        selection.engine,
                        "one change is enough"
                    );
                }
            }
        }
    }
    let flip = ask(&registry, "generic", [true, true, false]).flip.unwrap();
    assert_eq!(flip.text, "without scheduling it would be LangGraph");
}

#[test]
fn an_engine_from_a_file_is_chosen_by_words_and_by_requirements() {
    let file = "engines: [{name: temporal, display_name: Temporal, stateful: true, routing: true, scheduling: true, \
                words: [durable, long running]}]";
    let registry = Registry::builtin().with_file(file).unwrap();
    for (task_type, required, engine) in [
        ("durable_order", [false; 3], "temporal"),
        ("long-running document import", [false; 3], "temporal"),
        ("generic", [true, true, false], "temporal"),
        ("generic", [true, false, false], "prefect"),
        ("durable", [true, false, false], "temporal"),
        ("generic", [false, true, true], "langgraph"),
        ("generic", [false; 3], "agno"),
    ] {
        assert_eq!(ask(&registry, task_type, required).engine.as_str(), engine, "{task_type} {required:?}");
    }
    let selection = ask(&registry, "generic", [true, true, false]);
    assert!(!selection.needs_hybrid && selection.unmet.is_empty());
    assert_eq!(plan(&selection), ["temporal"]);
}

#[test]
fn the_answer_in_json_has_the_documented_keys() {
    let json =
        serde_json::to_value(ask(&Registry::builtin(), "approval_workflow", [false, true, true])).unwrap();
    assert_eq!(json["engine"], "langgraph");
    assert_eq!(json["rule"], "requires_state_or_routing");
    assert_eq!(json["hybrid_plan"][0]["type"], "langgraph");
    assert!(json["flip"]["text"].as_str().unwrap().starts_with("with scheduling"));
}

#[test]
fn a_blank_or_over_long_task_type_is_refused() {
    for text in ["", " \n", &"a ".repeat(MAX_TASK_TYPE_BYTES)] {
        let violations =
            select(&Registry::builtin(), &Request { task_type: text.to_owned(), ..Request::default() });
        assert_eq!(violations.unwrap_err().0[0].field, "task_type");
    }
}

fn cased(word: &str, how: u8) -> String {
    match how {
        0 => word.to_lowercase(),
        1 => word.to_uppercase(),
        _ => word[..1].to_uppercase() + &word[1..],
    }
}

proptest! {
    #[test]
    fn any_text_gets_an_answer_and_the_same_one_again(task_type in ".{1,200}", required: [bool; 3]) {
        prop_assume!(!task_type.trim().is_empty());
        let registry = Registry::builtin();
        let first = ask(&registry, &task_type, required);
        prop_assert_eq!(&first, &ask(&registry, &task_type, required));
        prop_assert!(registry.get(&first.engine).is_some());
        prop_assert!(first.hybrid_plan.iter().any(|stage| stage.engine == first.engine));
    }

    #[test]
    fn case_and_separators_change_nothing(
        words in prop::collection::vec(
            prop::sample::select(vec!["rag", "data", "approval", "batch", "human", "multi", "stage", "task", "etl", "simple"]),
            1..5,
        ),
        how in 0..3_u8,
        separator in prop::sample::select(vec!["_", "-", " ", ".", "/", "  "]),
        required: [bool; 3],
    ) {
        let registry = Registry::builtin();
        let plain = ask(&registry, &words.join(" "), required);
        let other: Vec<String> = words.iter().map(|word| cased(word, how)).collect();
        let other = ask(&registry, &other.join(separator), required);
        prop_assert_eq!((&plain.engine, plain.rule), (&other.engine, other.rule));
        let camel: String = words.iter().map(|word| cased(word, 2)).collect();
        prop_assert_eq!(&plain.engine, &ask(&registry, &camel, required).engine);
    }

    #[test]
    fn every_need_that_some_engine_meets_has_a_stage(task in 0..TASK_TYPES.len(), required: [bool; 3]) {
        let selection = ask(&Registry::builtin(), TASK_TYPES[task].0, required);
        let engines: Vec<&EngineName> = selection.hybrid_plan.iter().map(|stage| &stage.engine).collect();
        for need in &selection.unmet {
            prop_assert!(need.met_by.is_empty() || need.met_by.iter().any(|engine| engines.contains(&engine)));
        }
    }
}
