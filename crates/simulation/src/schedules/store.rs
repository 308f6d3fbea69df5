//! A model of what is stored of schedules: the last state of each, over which the next is stored on condition, and which is a
//! wake, too; wakes, of which a later one replaces an earlier; timers that become wakes. `tests/it/stored.rs` plays the same
//! operations against a real `nats-server` and compares.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use mahavishnu_core::id::ScheduleId;
use mahavishnu_core::schedule::State;

use crate::bus::Conflict;

/// Somebody is to look at a schedule.
#[derive(Clone, Debug)]
pub struct Wake {
    /// The schedule.
    pub schedule: ScheduleId,
    /// When the server stored it.
    pub time: DateTime<Utc>,
    by: By,
    position: u64,
}

/// What wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// A state that was stored.
    State,
    /// Somebody, or a timer.
    Asked,
}

/// A wake, and until when somebody has it.
type Pending = (Wake, Option<DateTime<Utc>>);

/// Everything that is stored.
#[derive(Debug)]
pub struct Store {
    lease: TimeDelta,
    states: BTreeMap<ScheduleId, (State, u64)>,
    /// The last wake of each kind of each.
    wakes: BTreeMap<(ScheduleId, By), Pending>,
    timers: BTreeSet<(DateTime<Utc>, ScheduleId)>,
    last: u64,
}

impl Store {
    /// An empty one. Who does not acknowledge a wake for as long as a lease loses it.
    pub fn new(lease: TimeDelta) -> Self {
        Self { lease, states: BTreeMap::new(), wakes: BTreeMap::new(), timers: BTreeSet::new(), last: 0 }
    }

    /// The state of a schedule and its revision.
    pub fn get(&self, id: &ScheduleId) -> Option<(State, u64)> {
        self.states.get(id).cloned()
    }

    /// Every state.
    pub fn all(&self) -> impl Iterator<Item = (&ScheduleId, &State)> {
        self.states.iter().map(|(id, (state, _))| (id, state))
    }

    /// Stores a state over a revision, 0 for the first; over any without one. It wakes by itself.
    pub fn put(
        &mut self,
        id: &ScheduleId,
        state: State,
        after: Option<u64>,
        now: DateTime<Utc>,
    ) -> Result<(), Conflict> {
        let revision = self.states.get(id).map_or(0, |(_, revision)| *revision);
        if after.is_some_and(|after| after != revision) {
            return Err(Conflict);
        }
        let revision = self.add(id, By::State, now);
        self.states.insert(id.clone(), (state, revision));
        Ok(())
    }

    /// Has somebody look at it.
    pub fn wake(&mut self, id: &ScheduleId, now: DateTime<Utc>) {
        self.add(id, By::Asked, now);
    }

    /// As if its state did not wake.
    pub fn let_sleep(&mut self, id: &ScheduleId) {
        self.wakes.remove(&(id.clone(), By::State));
    }

    fn add(&mut self, id: &ScheduleId, by: By, time: DateTime<Utc>) -> u64 {
        self.last += 1;
        let wake = Wake { schedule: id.clone(), time, by, position: self.last };
        self.wakes.insert((id.clone(), by), (wake, None));
        self.last
    }

    /// The same at a time.
    pub fn wake_at(&mut self, id: &ScheduleId, at: DateTime<Utc>) {
        self.timers.insert((at, id.clone()));
    }

    /// When somebody is woken to look at it.
    pub fn wakes_of(&self, id: &ScheduleId) -> BTreeSet<DateTime<Utc>> {
        self.timers.iter().filter(|(_, of)| of == id).map(|(at, _)| *at).collect()
    }

    /// Timers that are due become wakes.
    pub fn pass(&mut self, now: DateTime<Utc>) {
        while let Some((at, id)) = self.timers.first().cloned().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id.clone()));
            self.wake(&id, now);
        }
    }

    /// Delivers a wake that nobody has, or had for too long.
    pub fn pull(&mut self, now: DateTime<Utc>) -> Option<Wake> {
        let free = |until: &Option<DateTime<Utc>>| until.is_none_or(|until| until <= now);
        let (wake, until) = self.wakes.values_mut().find(|(_, until)| free(until))?;
        *until = Some(now + self.lease);
        Some(wake.clone())
    }

    /// Takes a wake away, unless a later one is in its place.
    pub fn ack(&mut self, wake: &Wake) {
        let of = (wake.schedule.clone(), wake.by);
        if self.wakes.get(&of).is_some_and(|(now, _)| now.position == wake.position) {
            self.wakes.remove(&of);
        }
    }

    /// Nobody is to look at anything now.
    pub fn is_idle(&self) -> bool {
        self.wakes.is_empty()
    }
}
