//! How many tasks to ask of which partition.
//!
//! Invariants:
//! - No more are requested than slots are free.
//! - While a slot is free, something is requested; and every partition has its turn, however much others have to give.

use std::time::{Duration, Instant};

/// How long a partition that is away is not asked: as on a cluster while it has no leader.
const AWAY: Duration = Duration::from_millis(500);

/// Every so many rounds of requests a partition has its turn although others have more to give: rare enough that a slot seldom waits in
/// vain, and often enough that nothing waits for ever.
const FAIR: usize = 8;

/// What was asked of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Tasks that were requested and have not come.
    pub requested: u32,
    /// The last one that came said that more are waiting.
    pub more: bool,
    /// The last sign of life.
    pub heard: Instant,
    /// When it was found to be away.
    pub away: Option<Instant>,
}

impl Default for Asked {
    fn default() -> Self {
        Self { requested: 0, more: false, heard: Instant::now(), away: None }
    }
}

impl Asked {
    /// Nothing that was requested will come, and for a while nothing is requested.
    pub fn gone(&mut self) {
        (self.requested, self.more, self.away) = (0, false, Some(Instant::now()));
    }

    /// Whether it is to be left alone.
    pub fn is_away(&self) -> bool {
        self.away.is_some_and(|since| since.elapsed() < AWAY)
    }
}

/// How many to request of each partition, beside what was requested; `room` is the number of free slots.
///
/// Partitions with more to give have the room, but for one slot that asks each of the others; without any, all have the same. A
/// partition is asked once half of its part is not covered, so a busy worker sends few requests. Where fewer slots are free than
/// there are partitions, they take turns; `turn` counts the rounds of requests.
pub fn share(room: u32, asked: &[Asked], turn: usize) -> Vec<u32> {
    let requested: u32 = asked.iter().map(|asked| asked.requested).sum();
    let mut free = room.saturating_sub(requested);
    let mut wanted = vec![0; asked.len()];
    if free == 0 {
        return wanted;
    }
    let all = u32::try_from(asked.iter().filter(|asked| !asked.is_away()).count()).unwrap_or(u32::MAX);
    if all == 0 {
        return wanted;
    }
    let busy = u32::try_from(asked.iter().filter(|asked| asked.more).count()).unwrap_or(u32::MAX);
    let (part, rest) = match busy {
        0 => (room.div_ceil(all), room.div_ceil(all)),
        busy => (room.saturating_sub(all.saturating_sub(busy)).div_ceil(busy).max(1), 1),
    };
    let is_fair = turn % FAIR == FAIR - 1;
    let begin = if is_fair { turn / FAIR } else { turn };
    let places = (0..asked.len()).map(|place| (place + begin) % asked.len().max(1));
    // Those with more to give first: a slot that is free for a moment is not to wait elsewhere.
    let (first, last): (Vec<_>, Vec<_>) =
        places.partition(|place| is_fair || asked.get(*place).is_some_and(|asked| asked.more));
    for place in first.into_iter().chain(last) {
        let asked = asked.get(place).filter(|asked| !asked.is_away());
        let (Some(asked), Some(wanted)) = (asked, wanted.get_mut(place)) else { continue };
        let part = if asked.more { part } else { rest };
        if asked.requested <= part / 2 {
            *wanted = (part - asked.requested).min(free);
            free -= *wanted;
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(requested: u32, more: bool) -> Asked {
        Asked { requested, more, ..Asked::default() }
    }

    #[test]
    fn one_partition_is_asked_for_all() {
        assert_eq!(share(64, &[asked(0, false)], 0), [64]);
        assert_eq!(share(64, &[asked(33, false)], 0), [0]);
        assert_eq!(share(64, &[asked(32, false)], 0), [32]);
        assert_eq!(share(0, &[asked(0, false)], 0), [0]);
    }

    #[test]
    fn those_with_more_to_give_have_the_room() {
        let all = [asked(0, false), asked(0, true), asked(0, false), asked(0, false)];
        assert_eq!(share(64, &all, 0), [1, 61, 1, 1]);
        assert_eq!(share(1, &all, 3), [0, 1, 0, 0]);
        assert_eq!(share(64, &[asked(0, false); 4], 0), [16; 4]);
    }

    #[test]
    fn who_is_away_is_left_alone() {
        let mut gone = asked(3, true);
        gone.gone();
        assert_eq!(share(8, &[asked(0, false), gone, asked(0, false)], 0), [4, 0, 4]);
        assert_eq!(share(8, &[gone], 0), [0]);
        assert!(!asked(0, false).is_away());
    }

    #[test]
    fn fewer_slots_than_partitions_take_turns() {
        let all = [asked(0, false); 4];
        assert_eq!([0, 1, 2].map(|turn| share(1, &all, turn)), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]);
    }

    #[test]
    fn one_that_always_has_more_to_give_starves_nobody() {
        for count in 2..9 {
            let mut all = vec![asked(0, false); count];
            all[0].more = true;
            let mut served = vec![0; count];
            for turn in 0..FAIR * count {
                let wanted = share(1, &all, turn);
                served.iter_mut().zip(wanted).for_each(|(served, wanted)| *served += wanted);
            }
            assert!(served.iter().all(|served| *served > 0), "{served:?}");
            assert!(served[0] as usize >= (FAIR - 1) * count, "{served:?}");
        }
    }

    proptest! {
        #[test]
        fn no_more_than_slots_and_never_nothing(
            room in 0..300u32,
            all in prop::collection::vec((0..80u32, any::<bool>()), 1..9),
            turn in 0..20usize,
        ) {
            let all: Vec<_> = all.into_iter().map(|(requested, more)| asked(requested, more)).collect();
            let before: u32 = all.iter().map(|asked| asked.requested).sum();
            let wanted: u32 = share(room, &all, turn).iter().sum();
            prop_assert!(wanted == 0 || before + wanted <= room);
            prop_assert!(room == 0 || before + wanted > 0);
        }
    }
}
