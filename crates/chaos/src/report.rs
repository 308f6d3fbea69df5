//! What happened in a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::faults::Faults;
use crate::load::Counts;

/// What must have happened at least once, or the run shows nothing.
const NEEDED: &[&str] =
    &["executions completed", "executions failed", "retries", "pauses", "void", "results of a redelivery"];

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Report {
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
        failures.extend(self.wrong.iter().cloned());
        failures.extend(self.by_itself.iter().map(|part| format!("ended by itself: {part}")));
        failures.extend(self.unfinished.iter().map(|id| format!("{id}: a watcher waits for ever")));
        let never = self.faults.iter().filter(|(_, count)| **count == 0);
        failures.extend(never.map(|(kind, _)| format!("no {kind}: the run is too short to show anything")));
        let nothing = NEEDED.iter().filter(|what| !self.records.contains_key(*what));
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
