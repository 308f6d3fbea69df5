//! Whose turn it is to act on an input: which of them ask for something, and which coordinators are there.
//!
//! For each execution the coordinators have an order of their own. The first acts at once; when it is not heard of any more,
//! the next is the first. Nobody waits to agree: what two do at once, the log orders.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::inputs::{Cursor, Inputs, Turn};
use mahavishnu_proto::worker::{CoordinatorHeartbeat, SettledInputs};
use uuid::Uuid;

/// A coordinator that is not heard of for so many ticks is away.
const AWAY: u64 = 8;
/// Inputs that a cursor names at most.
const NAMED: usize = 1_000;
/// Inputs that one heartbeat tells of at most, in each partition.
const TOLD: usize = 50_000;

/// An input that the tail has brought.
#[derive(Debug)]
pub struct Arrival {
    /// Which partition, from 0.
    pub partition: usize,
    /// Where in it.
    pub position: u64,
    /// The execution.
    pub execution: ExecutionId,
}

/// An input that this coordinator is to act on. Dropped without being settled, also by a panic, it is tried again later.
pub struct Mine {
    turns: Turns,
    partition: usize,
    /// What it is.
    pub turn: Turn,
}

impl Mine {
    /// Everything that the input caused is stored.
    pub fn settle(self) {
        self.turns.settle(self.partition, self.turn.position);
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        self.turns.give_back(self.partition, self.turn.position);
    }
}

/// What is known. Cheap to clone.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<Known>>);

struct Known {
    me: u64,
    /// The other coordinators, and when each was last heard of.
    others: HashMap<u64, u64>,
    ticks: u64,
    partitions: Vec<OfPartition>,
}

struct OfPartition {
    inputs: Inputs,
    /// Done with here, and not told yet.
    settled: Vec<u64>,
    saved: Cursor,
}

impl Turns {
    /// What a coordinator knows that starts from these cursors, and whose tail starts after these positions.
    pub fn new(cursors: Vec<Cursor>, starts: &[u64]) -> Self {
        let partitions = cursors.into_iter().zip(starts).map(|(saved, start)| OfPartition {
            inputs: Inputs::from(saved.clone().within(*start)),
            settled: Vec::new(),
            saved,
        });
        let (me, _) = Uuid::new_v4().as_u64_pair();
        let partitions = partitions.collect();
        Self(Arc::new(Mutex::new(Known { me, others: HashMap::new(), ticks: 0, partitions })))
    }

    /// The tail brings an input; given if it is this coordinator's turn.
    pub fn arrive(&self, arrival: Arrival) -> Option<Mine> {
        let Arrival { partition, position, execution } = arrival;
        let Known { me, others, partitions, .. } = &mut *self.lock();
        let inputs = &mut partitions.get_mut(partition)?.inputs;
        inputs.arrive(position, execution);
        let turn = inputs.take(position, |execution| rank(*me, others, execution))?;
        Some(Mine { turns: self.clone(), partition, turn })
    }

    fn settle(&self, partition: usize, position: u64) {
        let mut known = self.lock();
        let alone = known.others.is_empty();
        let Some(of) = known.partitions.get_mut(partition) else { return };
        of.inputs.settle(position);
        if !alone {
            of.settled.push(position);
        }
    }

    /// Does nothing when the input is settled.
    fn give_back(&self, partition: usize, position: u64) {
        if let Some(of) = self.lock().partitions.get_mut(partition) {
            of.inputs.give_back(position);
        }
    }

    /// A coordinator says something, this one too.
    pub fn hear(&self, said: &CoordinatorHeartbeat) {
        let known = &mut *self.lock();
        if said.coordinator == known.me {
            return;
        }
        match said.leaving {
            true => known.others.remove(&said.coordinator),
            false => known.others.insert(said.coordinator, known.ticks),
        };
        for settled in &said.settled {
            let partition = usize::try_from(settled.partition).unwrap_or(usize::MAX);
            let Some(of) = known.partitions.get_mut(partition) else { continue };
            settled.positions.iter().for_each(|position| of.inputs.settle(*position));
        }
    }

    /// Time passes; gives what has become this coordinator's turn by that.
    pub fn tick(&self) -> Vec<Mine> {
        let Known { me, others, ticks, partitions } = &mut *self.lock();
        *ticks += 1;
        others.retain(|_, heard| *ticks <= *heard + AWAY);
        let mut mine = Vec::new();
        for (partition, of) in partitions.iter_mut().enumerate() {
            of.inputs.tick();
            let turns = of.inputs.take_all(|execution| rank(*me, others, execution));
            mine.extend(turns.into_iter().map(|turn| Mine { turns: self.clone(), partition, turn }));
        }
        mine
    }

    /// What is told the others now.
    pub fn heartbeat(&self, leaving: bool) -> CoordinatorHeartbeat {
        let known = &mut *self.lock();
        let settled = known.partitions.iter_mut().zip(0..).filter(|(of, _)| !of.settled.is_empty());
        let settled = settled.map(|(of, partition)| {
            let told = of.settled.len().min(TOLD);
            SettledInputs { partition, positions: of.settled.drain(..told).collect() }
        });
        CoordinatorHeartbeat { coordinator: known.me, settled: settled.collect(), leaving }
    }

    /// Cursors that differ from those saved last, by partition.
    pub fn unsaved(&self) -> Vec<(usize, Cursor)> {
        let known = self.lock();
        let now = known.partitions.iter().map(|of| (of.inputs.cursor(NAMED), &of.saved)).enumerate();
        now.filter(|(_, (now, saved))| now != *saved).map(|(partition, (now, _))| (partition, now)).collect()
    }

    /// This one is saved.
    pub fn saved(&self, partition: usize, cursor: Cursor) {
        if let Some(of) = self.lock().partitions.get_mut(partition) {
            of.saved = cursor;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the others act on an execution's inputs before this coordinator does.
fn rank(me: u64, others: &HashMap<u64, u64>, execution: &ExecutionId) -> u64 {
    if others.is_empty() {
        return 0;
    }
    // Another version may hash in another way: both may then act at once, or the second a little later.
    let score = |coordinator: u64| {
        let mut hasher = DefaultHasher::new();
        (coordinator, execution.as_str()).hash(&mut hasher);
        hasher.finish()
    };
    let mine = score(me);
    others.keys().map(|other| u64::from(score(*other) > mine)).sum()
}

#[cfg(test)]
mod tests {
    use mahavishnu_core::inputs::PATIENCE;

    use super::*;

    fn id(n: u64) -> ExecutionId {
        ExecutionId::parse(&format!("e{n}")).unwrap()
    }

    fn arrival(position: u64) -> Arrival {
        Arrival { partition: 0, position, execution: id(position) }
    }

    /// Coordinators that have heard of each other.
    fn coordinators(count: usize) -> Vec<Turns> {
        let all: Vec<_> = (0..count).map(|_| Turns::new(vec![Cursor::default()], &[0])).collect();
        tell(&all, &all);
        all
    }

    fn tell(from: &[Turns], to: &[Turns]) {
        for said in from.iter().map(|turns| turns.heartbeat(false)) {
            to.iter().for_each(|turns| turns.hear(&said));
        }
    }

    #[test]
    fn each_input_is_the_turn_of_one_and_all_have_their_share() {
        let all = coordinators(3);
        let mut shares = [0; 3];
        for position in 1..=3_000 {
            let whose: Vec<_> = all.iter().map(|turns| turns.arrive(arrival(position)).is_some()).collect();
            assert_eq!(whose.iter().filter(|mine| **mine).count(), 1, "{position}");
            shares.iter_mut().zip(whose).for_each(|(share, mine)| *share += u64::from(mine));
        }
        assert!(shares.iter().all(|share| (600..1_500).contains(share)), "{shares:?}");
    }

    #[test]
    fn when_one_is_away_another_acts_on_what_it_did_not_settle() {
        let all = coordinators(2);
        let [first, second] = all.as_slice() else { unreachable!() };
        let mine: Vec<_> = (1..=100).filter_map(|position| first.arrive(arrival(position))).collect();
        let others: Vec<_> = (1..=100).filter_map(|position| second.arrive(arrival(position))).collect();
        assert_eq!(mine.len() + others.len(), 100);
        let mut settled = mine;
        let left = settled.split_off(settled.len() / 2);
        settled.into_iter().for_each(Mine::settle);
        tell(&all[..1], &all[1..]);
        for _ in 0..AWAY {
            assert!(second.tick().is_empty());
        }
        let taken: Vec<_> = second.tick().into_iter().map(|input| input.turn.position).collect();
        assert_eq!(taken, left.iter().map(|input| input.turn.position).collect::<Vec<_>>());
    }

    #[test]
    fn who_leaves_is_away_at_once_and_who_is_heard_of_stays() {
        let all = coordinators(2);
        let [first, second] = all.as_slice() else { unreachable!() };
        (1..=100).for_each(|position| drop(second.arrive(arrival(position))));
        for _ in 0..AWAY * 2 {
            tell(&all[..1], &all[1..]);
            assert!(second.tick().is_empty());
        }
        second.hear(&first.heartbeat(true));
        assert!(!second.tick().is_empty());
    }

    #[test]
    fn what_panics_is_tried_again() {
        let turns = Turns::new(vec![Cursor::default()], &[0]);
        let input = turns.arrive(arrival(3)).unwrap();
        let acting = std::thread::spawn(move || panic!("acting on {}", input.turn.execution));
        acting.join().unwrap_err();
        let again = (0..=PATIENCE).find_map(|_| turns.tick().pop()).unwrap();
        assert_eq!((again.turn.position, again.turn.tries), (3, 2));
        again.settle();
        assert!((0..=PATIENCE).all(|_| turns.tick().is_empty()));
    }

    #[test]
    fn a_cursor_is_saved_when_it_has_changed() {
        let turns = Turns::new(vec![Cursor::default(), Cursor::default()], &[0, 0]);
        assert_eq!(turns.unsaved(), []);
        let input = turns.arrive(arrival(3)).unwrap();
        let waiting = Cursor { passed: 3, waiting: vec![(3, id(3))] };
        assert_eq!(turns.unsaved(), [(0, waiting.clone())]);
        turns.saved(0, waiting);
        assert_eq!(turns.unsaved(), []);
        input.settle();
        assert_eq!(turns.unsaved(), [(0, Cursor { passed: 3, waiting: Vec::new() })]);
    }
}
