//! The worker of the LlamaIndex engine: documents and retrieval.

use mahavishnu_worker::Engine;

/// LlamaIndex.
pub const ENGINE: Engine =
    Engine { name: "llamaindex", requirements: include_str!("../requirements.lock"), sidecar: None };
