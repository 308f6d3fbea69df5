//! What a schedule promises: every slot of its rule becomes one execution, or is recorded as skipped.
//!
//! - **S1** No slot is two executions.
//! - **S2** No slot is lost: each up to where the schedule is settled is an execution, waits, or is recorded as skipped;
//!   and the counts say the same.
//! - **S3** Unless its executions may overlap, no slot starts before those that started earlier have ended.
//! - **S4** At rest nothing is under way any more, and who fires has a wake for its next slot.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use mahavishnu_core::execution::{Fact, Record};
use mahavishnu_core::id::{ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{Outcome, Overlap, State};

use super::{Evidence, Logged, Violation};

/// A schedule as it is stored.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its id.
    pub id: ScheduleId,
    /// How it stands.
    pub state: State,
    /// When somebody is woken to look at it; nothing when that is not known.
    pub wakes: Option<BTreeSet<DateTime<Utc>>>,
}

/// Where the log has something, so that executions can be put in order: by position, or by time where their positions are of
/// different streams.
type Place = (DateTime<Utc>, u64);

/// An execution that a schedule started.
struct Fired<'a> {
    execution: &'a ExecutionId,
    time: DateTime<Utc>,
    /// Where the log has its acceptance, and its end.
    begin: Place,
    end: Option<Place>,
}

/// Everything that is wrong with schedules.
pub(super) fn check(evidence: &Evidence<'_>, all: &mut Vec<Violation>) {
    let mut fired: BTreeMap<&ScheduleId, Vec<Fired<'_>>> = BTreeMap::new();
    for (execution, history) in &evidence.histories {
        if let Some((schedule, firing)) = firing(execution, history, evidence.one_stream) {
            fired.entry(schedule).or_default().push(firing);
        }
    }
    for standing in &evidence.schedules {
        let mut add = |invariant, what| {
            all.push(Violation { invariant, about: format!("schedule {}", standing.id), what });
        };
        let mut fired = fired.remove(&standing.id).unwrap_or_default();
        fired.sort_by_key(|fired| fired.begin);
        twice(&fired, &mut add);
        lost(standing, &fired, &mut add);
        overlap(&standing.state, &fired, &mut add);
        if evidence.at_rest {
            rest(standing, &mut add);
        }
    }
    for id in fired.keys() {
        let what = "it fired, and is not stored".to_owned();
        all.push(Violation { invariant: "S2", about: format!("schedule {id}"), what });
    }
}

fn firing<'a>(
    execution: &'a ExecutionId,
    history: &'a [Logged],
    one_stream: bool,
) -> Option<(&'a ScheduleId, Fired<'a>)> {
    let place = |record: &Record| match one_stream {
        true => (DateTime::UNIX_EPOCH, record.position),
        false => (record.time, record.position),
    };
    let first = &history.first()?.record;
    let Fact::Accepted(accepted) = &first.fact else { return None };
    let firing = accepted.firing.as_ref()?;
    let end = history.iter().find(|logged| logged.record.fact.is_terminal());
    let end = end.map(|logged| place(&logged.record));
    Some((&firing.schedule, Fired { execution, time: firing.time, begin: place(first), end }))
}

fn twice(fired: &[Fired<'_>], add: &mut impl FnMut(&'static str, String)) {
    let mut slots: BTreeMap<DateTime<Utc>, &ExecutionId> = BTreeMap::new();
    for firing in fired {
        if let Some(other) = slots.insert(firing.time, firing.execution) {
            add("S1", format!("the slot {} is {other} and {}", firing.time, firing.execution));
        }
    }
}

fn lost(standing: &Standing, fired: &[Fired<'_>], add: &mut impl FnMut(&'static str, String)) {
    let state = &standing.state;
    let waiting = |time: DateTime<Utc>| {
        state.queue.iter().chain(&state.starting).any(|slot| slot.time == time && !slot.triggered)
    };
    let skipped = |time: DateTime<Utc>| {
        let covers = |past: &mahavishnu_core::schedule::Past| {
            matches!(past.outcome, Outcome::Skipped(_)) && past.from <= time && time <= past.to
        };
        // What was forgotten cannot be looked up; the counts tell of it all the same.
        let forgotten = state.past.len() == State::HISTORY;
        forgotten || state.past.iter().any(covers)
    };
    let slots: Vec<_> = state.definition.rule.between(state.created, state.settled).collect();
    for slot in &slots {
        let exists = fired.iter().any(|firing| firing.time == *slot);
        if !exists && !waiting(*slot) && !skipped(*slot) && !state.deleted {
            add("S2", format!("nothing is known of the slot {slot}"));
        }
    }
    let starting = state.starting.len() as u64;
    let exist = fired.len() as u64;
    if exist > state.fired || exist + starting < state.fired {
        add(
            "S2",
            format!("it counts {} firings, {exist} executions exist and {starting} start", state.fired),
        );
    }
    // What people asked for beside the rule; the oldest requests are forgotten.
    if state.requests.len() < State::REQUESTS && !state.deleted {
        let asked = |request: &mahavishnu_core::schedule::Request| {
            request.count + usize::from(request.slot.is_some())
        };
        let asked: usize = state.requests.iter().map(asked).sum();
        let (due, known) =
            ((slots.len() + asked) as u64, state.fired + state.skipped + state.queue.len() as u64);
        if due != known {
            add("S2", format!("{due} slots were due, and {known} are accounted for"));
        }
    }
}

fn overlap(state: &State, fired: &[Fired<'_>], add: &mut impl FnMut(&'static str, String)) {
    if state.definition.overlap == Overlap::Allow {
        return;
    }
    // What a person asks for starts whatever else runs.
    let of_the_rule = |firing: &&Fired<'_>| {
        let before = firing.time - TimeDelta::nanoseconds(1);
        state.definition.rule.between(before, firing.time).next().is_some()
    };
    let fired: Vec<_> = fired.iter().filter(of_the_rule).collect();
    for pair in fired.windows(2) {
        let [first, second] = pair else { continue };
        if first.end.is_none_or(|end| end > second.begin) {
            add("S3", format!("{} started before {} had ended", second.time, first.time));
        }
    }
}

fn rest(standing: &Standing, add: &mut impl FnMut(&'static str, String)) {
    let state = &standing.state;
    let left = [state.queue.len(), state.starting.len(), state.running.len(), state.cancelling.len()];
    if left != [0; 4] {
        let [queue, starting, running, cancelling] = left;
        let what =
            format!("{queue} slots wait, {starting} start, {running} run, {cancelling} are to be cancelled");
        add("S4", what);
    }
    let next = state.definition.rule.next(state.settled, 1).first().map(DateTime::to_utc);
    if let (Some(wakes), Some(next)) = (&standing.wakes, next.filter(|_| state.is_live()))
        && !wakes.contains(&next)
    {
        add("S4", format!("nobody is woken for its next slot {next}"));
    }
}
