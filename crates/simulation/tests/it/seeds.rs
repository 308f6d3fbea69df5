//! `SIMULATION_SEED=n cargo test -p mahavishnu-simulation seeds` plays one seed, `SIMULATION_SEEDS=n` the first n.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use mahavishnu_simulation::{Faults, run, schedules};

/// Played in CI.
const SEEDS: u64 = 4_000;
/// What every sweep must have met: a simulation in which nothing goes wrong proves nothing.
const KINDS: usize = 20;
/// Played in CI, of schedules.
const SCHEDULES: u64 = 1_000;
/// What every sweep over schedules must have met: kinds of faults, and fates of slots (fired, triggered, and the reasons for
/// which slots are skipped, without a full queue).
const FAULTS_OF_SCHEDULES: usize = 9;
const FATES: usize = 7;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Plays these seeds on all processors; nothing where one panics.
fn play<T: Send>(first: u64, seeds: u64, run: impl Fn(u64) -> T + Sync) -> Vec<(u64, Option<T>)> {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let play = || {
        let mut played = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return played;
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
            played.push((seed, outcome.ok()));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(play)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Which seeds are asked for.
fn asked(by_default: u64) -> (u64, u64) {
    match setting("SIMULATION_SEED") {
        Some(seed) => (seed, 1),
        None => (0, setting("SIMULATION_SEEDS").unwrap_or(by_default)),
    }
}

/// What is broken, and how to see it again.
fn holds(broken: &BTreeMap<u64, Vec<String>>, seeds: u64) {
    for (seed, violations) in broken.iter().take(5) {
        println!("SIMULATION_SEED={seed}\n  {}", violations.join("\n  "));
    }
    assert!(broken.is_empty(), "{} of {seeds} seeds; replay one with SIMULATION_SEED", broken.len());
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (first, seeds) = asked(SEEDS);
    let played = play(first, seeds, |seed| run(seed, None));
    let (mut faults, mut ballots) = (Faults::new(), Faults::new());
    let (mut executions, mut records, mut events) = (0, 0, 0);
    let mut broken = BTreeMap::new();
    for (seed, outcome) in played {
        match outcome {
            None => drop(broken.insert(seed, vec!["it panics".to_owned()])),
            Some(outcome) => {
                for (kind, count) in outcome.faults {
                    *faults.entry(kind).or_default() += count;
                }
                for (kind, count) in outcome.ballots {
                    *ballots.entry(kind).or_default() += count;
                }
                executions += outcome.histories.len();
                records += outcome.histories.values().map(Vec::len).sum::<usize>();
                events += outcome.events;
                if seeds == 1 {
                    outcome
                        .histories
                        .iter()
                        .for_each(|(id, events)| events.iter().for_each(|event| println!("{id} {event:?}")));
                }
                if !outcome.violations.is_empty() {
                    broken.insert(seed, outcome.violations.iter().map(ToString::to_string).collect());
                }
            }
        }
    }
    println!("{seeds} seeds, {executions} executions, {records} records, {events} events watched");
    println!("faults: {faults:#?}, approvals: {ballots:#?}");
    holds(&broken, seeds);
    if seeds >= SEEDS {
        assert_eq!(faults.len(), KINDS, "{:?}", faults.keys());
        assert_eq!(ballots.len(), 4, "{:?}", ballots.keys());
        assert!(executions as u64 > seeds && events > 0);
    }
}

#[test]
fn no_seed_breaks_a_schedule() {
    let (first, seeds) = asked(SCHEDULES);
    let (mut faults, mut slots) = (Faults::new(), Faults::new());
    let mut broken = BTreeMap::new();
    for (seed, outcome) in play(first, seeds, |seed| schedules::run(seed, None)) {
        let Some(outcome) = outcome else {
            broken.insert(seed, vec!["it panics".to_owned()]);
            continue;
        };
        for (all, counts) in [(&mut faults, outcome.faults), (&mut slots, outcome.slots)] {
            counts.into_iter().for_each(|(kind, count)| *all.entry(kind).or_default() += count);
        }
        if !outcome.violations.is_empty() {
            broken.insert(seed, outcome.violations.iter().map(ToString::to_string).collect());
        }
    }
    println!("{seeds} seeds, faults: {faults:#?}, slots: {slots:#?}");
    holds(&broken, seeds);
    if seeds >= SCHEDULES {
        assert_eq!((faults.len(), slots.len()), (FAULTS_OF_SCHEDULES, FATES), "{faults:?} {slots:?}");
    }
}

#[test]
fn a_seed_says_everything() {
    assert_eq!(run(7, None), run(7, None));
    assert_eq!(schedules::run(7, None), schedules::run(7, None));
}
