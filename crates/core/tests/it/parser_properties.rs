//! Every parser on its own: no text panics it, what it accepts keeps its promises, and what it wrote it reads again.
//! Workflows as a whole are in `workflow_properties`.

use std::time::Duration;

use mahavishnu_core::engine::Registry;
use mahavishnu_core::expression::{Expression, Template, Type, Variables};
use mahavishnu_core::id::{EngineName, MAX_LENGTH};
use mahavishnu_core::schedule::Schedule;
use mahavishnu_core::workflow::{Draft, StageDraft};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A cron field that is often right.
fn field(most: u32) -> impl Strategy<Value = String> {
    let n = 0..=most;
    prop_oneof![
        3 => Just("*".to_owned()),
        3 => n.clone().prop_map(|n| n.to_string()),
        1 => (1..=most.max(1)).prop_map(|n| format!("*/{n}")),
        1 => (n.clone(), n.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => prop::collection::vec(n, 1..4).prop_map(|all| all.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
        1 => "[A-Z#L0-9/-]{0,5}",
    ]
}

fn cron() -> impl Strategy<Value = String> {
    let fields = (field(59), field(23), field(31), field(12), field(7));
    prop_oneof![
        8 => fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}")),
        1 => "\\PC{0,40}",
        1 => "@[a-z]{0,8}",
    ]
}

/// One draft whose only question is the text of its deadline.
fn deadline(text: &str) -> Option<Duration> {
    let stage = StageDraft { engine: Some("custom".into()), task: Some(Map::new()), ..StageDraft::default() };
    let draft = Draft { stages: vec![stage], timeout: Some(text.to_owned()), ..Draft::default() };
    draft.check(&["custom"].as_slice()).ok().map(|workflow| workflow.timeout.expect("it has one"))
}

/// What expressions read here. `text` is closed, so that reading anything else of it is known to be wrong.
fn variables() -> Map<String, Value> {
    let a = json!({
        "text": "yes", "number": 3, "half": 0.5, "flag": true, "texts": ["a", "b"],
        "items": [{"n": 1, "name": "x"}, {"n": 2, "name": "y"}], "deep": {"flag": false, "name": "z"},
    });
    [("a".to_owned(), a)].into_iter().collect()
}

/// Expressions over them, right and wrong.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "a.text",
        "a.number",
        "a.half",
        "a.flag",
        "a.texts",
        "a.items",
        "a.deep",
        "a.deep.flag",
        "a.deep.name",
        "a.items[0].n",
        "a.items[1].name",
        "a.texts[0]",
        "a.nothing",
        "a.text.more",
        "a.texts.more",
        "a.deep[0]",
        "1",
        "2.5",
        "'yes'",
        "''",
        "true",
        "null",
        "[1, 2]",
        "['a']",
        "{'k': 1}",
        "has(a.deep.flag)",
        "has(a.nothing)",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        let operator = prop::sample::select(vec!["==", "!=", "<", ">=", "+", "-", "*", "/", "%", "&&", "||", "in"]);
        prop_oneof![
            3 => (inner.clone(), operator, inner.clone()).prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => inner.clone().prop_map(|a| format!("string({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => inner.clone().prop_map(|a| format!("a.items.exists(i, i.n == {a})")),
            1 => inner.clone().prop_map(|a| format!("a.items.map(i, i.name + {a})")),
            1 => inner.clone().prop_map(|a| format!("a.texts.filter(t, t == {a})")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}][0]")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn an_identifier_is_a_subject_token_and_nothing_else(text in prop_oneof!["[A-Za-z0-9_-]{0,66}", "\\PC{0,8}"]) {
        let token = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let right = !text.is_empty() && text.len() <= MAX_LENGTH && text.chars().all(token);
        match EngineName::parse(&text) {
            Ok(name) => prop_assert!(right && name.to_string() == text),
            Err(error) => prop_assert!(!right && error.to_string().len() < 1_000),
        }
    }

    #[test]
    fn a_schedule_names_later_and_later_instants(text in cron(), at in 1_500_000_000_i64..2_500_000_000, zone in prop::sample::select(vec![
        "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Nowhere/Land", "",
    ])) {
        let now = chrono::DateTime::from_timestamp(at, 0).unwrap();
        match Schedule::parse(&text, Some(zone)) {
            Ok(schedule) => {
                let next = schedule.next(now, 5);
                prop_assert_eq!(next.len(), 5, "{} never fires", text);
                prop_assert!(next[0] > now && next.windows(2).all(|pair| pair[0] < pair[1]), "{} {:?}", text, next);
                let again = Schedule::parse(schedule.cron(), Some(schedule.zone().name())).unwrap();
                prop_assert_eq!(again.next(now, 5), next);
                let _ = schedule.clock_change(now);
            }
            Err(violations) => prop_assert!(!violations.0.is_empty()),
        }
    }

    #[test]
    fn a_duration_is_read_as_it_is_written(seconds in 1_u64..31_536_000, millis in 0_u32..1_000) {
        let duration = Duration::new(seconds, millis * 1_000_000);
        prop_assert_eq!(deadline(&humantime::format_duration(duration).to_string()), Some(duration));
    }

    #[test]
    fn no_text_is_a_duration_of_nothing(text in prop_oneof!["[0-9smhdwy .:-]{0,24}", "\\PC{0,12}"]) {
        prop_assert!(deadline(&text).is_none_or(|duration| !duration.is_zero()), "{}", text);
    }

    #[test]
    fn an_engines_file_is_refused_or_keeps_the_registrys_promises(names in prop::collection::vec(
        prop_oneof![4 => "[a-z]{1,8}", 1 => prop::sample::select(vec!["agno", "prefect"]).prop_map(str::to_owned), 1 => "\\PC{0,6}"], 0..5),
        garbage in "\\PC{0,200}", guide in any::<bool>(),
    ) {
        let engines: Vec<Value> = names.iter().map(|name| json!({"name": name, "words": [name], "rank": 3})).collect();
        let mut file = json!({ "engines": engines });
        if guide {
            file["guide"] = json!([{"task": garbage, "engine": names.first()}]);
        }
        for text in [file.to_string(), garbage.clone(), format!("engines: {garbage}")] {
            match Registry::builtin().with_file(&text) {
                Err(violations) => prop_assert!(!violations.0.is_empty()),
                Ok(registry) => {
                    let known: Vec<String> = registry.profiles().map(|profile| profile.name.to_string()).collect();
                    prop_assert_eq!(&known[..4], ["agno", "langgraph", "llamaindex", "prefect"]);
                    let mut unique = known.clone();
                    unique.sort();
                    unique.dedup();
                    prop_assert_eq!(unique.len(), known.len());
                    prop_assert!(mahavishnu_core::engine::guide(&registry).iter().all(|(_, engine)| registry.get(engine).is_some()));
                }
            }
        }
    }

    #[test]
    fn a_text_without_templates_is_itself_and_an_escaped_one_comes_back(text in "[ -~]{0,40}") {
        prop_assume!(!text.contains("${{"));
        let render = |text: &str| Template::parse(text).unwrap().render(&Map::new()).unwrap();
        prop_assert_eq!(render(&text), json!(text));
        prop_assume!(!text.ends_with('$'));
        prop_assert_eq!(render(&format!("{text}$${{{{{text}")), json!(format!("{text}${{{{{text}")));
    }

    /// The type that is told beforehand is the type of what comes; and what is told to be wrong never works.
    #[test]
    fn a_type_never_promises_more_than_the_value_keeps(source in expression()) {
        let Ok(expression) = Expression::parse(&source) else { return Ok(()) };
        let known: Variables = variables().iter().map(|(name, value)| (name.clone(), closed(value))).collect();
        let (expected, problems) = expression.infer(&known, true);
        if let Ok(value) = expression.evaluate_strictly(&variables()) {
            prop_assert!(value.is_null() || expected.compare(&value) == Ok(()), "{} yields {}, not {:?}", source, value, expected);
            // Wrong may be what is never evaluated, and what is compared with another type is only never equal.
            let lazy = ["&&", "||", "?", "==", "!=", " in ", "exists", "map", "filter"];
            prop_assert!(problems.is_empty() || lazy.iter().any(|part| source.contains(part)), "{}: {:?}", source, problems);
        }
        let (expected, _) = expression.infer(&known, false);
        if let Ok(value) = expression.evaluate(&variables()) {
            prop_assert!(value.is_null() || expected.compare(&value) == Ok(()), "{} yields {}, not {:?}", source, value, expected);
        }
    }
}

/// The type of a value, where its objects have no other members.
fn closed(value: &Value) -> Type {
    use mahavishnu_core::expression::{Member, Members};
    match value {
        Value::Array(items) => Type::List(Type::common(items.iter().map(closed)).into()),
        Value::Object(members) => {
            let known = members
                .iter()
                .map(|(name, value)| (name.clone(), Member { of: closed(value), always: true }));
            Type::Object(Members { known: known.collect(), others: None }.into())
        }
        other => Type::of(other),
    }
}
