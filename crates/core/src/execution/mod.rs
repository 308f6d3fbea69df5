//! Executions: facts in, state by folding them, commands out.
//!
//! `decide(state) -> commands` and `State::apply(record)` are the whole of it, and `Advance` the order in which a
//! coordinator does what they say; who stores, reads and waits is the coordinator.

mod advance;
mod approval;
mod decide;
mod fact;
mod state;
#[cfg(test)]
mod tests;
mod vary;

pub use advance::{Advance, Step, Wait};
pub use approval::{Pause, together};
pub use decide::{Command, decide};
pub use fact::{
    Accepted, Checkpoint, Completed, Decided, Ended, Fact, Failed, Failure, Firing, Forked, Object, Origin,
    Paused, Progressed, Question, Record, Resolution, StateUpdate, Task, TaskUnreadable, Timer,
};
pub use state::{End, Phase, StageState, State, Void};
pub use vary::{Bypass, Variation};
