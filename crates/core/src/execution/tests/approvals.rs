//! Ballots: who may decide, how many it takes, when it is over, and that it is decided once.

use proptest::prelude::*;

use super::*;

/// A log whose stage `a` has been asked two questions, under this policy.
fn asked(policy: Value) -> Log {
    let mut log = Log::stages(&[with(stage("a", &[]), json!({"approval": policy}))]);
    log.settle();
    assert_eq!(log.add(paused("a", 1, 0, &["x", "y"])), None);
    log
}

/// A decision on the present pause.
fn vote(log: &Log, question: u32, by: &str, approved: bool) -> Decided {
    let now = log.state.stage(&stage_id("a")).unwrap();
    Decided {
        stage: stage_id("a"),
        attempt: now.attempt,
        resume: now.resume,
        question,
        nonce: now.pause.as_ref().map(|pause| pause.nonce),
        approved,
        reason: format!("says {by}"),
        decided_by: by.into(),
        values: object(json!({(by): approved, "last": by})),
        request_id: String::new(),
    }
}

fn cast(log: &mut Log, question: u32, by: &str, approved: bool) -> Option<Void> {
    let vote = vote(log, question, by, approved);
    let may = log.state.may_decide(&vote).err();
    let void = log.add(Fact::Decided(vote));
    assert_eq!(void, may, "what is told beforehand is what is done");
    void
}

fn timer(attempt: u32, resume: u32) -> Timer {
    Timer::Approval { stage: stage_id("a"), attempt, resume }
}

fn resolution(log: &Log) -> &Resolution {
    log.task().resolution.as_ref().unwrap()
}

#[test]
fn as_many_must_approve_as_the_policy_says() {
    let mut log = asked(json!({"approvers": ["ada", "bob", "cy"], "quorum": 2}));
    assert_eq!(cast(&mut log, 0, "ada", true), None);
    assert!(log.settle().is_empty(), "one of two");
    assert!(log.state.is_waiting());
    assert_eq!(cast(&mut log, 0, "ada", true), Some(Void::AlreadyDecided));
    assert_eq!(cast(&mut log, 0, "ada", false), Some(Void::AlreadyDecided), "nobody takes it back");
    assert_eq!(cast(&mut log, 0, "eve", true), Some(Void::NotEligible));
    assert_eq!(cast(&mut log, 0, "", true), Some(Void::NotEligible));
    assert_eq!(cast(&mut log, 1, "bob", true), None, "another question has votes of its own");
    assert!(log.settle().is_empty());
    assert_eq!(cast(&mut log, 0, "cy", true), None);
    assert_eq!(log.settle(), ["a.1.1"]);
    let resolution = resolution(&log);
    assert_eq!((resolution.key.as_str(), resolution.approved), ("x", true));
    assert_eq!(
        (resolution.decided_by.as_str(), resolution.reason.as_str()),
        ("ada, cy", "says ada; says cy")
    );
    assert_eq!(resolution.values, object(json!({"ada": true, "cy": true, "last": "cy"})));
    assert_eq!(cast(&mut log, 0, "bob", true), Some(Void::NotPending));
}

#[test]
fn one_who_rejects_is_enough() {
    let mut log = asked(json!({"approvers": ["ada", "bob", "cy"], "quorum": 3}));
    assert_eq!(cast(&mut log, 0, "ada", true), None);
    assert_eq!(cast(&mut log, 0, "bob", false), None);
    assert_eq!(cast(&mut log, 0, "cy", true), Some(Void::NotPending));
    assert_eq!(log.settle(), ["a.1.1"]);
    let resolution = resolution(&log);
    assert_eq!((resolution.approved, resolution.decided_by.as_str()), (false, "bob"));
    assert_eq!(resolution.values, object(json!({"bob": false, "last": "bob"})));
}

#[test]
fn whoever_asked_may_not_decide_and_reasons_are_given() {
    let mut log = asked(json!({"exclude_requester": true, "require_reason": true}));
    assert_eq!(cast(&mut log, 0, "ann", true), Some(Void::Requester));
    assert_eq!(cast(&mut log, 0, "", true), Some(Void::NotEligible));
    let silent = Decided { reason: " ".into(), ..vote(&log, 0, "ada", true) };
    assert_eq!(log.add(Fact::Decided(silent)), Some(Void::NoReason));
    assert_eq!(cast(&mut log, 0, "ada", true), None);
    let mut log = asked(json!({"require_reason": false}));
    assert_eq!(cast(&mut log, 0, "ann", true), None, "nobody asked for more");
}

#[test]
fn a_decision_never_applies_to_a_later_pause() {
    let mut log = asked(json!({}));
    let early = vote(&log, 0, "ada", true);
    assert_eq!(log.add(Fact::Decided(early.clone())), None);
    log.settle();
    assert_eq!(log.add(paused("a", 1, 1, &["x"])), None);
    assert_eq!(log.add(Fact::Decided(early.clone())), Some(Void::NotPending));
    // Whoever puts the old nonce under the new name has not seen what is asked now.
    let renamed = Decided { resume: 1, ..early.clone() };
    assert_eq!(log.add(Fact::Decided(renamed.clone())), Some(Void::StaleNonce));
    assert!(log.settle().is_empty());
    assert_eq!(log.add(Fact::Decided(Decided { nonce: None, ..renamed })), None, "a history without nonces");
    log.settle();
    log.add(Fact::Failed(Failed { origin: origin("a", 1, 2), error: passing() }));
    log.settle();
    log.add(retry_timer("a", 2));
    log.settle();
    assert_eq!(log.add(paused("a", 2, 0, &["x"])), None);
    assert_eq!(log.add(Fact::Decided(Decided { attempt: 2, ..early })), Some(Void::StaleNonce));
}

#[test]
fn the_end_of_the_time_decides_once() {
    for (policy, approved) in [
        (json!({"timeout": "10s"}), false),
        (json!({"timeout": "10s", "on_timeout": "approve", "quorum": 2}), true),
    ] {
        let mut log = asked(policy);
        let asks = log.records.last().unwrap().clone();
        let first = log.state.timeout_after(&asks.fact).unwrap();
        assert_eq!(first, (timer(1, 0), asks.time + TimeDelta::seconds(10)));
        assert_eq!(log.state.approval_deadline(&stage_id("a")), Some(first.1));
        assert_eq!(log.add(Fact::TimerFired(timer(1, 1))), Some(Void::NotPending));
        assert_eq!(log.add(Fact::TimerFired(timer(1, 0))), None);
        assert_eq!(log.add(Fact::TimerFired(timer(1, 0))), Some(Void::NotPending));
        assert_eq!(log.state.timeout_after(&asks.fact), None);
        assert_eq!(cast(&mut log, 0, "ada", !approved), Some(Void::NotPending));
        assert_eq!(log.settle(), ["a.1.1"]);
        let said = resolution(&log);
        assert_eq!((said.approved, said.decided_by.as_str()), (approved, ""));
        assert!(said.reason.ends_with("within 10s"), "{said:?}");
    }
    let mut log = asked(json!({"timeout": "10s"}));
    assert_eq!(cast(&mut log, 0, "ada", true), None);
    assert_eq!(log.add(Fact::TimerFired(timer(1, 0))), Some(Void::NotPending), "it was too late");
    let asks = log.records[2].fact.clone();
    assert_eq!((asks.stage().is_some(), log.state.timeout_after(&asks)), (true, None));
}

#[test]
fn a_pause_without_a_deadline_has_no_timer() {
    let log = asked(json!({"quorum": 2}));
    assert_eq!(log.state.timeout_after(&log.records.last().unwrap().fact), None);
}

/// Something that happens to a ballot of the voters 0 to 4, of whom 4 may not vote and 3 asked for the execution.
#[derive(Clone, Debug)]
enum Event {
    Vote { voter: usize, approved: bool, question: u32, stale: bool },
    Timer,
}

const VOTERS: [&str; 5] = ["ada", "bob", "cy", "ann", "eve"];

fn events() -> impl Strategy<Value = Vec<Event>> {
    let vote = (0..5_usize, prop::bool::weighted(0.8), 0..2_u32, prop::bool::weighted(0.1))
        .prop_map(|(voter, approved, question, stale)| Event::Vote { voter, approved, question, stale });
    prop::collection::vec(prop_oneof![9 => vote, 1 => Just(Event::Timer)], 0..24)
}

/// What the events come to, in the words of the policy: who answered, and how many facts counted.
fn expected(events: &[Event], quorum: usize, on_timeout: bool) -> (Option<(bool, String)>, usize) {
    let mut votes: [Vec<usize>; 2] = Default::default();
    for (n, event) in events.iter().enumerate() {
        let counted = votes[0].len() + votes[1].len() + 1;
        match event {
            Event::Timer => return (Some((on_timeout, String::new())), counted),
            Event::Vote { stale: true, .. } | Event::Vote { voter: 3 | 4, .. } => {}
            Event::Vote { voter, question, .. } if votes[*question as usize].contains(voter) => {}
            Event::Vote { voter, approved: false, .. } => {
                return (Some((false, VOTERS[*voter].into())), counted);
            }
            Event::Vote { voter, question, .. } => {
                let all = &mut votes[*question as usize];
                all.push(*voter);
                if all.len() == quorum {
                    let names: Vec<_> = all.iter().map(|voter| VOTERS[*voter]).collect();
                    return (Some((true, names.join(", "))), counted);
                }
            }
        }
        assert!(n < events.len());
    }
    (None, votes[0].len() + votes[1].len())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_pause_is_decided_once_and_by_the_order_of_the_log(
        events in events(),
        quorum in 1..=3_usize,
        on_timeout in any::<bool>(),
        prompt in any::<bool>(),
    ) {
        let mut log = asked(json!({
            "approvers": ["ada", "bob", "cy", "ann"], "quorum": quorum, "exclude_requester": true,
            "timeout": "1m", "on_timeout": if on_timeout { "approve" } else { "reject" },
        }));
        let (outcome, counted) = expected(&events, quorum, on_timeout);
        let first = log.state.clone();
        let mut counts = 0;
        let mut tasks = Vec::new();
        for event in &events {
            let fact = match event {
                Event::Timer => Fact::TimerFired(timer(1, 0)),
                Event::Vote { voter, approved, question, stale } => {
                    let nonce = first.stage(&stage_id("a")).unwrap().pause.as_ref().unwrap().nonce;
                    let nonce = Some(nonce - u64::from(*stale));
                    let vote = vote(&log, *question, VOTERS[*voter], *approved);
                    Fact::Decided(Decided { attempt: 1, resume: 0, nonce, ..vote })
                }
            };
            counts += usize::from(log.add(fact).is_none());
            if prompt {
                tasks.extend(log.settle());
            }
        }
        tasks.extend(log.settle());
        prop_assert_eq!(counts, counted);
        match outcome {
            None => prop_assert!(tasks.is_empty() && log.state.is_waiting()),
            Some((approved, by)) => {
                prop_assert_eq!(tasks, ["a.1.1"]);
                let said = resolution(&log);
                prop_assert_eq!((said.approved, said.decided_by.clone()), (approved, by));
            }
        }
    }

    #[test]
    fn the_order_of_those_who_approve_does_not_matter(
        voters in Just(vec!["ada", "bob", "cy", "dan"]).prop_shuffle(),
        quorum in 1..=4_usize,
    ) {
        let mut log = asked(json!({"approvers": ["ada", "bob", "cy", "dan"], "quorum": quorum}));
        let voids: Vec<_> = voters.iter().map(|voter| cast(&mut log, 0, voter, true)).collect();
        prop_assert_eq!(voids.iter().filter(|void| void.is_none()).count(), quorum);
        prop_assert!(voids[quorum..].iter().all(|void| *void == Some(Void::NotPending)));
        log.settle();
        prop_assert_eq!(resolution(&log).decided_by.clone(), voters[..quorum].join(", "));
    }
}
