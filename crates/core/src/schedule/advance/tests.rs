//! The table above, and that nothing is lost or done twice whoever dies in between.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Command, Definition, Schedule};
use super::*;
use crate::workflow::Parsed;

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-11-22T{text}Z").parse().unwrap()
}

fn slot(text: &str) -> Slot {
    Slot { time: at(text), triggered: false }
}

/// Every minute, made at 10:00:30.
fn every_minute(overlap: Overlap, catch_up: CatchUp) -> State {
    let text = br#"{"stages": [{"type": "custom", "task": {}}]}"#;
    let workflow = Parsed::json(text).check(&["custom"].as_slice()).unwrap();
    let rule = Schedule::parse("* * * * *", None).unwrap();
    let window = Duration::from_secs(600);
    let definition = Definition { rule, workflow, overlap, catch_up, window };
    State::new(definition, at("10:00:30"), false, "ann")
}

fn quiet(state: &State, now: &str) -> State {
    state.advance(at(now), &Events::default())
}

fn events(started: &[Slot], ended: &[Slot]) -> Events {
    Events {
        started: started.iter().copied().collect(),
        ended: ended.iter().copied().collect(),
        cancelled: BTreeSet::new(),
    }
}

fn skips(state: &State) -> Vec<(&'static str, u64)> {
    let skip = |past: &Past| match past.outcome {
        Outcome::Skipped(why) => Some((why.code(), past.count)),
        Outcome::Fired { .. } => None,
    };
    state.past.iter().filter_map(skip).collect()
}

#[test]
fn a_slot_fires_at_its_time_and_once() {
    let new = every_minute(Overlap::Skip, CatchUp::Skip);
    assert_eq!(new.commands(), [Command::Wake(at("10:01:00"))]);
    assert_eq!(quiet(&new, "10:00:59"), new);
    let due = quiet(&new, "10:01:00");
    assert_eq!(due.commands(), [Command::Start(slot("10:01:00")), Command::Wake(at("10:02:00"))]);
    // Who comes next, because somebody died here, finds the same to do.
    assert_eq!(quiet(&due, "10:01:20"), due);
    let started = due.advance(at("10:01:20"), &events(&due.starting, &[]));
    assert_eq!((started.commands(), &started.running), (vec![Command::Wake(at("10:02:00"))], &due.starting));
    let ended = started.advance(at("10:01:30"), &events(&[], &started.running));
    assert_eq!((ended.running.len(), ended.fired, ended.skipped), (0, 1, 0));
}

#[test]
fn what_overlaps_is_treated_as_asked_for() {
    let after = |overlap| {
        let first = quiet(&every_minute(overlap, CatchUp::Skip), "10:01:00");
        let first = first.advance(at("10:01:01"), &events(&first.starting, &[]));
        quiet(&quiet(&first, "10:02:00"), "10:03:00")
    };
    let skip = after(Overlap::Skip);
    assert_eq!((skips(&skip), skip.queue.len(), skip.starting.len()), (vec![("OVERLAP", 2)], 0, 0));
    let queue = after(Overlap::Queue);
    assert_eq!((queue.queue.len(), queue.starting.len()), (2, 0));
    let queue = queue.advance(at("10:03:10"), &events(&[], &[slot("10:01:00")]));
    assert_eq!((queue.starting.as_slice(), queue.queue.len()), ([slot("10:02:00")].as_slice(), 1));
    let allow = after(Overlap::Allow);
    assert_eq!(allow.starting, [slot("10:02:00"), slot("10:03:00")]);
    let cancel = after(Overlap::CancelPrevious);
    assert_eq!((skips(&cancel), &cancel.cancelling), (vec![("SUPERSEDED", 1)], &vec![slot("10:01:00")]));
    assert_eq!(cancel.commands()[0], Command::Cancel(slot("10:01:00")));
    let cancelled = Events { cancelled: [slot("10:01:00")].into(), ..Events::default() };
    let cancel = cancel.advance(at("10:03:10"), &cancelled);
    assert_eq!(cancel.commands(), [Command::Wake(at("10:04:00"))]);
    let cancel = cancel.advance(at("10:03:11"), &events(&[], &[slot("10:01:00")]));
    assert_eq!(cancel.starting, [slot("10:03:00")]);
}

#[test]
fn after_downtime_it_catches_up_as_asked_for() {
    // Slots from 10:01; down until 10:30:30, a window of ten minutes: 10:21 to 10:30 count, 10:30 is on time.
    let after = |overlap, catch_up| quiet(&every_minute(overlap, catch_up), "10:30:30");
    let skip = after(Overlap::Queue, CatchUp::Skip);
    assert_eq!((skips(&skip), skip.starting.clone()), (vec![("MISSED", 29)], vec![slot("10:30:00")]));
    let latest = after(Overlap::Queue, CatchUp::Latest);
    assert_eq!(skips(&latest), [("OUTSIDE_WINDOW", 20), ("SUPERSEDED", 9)]);
    assert_eq!((latest.starting, latest.queue.len()), (vec![slot("10:30:00")], 0));
    let all = after(Overlap::Allow, CatchUp::All);
    assert_eq!((skips(&all), all.starting.len()), (vec![("OUTSIDE_WINDOW", 20)], 10));
    // One after another, although a slot at its time is skipped while one runs.
    let all = after(Overlap::Skip, CatchUp::All);
    assert_eq!((all.starting.len(), all.queue.len()), (1, 8));
    assert_eq!(skips(&all), [("OUTSIDE_WINDOW", 20), ("OVERLAP", 1)]);
    let long = quiet(&every_minute(Overlap::Skip, CatchUp::Skip), "23:59:59");
    assert_eq!(skips(&long), [("MISSED", 838)]);
}

#[test]
fn a_long_absence_is_counted_as_far_as_makes_sense() {
    let mut state = every_minute(Overlap::Skip, CatchUp::Latest);
    state.settled = "2020-01-01T00:00:00Z".parse().unwrap();
    let state = quiet(&state, "10:00:20");
    assert_eq!(skips(&state), [("OUTSIDE_WINDOW", 10_000), ("SUPERSEDED", 9)]);
    assert_eq!(state.starting, [slot("10:00:00")]);
}

#[test]
fn a_pause_lets_slots_go_and_a_person_may_still_start_one() {
    let mut state = every_minute(Overlap::Skip, CatchUp::All);
    state.paused = true;
    assert!(state.commands().is_empty());
    let mut state = quiet(&state, "10:05:30");
    assert_eq!(state.fired + state.skipped, 0);
    let (one, two) = (state.trigger(at("10:05:40")), state.trigger(at("10:05:40")));
    assert!(one != two && one.triggered && state.starting == [one, two]);
    state.let_go(at("10:06:30"), Skip::Paused);
    state.paused = false;
    assert_eq!(
        (skips(&state), state.commands().last()),
        (vec![("PAUSED", 6)], Some(&Command::Wake(at("10:07:00"))))
    );
}

#[test]
fn a_backfill_waits_in_line_and_asks_for_each_slot_once() {
    let mut state = quiet(&every_minute(Overlap::Skip, CatchUp::Skip), "10:01:00");
    let times = || (0..3).map(|n| at(&format!("09:0{n}:00"))).chain([at("10:01:00")]);
    assert_eq!((state.backfill(times()), state.backfill(times())), (3, 0));
    let mut order = Vec::new();
    while let Some(next) = state.starting.first().copied() {
        order.push(next);
        state = state.advance(at("10:01:30"), &events(&[next], &[next]));
    }
    assert_eq!(order, [slot("10:01:00"), slot("09:00:00"), slot("09:01:00"), slot("09:02:00")]);
    let many = (0..2_000).map(|n| at("00:00:00") + TimeDelta::seconds(n));
    assert_eq!(state.backfill(many), MAX_QUEUE);
}

#[test]
fn what_is_kept_is_read_back() {
    let state = quiet(&every_minute(Overlap::CancelPrevious, CatchUp::All), "10:05:00");
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    assert!(serde_json::from_str::<State>(&text.replace("* * * * *", "no rule")).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    /// Seconds go by.
    Wait(i64),
    /// Somebody looks, and dies after this many commands, before the outcome is stored.
    LookAndDie(usize),
    /// Somebody looks and stores the outcome.
    Look,
    /// An execution ends.
    End(prop::sample::Index),
    Trigger,
    Pause(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..200_i64).prop_map(Step::Wait),
        1 => (200..2_000_i64).prop_map(Step::Wait),
        2 => (0..4_usize).prop_map(Step::LookAndDie),
        5 => Just(Step::Look),
        3 => any::<prop::sample::Index>().prop_map(Step::End),
        1 => Just(Step::Trigger),
        1 => any::<bool>().prop_map(Step::Pause),
    ]
}

/// The world beside the state: which executions exist, and whether they run.
#[derive(Default)]
struct World {
    executions: BTreeMap<Slot, bool>,
}

impl World {
    fn perform(&mut self, commands: &[Command]) -> Events {
        let mut events = Events::default();
        for command in commands {
            match command {
                Command::Start(slot) => {
                    self.executions.entry(*slot).or_insert(true);
                    events.started.insert(*slot);
                }
                Command::Cancel(slot) => {
                    self.executions.insert(*slot, false);
                    events.cancelled.insert(*slot);
                }
                Command::Wake(_) => {}
            }
        }
        events
    }

    fn ended(&self, state: &State) -> BTreeSet<Slot> {
        state.running.iter().filter(|slot| self.executions.get(slot) == Some(&false)).copied().collect()
    }
}

proptest! {
    #[test]
    fn every_slot_is_settled_once_and_overlaps_only_where_allowed(
        steps in prop::collection::vec(step(), 1..60),
        overlap in prop::sample::select(vec![Overlap::Skip, Overlap::Queue, Overlap::Allow, Overlap::CancelPrevious]),
        catch_up in prop::sample::select(vec![CatchUp::Skip, CatchUp::Latest, CatchUp::All]),
    ) {
        let mut state = every_minute(overlap, catch_up);
        let mut world = World::default();
        let mut now = state.created;
        let mut triggered = 0;
        for step in steps {
            match step {
                Step::Wait(seconds) => now += TimeDelta::seconds(seconds),
                Step::End(which) => {
                    if !world.executions.is_empty() {
                        let slot = *which.get(&world.executions.keys().copied().collect::<Vec<_>>());
                        world.executions.insert(slot, false);
                    }
                }
                Step::Trigger => {
                    state.trigger(now);
                    triggered += 1;
                }
                Step::Pause(pause) => {
                    if state.paused && !pause {
                        state.let_go(now, Skip::Paused);
                    }
                    state.paused = pause;
                }
                Step::LookAndDie(after) => {
                    let events = Events { ended: world.ended(&state), ..Events::default() };
                    state = state.advance(now, &events);
                    let commands = state.commands();
                    world.perform(&commands[..after.min(commands.len())]);
                }
                Step::Look => loop {
                    let mut events = world.perform(&state.commands());
                    events.ended = world.ended(&state);
                    let next = state.advance(now, &events);
                    if next == state { break }
                    state = next;
                },
            }
            if overlap != Overlap::Allow {
                let running = world.executions.iter().filter(|(slot, runs)| **runs && !slot.triggered);
                prop_assert!(running.count() <= 1);
            }
        }
        let known = state.definition.rule.between(state.created, state.settled).count() as u64;
        prop_assert_eq!(state.fired - triggered + state.skipped + state.queue.len() as u64, known);
        // What was stored as to be started is all that may not exist yet.
        let begun = state.fired - state.starting.iter().filter(|slot| !world.executions.contains_key(slot)).count() as u64;
        prop_assert_eq!(begun, world.executions.len() as u64);
    }
}
