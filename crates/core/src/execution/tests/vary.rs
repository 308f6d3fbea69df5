//! Forks and those who approve.

use std::collections::BTreeMap;

use super::*;

const INPUT: Variation = Variation { input: true, stage: false, state: false, checkpoint: false };
const STAGE: Variation = Variation { input: false, stage: true, ..INPUT };
const STATE: Variation = Variation { input: false, state: true, checkpoint: true, ..INPUT };
const CHECKPOINT: Variation = Variation { input: false, checkpoint: true, ..INPUT };

/// `a`, then `gate` under a policy, then `ship`, then `tell`; beside them `other`.
fn gated() -> Arc<Workflow> {
    let gate = with(stage("gate", &["a"]), json!({"approval": {"approvers": ["ann"]}}));
    let stages =
        [stage("a", &[]), gate, stage("ship", &["gate"]), stage("tell", &["ship"]), stage("other", &[])];
    workflow(&json!({"stages": stages}))
}

/// What a fork does: from a stage, with these results of the source.
fn fork(from: &str, ended: &[&str], variation: Variation) -> Result<(), Bypass> {
    let workflow = gated();
    let anew = workflow.from(&stage_id(from));
    let results = ended.iter().map(|id| (stage_id(id), Ended::Completed(Arc::default())));
    let results: BTreeMap<_, _> = results.filter(|(id, _)| !anew.contains(id)).collect();
    workflow.check_variation(&stage_id(from), &results, variation)
}

const ALL: &[&str] = &["a", "gate", "ship", "tell", "other"];

#[test]
fn what_is_not_changed_takes_over_what_was_approved() {
    for from in ALL {
        for same in [Variation::default(), CHECKPOINT] {
            assert_eq!(fork(from, ALL, same), Ok(()), "{from}");
        }
    }
}

#[test]
fn a_stage_that_asks_is_not_changed_and_its_state_neither() {
    let gate = stage_id("gate");
    assert_eq!(fork("gate", ALL, STATE), Err(Bypass::State(gate.clone())));
    assert_eq!(fork("gate", ALL, STAGE), Err(Bypass::Stage(gate.clone())));
    let both = Variation { input: true, ..CHECKPOINT };
    assert_eq!(fork("gate", ALL, both), Err(Bypass::Input(gate)));
    assert_eq!(fork("gate", ALL, INPUT), Ok(()), "it asks again, about the new input");
}

#[test]
fn a_change_after_a_decision_is_not_built_on_it() {
    let decided = |ask_again| Err(Bypass::Decided { stage: stage_id("gate"), ask_again });
    for from in ["ship", "tell"] {
        assert_eq!(fork(from, ALL, INPUT), decided(true), "{from}");
        assert_eq!(fork(from, ALL, STAGE), decided(false), "{from}");
        assert_eq!(fork(from, ALL, STATE), decided(false), "{from}");
    }
    // Of what failed after the decision, the rest would run on the new input as well.
    assert_eq!(fork("other", &["a", "gate"], INPUT), decided(true));
}

#[test]
fn a_change_before_a_decision_is_decided_on() {
    for change in [INPUT, STAGE, STATE] {
        assert_eq!(fork("a", ALL, change), Ok(()));
        assert_eq!(fork("other", ALL, change), Ok(()), "nothing that runs was approved");
        assert_eq!(
            fork("ship", &["a", "other"], change),
            Ok(()),
            "the source still waits, and so will this one"
        );
    }
}
