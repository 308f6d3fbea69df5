//! Logs, traces, and the W3C context across gRPC metadata and NATS headers.
//!
//! Invariant: without an OTLP endpoint nothing is exported and no context is invented; a context that came
//! in is still passed on.

mod relay;
mod setup;

pub mod context;

pub use relay::SpanRelay;
pub use setup::{LogFormat, Options, Telemetry};
