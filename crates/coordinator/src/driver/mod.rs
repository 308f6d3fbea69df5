//! Advances executions: acts on the inputs that the tail brings, decides, stores what was decided.
//!
//! Invariants:
//! - An input is settled only after everything that it caused is stored, and only after every record up to it was folded.
//!   The inputs that are not settled are the whole recovery.
//! - Any coordinator can advance any execution; when two decide at once, the log takes one, and the other
//!   folds what was stored and decides again.

mod advance;
mod approvals;
mod histories;
mod history;
mod inputs;
pub mod schedules;
mod summary;
mod turns;

pub use approvals::{approvals, decision_of};
pub use histories::Histories;
pub use history::{Folded, History, Numbered};
pub use inputs::Driver;
pub use schedules::Scheduler;
pub use summary::dead_letters;
pub use turns::Arrival;
