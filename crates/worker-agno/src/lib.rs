//! The worker of the Agno engine: agents and teams.

use mahavishnu_worker::Engine;

/// Agno.
pub const ENGINE: Engine = Engine {
    name: "agno",
    requirements: include_str!("../requirements.lock"),
    packages: &["agno", "openai"],
    sidecar: None,
};
