//! What expressions and templates mean, and that nothing gets through their bounds.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn variables() -> Map<String, Value> {
    let Value::Object(variables) = json!({
        "state": {
            "approved": true, "n": 3, "ratio": 0.5, "name": "ann", "empty": {}, "none": null, "big": u64::MAX,
            "tags": ["a", "b"], "people": [{"name": "x", "age": 30}, {"name": "y"}], "scores": {"z": 1, "a": 2},
            "odd key": 1,
        },
        "input": {"limit": 10},
    }) else {
        unreachable!()
    };
    variables
}

fn lenient(source: &str) -> Result<Value, Error> {
    Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}")).evaluate(&variables())
}

fn strict(source: &str) -> Result<Value, Error> {
    Expression::parse(source)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .evaluate_strictly(&variables())
}

fn holds(source: &str) -> bool {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    expression.evaluate_condition(&variables()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

#[test]
fn conditions_take_what_is_missing_as_null() {
    for source in [
        "!state.critical_issues",
        "!state.a.b.c",
        "!nothing.at.all",
        "state.a == null",
        "state.a.b.c == null",
        "!(state.missing > 3)",
        "!(3 >= state.missing)",
        "!(state.missing < 3 || state.missing > 3)",
        "!state.items.exists(x, x.ok)",
        "state.items.all(x, x.ok)",
        "!state.title.startsWith('x')",
        "!state.name.startsWith(state.prefix)",
        "!('a' in state.groups)",
        "!(state.missing in state.scores)",
        "!(state.people[1].age > 20)",
        "state.people.exists(p, p.age > 20)",
        "!state.people[7].name",
        "!state.people[-1]",
        "!state['missing'].x",
        "!(size(state.missing) > 0)",
        "!(state.missing.size() > 0)",
        "!(state.missing + 1 > 0)",
        "!-state.missing",
        "!state.missing.matches('a')",
        "!has(state.missing)",
        "!has(state.a.b.c)",
        "!state.name.first",
        "state.missing ? false : true",
        "!(state.missing && true)",
        "(state.missing || state.approved) && !state.rejected",
        "!state.scores[state.missing]",
    ] {
        assert!(holds(source), "{source}");
    }
}

#[test]
fn conditions_use_truthiness() {
    for source in
        ["state", "state.n", "state.ratio", "state.name", "state.tags", "state.approved", "1", "'a'"]
    {
        assert!(holds(source) && !holds(&format!("!({source})")), "{source}");
        assert!(holds(&format!("{source} && true")), "{source}");
    }
    for source in ["null", "0", "0.0", "''", "[]", "{}", "false", "state.none", "state.empty", "state.n - 3"]
    {
        assert!(!holds(source) && holds(&format!("!({source})")), "{source}");
    }
}

#[test]
fn the_routes_of_the_seed_in_cel() {
    let evaluate = |source: &str, state: Value| {
        let Value::Object(variables) = json!({"state": state}) else { unreachable!() };
        Expression::parse(source).unwrap().evaluate(&variables).unwrap()
    };
    let approve = "state.approved ? 'deploy' : 'end'";
    assert_eq!(evaluate(approve, json!({"approved": true})), json!("deploy"));
    assert_eq!(evaluate(approve, json!({"approved": false})), json!("end"));
    assert_eq!(evaluate(approve, json!({})), json!("end"));
    let issues = "!state.critical_issues ? 'implement' : 'end'";
    assert_eq!(evaluate(issues, json!({})), json!("implement"));
    assert_eq!(evaluate(issues, json!({"critical_issues": []})), json!("implement"));
    assert_eq!(evaluate(issues, json!({"critical_issues": ["sql"]})), json!("end"));
}

#[test]
fn numbers_keep_their_kind_and_mix() {
    for (source, value) in [
        ("state.n", json!(3)),
        ("state.n + 1", json!(4)),
        ("state.ratio", json!(0.5)),
        ("state.n + 0.5", json!(3.5)),
        ("state.n * state.ratio", json!(1.5)),
        ("state.big", json!(u64::MAX)),
        ("2.0", json!(2.0)),
        ("7 / 2", json!(3)),
        ("7 % 4", json!(3)),
        ("-state.n", json!(-3)),
        ("state.n == 3.0", json!(true)),
        ("1 < 1.5", json!(true)),
    ] {
        assert_eq!(lenient(source).unwrap(), value, "{source}");
        assert_eq!(strict(source).unwrap(), value, "{source}");
    }
}

#[test]
fn values_come_back_as_json() {
    for (source, value) in [
        ("state.tags", json!(["a", "b"])),
        ("state.tags + ['c']", json!(["a", "b", "c"])),
        ("'a' + state.name", json!("aann")),
        ("{'k': state.tags, 'n': null}", json!({"k": ["a", "b"], "n": null})),
        ("state.scores.map(k, k)", json!(["a", "z"])),
        ("state.people.filter(p, p.age > 20).map(p, p.name)", json!(["x"])),
        ("state.people.exists_one(p, p.name == 'x')", json!(true)),
        ("state['odd key'] + state.tags.size()", json!(3)),
        ("type(state.n) == int", json!(true)),
        ("string(state.n) + '%'", json!("3%")),
        ("duration('90s')", json!("90s")),
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", json!(2026)),
        ("'abc'.matches('^a.c$') && matches('abc', 'b')", json!(true)),
        ("has(state.none) && has(state.scores.a)", json!(true)),
        ("state.tags[size(state.tags) - 1]", json!("b")),
    ] {
        assert_eq!(lenient(source).unwrap(), value, "{source}");
    }
    assert_eq!(lenient("b'ab'"), Err(Error::NotJson("raw bytes")));
    assert_eq!(lenient("1.0 / 0.0"), Err(Error::NotJson("not a finite number")));
}

#[test]
fn strict_evaluation_names_what_is_missing() {
    for (source, path) in [
        ("state.a", "state.a"),
        ("state.a.b.c", "state.a.b.c"),
        ("state.name.x", "state.name.x"),
        ("state['odd one']", "state[\"odd one\"]"),
        ("nothing", "nothing"),
        ("'x' + state.people[9].name", "state.people[9].name"),
        ("state.people.map(p, p.age)", "the key \"age\""),
    ] {
        assert_eq!(strict(source), Err(Error::Missing { path: path.into() }), "{source}");
    }
    assert_eq!(strict("has(state.a) ? state.a : 'none'"), Ok(json!("none")));
    assert!(matches!(strict("state.n && true"), Err(Error::Evaluation(_))));
    assert!(matches!(strict("state.none > 3"), Err(Error::Evaluation(_))));
}

#[test]
fn what_does_not_fit_together_is_an_error_in_both_tempers() {
    for source in [
        "state.name > 3",
        "state.name - 1",
        "1 / 0",
        "state.n + 'a'",
        "-state.name",
        "'a' in 3",
        "9223372036854775807 + 1",
        "state.big + 1",
        "'a'.matches('(')",
        "state.n.exists(x, x)",
    ] {
        assert!(matches!(lenient(source), Err(Error::Evaluation(_))), "{source}: {:?}", lenient(source));
        assert!(matches!(strict(source), Err(Error::Evaluation(_))), "{source}: {:?}", strict(source));
    }
}

#[test]
fn what_is_not_cel_is_refused_when_it_is_parsed() {
    for source in [
        "",
        " ",
        "state.",
        "state.approved ?",
        "a b",
        "lambda s: s",
        "a = b",
        "state.?a",
        "'",
        "(",
        "Msg{a: 1}",
        "a ? b",
        "[1, 2",
        "1 +",
        "&& a",
        "state..a",
        "@a",
        "`a`",
    ] {
        assert!(
            matches!(Expression::parse(source), Err(Error::Syntax { .. })),
            "{source}: {:?}",
            Expression::parse(source)
        );
    }
    let misspelt = Expression::parse("state.items.exsits(x, x)").unwrap_err();
    assert_eq!(misspelt.to_string(), "there is no function \"exsits\", did you mean \"exists\"?");
    assert!(matches!(Expression::parse("now()"), Err(Error::UnknownFunction { .. })));
}

#[test]
fn every_function_that_is_accepted_exists() {
    for name in rewrite::GLOBAL_FUNCTIONS {
        for source in [format!("{name}(1)"), format!("{name}(1, 2)")] {
            let result = Expression::parse(&source).unwrap().evaluate(&Map::new());
            assert!(!matches!(result, Err(Error::UnknownFunction { .. })), "{source}: {result:?}");
        }
    }
    for name in rewrite::MEMBER_FUNCTIONS {
        let result = Expression::parse(&format!("(1).{name}()")).unwrap().evaluate(&Map::new());
        assert!(!matches!(result, Err(Error::UnknownFunction { .. })), "{name}: {result:?}");
    }
}

#[test]
fn references_are_found() {
    let references = |source: &str| Expression::parse(source).unwrap().references();
    let found = references(
        "stages.a.output.x > 1 && stages['b'].state == 'failed' || has(stages.c.output) || input.y",
    );
    assert_eq!(found.roots, ["input", "stages"].map(String::from).into());
    assert_eq!(found.stages, ["a", "b", "c"].map(String::from).into());
    assert!(!found.all_stages);
    assert!(references("stages[input.which].output").all_stages);
    assert!(references("stages.exists(s, stages[s].state == 'failed')").all_stages);
    let shadowed = references("input.all(stages, stages.a)");
    assert_eq!((shadowed.stages.len(), shadowed.all_stages), (0, false));
}

#[test]
fn templates_keep_types_alone_and_write_them_out_within_text() {
    let render = |text: &str| Template::parse(text).unwrap().render(&variables());
    assert_eq!(render("${{ state.tags }}").unwrap(), json!(["a", "b"]));
    assert_eq!(render("${{state.n}}").unwrap(), json!(3));
    assert_eq!(
        render("n=${{ state.n }}, ${{ state.tags }} ${{ state.name }}").unwrap(),
        json!("n=3, [\"a\",\"b\"] ann")
    );
    assert_eq!(render(" ${{ state.n }}").unwrap(), json!(" 3"));
    assert_eq!(render("no template $ {{ }}").unwrap(), json!("no template $ {{ }}"));
    assert_eq!(render("$${{ literal }}").unwrap(), json!("${{ literal }}"));
    assert_eq!(render("${{ {'a': {'b': 1}} }}").unwrap(), json!({"a": {"b": 1}}));
    assert_eq!(render("${{ '}}' + \"}\\\"}\" + r'\\' }}").unwrap(), json!("}}}\"}\\"));
    assert_eq!(render("").unwrap(), json!(""));
    assert_eq!(render("${{ state.a }}"), Err(Error::Missing { path: "state.a".into() }));
    for bad in ["${{", "${{ state.a", "${{ state.a }", "${{ }}", "${{ ' }}", "${{ a b }}"] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn rendering_a_value_finds_every_violation_with_its_path() {
    let value =
        json!({"a": "${{ state.n }}", "b": ["x", "${{ state.gone }}"], "c d": {"e": "${{ ( }}"}, "f": 1});
    let violations = render(&value, &variables(), &BTreeSet::new()).unwrap_err().0;
    let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["b[1]", "[\"c d\"].e"]);
    let good = json!({"a": "${{ state.n }}", "b": [true, "t${{ state.n }}"]});
    assert_eq!(render(&good, &variables(), &BTreeSet::new()).unwrap(), json!({"a": 3, "b": [true, "t3"]}));
}

/// A stack as small as one may meet: the tests prove that the bounds hold on it, also in a debug build.
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn deep_and_long_input_is_refused_or_evaluated_but_never_overflows() {
    let nested = |n: usize, open: &str, close: &str| format!("{}1{}", open.repeat(n), close.repeat(n));
    on_a_small_stack(move || {
        for n in [1, 8, 20, 24, 25, 60, 97, 98, 99, 100, 101, 150, 400, 1000, 2000] {
            for source in [
                nested(n, "(", ")"),
                nested(n, "[", "]"),
                nested(n, "!(", ")"),
                nested(n, "-(", ")"),
                nested(n, "{1:", "}"),
                nested(n, "size(", ")"),
                nested(n, "[1].map(x, ", ")"),
                nested(n, "[1].all(x, ", ")"),
                format!("1{}", "+1".repeat(n)),
                format!("1{}", "<1".repeat(n)),
                format!("true{}", "&&true".repeat(n)),
                format!("a{}", ".a".repeat(n)),
                format!("a{}", "[0]".repeat(n)),
                format!("''{}", ".size()".repeat(n)),
                format!("[1]{}", ".map(x,x)".repeat(n)),
                format!("{}true", "!".repeat(n)),
                format!("{}1", "-".repeat(n)),
                format!("{}1", "true?1:".repeat(n)),
                format!("[{}1]", "1,".repeat(n)),
                "(".repeat(n),
                "[".repeat(n),
                "a[".repeat(n),
                "a?".repeat(n),
                format!("${{{{ {} }}}}", nested(n, "(", ")")),
            ] {
                if let Ok(expression) = Expression::parse(&source) {
                    let _ = expression.evaluate(&variables());
                    let _ = expression.evaluate_strictly(&variables());
                    let _ = expression.clone().references();
                }
                let _ = Template::parse(&source).map(|template| template.render(&variables()));
            }
        }
    });
    assert_eq!(Expression::parse(&"a".repeat(MAX_LENGTH + 1)), Err(Error::TooLong));
    assert_eq!(Expression::parse(&nested(60, "[", "]")), Err(Error::TooDeep));
    assert_eq!(Expression::parse(&format!("1{}", "+1".repeat(400))), Err(Error::TooDeep));
    assert!(Expression::parse(&format!("1{}", "+1".repeat(90))).is_ok());
}

#[test]
fn work_is_bounded() {
    let ten = "[0,0,0,0,0,0,0,0,0,0]";
    let loops = format!("{}1{}", format!("{ten}.map(x, ").repeat(8), ")".repeat(8));
    assert_eq!(lenient(&loops), Err(Error::TooExpensive));
    let doubling = format!("[[1]]{}", ".map(x, x + x)".repeat(30));
    assert_eq!(lenient(&doubling), Err(Error::TooExpensive));
    let Value::Object(big) = json!({"a": (0..5_000).collect::<Vec<_>>(), "t": "x".repeat(1 << 20)}) else {
        unreachable!()
    };
    for source in [
        "a.map(x, a)",
        "a.all(x, a == a)",
        "a.map(x, t)",
        "a.filter(x, -1 in a)",
        "a.map(x, t.contains('y'))",
        "a.map(x, t + t)",
        "a.map(x, t.matches('(x+x+)+y'))",
        "a.map(x, {'k': a})",
        "a.map(x, a.map(y, y))",
    ] {
        assert_eq!(Expression::parse(source).unwrap().evaluate(&big), Err(Error::TooExpensive), "{source}");
    }
    assert!(
        Expression::parse("a.filter(x, x % 2 == 0).size() == 2500")
            .unwrap()
            .evaluate_condition(&big)
            .unwrap()
    );
    assert!(matches!(lenient("'a'.matches('(a{1000}){1000}')"), Err(Error::Evaluation(_))));
}

proptest! {
    #[test]
    fn no_text_panics(source in "\\PC{0,80}") {
        let _ = Expression::parse(&source).map(|e| (e.evaluate(&variables()), e.evaluate_strictly(&variables())));
        let _ = Template::parse(&source).map(|t| t.render(&variables()));
    }

    #[test]
    fn no_soup_of_tokens_panics(tokens in prop::collection::vec(prop::sample::select(vec![
        "state", ".", "n", "name", "tags", "[", "]", "(", ")", "{", "}", "'", "\"", "1", "0.5", "u", "-", "+", "*", "/", "%",
        "!", "&&", "||", "?", ":", ",", "<", "==", " in ", "null", "true", "map", "x", "has", "exists", "size", "matches",
        "b'", "r'", "\\", "\\x", "\\u12", "`", "@", "//", "\n", "0x", "1e999", "9223372036854775808", "${{", "}}", "$", "ä",
    ]), 0..30)) {
        let source = tokens.concat();
        let _ = Expression::parse(&source).map(|e| (e.evaluate(&variables()), e.evaluate_strictly(&variables())));
        let _ = Template::parse(&source).map(|t| t.render(&variables()));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let source = String::from_utf8_lossy(&bytes);
        let _ = Expression::parse(&source).map(|e| e.evaluate(&variables()));
        let _ = Template::parse(&source);
    }

    #[test]
    fn a_value_survives_a_template(n in any::<i64>(), f in -1e300_f64..1e300, s in "\\PC{0,20}", b in any::<bool>()) {
        let value = json!({"n": n, "f": f, "s": s, "b": b, "l": [n, f, null]});
        let Value::Object(variables) = json!({"v": value}) else { unreachable!() };
        prop_assert_eq!(render(&json!("${{ v }}"), &variables, &BTreeSet::new()).unwrap(), variables["v"].clone());
    }
}
