//! What running the stages costs beside their own work: measured where there is a history, else from the profiles.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Plan;
use crate::engine::{Registry, SetupTime};
use crate::id::{EngineName, PoolName, Queue, StageId};

/// What to expect of a workflow's engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpectedOverhead {
    /// Each engine of the workflow, and each pool of it, in the order in which the stages name them.
    pub engines: Vec<EngineOverhead>,
    /// Before the work of the stages on the longest chain, in milliseconds: at least.
    pub least_ms: f64,
    /// At most.
    pub most_ms: f64,
}

/// What to expect of one engine, for each of its stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineOverhead {
    /// The engine.
    pub engine: EngineName,
    /// The pool that stages name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Where the figures come from.
    #[serde(flatten)]
    pub source: Source,
}

impl EngineOverhead {
    /// Whose figures they are.
    pub fn queue(&self) -> Queue {
        Queue { engine: self.engine.clone(), pool: self.pool.clone() }
    }
}

/// Where figures come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum Source {
    /// From stages that this deployment has run lately.
    Measured(Measured),
    /// From the engine's profile.
    Profile {
        /// Time to be ready.
        setup_ms: SetupTime,
        /// Speed of a task.
        runtime: String,
        /// In a word.
        overhead: String,
        /// Where it comes from, when it is worth saying.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Neither: an engine without figures in its profile that has not run lately.
    Unknown,
}

/// Medians over the stages of an engine that completed lately, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// From the moment that a task is published to the one in which its engine begins.
    pub start_ms: f64,
    /// From there to the stored result: the stage's own work.
    pub run_ms: f64,
    /// How many stages.
    pub stages: usize,
}

impl Source {
    /// The least and most time before a stage's own work, if it is known.
    fn range(&self) -> Option<(f64, f64)> {
        match self {
            Self::Measured(measured) => Some((measured.start_ms, measured.start_ms)),
            Self::Profile { setup_ms, .. } => Some((setup_ms.min.unwrap_or(0).into(), setup_ms.max.into())),
            Self::Unknown => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured(Measured { start_ms, run_ms, stages }) => {
                let plural = if *stages == 1 { "" } else { "s" };
                write!(
                    f,
                    "starts within {start_ms:.0}ms and works for {run_ms:.0}ms, measured: the median of {stages} stage{plural}"
                )
            }
            Self::Profile { setup_ms, runtime, overhead, note } => {
                write!(
                    f,
                    "{setup_ms} to be ready, {} to run, {} overhead",
                    runtime.to_lowercase(),
                    overhead.to_lowercase()
                )?;
                note.iter().try_for_each(|note| write!(f, " ({note})"))?;
                f.write_str(", from the profile")
            }
            Self::Unknown => f.write_str("not known: the profile does not say, and nothing ran lately"),
        }
    }
}

impl Plan {
    /// Adds what to expect: what was measured of an engine goes before what its profile says.
    pub fn expect(&mut self, registry: &Registry, measured: impl Fn(&Queue) -> Option<Measured>) {
        let mut expected = ExpectedOverhead::default();
        for queue in self.queues() {
            let profile = || registry.get(&queue.engine)?.overhead.clone();
            let source = match (measured(&queue), profile()) {
                (Some(measured), _) => Source::Measured(measured),
                (None, Some(known)) => Source::Profile {
                    setup_ms: known.setup_ms,
                    runtime: known.runtime,
                    overhead: known.overhead,
                    note: known.note,
                },
                (None, None) => Source::Unknown,
            };
            expected.engines.push(EngineOverhead { engine: queue.engine, pool: queue.pool, source });
        }
        (expected.least_ms, expected.most_ms) = self.longest(&expected.engines);
        self.overhead = Some(expected);
    }

    /// The overhead along the chain of stages where it is longest; what is not known counts as nothing.
    fn longest(&self, engines: &[EngineOverhead]) -> (f64, f64) {
        let mut ends: BTreeMap<&StageId, (f64, f64)> = BTreeMap::new();
        for stage in self.levels.iter().flatten().filter_map(|id| self.stages.iter().find(|s| &s.id == id)) {
            let own = engines.iter().find(|known| known.queue() == stage.queue());
            let (least, most) = own.and_then(|known| known.source.range()).unwrap_or_default();
            let before = stage.needs.iter().filter_map(|need| ends.get(need));
            let (after, at_most) = before.fold((0.0_f64, 0.0_f64), |(a, b), (c, d)| (a.max(*c), b.max(*d)));
            ends.insert(&stage.id, (after + least, at_most + most));
        }
        ends.values().fold((0.0, 0.0), |(a, b), (c, d)| (a.max(*c), b.max(*d)))
    }
}
