//! The simulation over many seeds, its mutations, and its bus against the real one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod conformance;
mod mutations;
mod seeds;
mod stored;
