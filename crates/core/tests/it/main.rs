//! The core from outside: tables, properties, and everything that the specification shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod parser_properties;
mod recommendation;
mod selection;
mod workflow_properties;
mod workflow_refusals;
mod workflow_run;
mod workflow_seed;
mod workflow_types;
