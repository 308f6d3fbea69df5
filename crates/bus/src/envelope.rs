//! One form for every message of the history: a protocol buffer, W3C trace headers, and a claim check for
//! what is too large for a message.
//!
//! Invariant: who reads gets what was written, whether it travelled in the message or as an artifact.

use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderName};
use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use mahavishnu_core::execution::{Fact, Progressed, Record};
use mahavishnu_core::id::{ArtifactId, ExecutionId};
use mahavishnu_proto::{wire, worker};
use prost::Message as _;

use crate::content::settling;
use crate::log::{MAX_WAIT, Stored};
use crate::{Bus, Error, Result, Trace, subjects};

/// A larger body travels as an artifact. Half of the server's default `max_payload`, so that headers and
/// JetStream's own wrapping always fit.
const CLAIM_CHECK: usize = 512 * 1024;

/// What a message lacks whose body is not there.
const LOST: &str = "the artifact with the body";

/// Header with the artifact that holds the body.
static BODY: HeaderName = HeaderName::from_static("Mahavishnu-Body");
/// The headers of a trace.
static TRACE: [HeaderName; 2] =
    [HeaderName::from_static("traceparent"), HeaderName::from_static("tracestate")];

/// A message on its way: subject, headers, body.
pub struct Envelope {
    pub subject: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Envelope {
    pub fn publish(&self) -> PublishMessage {
        PublishMessage::build().headers(self.headers.clone()).payload(self.body.clone())
    }
}

impl Bus {
    /// Wraps a fact for its subject; a body over the limit is stored as an artifact first.
    pub(crate) async fn wrap(&self, id: &ExecutionId, fact: &Fact, trace: &Trace) -> Result<Envelope> {
        self.wrap_after(id, &[], fact, trace).await
    }

    /// The same with progress from before the fact, if that is an input.
    pub(crate) async fn wrap_after(
        &self,
        id: &ExecutionId,
        before: &[Progressed],
        fact: &Fact,
        trace: &Trace,
    ) -> Result<Envelope> {
        let partition = self.partition(id).await?;
        let (subject, body) = match wire::encode(id.as_str(), fact) {
            wire::Message::Input(mut input) => {
                input.before = before.iter().map(wire::progressed).collect();
                (partition.input(id), input.encode_to_vec())
            }
            wire::Message::Decision(decision) => (partition.decision(id), decision.encode_to_vec()),
            wire::Message::Task(task) => {
                let Fact::Scheduled(scheduled) = fact else {
                    return Err(Error::NotFound);
                };
                (partition.task(&scheduled.queue(), id), task.encode_to_vec())
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in trace {
            headers.insert(name.as_str(), value.as_str());
        }
        let mut body = Bytes::from(body);
        if body.len() > CLAIM_CHECK {
            // Rare, and large as a future: who waits for a message is not to carry it.
            let artifact = Box::pin(self.put_artifact(body)).await?;
            headers.insert(BODY.clone(), artifact.as_str());
            body = Bytes::new();
        }
        Ok(Envelope { subject, headers, body })
    }

    /// Reads a message of the history, for who looks at it again when its body is not there.
    pub(crate) async fn unwrap(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        body: Bytes,
        position: u64,
        time: DateTime<Utc>,
    ) -> Result<Stored> {
        let execution = subjects::execution(subject).ok_or(wire::Error::Missing("execution"))?;
        let body = match headers.and_then(|headers| headers.get(BODY.clone())) {
            Some(artifact) => {
                let artifact = ArtifactId::parse(artifact.as_str()).map_err(wire::Error::Id)?;
                Box::pin(self.get_artifact(&artifact)).await.map_err(|error| match error {
                    Error::NotFound => wire::Error::Missing(LOST).into(),
                    error => error,
                })?
            }
            None => body,
        };
        let record = |fact| Record { position, time, fact };
        let mut before = Vec::new();
        let fact = if subjects::is_task(subject) {
            Fact::Scheduled(wire::decode_task(decode::<worker::Task>(body)?)?)
        } else if subjects::is_input(subject) {
            let mut input = decode::<worker::Input>(body)?;
            for told in std::mem::take(&mut input.before) {
                before.push(record(Fact::Progressed(wire::decode_progressed(told)?)));
            }
            wire::decode_input(input)?
        } else {
            wire::decode_decision(decode::<worker::Decision>(body)?)?
        };
        Ok(Stored { execution, before, record: record(fact), trace: trace(headers) })
    }

    /// The same, for who numbers the records, and would number them in its own way if it passed over one: a body is lost only
    /// if it is not there for some time.
    pub(crate) async fn unwrap_settled(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        body: Bytes,
        position: u64,
        time: DateTime<Utc>,
    ) -> Result<Stored> {
        let read = || self.unwrap(subject, headers, body.clone(), position, time);
        let is_lost =
            |error: &Error| matches!(error, Error::Unreadable(wire::Error::Missing(what)) if *what == LOST);
        match read().await {
            Err(error) if is_lost(&error) => Box::pin(read.retry(settling()).when(is_lost)).await,
            read => read,
        }
    }

    /// The same, and waits for a body that cannot be fetched now.
    pub(crate) async fn unwrap_whole(
        &self,
        subject: &str,
        headers: Option<&HeaderMap>,
        body: Bytes,
        position: u64,
        time: DateTime<Utc>,
    ) -> Result<Stored> {
        let read = || self.unwrap_settled(subject, headers, body.clone(), position, time);
        let passes = |error: &Error| !matches!(error, Error::Unreadable(_));
        match read().await {
            Err(error) if passes(&error) => {
                let patience = ExponentialBuilder::default().without_max_times().with_max_delay(MAX_WAIT);
                Box::pin(read.retry(patience.with_jitter()).when(passes)).await
            }
            read => read,
        }
    }
}

/// The artifact that holds the body of a message, if one does.
pub(crate) fn body_of(headers: Option<&HeaderMap>) -> Option<ArtifactId> {
    ArtifactId::parse(headers?.get(BODY.clone())?.as_str()).ok()
}

fn decode<M: prost::Message + Default>(body: Bytes) -> Result<M, wire::Error> {
    M::decode(body).map_err(wire::Error::Decode)
}

fn trace(headers: Option<&HeaderMap>) -> Trace {
    let Some(headers) = headers else {
        return Trace::new();
    };
    TRACE
        .iter()
        .filter_map(|name| Some((name.to_string(), headers.get(name.clone())?.as_str().to_owned())))
        .collect()
}
