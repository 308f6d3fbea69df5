//! What can go wrong on the bus.

use std::path::PathBuf;

/// What can go wrong on the bus.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another coordinator decided for this execution in the meantime: fold what it stored and decide again.
    #[error("another coordinator decided in the meantime")]
    Conflict,
    /// A later attempt, resume or delivery has the stage; nothing may be written for this one.
    #[error("a later attempt or delivery has taken over the stage")]
    Superseded,
    /// There is no such execution or artifact.
    #[error("not found")]
    NotFound,
    /// No server has the history as far as it was seen elsewhere; one will soon.
    #[error("the NATS servers are behind what was read from them before; try again")]
    Behind,
    /// A message that this version cannot read.
    #[error("unreadable message")]
    Unreadable(#[from] mahavishnu_proto::wire::Error),
    /// The credentials file cannot be read.
    #[error("cannot read the credentials file {path}")]
    Credentials {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The histories are shared by another number of streams.
    #[error(
        "{asked} partitions were asked for, but the store was made with {has}, which cannot be changed: leave --partitions out, or \
         start with an empty store"
    )]
    Partitions {
        /// Those that were asked for.
        asked: u32,
        /// Those that there are.
        has: u32,
    },
    /// More than an artifact may hold.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// NATS refused, or cannot be reached.
    #[error("NATS")]
    Nats(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Nats(source.into())
    }
}

/// `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
