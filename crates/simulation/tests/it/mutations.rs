//! The judge must be able to say no: every known mistake is noticed, and for what it is.

use mahavishnu_simulation::check::Violation;
use mahavishnu_simulation::mutation::Mutation;
use mahavishnu_simulation::{run, schedules};

/// Enough for the rarest, with room.
const SEEDS: u64 = 600;

#[test]
fn every_mistake_is_noticed() {
    notice(Mutation::ALL, |seed, mutation| run(seed, Some(mutation)).violations);
}

#[test]
fn every_mistake_with_schedules_is_noticed() {
    notice(Mutation::OF_SCHEDULES, |seed, mutation| schedules::run(seed, Some(mutation)).violations);
}

fn notice(mutations: &[(Mutation, &[&str])], violations: impl Fn(u64, Mutation) -> Vec<Violation>) {
    let mut missed = Vec::new();
    for (mutation, broken) in mutations {
        let noticed = (0..SEEDS).find_map(|seed| {
            let found = violations(seed, *mutation).into_iter();
            found.filter(|violation| broken.contains(&violation.invariant)).map(|found| (seed, found)).next()
        });
        match noticed {
            Some((seed, violation)) => println!("{mutation:?}: seed {seed}: {violation}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "nobody noticed {missed:?}");
}
