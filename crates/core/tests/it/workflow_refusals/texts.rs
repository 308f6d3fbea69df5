//! Texts that are malformed, too large, or hostile.

use super::*;

fn reasons(violations: Result<impl std::fmt::Debug, Violations>) -> Vec<(String, Reason)> {
    violations.unwrap_err().0.into_iter().map(|v| (v.field, v.reason)).collect()
}

#[test]
fn text_that_is_not_well_formed() {
    for bad in [
        &b""[..],
        b"{",
        b"{\"stages\": [}",
        b"{} {}",
        b"nul",
        b"\xff\xfe",
        b"{\"a\": \"\\ud800\"}",
        b"{\"a\": \"\\ud800\\u0041\"}",
        b"{\"a\": \"\\x\"}",
        b"{\"a\": \"\x01\"}",
        b"{\"a\": 1e999}",
        b"{\"a\": \"\xc3\x28\"}",
        b"[1,]",
        b"\"\\udfff\"",
    ] {
        assert_eq!(
            reasons(Parsed::json(bad).check(&ENGINES)),
            [(String::new(), Malformed)],
            "{:?}",
            String::from_utf8_lossy(bad)
        );
    }
    for bad in [
        &b"a: b: c"[..],
        b"a: [1",
        b"\t- x",
        b"a: *nobody",
        b"\"\\ud800\"",
        b"--- 1\n--- 2",
        b"%YAML 9",
        b"a: !!binary x",
    ] {
        let found = reasons(Parsed::yaml(bad).check(&ENGINES));
        assert!(!found.is_empty(), "{:?}", String::from_utf8_lossy(bad));
    }
    let twice = br#"{"stages": [{"type": "custom", "task": {"a": 1, "a": 2}}]}"#;
    assert_eq!(reasons(Parsed::json(twice).check(&ENGINES)), [("stages[0].task.a".to_owned(), Duplicate)]);
    assert_eq!(reasons(Parsed::yaml(twice).check(&ENGINES)), [("stages[0].task.a".to_owned(), Duplicate)]);
    let nul = br#"{"stages": [{"type": "custom", "task": {"a": ["\u0000"], "b\u0000": 1}, "when": "'\u0000'"}], "input": {"x": "\u0000"}}"#;
    let found = reasons(Parsed::json(nul).check(&ENGINES));
    let malformed = found.iter().filter(|(_, reason)| *reason == Malformed).count();
    assert_eq!(malformed, 4, "{found:?}");
}

#[test]
fn too_large_or_too_deep() {
    let deep = |levels: usize| {
        let value = "[".repeat(levels) + &"]".repeat(levels);
        format!(
            r#"{{"stages": [{{"type": "custom", "task": {{"a": {value}}}}}], "input": {{"b": {value}}}}}"#
        )
    };
    let fits = deep(limits::MAX_DEPTH - 1);
    Parsed::json(fits.as_bytes()).check(&ENGINES).unwrap();
    Parsed::yaml(fits.as_bytes()).check(&ENGINES).unwrap();
    for levels in [limits::MAX_DEPTH, 30, 60, 126, 127, 128, 1000, 100_000] {
        for found in [
            reasons(Parsed::json(deep(levels).as_bytes()).check(&ENGINES)),
            reasons(Parsed::yaml(deep(levels).as_bytes()).check(&ENGINES)),
        ] {
            assert!(found.iter().all(|(_, reason)| *reason == TooDeep), "{levels}: {found:?}");
            assert!(
                found[0].0.starts_with("input.b[0]")
                    || found[0].0.starts_with("stages[0].task.a[0]")
                    || found[0].0.is_empty(),
                "{found:?}"
            );
        }
    }
    let blocks: String = (0..1_000).map(|n| " ".repeat(n) + "a:\n").collect();
    assert!(
        reasons(Parsed::yaml(blocks.as_bytes()).check(&ENGINES)).iter().all(|(_, reason)| *reason == TooDeep)
    );
    for deep in [
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
        "{a: ".repeat(50_000),
        "[{".repeat(50_000),
        "? ".repeat(50_000),
        "!a ".repeat(50_000),
        "&a ".repeat(10_000),
        "a:\n".repeat(1000),
        (0..2_000).map(|n| " ".repeat(n) + "a:\n").collect(),
    ] {
        assert!(!reasons(Parsed::json(deep.as_bytes()).check(&ENGINES)).is_empty());
        assert!(!reasons(Parsed::yaml(deep.as_bytes()).check(&ENGINES)).is_empty());
    }
    let large = format!(
        r#"{{"stages": [{{"type": "custom", "task": {{"a": "{}"}}}}]}}"#,
        "x".repeat(limits::MAX_BYTES)
    );
    assert_eq!(reasons(Parsed::json(large.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    assert_eq!(reasons(Parsed::yaml(large.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let many = json!({"stages": vec![ok(); limits::MAX_STAGES + 1]});
    check(&many, &[("stages", TooLarge)]);
    let noisy = json!({"stages": vec![json!({"type": "custom", "taks": {}}); 500]});
    let violations = refuse(&noisy);
    assert_eq!(violations.0.len(), MAX_VIOLATIONS + 1);
}

#[test]
fn aliases_do_not_multiply() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for n in 1..12 {
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
    }
    assert_eq!(reasons(Parsed::yaml(bomb.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let fat = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 5_000].join(","));
    assert_eq!(reasons(Parsed::yaml(fat.as_bytes()).check(&ENGINES)), [(String::new(), TooLarge)]);
    let honest =
        "stages:\n- &s {type: custom, task: {k: 1}, needs: []}\n- *s\n- {<<: *s, needs: [custom2]}\n";
    let workflow = Parsed::yaml(honest.as_bytes()).check(&ENGINES).unwrap();
    assert_eq!(workflow.stages[2].needs[0].as_str(), "custom2");
}

#[test]
fn a_draft_from_elsewhere_is_checked_as_well() {
    let mut deep = json!(1);
    for _ in 0..limits::MAX_DEPTH {
        deep = json!([deep]);
    }
    let Value::Object(task) = json!({"a": deep, "b": "\0"}) else { unreachable!() };
    let stage = StageDraft { engine: Some("custom".into()), task: Some(task), ..StageDraft::default() };
    let draft = Draft { stages: vec![stage], ..Draft::default() };
    let found = reasons(draft.check(&ENGINES));
    assert_eq!(found.len(), 2);
    assert!(found.iter().any(|(field, reason)| field == "stages[0].task.b" && *reason == Malformed));
    let huge = Draft {
        stages: vec![StageDraft { when: Some("x".repeat(limits::MAX_BYTES + 1)), ..StageDraft::default() }],
        ..Draft::default()
    };
    assert_eq!(reasons(huge.check(&ENGINES)), [(String::new(), TooLarge)]);
}

#[test]
fn large_hostile_documents_are_answered() {
    let fill = |unit: &str| vec![unit; limits::MAX_BYTES / 2 / unit.len()].join(",");
    let task =
        |engine: &str, task: &str| format!(r#"{{"stages": [{{"type": "{engine}", "task": {task}}}]}}"#);
    let numbered =
        |form: &str| (0..100_000).map(|n| form.replace('#', &n.to_string())).collect::<Vec<_>>().join(",");
    for text in [
        format!("[{}]", fill("[]")),
        format!("{{{}}}", numbered(r#""k#": 1"#)),
        format!("{{{}}}", fill(r#""k": 1"#)),
        format!(r#"{{"stages": [{}]}}"#, fill("{}")),
        format!(r#"{{"stages": [{{"type": "custom", "task": {{}}, "needs": [{}]}}]}}"#, fill(r#""nobody""#)),
        format!(r#"{{"stages": [{}]}}"#, numbered(r#"{"id": "s#"}"#)),
        task("custom", &format!("{{{}}}", numbered(r#""k#": "${{ stages.x#.output }}""#))),
        task("agno", &format!(r#"{{"agents": [{}]}}"#, numbered(r#""agent#""#))),
        task(
            "llamaindex",
            &format!(r#"{{"type": "document_analysis", "docs": [{}]}}"#, numbered(r#""../#""#)),
        ),
        task("langgraph", &format!(r#"{{"workflow": {{"nodes": [{}]}}}}"#, numbered(r#""node#""#))),
        task(
            "langgraph",
            &format!(
                r#"{{"workflow": {{"nodes": ["a"], "conditional": {{{}}}}}}}"#,
                numbered(r#""node#": "'end'""#)
            ),
        ),
        task(
            "langgraph",
            &format!(
                r#"{{"workflow": {{"nodes": ["a"], "conditional": {{"a": [{}]}}}}}}"#,
                numbered(r#"{"when": "state.x#", "to": "b#"}"#)
            ),
        ),
        task(
            "prefect",
            &format!(
                r#"{{"type": "dag", "tasks": {{"a": {{"sql": "x", "needs": [{}]}}}}}}"#,
                numbered(r#""t#""#)
            ),
        ),
        task(
            "prefect",
            &format!(
                r#"{{"type": "dag", "tasks": {{{}}}}}"#,
                numbered(r#""t#": {"sql": "x", "needs": ["t0"]}"#)
            ),
        ),
    ] {
        let violations = Parsed::json(text.as_bytes()).check(&ENGINES).unwrap_err();
        assert!((1..=MAX_VIOLATIONS + 1).contains(&violations.0.len()), "{}", &text[..100]);
    }
}
