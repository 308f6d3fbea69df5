//! What becomes of a schedule's slots: a function of its state, the time and what has happened.
//!
//! A slot goes from the rule into the queue or is skipped, from the queue to `starting`, and from there to
//! `running`, once its execution exists. `starting` is stored before anything starts: whoever finds it there starts the
//! same execution, under the id that follows from the slot. So no slot fires twice, and none is lost.
//!
//! | at its time, or after | overlap | the slot |
//! |---|---|---|
//! | nothing is under way | any | fires |
//! | something is under way | skip | is skipped, `OVERLAP` |
//! | | queue | waits |
//! | | allow | fires |
//! | | cancel previous | waits for the cancellation; a slot that waits already is skipped, `SUPERSEDED` |
//! | missed, catch-up skip | any | is skipped, `MISSED` |
//! | missed, catch-up latest | | the latest as above, the others are skipped, `SUPERSEDED` |
//! | missed, catch-up all | | as above, but waits where it would be skipped for `OVERLAP` |
//! | missed before the window | | is skipped, `OUTSIDE_WINDOW` |
//!
//! Invariant: every slot after the schedule's creation and up to `settled` is in the queue, or counted once as
//! fired or skipped.

use std::collections::BTreeSet;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::state::{CatchUp, Outcome, Overlap, Past, Skip, Slot, State};

/// A slot that is looked at within this time fires as if at its time: longer than a lease and the start of a process.
pub const ON_TIME: TimeDelta = TimeDelta::seconds(60);
/// Slots that may wait.
pub const MAX_QUEUE: usize = 1_000;
/// Executions that are started in one step.
const BATCH: usize = 50;
/// Slots that are counted in one step; where more were skipped in a row, the count says at least.
const MAX_COUNT: usize = 10_000;

/// What has happened to a schedule's executions.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// These exist now.
    pub started: BTreeSet<Slot>,
    /// The cancellation of these is recorded.
    pub cancelled: BTreeSet<Slot>,
    /// These have ended, or are no more.
    pub ended: BTreeSet<Slot>,
}

impl State {
    /// The state after `events`, at `now`. The same again changes nothing.
    #[must_use]
    pub fn advance(&self, now: DateTime<Utc>, events: &Events) -> Self {
        let mut next = self.clone();
        let (started, waiting) = next.starting.drain(..).partition(|slot| events.started.contains(slot));
        next.starting = waiting;
        let started: Vec<Slot> = started;
        next.running.extend(started);
        next.running.retain(|slot| !events.ended.contains(slot));
        next.cancelling.retain(|slot| !events.cancelled.contains(slot) && !events.ended.contains(slot));
        if next.is_live() {
            next.pass(now);
        }
        if !next.deleted {
            next.promote();
        }
        next
    }

    /// Starts one now, whatever else runs. Gives its slot.
    pub fn trigger(&mut self, now: DateTime<Utc>) -> Slot {
        let mut slot = Slot { time: now.trunc_subsecs(6), triggered: true };
        let fired = |past: &Past| past.outcome == (Outcome::Fired { triggered: true });
        // The time is its identity: two in one instant are told apart.
        while self.is_under_way(&slot) || self.past.iter().any(|past| fired(past) && past.from == slot.time) {
            slot.time += TimeDelta::microseconds(1);
        }
        self.start(slot);
        slot
    }

    /// Queues these slots, as far as the queue holds them and they are not under way; gives how many.
    pub fn backfill(&mut self, times: impl IntoIterator<Item = DateTime<Utc>>) -> usize {
        let before = self.queue.len();
        for time in times {
            let slot = Slot { time, triggered: false };
            if self.queue.len() < MAX_QUEUE && !self.is_under_way(&slot) && !self.queue.contains(&slot) {
                self.queue.push_back(slot);
            }
        }
        self.queue.len() - before
    }

    /// Lets the slots up to `now` go, as of a pause or of a rule that is no more.
    pub fn let_go(&mut self, now: DateTime<Utc>, why: Skip) {
        self.skip_between(self.settled, now, why);
        self.settled = self.settled.max(now);
    }

    /// Settles every slot up to `now`.
    fn pass(&mut self, now: DateTime<Utc>) {
        let (patience, why) = match self.definition.catch_up {
            CatchUp::Skip => (ON_TIME, Skip::Missed),
            CatchUp::Latest | CatchUp::All => {
                let window = TimeDelta::from_std(self.definition.window).unwrap_or(TimeDelta::MAX);
                (window.max(ON_TIME), Skip::OutsideWindow)
            }
        };
        let horizon = now.checked_sub_signed(patience).unwrap_or(self.settled);
        self.skip_between(self.settled, horizon - TimeDelta::nanoseconds(1), why);
        let from = self.settled.max(horizon - TimeDelta::nanoseconds(1));
        let due: Vec<_> = self.definition.rule.between(from, now).collect();
        let Some(last) = due.last().copied() else { return };
        self.settled = last;
        for time in due {
            let missed = now - time > ON_TIME;
            let slot = Slot { time, triggered: false };
            if missed && self.definition.catch_up == CatchUp::Latest && time != last {
                self.skip(slot, Skip::Superseded);
            } else {
                self.fall_due(slot, missed);
            }
        }
    }

    fn fall_due(&mut self, slot: Slot, missed: bool) {
        if self.is_under_way(&slot) || self.queue.contains(&slot) {
            // A backfill was quicker; it is counted when it starts.
            return;
        }
        let busy = !(self.running.is_empty() && self.starting.is_empty() && self.queue.is_empty());
        match self.definition.overlap {
            Overlap::Skip if busy && !(missed && self.definition.catch_up == CatchUp::All) => {
                return self.skip(slot, Skip::Overlap);
            }
            Overlap::CancelPrevious => {
                for old in std::mem::take(&mut self.queue) {
                    self.skip(old, Skip::Superseded);
                }
                let under_way = self.running.iter().chain(&self.starting).copied();
                let new: Vec<_> = under_way.filter(|old| !self.cancelling.contains(old)).collect();
                self.cancelling.extend(new);
            }
            Overlap::Skip | Overlap::Queue | Overlap::Allow => {}
        }
        if self.queue.len() < MAX_QUEUE {
            self.queue.push_back(slot);
        } else {
            self.skip(slot, Skip::QueueFull);
        }
    }

    /// Takes from the queue what may start now.
    fn promote(&mut self) {
        let room = match self.definition.overlap {
            Overlap::Allow => BATCH.saturating_sub(self.starting.len()),
            _ => usize::from(self.running.is_empty() && self.starting.is_empty()),
        };
        for slot in self.queue.drain(..room.min(self.queue.len())).collect::<Vec<_>>() {
            self.start(slot);
        }
    }

    fn start(&mut self, slot: Slot) {
        self.starting.push(slot);
        self.fired += 1;
        let (time, triggered) = (slot.time, slot.triggered);
        self.remember(Past { from: time, to: time, count: 1, outcome: Outcome::Fired { triggered } });
    }

    fn skip(&mut self, slot: Slot, why: Skip) {
        self.skip_run(slot.time, slot.time, 1, why);
    }

    fn skip_between(&mut self, after: DateTime<Utc>, until: DateTime<Utc>, why: Skip) {
        let mut slots = self.definition.rule.between(after, until).take(MAX_COUNT);
        let Some(from) = slots.next() else { return };
        let (last, more) = slots.fold((from, 0), |(_, count), slot| (slot, count + 1));
        let count = more + 1;
        // Beyond what is counted, the last one is not looked for.
        let to = if count == MAX_COUNT as u64 { until } else { last };
        self.settled = self.settled.max(to);
        self.skip_run(from, to, count, why);
    }

    fn skip_run(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, count: u64, why: Skip) {
        self.skipped += count;
        let outcome = Outcome::Skipped(why);
        let follows = |last: &Past| self.definition.rule.between(last.to, from).next() == Some(from);
        let in_a_row = self.past.back().is_some_and(|last| last.outcome == outcome && follows(last));
        match self.past.back_mut() {
            Some(last) if in_a_row => {
                last.to = to;
                last.count += count;
            }
            _ => self.remember(Past { from, to, count, outcome }),
        }
    }

    fn remember(&mut self, past: Past) {
        self.past.push_back(past);
        while self.past.len() > Self::HISTORY {
            self.past.pop_front();
        }
    }

    fn is_under_way(&self, slot: &Slot) -> bool {
        self.starting.contains(slot) || self.running.contains(slot)
    }
}

#[cfg(test)]
mod tests;
