//! How long stages took lately, by engine and pool: what this coordinator saw in the tail since it started.
//!
//! Invariant: bounded: the last [`KEPT`] stages of each queue. Nothing is stored; a coordinator that starts knows
//! nothing yet, and plans then say what the profiles say.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use mahavishnu_core::id::Queue;
use mahavishnu_core::workflow::plan::Measured;

/// Stages of a queue that count.
const KEPT: usize = 256;

/// How long one stage took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// From the published task to the moment in which the engine began.
    pub start: TimeDelta,
    /// From there to the stored result.
    pub run: TimeDelta,
}

/// The measurements. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Measurements(Arc<Mutex<HashMap<Queue, VecDeque<Took>>>>);

impl Measurements {
    /// Adds a stage that completed.
    pub fn add(&self, queue: Queue, took: Took) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.entry(queue).or_default();
        kept.truncate(KEPT - 1);
        kept.push_front(took);
    }

    /// The medians of a queue, if any stage of it completed lately.
    pub fn of(&self, queue: &Queue) -> Option<Measured> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = all.get(queue)?;
        let median = |time: fn(&Took) -> TimeDelta| {
            // Clocks of two machines may differ by more than a stage takes to start.
            let mut times: Vec<TimeDelta> =
                kept.iter().map(|took| time(took).max(TimeDelta::zero())).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2)?;
            Some(middle.num_microseconds()? as f64 / 1_000.0)
        };
        Some(Measured {
            start_ms: median(|took| took.start)?,
            run_ms: median(|took| took.run)?,
            stages: kept.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use mahavishnu_core::id::EngineName;

    use super::*;

    #[test]
    fn medians_are_of_the_last_stages_only() {
        let measurements = Measurements::default();
        let queue = Queue::from(&EngineName::parse("agno").unwrap());
        assert_eq!(measurements.of(&queue), None);
        let took =
            |start, run| Took { start: TimeDelta::milliseconds(start), run: TimeDelta::milliseconds(run) };
        for (start, run) in [(9, 90), (-3, 10), (5, 50)] {
            measurements.add(queue.clone(), took(start, run));
        }
        let found = measurements.of(&queue).unwrap();
        assert_eq!((found.start_ms, found.run_ms, found.stages), (5.0, 50.0, 3));
        (0..1_000).for_each(|n| measurements.add(queue.clone(), took(n, n)));
        let found = measurements.of(&queue).unwrap();
        assert_eq!((found.start_ms, found.stages), (872.0, KEPT));
    }
}
