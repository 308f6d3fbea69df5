//! What happened in a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::Options;
use crate::faults::Faults;
use crate::load::Counts;

/// What must have happened at least once, or the run shows nothing.
const NEEDED: &[&str] = &[
    "artifacts that something refers to",
    "executions completed",
    "executions failed",
    "executions that go on from others",
    "messages larger than fit the bus",
    "pauses",
    "pauses decided by time",
    "retries",
    "schedules' firings",
    "votes",
];
/// The same, where something breaks.
const NEEDED_OF_FAULTS: &[&str] = &["results of a redelivery", "void events"];
/// The same, of a run that is [`LONG`].
const NEEDED_OF_LONG: &[&str] = &[
    "executions cancelled",
    "schedules' slots skipped",
    "time limits by timer",
    "void events of people",
    "void events of timers",
    "void events of workers",
];
/// A run in which everything happens.
const LONG: Duration = Duration::from_secs(300);

/// What must happen in a run.
pub fn needed(options: &Options) -> Vec<&'static str> {
    let mut needed = NEEDED.to_vec();
    if !options.rolling {
        needed.extend(NEEDED_OF_FAULTS);
        if options.length() >= LONG {
            needed.extend(NEEDED_OF_LONG);
        }
    }
    needed
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What must have happened.
    pub needed: Vec<&'static str>,
    /// Faults by kind.
    pub faults: Faults,
    /// What clients met.
    pub load: Counts,
    /// What histories hold.
    pub records: BTreeMap<&'static str, u64>,
    /// Executions judged.
    pub executions: usize,
    /// Events that watchers got, compared with the stream.
    pub watched: usize,
    /// Breaches of invariants.
    pub violations: Vec<String>,
    /// What servers of a cluster have that others have not.
    pub replicas: Vec<String>,
    /// Answers and messages that should not have been.
    pub wrong: Vec<String>,
    /// Processes that ended although nobody ended them.
    pub by_itself: Vec<String>,
    /// Executions whose watchers were not told of an end.
    pub unfinished: BTreeSet<String>,
}

impl Report {
    /// Why the run is a failure; empty when it is none.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.violations.clone();
        failures.extend(self.replicas.iter().map(|what| format!("replicas differ: {what}")));
        failures.extend(self.wrong.iter().cloned());
        failures.extend(self.by_itself.iter().map(|part| format!("ended by itself: {part}")));
        failures.extend(self.unfinished.iter().map(|id| format!("{id}: a watcher waits for ever")));
        let never = self.faults.iter().filter(|(_, count)| **count == 0);
        failures.extend(never.map(|(kind, _)| format!("no {kind}: the run is too short to show anything")));
        let nothing = self.needed.iter().filter(|what| !self.records.contains_key(*what));
        failures.extend(nothing.map(|what| format!("no {what}: the run is too short to show anything")));
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} faults", self.faults.values().sum::<u64>())?;
        for (kind, count) in &self.faults {
            writeln!(f, "  {count:>7}  {kind}")?;
        }
        writeln!(f, "{} executions, {} events watched", self.executions, self.watched)?;
        for (what, count) in self.records.iter().chain(&self.load) {
            writeln!(f, "  {count:>7}  {what}")?;
        }
        write!(f, "{} violations", self.violations.len())
    }
}
