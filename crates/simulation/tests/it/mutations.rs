//! The judge must be able to say no: every known mistake is noticed, and for what it is.

use mahavishnu_simulation::mutation::Mutation;
use mahavishnu_simulation::run;

/// Enough for the rarest, with room.
const SEEDS: u64 = 600;

#[test]
fn every_mistake_is_noticed() {
    let mut missed = Vec::new();
    for (mutation, broken) in Mutation::ALL {
        let noticed = (0..SEEDS).find_map(|seed| {
            let violations = run(seed, Some(*mutation)).violations;
            violations
                .into_iter()
                .find(|violation| broken.contains(&violation.invariant))
                .map(|found| (seed, found))
        });
        match noticed {
            Some((seed, violation)) => println!("{mutation:?}: seed {seed}: {violation}"),
            None => missed.push(mutation),
        }
    }
    assert!(missed.is_empty(), "nobody noticed {missed:?}");
}
