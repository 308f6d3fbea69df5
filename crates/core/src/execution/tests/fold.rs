//! The transition table, row by row.

use super::*;

fn scheduled(stages: &[Value]) -> Log {
    let mut log = Log::stages(stages);
    log.settle();
    log
}

#[test]
fn the_first_result_of_the_current_attempt_counts() {
    let mut log = scheduled(&[stage("a", &[]), stage("b", &["a"])]);
    assert_eq!(log.add(completed("a", 1, json!({"n": 1}))), None);
    assert_eq!(log.add(completed("a", 1, json!({"n": 2}))), Some(Void::DuplicateResult));
    assert_eq!(log.add(failed("a", 1, passing())), Some(Void::DuplicateResult));
    assert_eq!(log.add(paused("a", 1, 0, &["k"])), Some(Void::DuplicateResult));
    assert_eq!(log.phase("a"), &Phase::Completed(Arc::new(object(json!({"n": 1})))));
}

#[test]
fn results_of_other_attempts_are_stale() {
    let mut log = scheduled(&[stage("a", &[])]);
    log.add(failed("a", 1, passing()));
    assert_eq!(log.add(completed("a", 2, json!({}))), Some(Void::StaleAttempt));
    log.settle();
    assert_eq!(log.add(retry_timer("a", 2)), None);
    log.settle();
    assert_eq!(log.add(completed("a", 1, json!({}))), Some(Void::StaleAttempt));
    let late =
        Progressed { origin: origin("a", 1, 0), kind: "k".into(), name: "n".into(), data: Object::new() };
    assert_eq!(log.add(Fact::Progressed(late.clone())), Some(Void::StaleAttempt));
    let now = Progressed { origin: origin("a", 2, 0), ..late };
    let before = log.phase("a").clone();
    assert_eq!(log.add(Fact::Progressed(now)), None);
    assert_eq!(log.phase("a"), &before);
    assert_eq!(log.add(completed("a", 2, json!({}))), None);
}

#[test]
fn a_stage_that_was_never_scheduled_has_no_result() {
    let mut log = Log::stages(&[stage("a", &[]), stage("b", &["a"])]);
    assert_eq!(log.add(completed("b", 1, json!({}))), Some(Void::StaleAttempt));
    assert_eq!(log.add(completed("b", 0, json!({}))), Some(Void::StaleAttempt));
    assert_eq!(log.phase("b"), &Phase::Pending);
    assert_eq!(log.add(completed("nobody", 1, json!({}))), Some(Void::Unknown));
    assert_eq!(log.add(retry_timer("nobody", 1)), Some(Void::Unknown));
    assert_eq!(log.add(decided("nobody", 1, 0, 0)), Some(Void::Unknown));
}

#[test]
fn one_decision_of_one_pending_question() {
    let mut log = scheduled(&[stage("a", &[])]);
    assert_eq!(log.add(decided("a", 1, 0, 0)), Some(Void::NotPending));
    log.add(paused("a", 1, 0, &["first", "second"]));
    assert!(log.state.is_waiting());
    assert_eq!(log.add(decided("a", 1, 0, 2)), Some(Void::NotPending), "there are two questions");
    assert_eq!(log.add(decided("a", 1, 1, 0)), Some(Void::NotPending), "a later pause");
    assert_eq!(log.add(decided("a", 2, 0, 0)), Some(Void::NotPending), "a later attempt");
    assert_eq!(log.add(decided("a", 1, 0, 1)), None);
    assert!(!log.state.is_waiting());
    assert_eq!(log.add(decided("a", 1, 0, 0)), Some(Void::NotPending), "decided before");
    log.settle();
    assert_eq!(log.add(paused("a", 1, 0, &["again"])), Some(Void::StaleAttempt));
    assert_eq!(log.add(paused("a", 1, 1, &["again"])), None);
    assert_eq!(log.add(decided("a", 1, 0, 0)), Some(Void::NotPending), "the earlier pause");
    assert_eq!(log.add(decided("a", 1, 1, 0)), None);
}

#[test]
fn a_retry_timer_counts_once_and_for_the_next_attempt_only() {
    let mut log = scheduled(&[stage("a", &[])]);
    assert_eq!(log.add(retry_timer("a", 2)), Some(Void::StaleAttempt), "the attempt runs");
    log.add(failed("a", 1, passing()));
    log.settle();
    assert!(matches!(log.phase("a"), Phase::Backoff(..)));
    assert_eq!(log.add(retry_timer("a", 1)), Some(Void::StaleAttempt));
    assert_eq!(log.add(retry_timer("a", 3)), Some(Void::StaleAttempt));
    assert_eq!(log.add(retry_timer("a", 2)), None);
    assert_eq!(log.add(retry_timer("a", 2)), Some(Void::StaleAttempt));
    log.settle();
    assert_eq!(log.add(retry_timer("a", 2)), Some(Void::StaleAttempt));
    assert_eq!(log.phase("a"), &Phase::Scheduled);
}

/// The timer is set before the fact that says so. It may fire in between: nobody sets it again.
#[test]
fn a_retry_timer_that_fires_before_its_record_is_not_lost() {
    let mut log = scheduled(&[stage("a", &[])]);
    log.add(failed("a", 1, passing()));
    let Some(Command::Record(retry)) = log.decide().pop() else { panic!("no retry") };
    assert_eq!(log.add(retry_timer("a", 2)), None);
    assert_eq!(log.phase("a"), &Phase::Due);
    assert_eq!(log.add(retry), Some(Void::StaleAttempt));
    assert_eq!(log.settle(), ["a.2.0"]);
}

#[test]
fn the_limit_counts_from_the_first_start_and_only_while_the_attempt_has_no_result() {
    let limited = with(stage("a", &[]), json!({"timeout": "10s"}));
    let mut log = scheduled(&[limited, stage("b", &[])]);
    let start = Fact::Started(origin("a", 1, 0));
    assert_eq!(log.state.timeout_after(&start), None, "it has not begun");
    assert_eq!(log.add(start.clone()), None);
    let first = log.state.timeout_after(&start).unwrap();
    assert_eq!(first, (Timer::Timeout { stage: stage_id("a"), attempt: 1, resume: 0 }, second(4 + 10 + 2)));
    let again = Fact::Started(Origin { delivery: 2, ..origin("a", 1, 0) });
    assert_eq!(log.add(again.clone()), None);
    assert_eq!(log.state.timeout_after(&again), Some(first), "another delivery has no time of its own");
    assert_eq!(log.state.timeout_after(&Fact::Started(origin("b", 1, 0))), None, "it has no limit");
    assert_eq!(log.add(timeout_timer("a", 2, 0)), Some(Void::StaleAttempt));
    assert_eq!(log.add(timeout_timer("a", 1, 1)), Some(Void::StaleAttempt));
    assert_eq!(log.add(paused("a", 1, 0, &["k"])), None);
    assert_eq!(
        log.add(timeout_timer("a", 1, 0)),
        Some(Void::StaleAttempt),
        "waiting for people costs no time"
    );
    assert_eq!(log.state.timeout_after(&start), None);
    assert_eq!(log.add(Fact::Started(origin("a", 1, 0))), Some(Void::DuplicateResult));
    log.add(decided("a", 1, 0, 0));
    log.settle();
    assert_eq!(log.add(Fact::Started(origin("a", 1, 0))), Some(Void::StaleAttempt));
    assert_eq!(log.add(Fact::Started(origin("a", 1, 1))), None);
    assert_eq!(log.add(timeout_timer("a", 1, 1)), None);
    assert!(
        matches!(log.phase("a"), Phase::Failed(failure, _) if failure.reason == "TIMEOUT" && failure.retryable)
    );
    assert_eq!(log.add(completed("a", 1, json!({}))), Some(Void::StaleAttempt));
    assert_eq!(log.settle(), ["timer a.2", "retry a.2"]);
}

#[test]
fn a_task_that_cannot_be_read_fails_the_stage_whose_present_task_it_is() {
    let mut log = scheduled(&[stage("a", &[]), stage("b", &[])]);
    let unreadable = |position| {
        let error = Failure::terminal(Failure::UNREADABLE, "no worker can read it");
        Fact::TaskUnreadable(TaskUnreadable { position, delivery: 6, error })
    };
    let of_b = log.records.last().unwrap().position;
    assert_eq!(log.add(unreadable(of_b + 1)), Some(Void::Unknown));
    assert_eq!(log.add(unreadable(of_b)), None);
    assert_eq!(log.add(unreadable(of_b)), Some(Void::DuplicateResult));
    assert_eq!(log.phase("a"), &Phase::Scheduled);
    assert_eq!(log.settle(), ["failed TASK_UNREADABLE"]);
}

#[test]
fn what_is_taken_over_is_not_run_and_what_needs_it_is() {
    let stages =
        json!({"stages": [stage("a", &[]), stage("b", &[]), stage("c", &["a"]), stage("d", &["b", "c"])]});
    let workflow = workflow(&stages);
    let results = [
        (stage_id("a"), Ended::Completed(Arc::new(object(json!({"n": 1}))))),
        (stage_id("b"), Ended::Skipped("why not".into())),
    ];
    let forked =
        Forked { from: execution(), stage: stage_id("c"), results: results.into(), checkpoint: None };
    let mut log = Log::default();
    let accepted = Accepted {
        workflow,
        digest: vec![1],
        notes: Vec::new(),
        requested_by: String::new(),
        forked: Some(forked),
        firing: None,
    };
    assert_eq!(log.add(Fact::Accepted(accepted)), None);
    assert_eq!(log.settle(), ["c.1.0"]);
    assert_eq!(log.task().dependencies[&stage_id("a")], Arc::new(object(json!({"n": 1}))));
    log.add(completed("c", 1, json!({})));
    assert_eq!(log.settle(), ["d.1.0"]);
    assert_eq!(log.add(completed("a", 1, json!({}))), Some(Void::StaleAttempt));
    log.add(completed("d", 1, json!({})));
    assert_eq!(log.settle(), ["completed"]);
}

#[test]
fn nothing_counts_after_the_end() {
    let mut log = scheduled(&[stage("a", &[]), stage("b", &[])]);
    log.add(failed("a", 1, Failure::terminal("BROKEN", "for good")));
    assert_eq!(log.settle(), ["failed BROKEN"]);
    let end = log.state.clone();
    let late =
        [completed("b", 1, json!({})), retry_timer("b", 2), decided("b", 1, 0, 0), Fact::ExecutionCompleted];
    let more =
        [Fact::TimerFired(Timer::Deadline), accepted(&workflow(&json!({"stages": [stage("a", &[])]})))];
    for fact in late.into_iter().chain(more) {
        assert_eq!(log.add(fact), Some(Void::AfterEnd));
    }
    assert_eq!((&log.state.stages, &log.state.end), (&end.stages, &end.end));
    assert_eq!(log.state.sequence, end.sequence + 6, "void records are numbered");
}

#[test]
fn an_execution_is_accepted_once() {
    let mut log = Log::default();
    assert_eq!(log.add(completed("a", 1, json!({}))), Some(Void::Unknown));
    assert!(log.decide().is_empty());
    let first = workflow(&json!({"stages": [stage("a", &[])]}));
    assert_eq!(log.add(accepted(&first)), None);
    let other = workflow(&json!({"stages": [stage("b", &[])]}));
    assert_eq!(log.add(accepted(&other)), Some(Void::AlreadyAccepted));
    assert_eq!(log.state.workflow(), Some(&first));
    assert_eq!(log.state.created, Some(second(2)));
}

#[test]
fn only_decisions_move_the_condition() {
    let mut log = Log::stages(&[stage("a", &[])]);
    assert_eq!(log.state.decided, 0);
    log.settle();
    let scheduled = log.state.decided;
    assert_eq!(scheduled, log.state.position);
    log.add(failed("a", 1, passing()));
    log.add(Fact::CancelRequested { reason: "why".into(), requested_by: "me".into() });
    assert_eq!(log.state.decided, scheduled);
    log.settle();
    assert_eq!(log.state.decided, log.state.position);
}

#[test]
fn the_first_reason_to_cancel_counts() {
    let mut log = scheduled(&[stage("a", &[])]);
    for reason in ["one", "two"] {
        let requested_by = "me".into();
        assert_eq!(log.add(Fact::CancelRequested { reason: reason.into(), requested_by }), None);
    }
    assert_eq!(log.settle(), ["cancelled one"]);
    assert_eq!(log.state.end.as_ref().unwrap().0, End::Cancelled { reason: "one".into() });
}

#[test]
fn waiting_means_that_only_people_can_go_on() {
    let mut log = scheduled(&[stage("a", &[]), stage("b", &[])]);
    assert!(!log.state.is_waiting());
    log.add(paused("a", 1, 0, &["k"]));
    assert!(!log.state.is_waiting(), "b runs");
    log.add(failed("b", 1, passing()));
    log.settle();
    assert!(!log.state.is_waiting(), "b will run");
    log.add(retry_timer("b", 2));
    log.settle();
    log.add(completed("b", 2, json!({})));
    assert!(log.state.is_waiting());
}
