//! Identifiers, each a type of its own.
//!
//! Invariant: the text of every identifier is one NATS subject token and one path segment
//! (`[A-Za-z0-9_-]`, 1 to 64 characters), so no identifier can change the meaning of a subject or a path.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest identifier, in characters. Long enough for a UUID and for readable names.
pub const MAX_LENGTH: usize = 64;

/// A text that is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an identifier: use 1 to {MAX_LENGTH} of the characters A-Z, a-z, 0-9, '_' and '-'")]
pub struct InvalidId {
    text: String,
}

fn check(text: &str) -> Result<(), InvalidId> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= MAX_LENGTH && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(InvalidId { text: text.chars().take(MAX_LENGTH).collect() })
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident,)+) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes a text.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text).map(|()| Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into()
            }
        }
    )+ };
}

ids! {
    /// One run of a workflow.
    ExecutionId,
    /// A stage within its workflow.
    StageId,
    /// The name of an engine: `agno`, `langgraph`, `llamaindex`, `prefect`, or one that a deployment registers.
    EngineName,
    /// Workers of one engine that have something of their own, such as a project: `reports`.
    PoolName,
    /// A large payload, by the SHA-256 of its content in hexadecimal.
    ArtifactId,
    /// A worker process.
    WorkerId,
    /// A rule that starts executions.
    ScheduleId,
    /// The name of a secret, as workers know it.
    SecretName,
}

/// A task queue: the tasks of one engine, for the workers of one pool. As a text `langgraph`, or `langgraph@reports`, which
/// is one subject token too, and no engine's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Who runs the tasks.
    pub engine: EngineName,
    /// Which of its workers; absent for those without a pool.
    pub pool: Option<PoolName>,
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pool {
            None => self.engine.fmt(f),
            Some(pool) => write!(f, "{}@{pool}", self.engine),
        }
    }
}

impl From<&EngineName> for Queue {
    fn from(engine: &EngineName) -> Self {
        Self { engine: engine.clone(), pool: None }
    }
}

impl From<&Queue> for Queue {
    fn from(queue: &Queue) -> Self {
        queue.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_subject_tokens_are_identifiers() {
        for good in ["a", "stage_1", "0198f-x", &"x".repeat(MAX_LENGTH)] {
            assert_eq!(StageId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a.b", "*", ">", "a b", "ä", "a/b", "\0", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(StageId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
