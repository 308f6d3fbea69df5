//! What is decided, and in which order.

use super::*;

#[test]
fn stages_follow_what_they_need() {
    let mut log = Log::stages(&[stage("a", &[]), stage("b", &["a"]), stage("c", &[])]);
    assert_eq!(log.settle(), ["a.1.0", "c.1.0"]);
    assert!(log.settle().is_empty());
    log.add(completed("a", 1, json!({})));
    assert_eq!(log.settle(), ["b.1.0"]);
    log.add(completed("c", 1, json!({})));
    assert!(log.settle().is_empty());
    log.add(completed("b", 1, json!({})));
    assert_eq!(log.settle(), ["completed"]);
    assert!(log.settle().is_empty());
}

/// No coordinator acts on it, so it must ask for nothing.
#[test]
fn progress_changes_nothing_that_is_to_be_done() {
    let origin = origin("a", 1, 0);
    let progress = Fact::Progressed(Progressed {
        origin,
        kind: "k".to_owned(),
        name: "n".to_owned(),
        data: Object::new(),
    });
    assert!(!progress.is_acted_on());
    let mut log = Log::stages(&[stage("a", &[]), stage("b", &["a"])]);
    for fact in [None, Some(completed("a", 1, json!({})))] {
        fact.map(|fact| log.add(fact));
        let before = log.decide();
        assert!(!before.is_empty());
        log.add(progress.clone());
        assert_eq!((log.decide(), log.state.timeout_after(&progress)), (before, None));
        log.settle();
    }
}

#[test]
fn the_order_of_the_list_is_not_the_order_of_the_graph() {
    let mut log = Log::stages(&[stage("last", &["first"]), stage("first", &[])]);
    assert_eq!(log.settle(), ["first.1.0"]);
    log.add(completed("first", 1, json!({})));
    assert_eq!(log.settle(), ["last.1.0"]);
}

#[test]
fn a_join_waits_for_all_and_sees_only_what_it_needs() {
    let join = with(stage("join", &["a", "b"]), json!({"task": {"sum": "${{ stages.a.output.n + 1 }}"}}));
    let mut log = Log::of(&json!({"input": {"x": 1}, "repos": ["r"], "stages":
        [stage("a", &[]), stage("b", &[]), stage("c", &[]), join]}));
    log.settle();
    for (stage, n) in [("c", 3), ("b", 2)] {
        log.add(completed(stage, 1, json!({"n": n})));
        assert!(log.settle().is_empty());
    }
    log.add(completed("a", 1, json!({"n": 1})));
    assert_eq!(log.settle(), ["join.1.0"]);
    let task = log.task();
    assert_eq!(task.task, object(json!({"sum": 2})));
    let needed: Vec<_> =
        task.dependencies.iter().map(|(id, output)| (id.as_str(), output["n"].clone())).collect();
    assert_eq!(needed, [("a", json!(1)), ("b", json!(2))]);
    assert_eq!((&task.input, task.repos.as_slice()), (&object(json!({"x": 1})), ["r".to_owned()].as_slice()));
    assert_eq!((task.engine.as_str(), task.timeout, task.deadline), ("custom", None, None));
}

#[test]
fn a_condition_chooses_the_branch() {
    let when = |id, text: &str| with(stage(id, &["a"]), json!({"when": text}));
    let stages = [
        stage("a", &[]),
        when("low", "stages.a.output.n < 5"),
        when("high", "stages.a.output.n >= 5"),
        stage("after_low", &["low"]),
        stage("join", &["low", "high"]),
    ];
    let mut log = Log::stages(&stages);
    log.settle();
    log.add(completed("a", 1, json!({"n": 7})));
    assert_eq!(log.settle(), ["skip low", "high.1.0", "skip after_low"]);
    log.add(completed("high", 1, json!({"ok": true})));
    assert_eq!(log.settle(), ["join.1.0"], "one of its needs ran");
    assert_eq!(log.task().dependencies.keys().map(StageId::as_str).collect::<Vec<_>>(), ["high"]);
    log.add(completed("join", 1, json!({})));
    assert_eq!(log.settle(), ["completed"]);
}

#[test]
fn what_is_missing_does_not_hold_and_skips_go_on_to_the_end() {
    let first = with(stage("a", &[]), json!({"when": "input.wanted"}));
    let asks = with(stage("c", &["b"]), json!({"when": "stages.b.state == 'skipped'"}));
    let mut log = Log::stages(&[first.clone(), stage("b", &["a"]), asks]);
    assert_eq!(log.settle(), ["skip a", "skip b", "c.1.0"], "a condition of its own goes before the cascade");
    let mut log = Log::stages(&[first, stage("b", &["a"])]);
    assert_eq!(log.settle(), ["skip a", "skip b", "completed"]);
    assert!(matches!(log.phase("b"), Phase::Skipped(reason) if reason.contains("every stage")));
}

#[test]
fn a_retryable_failure_is_tried_again_after_its_backoff() {
    let retry = json!({"retry": {"max_attempts": 3, "initial_backoff": "10s", "max_backoff": "15s"}});
    let mut log = Log::stages(&[with(stage("a", &[]), retry)]);
    log.settle();
    for (attempt, full) in [(1, 10_000), (2, 15_000)] {
        log.add(failed("a", attempt, passing()));
        let failed_at = log.records.last().unwrap().time;
        let commands = log.decide();
        let [Command::SetTimer { at: timer, .. }, Command::Record(Fact::RetryScheduled { at, .. })] =
            &commands[..]
        else {
            panic!("the timer first, then what relies on it: {commands:?}")
        };
        assert_eq!(timer, at);
        let wait = (*at - failed_at).num_milliseconds();
        assert!((full * 4 / 5..=full).contains(&wait), "{wait} ms after attempt {attempt}");
        let next = attempt + 1;
        assert_eq!(log.settle(), [format!("timer a.{next}"), format!("retry a.{next}")]);
        assert!(log.settle().is_empty());
        log.add(retry_timer("a", next));
        assert_eq!(log.settle(), [format!("a.{next}.0")]);
    }
    log.add(failed("a", 3, passing()));
    assert_eq!(log.settle(), ["failed PASSING"]);
    let (End::Failed { stage, error }, _) = log.state.end.clone().unwrap() else { panic!("not failed") };
    assert_eq!((stage, error), (Some(stage_id("a")), passing()));
}

#[test]
fn a_reason_that_is_not_to_be_tried_again_ends_it() {
    let retry = json!({"retry": {"max_attempts": 9, "non_retryable_reasons": ["OTHER", "PASSING"]}});
    let mut log = Log::stages(&[with(stage("a", &[]), retry)]);
    log.settle();
    log.add(failed("a", 1, Failure::retryable("ANOTHER", "it may pass")));
    assert_eq!(log.settle(), ["timer a.2", "retry a.2"]);
    log.add(retry_timer("a", 2));
    log.settle();
    log.add(failed("a", 2, passing()));
    assert_eq!(log.settle(), ["failed PASSING"]);
}

#[test]
fn stages_that_failed_together_do_not_return_together() {
    let stages: Vec<_> = ["a", "b", "c", "d"].iter().map(|id| stage(id, &[])).collect();
    let mut log = Log::stages(&stages);
    log.settle();
    for id in ["a", "b", "c", "d"] {
        log.add(failed(id, 1, passing()));
    }
    let waits: std::collections::BTreeSet<_> = (log.decide().iter())
        .filter_map(|command| match command {
            Command::SetTimer { timer: Timer::Retry { stage, .. }, at } => {
                let Phase::Failed(_, time) = log.phase(stage.as_str()) else { panic!("not failed") };
                Some(*at - *time)
            }
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 4);
}

#[test]
fn a_failure_for_good_ends_the_execution_at_once() {
    let mut log = Log::stages(&[stage("a", &[]), stage("b", &[])]);
    log.settle();
    log.add(failed("a", 1, passing()));
    log.add(failed("b", 1, Failure::terminal("BROKEN", "for good")));
    assert_eq!(log.settle(), ["failed BROKEN"], "no retry of a any more");
}

#[test]
fn a_pause_goes_on_in_the_same_attempt_with_what_was_decided() {
    let mut log = Log::stages(&[stage("a", &[])]);
    log.settle();
    log.add(paused("a", 1, 0, &["first", "second"]));
    assert!(log.settle().is_empty());
    log.add(decided("a", 1, 0, 1));
    assert_eq!(log.settle(), ["a.1.1"]);
    let expected = Resolution {
        checkpoint: Some(checkpoint()),
        key: "second".into(),
        approved: true,
        reason: "looks right".into(),
        decided_by: "ada".into(),
        values: object(json!({"n": 1})),
    };
    assert_eq!(log.task().resolution, Some(expected));
    log.add(Fact::Failed(Failed { origin: origin("a", 1, 1), error: passing() }));
    log.settle();
    log.add(retry_timer("a", 2));
    assert_eq!(log.settle(), ["a.2.0"], "a new attempt starts afresh");
    assert_eq!(log.task().resolution, None);
}

#[test]
fn cancel_goes_before_everything_else() {
    let mut log = Log::stages(&[stage("a", &[]), stage("b", &["a"])]);
    log.settle();
    log.add(completed("a", 1, json!({})));
    log.add(Fact::CancelRequested { reason: "enough".into(), requested_by: "me".into() });
    assert_eq!(log.settle(), ["cancelled enough"]);
}

#[test]
fn a_deadline_is_set_once_and_ends_the_execution() {
    let mut log = Log::of(&json!({"timeout": "60s", "stages": [stage("a", &[]), stage("b", &["a"])]}));
    assert_eq!(log.settle(), ["deadline at 61", "a.1.0"], "accepted at 1, the timer before the first task");
    assert_eq!(log.task().deadline, Some(second(61)));
    log.add(completed("a", 1, json!({})));
    assert_eq!(log.settle(), ["b.1.0"]);
    log.add(Fact::TimerFired(Timer::Deadline));
    assert_eq!(log.settle(), ["failed DEADLINE_EXCEEDED"]);
}

#[test]
fn a_template_that_fails_names_its_field() {
    let broken = with(stage("b", &["a"]), json!({"task": {"x": {"y": "${{ stages.a.output.missing }}"}}}));
    let mut log = Log::stages(&[stage("a", &[]), stage("c", &["a"]), broken]);
    log.settle();
    log.add(completed("a", 1, json!({})));
    assert_eq!(log.settle(), ["failed TEMPLATE_FAILED"], "c would run in vain");
    let (End::Failed { stage, error }, _) = log.state.end.clone().unwrap() else { panic!("not failed") };
    assert_eq!((stage, error.field.as_str()), (Some(stage_id("b")), "task.x.y"));
    assert!(error.message.contains("missing") && !error.retryable, "{error:?}");
}
