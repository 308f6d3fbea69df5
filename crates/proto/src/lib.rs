//! The generated protocol code, and the conversions between it and the domain.
//!
//! - [`v1`]: the public API, what clients speak.
//! - [`worker`]: what crosses the bus, what workers speak.
//! - [`public`]: domain to public API and back.
//! - [`wire`]: domain to bus messages and back.

pub mod codec;
pub mod json;
pub mod public;
pub mod wire;

/// The public API, `mahavishnu.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("mahavishnu.v1");
}

/// The bus protocol, `mahavishnu.worker.v1`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod worker {
    tonic::include_proto!("mahavishnu.worker.v1");
}

/// The descriptors of both packages, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
