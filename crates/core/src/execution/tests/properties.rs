//! The invariants, over random workflows and random interleavings of everybody who takes part.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{Behaviour, VOTERS, World, fold};
use super::*;

/// A stage of a random workflow: what it needs of those before it, its condition, its attempts.
type Draft = (Vec<Index>, u8, u8);

fn build(drafts: &[Draft], shuffle: &[Index], timeout: bool) -> Arc<Workflow> {
    let mut stages = Vec::new();
    for (n, (needs, when, attempts)) in drafts.iter().enumerate() {
        let needs: BTreeSet<usize> =
            if n == 0 { BTreeSet::new() } else { needs.iter().map(|i| i.index(n)).collect() };
        let needs: Vec<String> = needs.iter().map(|need| format!("s{need}")).collect();
        let mut stage = stage(&format!("s{n}"), &needs.iter().map(String::as_str).collect::<Vec<_>>());
        let when = match (when % 6, needs.first()) {
            (0, _) => Some("false".to_owned()),
            (1, Some(need)) => Some(format!("stages.{need}.output.n == 0")),
            (2, Some(need)) => Some(format!("stages.{need}.state == 'skipped'")),
            _ => None,
        };
        if let Some(when) = when {
            stage = with(stage, json!({"when": when}));
        }
        if attempts % 8 > 3 {
            stage = with(stage, json!({"timeout": "1m"}));
        }
        if attempts % 16 > 9 {
            let approval = json!({"approvers": VOTERS, "quorum": attempts % 3 + 1, "timeout": "1h"});
            stage = with(stage, json!({"approval": approval}));
        }
        stages.push(with(stage, json!({"retry": {"max_attempts": attempts % 4 + 1}})));
    }
    // The order of the list means nothing.
    for (n, index) in shuffle.iter().enumerate().take(stages.len()) {
        let other = index.index(stages.len());
        stages.swap(n, other);
    }
    let timeout = if timeout { json!("10m") } else { json!(null) };
    let mut value = json!({"stages": stages});
    if timeout.is_string() {
        value["timeout"] = timeout;
    }
    workflow(&value)
}

prop_compose! {
    fn workflows()(
        drafts in prop::collection::vec((prop::collection::vec(any::<Index>(), 0..4), any::<u8>(), any::<u8>()), 1..=8),
        shuffle in prop::collection::vec(any::<Index>(), 8),
        timeout in any::<bool>(),
    ) -> Arc<Workflow> {
        build(&drafts, &shuffle, timeout)
    }
}

/// Plays `choices`, then lets everything come to rest.
fn play(workflow: Arc<Workflow>, hostile: bool, choices: &[u32]) -> World {
    let mut world = World::new(workflow, Behaviour { hostile });
    for choice in choices {
        world.step(*choice);
    }
    assert!(world.coordinators_agree());
    world.come_to_rest();
    world
}

/// I2: judged by the records alone, without the fold.
fn one_accepted_result_each(records: &[Record], voids: &[Option<Void>]) {
    let mut current = BTreeMap::new();
    let mut settled = BTreeSet::new();
    let mut ended = false;
    for (record, void) in records.iter().zip(voids) {
        match &record.fact {
            Fact::Scheduled(task) if !ended => {
                current.insert(task.stage.clone(), (task.attempt, task.resume));
            }
            Fact::Completed(Completed { origin, .. })
            | Fact::Failed(Failed { origin, .. })
            | Fact::Paused(Paused { origin, .. }) => {
                let now = (origin.attempt, origin.resume);
                let wanted = !ended
                    && current.get(&origin.stage) == Some(&now)
                    && settled.insert((origin.stage.clone(), now));
                assert_eq!(void.is_none(), wanted, "{record:?}");
            }
            // Also a limit that is used up decides the attempt.
            Fact::TimerFired(Timer::Timeout { stage, attempt, resume }) => {
                let now = (*attempt, *resume);
                let wanted =
                    !ended && current.get(stage) == Some(&now) && settled.insert((stage.clone(), now));
                assert_eq!(void.is_none(), wanted, "{record:?}");
            }
            fact => ended |= fact.is_terminal(),
        }
    }
    let completed = records.iter().zip(voids).filter_map(|(record, void)| match &record.fact {
        Fact::Completed(completed) if void.is_none() => Some(&completed.origin.stage),
        _ => None,
    });
    let stages: Vec<_> = completed.collect();
    assert_eq!(stages.len(), stages.iter().collect::<BTreeSet<_>>().len());
}

/// I3: nothing is scheduled before what it needs has ended, nor twice, nor after the end.
fn scheduled_in_order(workflow: &Workflow, records: &[Record], voids: &[Option<Void>]) {
    let mut done = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut ended = false;
    for (record, void) in records.iter().zip(voids) {
        match &record.fact {
            Fact::Scheduled(task) => {
                assert!(!ended, "{record:?} after the end");
                assert!(seen.insert((task.stage.clone(), task.attempt, task.resume)), "{record:?} again");
                for need in &workflow.stage(&task.stage).unwrap().needs {
                    assert!(done.contains(need), "{record:?} before {need}");
                }
            }
            Fact::Completed(completed) if void.is_none() => drop(done.insert(completed.origin.stage.clone())),
            Fact::Skipped { stage, .. } => drop(done.insert(stage.clone())),
            fact if fact.is_terminal() => {
                assert!(!ended, "a second end");
                ended = true;
            }
            _ => assert!(!ended || void == &Some(Void::AfterEnd)),
        }
    }
}

/// Commands that are done are not given again; a crash between any two leaves the rest to do.
fn decided_once(records: &[Record]) {
    let mut state = State::default();
    for record in records {
        state.apply(record);
        let commands = decide(&execution(), &state);
        assert_eq!(commands, decide(&execution(), &state));
        let mut then = state.clone();
        for (n, command) in commands.iter().enumerate() {
            let Command::Record(fact) = command else { continue };
            let (position, time) = (then.position + 1, record.time);
            then.apply(&Record { position, time, fact: fact.clone() });
            let next = decide(&execution(), &then);
            for done in &commands[..=n] {
                assert!(!next.contains(done), "{done:?} again");
            }
            if then.end.is_none() && !next.iter().any(ends) {
                for left in &commands[n + 1..] {
                    assert!(next.contains(left), "{left:?} is forgotten");
                }
            }
        }
    }
}

fn ends(command: &Command) -> bool {
    matches!(command, Command::Record(fact) if fact.is_terminal())
}

fn check(workflow: &Workflow, world: &World) {
    let (state, voids) = fold(&world.log);
    assert_eq!(state, fold(&world.log).0);
    assert_eq!(state.sequence, world.log.len() as u64);
    one_accepted_result_each(&world.log, &voids);
    scheduled_in_order(workflow, &world.log, &voids);
    decided_once(&world.log);
    // I1: it has ended, once.
    assert_eq!(world.log.iter().filter(|record| record.fact.is_terminal()).count(), 1);
    assert!(state.end.is_some() && decide(&execution(), &state).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_time: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn an_execution_whose_attempts_succeed_in_the_end_completes(
        workflow in workflows(),
        choices in prop::collection::vec(any::<u32>(), 0..250),
    ) {
        let world = play(Arc::clone(&workflow), false, &choices);
        check(&workflow, &world);
        let state = world.whole();
        let deadline = world.log.iter().any(|record| record.fact == Fact::TimerFired(Timer::Deadline));
        match state.end.unwrap().0 {
            End::Completed => prop_assert!(state.stages.iter().all(StageState::is_settled)),
            End::Failed { error, .. } => prop_assert!(deadline && error.reason == "DEADLINE_EXCEEDED"),
            End::Cancelled { .. } => prop_assert!(false, "nobody asked"),
        }
    }

    #[test]
    fn whatever_happens_an_execution_ends_once(
        workflow in workflows(),
        choices in prop::collection::vec(any::<u32>(), 0..250),
    ) {
        let world = play(Arc::clone(&workflow), true, &choices);
        check(&workflow, &world);
    }
}
