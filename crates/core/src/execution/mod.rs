//! Executions: facts in, state by folding them, commands out.
//!
//! `decide(state) -> commands` and `State::apply(record)` are the whole of it; who stores, reads and waits
//! is the coordinator.

mod decide;
mod fact;
mod state;
#[cfg(test)]
mod tests;

pub use decide::{Command, decide};
pub use fact::{
    Accepted, Completed, Decided, Fact, Failed, Failure, Object, Origin, Paused, Progressed, Question,
    Record, Resolution, Task, Timer,
};
pub use state::{End, Phase, StageState, State, Void};
