//! What a use case can refuse.

use mahavishnu_core::violation::Violations;

/// What a use case can refuse. Few and closed: the edge maps each to one status.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input is wrong; everything that is, at once.
    #[error("{0}")]
    Invalid(#[from] Violations),
    /// There is no such thing.
    #[error("no {what} {name:?}")]
    NotFound {
        /// `execution`, `approval`, `artifact`, `engine`.
        what: &'static str,
        /// What was asked for.
        name: String,
        /// What to do about it.
        hint: String,
    },
    /// There is such a thing already.
    #[error("the {what} {name:?} exists")]
    AlreadyExists {
        /// `schedule`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do about it.
        hint: String,
    },
    /// The request id was used before, with another body.
    #[error("request id {0:?} was used before for something else; choose a new one")]
    RequestIdReused(String),
    /// The resource is not in a state that allows it.
    #[error("{message}")]
    Precondition {
        /// A stable code.
        reason: &'static str,
        /// What is the case, and what to do.
        message: String,
    },
    /// This person may not.
    #[error("{message}")]
    Denied {
        /// A stable code.
        reason: &'static str,
        /// Why, and who may.
        message: String,
    },
    /// This person has done it before.
    #[error("{message}")]
    Done {
        /// A stable code.
        reason: &'static str,
        /// What is the case, and what to do.
        message: String,
    },
    /// The cursor does not exist.
    #[error("sequence {asked} is beyond the last event, {last}; resume with a sequence from 0 to {last}")]
    OutOfRange {
        /// What was asked for.
        asked: i64,
        /// The last that exists.
        last: u64,
    },
    /// More than the stated limit.
    #[error(
        "larger than the limit of {limit} bytes; GetInfo tells that of artifacts, the coordinator's --max-artifact-bytes sets it"
    )]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// This process is about to end; another replica, or this one restarted, goes on.
    #[error("the coordinator is shutting down; resume with the last sequence that you saw")]
    Draining,
    /// The log cannot be reached or refuses.
    #[error("the history is not available now; try again")]
    Unavailable(#[source] mahavishnu_bus::Error),
}

impl From<mahavishnu_bus::Error> for Error {
    fn from(error: mahavishnu_bus::Error) -> Self {
        match error {
            mahavishnu_bus::Error::TooLarge { limit } => Self::TooLarge { limit },
            error => Self::Unavailable(error),
        }
    }
}

impl Error {
    pub(crate) fn no_schedule(name: &str) -> Self {
        Self::NotFound {
            what: "schedule",
            name: name.to_owned(),
            hint: "list what there is: mahavishnu schedules list".to_owned(),
        }
    }

    pub(crate) fn no_execution(name: &str) -> Self {
        Self::NotFound {
            what: "execution",
            name: name.to_owned(),
            hint: "list what there is: mahavishnu executions list".to_owned(),
        }
    }
}

/// `Result` of the use cases.
pub type Result<T, E = Error> = std::result::Result<T, E>;
