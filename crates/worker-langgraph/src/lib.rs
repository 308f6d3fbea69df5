//! The worker of the LangGraph engine: stateful graphs, routes, approvals.

use mahavishnu_worker::Engine;

/// LangGraph.
pub const ENGINE: Engine = Engine {
    name: "langgraph",
    requirements: include_str!("../requirements.lock"),
    packages: &["langgraph", "langgraph-checkpoint", "langchain-core", "langchain-openai"],
    sidecar: None,
};
