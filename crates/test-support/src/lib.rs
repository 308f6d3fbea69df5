//! What the tests of all crates share. Everything here is real: servers are started, nothing is imitated.

pub mod nats;
pub mod otlp;
pub mod processes;
pub mod proxy;
pub mod system;
pub mod wait;
