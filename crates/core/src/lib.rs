//! The pure domain of Mahavishnu: no async runtime, no transport, no clock, no randomness, no environment.
//!
//! Everything here is a function of its arguments, so it is tested without a server.

pub mod engine;
pub mod execution;
pub mod expression;
pub mod id;
pub mod inputs;
pub mod recommendation;
pub mod schedule;
pub mod selection;
pub mod violation;
pub mod workflow;
