//! One coordinator's way from an input to the moment at which it is settled, step by step and without the waiting.
//!
//! The driver performs the steps against NATS, the simulation against its model: both go the same way.
//!
//! Invariants:
//! - Nothing is stored but on condition that the decisions folded so far are all that there are.
//! - [`Step::Done`] comes only when the folded state asks for nothing more, so the input may be settled.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};

use super::decide::{Command, decide};
use super::fact::{Fact, Timer};
use super::state::State;
use crate::id::ExecutionId;

/// What a coordinator does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Have this timer fire into the execution's inputs.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: DateTime<Utc>,
    },
    /// Store this fact if the last decision is at `after`; then tell [`Advance::stored`] or [`Advance::refused`].
    Store {
        /// The decision.
        fact: Fact,
        /// The condition.
        after: u64,
    },
    /// Fold the log further.
    Wait(Wait),
    /// Everything that the state asks for is stored.
    Done,
}

/// How far the log is to be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Up to this position, at which this coordinator stored something.
    Position(u64),
    /// Up to a decision after this position, which another coordinator stored.
    DecisionAfter(u64),
}

impl Wait {
    /// Whether it is folded as far.
    pub fn is_over(self, state: &State) -> bool {
        match self {
            Self::Position(position) => state.position >= position,
            Self::DecisionAfter(position) => state.decided > position,
        }
    }
}

/// The way, and how far it is gone.
#[derive(Clone, Debug, Default)]
pub struct Advance {
    plan: VecDeque<Command>,
    /// The last decision, as far as is known here.
    after: u64,
    refused: bool,
}

impl Advance {
    /// What is to be done now, in view of this state. The step before is done.
    pub fn next(&mut self, id: &ExecutionId, state: &State) -> Step {
        if self.plan.is_empty() {
            let wait = match self.refused {
                true => Wait::DecisionAfter(self.after),
                false => Wait::Position(self.after),
            };
            if !wait.is_over(state) {
                return Step::Wait(wait);
            }
            self.plan = decide(id, state).into();
            (self.after, self.refused) = (state.decided, false);
        }
        match self.plan.pop_front() {
            None => Step::Done,
            Some(Command::SetTimer { timer, at }) => Step::SetTimer { timer, at },
            Some(Command::Record(fact)) => Step::Store { fact, after: self.after },
        }
    }

    /// The fact is stored, at this position.
    pub fn stored(&mut self, position: u64) {
        self.after = position;
    }

    /// Another coordinator stored a decision first, so what is planned may be wrong.
    pub fn refused(&mut self) {
        self.plan.clear();
        self.refused = true;
    }
}
