//! What an engine is like, for clients.

use mahavishnu_core::engine::Profile;

use crate::v1;

/// A profile, without workers: who is there only a server knows.
pub fn profile(profile: &Profile) -> v1::Profile {
    v1::Profile {
        engine: profile.name.to_string(),
        name: profile.display_name.clone(),
        complexity: profile.complexity.to_string(),
        stateful: profile.stateful,
        routing: profile.routing,
        scheduling: profile.scheduling,
        strengths: profile.strengths.clone(),
        weaknesses: profile.weaknesses.clone(),
        best_for: profile.best_for.clone(),
        workers: Vec::new(),
        avoid_for: profile.avoid_for.clone(),
        overhead: profile.overhead.as_ref().map(|overhead| v1::Overhead {
            setup_min_ms: overhead.setup_ms.min,
            setup_max_ms: overhead.setup_ms.max,
            runtime: overhead.runtime.clone(),
            overhead: overhead.overhead.clone(),
            note: overhead.note.clone().unwrap_or_default(),
        }),
        worker: profile.worker.clone().unwrap_or_default(),
    }
}
