//! Expressions and templates: parsed, and evaluated in both tempers.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::expression::{Expression, Template};
use serde_json::{Map, Value, json};

static VARIABLES: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let state = json!({"a": true, "n": 3, "f": 0.5, "s": "text", "l": [1, "x", null], "m": {"k": [{"d": 1}]}});
    [("state".to_owned(), state), ("input".to_owned(), json!({}))].into_iter().collect()
});

fuzz_target!(|text: &str| {
    if let Ok(expression) = Expression::parse(text) {
        let _ = (expression.references(), expression.choices());
        let _ = expression.evaluate(&VARIABLES);
        let _ = expression.evaluate_strictly(&VARIABLES);
    }
    if let Ok(template) = Template::parse(text) {
        let _ = template.render(&VARIABLES);
    }
});
