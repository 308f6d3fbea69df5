//! Engines: what each is like, which of them a deployment knows, and the quick reference.
//!
//! Engines are data. The four built-in ones come from a file that is compiled in, a deployment lays files of the same
//! form over it, and Select, Recommend and Plan treat both alike.
//!
//! Invariants: a [`Registry`] never holds two engines of one name; the built-in ones come first, in the order agno,
//! langgraph, llamaindex, prefect, whatever a file overrides; a file with a violation changes nothing.

mod known;
mod profile;
mod reader;
mod registry;

pub use profile::{Complexity, Overhead, Profile, Requirement, SetupTime};
pub use registry::{MAX_FILE_BYTES, Registry};

use crate::id::EngineName;

/// The quick reference: kinds of task, each with the engine for it, in the order in which it is shown.
pub fn guide(registry: &Registry) -> Vec<(String, EngineName)> {
    registry.guide().to_vec()
}

#[cfg(test)]
mod tests;
