//! What an engine keeps beyond its stages, such as sessions and the vectors of documents: bodies by key, the same for all
//! workers of the engine.
//!
//! Invariants:
//! - A body is read whole or not at all: its pieces are stored before the record that names them.
//! - Who writes with the revision that it has read overwrites nobody: the write is conditional on it.
//! - The stream is bounded in age and size; the oldest go first, and what is gone is as if never written.

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use mahavishnu_core::id::EngineName;
use mahavishnu_proto::{wire, worker};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::checkpoints::{MAX_SIZE, PIECE};
use crate::{Bus, Error, Result, history, streams, subjects};

/// What stands under a key.
#[derive(Clone, Debug, Default)]
pub struct EngineState {
    /// Which write this is; 0 for a key under which nothing stands.
    pub revision: u64,
    /// What was written, unless its age or want of room has taken it.
    pub body: Option<Bytes>,
}

impl Bus {
    /// What an engine keeps under a key.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn read_state(&self, engine: &EngineName, key: &str) -> Result<EngineState> {
        let stream = self.state_stream().await?;
        let subject = subject(engine, key);
        let mut seen = None;
        loop {
            let Some((revision, record)) = last(&stream, &subject).await? else {
                return Ok(EngineState::default());
            };
            let body = whole(&stream, record).await?;
            // Pieces that are gone were replaced meanwhile, or their time was over.
            if body.is_some() || seen == Some(revision) {
                return Ok(EngineState { revision, body });
            }
            seen = Some(revision);
        }
    }

    /// Keeps a body under a key, in place of what was there. Gives the new revision.
    ///
    /// # Errors
    /// [`Error::Conflict`] when `revision` is given and no longer the last one; [`Error::TooLarge`] past
    /// [`MAX_SIZE`](crate::checkpoints::MAX_SIZE).
    pub async fn write_state(
        &self,
        engine: &EngineName,
        key: &str,
        mut body: Bytes,
        revision: Option<u64>,
    ) -> Result<u64> {
        if body.len() > MAX_SIZE {
            return Err(Error::TooLarge { limit: MAX_SIZE as u64 });
        }
        let stream = self.state_stream().await?;
        let subject = subject(engine, key);
        let before = last(&stream, &subject).await?;
        let mut parts = Vec::new();
        while body.len() > PIECE {
            let part = worker::Part { body: body.split_to(PIECE) };
            let message = PublishMessage::build().payload(part.encode_to_vec().into());
            parts.push(self.store(&format!("{subject}.part"), message).await?);
        }
        let record = worker::EngineState { key: key.to_owned(), body, parts: parts.clone() };
        let record = Bytes::from(record.encode_to_vec());
        let mut message = PublishMessage::build().payload(record.clone());
        if let Some(revision) = revision {
            message = message.expected_last_subject_sequence(revision);
        }
        let stored = match self.store(&subject, message).await {
            // Perhaps it was stored, and only the acknowledgement lost.
            Err(Error::Conflict) => own(&stream, &subject, &record, revision.unwrap_or_default()).await,
            stored => stored,
        };
        let gone = match (&stored, before) {
            (Ok(_), Some((sequence, record))) => record.parts.into_iter().chain([sequence]).collect(),
            (Ok(_), None) => Vec::new(),
            (Err(_), _) => parts,
        };
        for sequence in gone {
            if let Err(error) = stream.delete_message(sequence).await {
                tracing::debug!(%error, sequence, "a record of engine state is not removed; it goes with its age");
            }
        }
        stored
    }

    async fn state_stream(&self) -> Result<Stream<()>> {
        self.js.get_stream_no_info(streams::ENGINE_STATE).await.map_err(Error::new)
    }
}

fn subject(engine: &EngineName, key: &str) -> String {
    let digest: String = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    subjects::engine_state(engine, &digest)
}

async fn last(stream: &Stream<()>, subject: &str) -> Result<Option<(u64, worker::EngineState)>> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some((message.sequence, decode(message.payload)?))),
        Err(error) if history::is_not_found(&error) => Ok(None),
        Err(error) => Err(Error::new(error)),
    }
}

async fn whole(stream: &Stream<()>, record: worker::EngineState) -> Result<Option<Bytes>> {
    if record.parts.is_empty() {
        return Ok(Some(record.body));
    }
    let mut body = Vec::new();
    for sequence in record.parts {
        match stream.get_raw_message(sequence).await {
            Ok(message) => {
                let part: worker::Part = decode(message.payload)?;
                body.extend_from_slice(&part.body);
            }
            Err(error) if history::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(Error::new(error)),
        }
    }
    body.extend_from_slice(&record.body);
    Ok(Some(body.into()))
}

/// The revision of a write of ours whose acknowledgement was lost.
async fn own(stream: &Stream<()>, subject: &str, record: &Bytes, revision: u64) -> Result<u64> {
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(last) if last.sequence > revision && last.payload == *record => Ok(last.sequence),
        Ok(_) => Err(Error::Conflict),
        Err(error) if history::is_not_found(&error) => Err(Error::Conflict),
        Err(error) => Err(Error::new(error)),
    }
}

fn decode<M: prost::Message + Default>(body: Bytes) -> Result<M> {
    Ok(M::decode(body).map_err(wire::Error::Decode)?)
}
