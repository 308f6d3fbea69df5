//! How an attempt ends, and what of it may be told.

use std::time::Duration;

use mahavishnu_core::execution::{Failure, Question};
use serde_json::{Map, Value};

use crate::Isolation;
use crate::host::Connection;
use crate::memory::Exceeded;
use crate::secrets::Redactor;

/// How an attempt ended, as far as this worker is concerned.
pub enum Outcome {
    /// With this output.
    Completed(Map<String, Value>),
    /// With this failure.
    Failed(Failure),
    /// Until somebody decides.
    Paused {
        /// What is to be decided.
        questions: Vec<Question>,
        /// Where to go on; none for an engine that keeps its checkpoints.
        checkpoint: Option<Vec<u8>>,
    },
    /// Others have the task now, or will.
    LeaseLost,
}

impl Outcome {
    /// Without the values of secrets.
    pub(super) fn without_secrets(mut self, redactor: &Redactor) -> Self {
        match &mut self {
            Self::Completed(output) => redactor.object(output),
            Self::Failed(failure) => {
                // The field is the task's own, in which references stand.
                [&mut failure.reason, &mut failure.message, &mut failure.traceback]
                    .into_iter()
                    .for_each(|text| redactor.string(text));
            }
            Self::Paused { questions, .. } => {
                for question in questions {
                    redactor.string(&mut question.title);
                    redactor.object(&mut question.payload);
                }
            }
            Self::LeaseLost => {}
        }
        self
    }
}

pub(super) fn died(why: &str) -> Outcome {
    Outcome::Failed(Failure::retryable("HOST_DIED", format!("the engine host: {why}")))
}

pub(super) fn timed_out(limit: Option<Duration>) -> Outcome {
    let limit = limit.unwrap_or_default();
    Outcome::Failed(Failure::retryable("TIMEOUT", format!("the attempt did not end within {limit:?}")))
}

/// The connection ended without a last frame.
pub(super) fn lost(connection: &Connection, why: &str) -> Outcome {
    match connection.exceeded() {
        Some(exceeded) => too_much_memory(exceeded, Isolation::Shared),
        None => died(why),
    }
}

/// A failure of what is larger than an artifact may be: the same would come of another attempt.
pub(super) fn too_large(reason: &str, what: &str, limit: u64) -> Failure {
    let message = format!(
        "{what} is larger than the {limit} bytes that an artifact may have; a worker started with a higher \
         --max-artifact-bytes allows more"
    );
    Failure::terminal(reason, message)
}

/// A task that is too large for its host, or a host that does not take it.
pub(super) fn not_taken(connection: &Connection, error: &std::io::Error) -> Outcome {
    match error.kind() {
        std::io::ErrorKind::InvalidInput => Outcome::Failed(Failure::terminal(
            "INPUT_TOO_LARGE",
            "the task with its inputs is larger than the 64 MiB that an engine host takes",
        )),
        _ => lost(connection, &error.to_string()),
    }
}

/// In a process of all attempts nobody knows whose memory it was: each may be tried again.
pub(super) fn too_much_memory(Exceeded { held, ceiling }: Exceeded, isolation: Isolation) -> Outcome {
    let [held, ceiling] = [held, ceiling].map(|bytes| bytes >> 20);
    let (whose, retryable) = match isolation {
        Isolation::Process => ("the attempt's process", false),
        Isolation::Shared => ("the process of all attempts", true),
    };
    let message = format!(
        "{whose} held {held} MiB, more than the {ceiling} MiB that it may at most; a worker started with a higher \
         --memory-mib allows more"
    );
    let reason = "MEMORY_EXCEEDED";
    Outcome::Failed(match retryable {
        true => Failure::retryable(reason, message),
        false => Failure::terminal(reason, message),
    })
}
