//! The inputs of one stream that still ask for something, as one coordinator knows them.
//!
//! Every coordinator sees every input. One acts at once, the others after a while, should nobody have said that it is done
//! with: a coordinator that dies or is cut off delays what was its turn, and loses nothing. Two that act on the same input cost
//! each other a write that is refused, and no more, so nobody has to agree on who is there.
//!
//! Invariants:
//! - An input leaves only once somebody has said that everything it caused is stored.
//! - A [`Cursor`] names, or stands before, each input that has not left: whoever starts from it knows of all of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::ExecutionId;

/// How much longer each further coordinator waits before it acts, and anybody who failed before trying again, in ticks.
pub const PATIENCE: u64 = 20;

/// Inputs that still ask for something.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    waiting: BTreeMap<u64, Waiting>,
    /// Done with by others before they were seen here.
    early: BTreeSet<u64>,
    /// The last input that was seen.
    passed: u64,
    ticks: u64,
}

#[derive(Clone, Debug)]
struct Waiting {
    execution: ExecutionId,
    since: u64,
    tries: u32,
    /// This coordinator is acting on it.
    taken: bool,
}

/// An input that this coordinator is to act on now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Where it is in the stream.
    pub position: u64,
    /// The execution.
    pub execution: ExecutionId,
    /// Which try of this coordinator it is, from 1.
    pub tries: u32,
}

/// Where a coordinator starts: what is waiting of the inputs up to a position. All that follow are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The position.
    pub passed: u64,
    /// Those before it that still ask for something.
    pub waiting: Vec<(u64, ExecutionId)>,
}

impl Cursor {
    /// The same for a stream that ends at `last`: one that lost what was not yet on its disk gives the same positions again.
    pub fn within(mut self, last: u64) -> Self {
        self.passed = self.passed.min(last);
        self.waiting.retain(|(position, _)| *position <= last);
        self
    }
}

impl Inputs {
    /// What a coordinator knows that starts from here.
    pub fn from(cursor: Cursor) -> Self {
        let mut inputs = Self::default();
        for (position, execution) in cursor.waiting {
            inputs.arrive(position, execution);
        }
        inputs.passed = cursor.passed;
        inputs
    }

    /// The tail brings an input.
    pub fn arrive(&mut self, position: u64, execution: ExecutionId) {
        self.passed = self.passed.max(position);
        let done = self.early.remove(&position);
        // The tail is in order: what others did before this never comes.
        while self.early.first().is_some_and(|early| *early < position) {
            self.early.pop_first();
        }
        if !done {
            let waiting = Waiting { execution, since: self.ticks, tries: 0, taken: false };
            self.waiting.entry(position).or_insert(waiting);
        }
    }

    /// Somebody says that everything which the input caused is stored.
    pub fn settle(&mut self, position: u64) {
        if self.waiting.remove(&position).is_none() && position > self.passed {
            self.early.insert(position);
        }
    }

    /// Takes an input to act on it, if it is time. `rank` tells how many act before this coordinator does, for each execution.
    pub fn take(&mut self, position: u64, rank: impl FnOnce(&ExecutionId) -> u64) -> Option<Turn> {
        let waiting = self.waiting.get_mut(&position)?;
        if waiting.taken || self.ticks < waiting.since + PATIENCE * rank(&waiting.execution) {
            return None;
        }
        waiting.taken = true;
        waiting.tries += 1;
        Some(Turn { position, execution: waiting.execution.clone(), tries: waiting.tries })
    }

    /// The same with all for which it is time.
    pub fn take_all(&mut self, mut rank: impl FnMut(&ExecutionId) -> u64) -> Vec<Turn> {
        let positions: Vec<_> = self.waiting.keys().copied().collect();
        positions.into_iter().filter_map(|position| self.take(position, &mut rank)).collect()
    }

    /// This coordinator could not do what the input asks for. It tries again later, unless somebody else does it.
    pub fn give_back(&mut self, position: u64) {
        if let Some(waiting) = self.waiting.get_mut(&position) {
            waiting.taken = false;
            waiting.since = self.ticks + PATIENCE;
        }
    }

    /// Time passes.
    pub fn tick(&mut self) {
        self.ticks += 1;
    }

    /// Nothing asks for anything.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where another coordinator could start now, with so many inputs named at most.
    pub fn cursor(&self, most: usize) -> Cursor {
        let mut all = self.waiting.iter().map(|(position, waiting)| (*position, waiting.execution.clone()));
        let waiting = all.by_ref().take(most).collect();
        // What is not named is to be seen again.
        let passed = all.next().map_or(self.passed, |(position, _)| position - 1);
        Cursor { passed, waiting }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> ExecutionId {
        ExecutionId::parse(&format!("e{n}")).unwrap()
    }

    fn at_once(_: &ExecutionId) -> u64 {
        0
    }

    #[test]
    fn the_first_acts_at_once_and_the_next_when_nobody_did() {
        let mut inputs = Inputs::default();
        inputs.arrive(3, id(1));
        assert_eq!(inputs.take(3, |_| 1), None);
        (1..PATIENCE).for_each(|_| inputs.tick());
        assert_eq!(inputs.take(3, |_| 1), None);
        inputs.tick();
        let turn = Turn { position: 3, execution: id(1), tries: 1 };
        assert_eq!((inputs.take(3, |_| 2), inputs.take(3, |_| 1)), (None, Some(turn)));
        assert_eq!(inputs.take_all(at_once), [], "once");
        inputs.settle(3);
        assert!(inputs.is_empty());
    }

    #[test]
    fn who_failed_tries_again_later() {
        let mut inputs = Inputs::default();
        inputs.arrive(3, id(1));
        for tries in 1..4 {
            assert_eq!(inputs.take_all(at_once), [Turn { position: 3, execution: id(1), tries }]);
            inputs.give_back(3);
            assert_eq!(inputs.take_all(at_once), []);
            (0..PATIENCE).for_each(|_| inputs.tick());
        }
    }

    #[test]
    fn what_others_did_before_it_was_seen_is_done() {
        let mut inputs = Inputs::default();
        for position in [5, 7, 9] {
            inputs.settle(position);
        }
        for position in [4, 5, 8, 9] {
            inputs.arrive(position, id(position));
        }
        assert_eq!(inputs.cursor(9), Cursor { passed: 9, waiting: vec![(4, id(4)), (8, id(8))] });
        assert!(inputs.early.is_empty());
    }

    #[test]
    fn of_many_that_wait_a_cursor_names_some_and_stands_before_the_others() {
        let mut inputs = Inputs::default();
        [2, 4, 6].into_iter().for_each(|position| inputs.arrive(position, id(position)));
        assert_eq!(inputs.cursor(2), Cursor { passed: 5, waiting: vec![(2, id(2)), (4, id(4))] });
        assert_eq!(inputs.cursor(0), Cursor { passed: 1, waiting: Vec::new() });
    }

    proptest! {
        /// Whoever starts from a cursor and follows the stream knows of everything that is not done.
        #[test]
        fn a_cursor_loses_nothing(
            settled in proptest::collection::vec(any::<bool>(), 0..60),
            failed in proptest::collection::vec(0..60_u64, 0..20),
            most in 0..10_usize,
        ) {
            let mut inputs = Inputs::default();
            for (position, settled) in (1..).zip(&settled) {
                inputs.arrive(position, id(position));
                if *settled {
                    inputs.settle(position);
                }
            }
            inputs.take_all(at_once);
            failed.into_iter().for_each(|position| inputs.give_back(position));
            let cursor = inputs.cursor(most);
            prop_assert!(cursor.waiting.len() <= most);
            let mut next = Inputs::from(cursor.clone());
            (cursor.passed + 1..=u64::try_from(settled.len()).unwrap())
                .for_each(|position| next.arrive(position, id(position)));
            let known: Vec<_> = next.take_all(at_once).into_iter().map(|turn| turn.position).collect();
            for (position, settled) in (1..).zip(&settled) {
                prop_assert!(*settled || known.contains(&position), "{position} of {cursor:?}");
            }
        }
    }
}
