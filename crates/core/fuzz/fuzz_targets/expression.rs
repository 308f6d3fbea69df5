//! Expressions and templates: parsed, typed, and evaluated in both tempers.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::expression::{Expression, Template, Type, Variables};
use serde_json::{Map, Value, json};

static VARIABLES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let state = json!({"a": true, "n": 3, "f": 0.5, "s": "text", "l": [1, "x", null], "m": {"k": [{"d": 1}]}});
    [("state".to_owned(), state), ("input".to_owned(), json!({}))].into_iter().collect()
});

static TYPES: LazyLock<Variables> =
    LazyLock::new(|| VARIABLES.iter().map(|(name, value)| (name.clone(), Type::of(value))).collect());

fuzz_target!(|text: &str| {
    if let Ok(expression) = Expression::parse(text) {
        let _ = (expression.references(), expression.choices());
        let _ = expression.evaluate(&VARIABLES);
        let (expected, _) = expression.infer(&TYPES, true);
        if let Ok(value) = expression.evaluate_strictly(&VARIABLES) {
            assert!(value.is_null() || expected.compare(&value).is_ok(), "{value} is not {expected:?}");
        }
    }
    if let Ok(template) = Template::parse(text) {
        let _ = template.render(&VARIABLES);
    }
});
