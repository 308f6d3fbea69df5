//! Whole systems in one thread, driven by a seed: coordinators, workers, clients, watchers and people over a model of
//! the bus, with every fault that the design speaks of, judged by [`check`].
//!
//! | module | what it is |
//! |---|---|
//! | [`check`] | the judge, also of the chaos runs with real processes |
//! | [`bus`] | the model of the bus, compared with the real server |
//! | [`coordinator`] | performs the core's own [`Advance`](mahavishnu_core::execution::Advance), as the driver does |
//! | [`worker`], [`client`], [`watcher`] | the others who take part |
//! | [`schedules`] | what starts executions at their times, in a world of its own |
//! | [`mutation`] | known mistakes, to see that the judge notices each |
//! | [`world`] | whose turn it is; the faults; the calm after them |
//!
//! Invariant: a run is a function of its seed (and mutation): no clock, no thread, no hash order.

// The simulation is a test: what cannot be is a bug of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod bus;
pub mod check;
mod client;
mod coordinator;
mod environment;
pub mod mutation;
pub mod schedules;
mod watcher;
mod worker;
mod workflows;
mod world;

pub use environment::Faults;
pub use world::{Outcome, run};
