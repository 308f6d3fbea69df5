//! Recommend: the documented answers, limits, properties, and an engine from a file.

#[allow(dead_code, missing_docs, clippy::cast_precision_loss)]
#[path = "../../examples/learn/mod.rs"]
mod learn;

use mahavishnu_core::engine::Registry;
use mahavishnu_core::recommendation::{MAX_DESCRIPTION_BYTES, Recommendation, recommend};
use proptest::prelude::*;

fn ask(text: &str) -> Recommendation {
    recommend(&Registry::builtin(), text).unwrap()
}

fn plan(recommendation: &Recommendation) -> Vec<&str> {
    recommendation.plan.iter().map(|stage| stage.engine.as_str()).collect()
}

#[test]
fn the_documented_answers_hold() {
    for (text, stages) in [
        ("Need to analyze documents and get approval", vec!["llamaindex", "langgraph"]),
        ("only after the manager approves, run the nightly load", vec!["langgraph", "prefect"]),
        ("look through these contracts", vec!["llamaindex"]),
        ("run this every night", vec!["prefect"]),
        ("answer right away", vec!["agno"]),
    ] {
        assert_eq!(plan(&ask(text)), stages, "{text}");
    }
}

#[test]
fn the_answer_in_json_has_the_documented_keys() {
    let json = serde_json::to_value(ask("Need to analyze documents and get approval")).unwrap();
    assert_eq!(json["primary"], "llamaindex");
    assert_eq!(json["profile"]["name"], "LlamaIndex");
    assert_eq!(json["plan"][1]["type"], "langgraph");
    assert!(json["confidence"].as_f64().unwrap() > 0.5);
    assert_eq!(json["alternatives"].as_array().unwrap().len(), 3);
    let words: Vec<_> =
        json["evidence"].as_array().unwrap().iter().map(|e| e["word"].as_str().unwrap()).collect();
    assert!(words.contains(&"documents") && words.contains(&"approval"), "{words:?}");
    assert_eq!(json["enough"], true);
}

#[test]
fn not_enough_to_go_on_is_an_answer() {
    for text in ["help", "make it better", "we need something with AI"] {
        let answer = ask(text);
        assert!(!answer.enough && answer.confidence < 0.5, "{text}");
        assert!(answer.advice.unwrap().contains("documents"));
    }
}

#[test]
fn a_blank_or_over_long_description_is_refused() {
    for text in ["", " \n\t", &"a ".repeat(MAX_DESCRIPTION_BYTES)] {
        let violations = recommend(&Registry::builtin(), text).unwrap_err();
        assert_eq!(violations.0[0].field, "description");
    }
}

#[test]
fn an_engine_from_a_file_is_recommended_and_ordered() {
    let file = "engines: [{name: crewai, display_name: CrewAI, words: [crew of agents, role play]}]";
    let registry = Registry::builtin().with_file(file).unwrap();
    let ask = |text: &str| {
        let answer = recommend(&registry, text).unwrap();
        assert_eq!(answer.primary, answer.plan[0].engine);
        answer.plan.iter().map(|stage| stage.engine.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ask("Let a crew of agents debate the topic"), ["crewai"]);
    assert_eq!(ask("Get the manager's approval, then start a role-play session"), ["langgraph", "crewai"]);
    assert_eq!(ask("Role play is not needed. Read the contracts"), ["llamaindex"]);
    assert_eq!(recommend(&registry, "read the contracts").unwrap().alternatives.len(), 4);
}

#[test]
fn words_of_a_built_in_engine_can_be_replaced() {
    let file = "engines: [{name: langgraph, words: [quorum vote]}]";
    let registry = Registry::builtin().with_file(file).unwrap();
    let primary = |text: &str| recommend(&registry, text).unwrap().primary.to_string();
    assert_eq!(primary("Hold a quorum vote on the budget"), "langgraph");
    let answer = recommend(&registry, "Hold a quorum vote on the budget").unwrap();
    assert!(answer.evidence.iter().any(|evidence| evidence.word.starts_with("quorum")), "{answer:?}");
    // A word that is taken away no longer speaks for its engine.
    let score = |registry: &Registry| {
        let answer = recommend(registry, "An approval workflow that loads the sales data").unwrap();
        let other = answer.alternatives.iter().find(|other| other.engine.as_str() == "langgraph");
        other.map_or(1.0, |other| other.score)
    };
    assert!(score(&registry) < score(&Registry::builtin()));
    assert_ne!(primary("No quorum vote is needed, read the contracts"), "langgraph");
}

/// A guard against a change that makes it worse, a little below what was measured (see the README there).
#[test]
fn the_held_out_descriptions_are_read_as_well_as_was_measured() {
    let items = include_str!("../../data/corpus/holdout.jsonl").lines();
    let (mut count, mut primary, mut whole) = (0, 0, 0);
    for line in items {
        let item: serde_json::Value = serde_json::from_str(line).unwrap();
        let want: Vec<&str> =
            item["plan"].as_array().unwrap().iter().map(|engine| engine.as_str().unwrap()).collect();
        if want.is_empty() {
            continue;
        }
        let answer = ask(item["text"].as_str().unwrap());
        count += 1;
        primary += usize::from(answer.primary.as_str() == want[0]);
        whole += usize::from(plan(&answer) == want);
    }
    assert!(primary * 100 >= count * 90, "primary: {primary} of {count}");
    assert!(whole * 100 >= count * 85, "plan: {whole} of {count}");
}

/// The shipped weights are what the shipped corpus and lexicon give; after a change of either, `train` makes them again.
#[test]
fn the_shipped_weights_are_learned_again_to_the_byte() {
    let learned = learn::weights_file(&learn::corpus::training().unwrap());
    assert!(
        learned == include_str!("../../data/weights.tsv"),
        "run `cargo run -p mahavishnu-core --example train`"
    );
}

#[test]
fn every_line_of_the_shipped_weights_is_read() {
    let lines = include_str!("../../data/weights.tsv").lines().skip(1);
    for line in lines {
        let parts: Vec<&str> = line.split('\t').collect();
        let numbers = if parts[0] == "calibration" { 3 } else { 4 };
        assert_eq!(parts.len(), 3 + numbers, "{line}");
        assert!(parts[3..].iter().all(|part| part.parse::<f32>().is_ok()), "{line}");
    }
}

#[test]
fn the_longest_text_is_answered() {
    let long = "Every night read the contracts, then get approval unless not needed. ".repeat(400);
    let cut: String = long.chars().take(MAX_DESCRIPTION_BYTES).collect();
    assert!(ask(&cut).plan.len() >= 3);
}

proptest! {
    #[test]
    fn any_text_gets_an_answer_and_the_same_one_again(text in "\\PC{1,300}") {
        prop_assume!(!text.trim().is_empty());
        let first = ask(&text);
        prop_assert_eq!(&first, &ask(&text));
        prop_assert_eq!(&first.primary, &first.plan[0].engine);
        prop_assert!((0.0..=1.0).contains(&first.confidence));
        for evidence in &first.evidence {
            prop_assert_eq!(text.get(evidence.start..evidence.end), Some(evidence.word.as_str()));
        }
    }

    #[test]
    fn words_in_any_order_never_panic(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "not", "until", "before", "after", "once", "first", ".", ",", "and", "or", "without", "approval", "documents", "every",
                "night", "no", "needed", "then", "called", "\"", "already", "Scheduler", "2am", "->", "unless", "free", "is", "don't",
            ]),
            1..40,
        ),
    ) {
        let answer = ask(&words.join(" "));
        let mut engines = plan(&answer);
        engines.sort_unstable();
        engines.dedup();
        prop_assert_eq!(engines.len(), answer.plan.len());
    }

    #[test]
    fn case_changes_nothing_for_plain_sentences(
        text in prop::sample::select(vec![
            "read the contracts and get approval", "every night load the sales data", "draft a reply to the customer",
        ]),
    ) {
        let plain = ask(text);
        let upper = ask(&text.to_uppercase());
        prop_assert_eq!(plan(&plain), plan(&upper));
    }
}

proptest! {
    // Long texts are slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn odd_texts_are_answered(
        parts in prop::collection::vec(
            prop_oneof![
                "[a-z]{1,2000}", "[\\u{4e00}-\\u{9fff}]{1,400}", "[\\u{600}-\\u{6ff} ]{1,400}", "[\\u{1f600}-\\u{1f64f}]{1,200}",
                "[0-9.,:]{1,400}", "[\"'`(),;.>-]{1,400}", "[\\u{200e}\\u{200f}\\u{202e}\\u{0301}a ]{1,200}",
            ],
            1..5,
        ),
    ) {
        let text = parts.join(" ");
        prop_assume!(!text.trim().is_empty() && text.len() <= MAX_DESCRIPTION_BYTES);
        let answer = ask(&text);
        prop_assert!(!answer.plan.is_empty());
    }
}
