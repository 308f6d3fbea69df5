//! Storing a message: sent, answered with its position, or refused with a code of the server.
//!
//! By hand, because every write of the hot path goes through here: the client's own way reads each answer as either of two
//! things, into a tree of values first, and names one of the codes only.
//!
//! Invariant: what is given has been stored; a write that may have been lost is tried again under the same condition.

use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{Message, Request};
use backon::Retryable as _;
use serde::Deserialize;

use crate::log::patience;
use crate::{Bus, Error, Result};

/// A server that does not answer for so long is away.
const SILENCE: Duration = Duration::from_secs(5);

/// What the condition of a write asked for is not so.
const WRONG_LAST_SEQUENCE: u64 = 10071;
/// Another write on that subject is in flight; no answer of a leader; faults of the server that pass; too many at once.
const PASSING: [u64; 4] = [10164, 10008, 10158, 10167];

/// What the server says to a write.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

/// That it did not store it.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{description} (error code {err_code})")]
struct Refusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

/// Why a try did not store it.
enum Failure {
    /// No answer, or none that says anything.
    Unanswered(RequestError),
    Refused(Refusal),
    Unreadable(serde_json::Error),
}

impl Bus {
    /// Stores a message.
    ///
    /// # Errors
    /// [`Error::Conflict`] when its condition is not met, which is also the answer to the repetition of a write whose
    /// acknowledgement was lost.
    pub(crate) async fn store(&self, subject: &str, message: PublishMessage) -> Result<u64> {
        let publish = || self.publish(subject, message.clone());
        publish.retry(patience()).when(Failure::passes).await.map_err(Error::from)
    }

    async fn publish(&self, subject: &str, message: PublishMessage) -> Result<u64, Failure> {
        let message = message.outbound_message(subject.to_owned());
        let request = Request {
            payload: Some(message.payload),
            headers: message.headers,
            timeout: Some(Some(SILENCE)),
            ..Request::new()
        };
        let answer = self.client.send_request(message.subject, request).await;
        position(&answer.map_err(Failure::Unanswered)?)
    }
}

/// Where the server says that it stored it.
fn position(answer: &Message) -> Result<u64, Failure> {
    let answer: Answer = serde_json::from_slice(&answer.payload).map_err(Failure::Unreadable)?;
    answer.error.map_or(Ok(answer.seq), |refusal| Err(Failure::Refused(refusal)))
}

impl Failure {
    /// Whether the same write may succeed a little later.
    fn passes(&self) -> bool {
        match self {
            Self::Unanswered(error) => match error.kind() {
                RequestErrorKind::TimedOut | RequestErrorKind::NoResponders | RequestErrorKind::Other => true,
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => false,
            },
            Self::Refused(refusal) => PASSING.contains(&refusal.err_code),
            Self::Unreadable(_) => false,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) if refusal.err_code == WRONG_LAST_SEQUENCE => Self::Conflict,
            Failure::Refused(refusal) => Self::new(refusal),
            Failure::Unanswered(error) => Self::new(error),
            Failure::Unreadable(error) => Self::new(error),
        }
    }
}
