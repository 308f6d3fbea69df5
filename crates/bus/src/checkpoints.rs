//! Checkpoints: what an engine needs to go on in another process, one log of records per stage.
//!
//! Invariants:
//! - Once an attempt has claimed the checkpoints of its stage, nobody who had the stage before writes or deletes
//!   anything: every write is conditional on the last one of the subject, and a claim is a write.
//! - A record that is listed can be read: what is to be deleted is first recorded as deleted.
//! - The stream is bounded in size; the oldest records go first. What is too old goes stage by stage, and whoever removes
//!   it spares stages that have not ended: an approval may be waited for as long as it takes.

use std::pin::pin;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use mahavishnu_core::execution::Origin;
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_proto::worker::checkpoint_record::Kind;
use mahavishnu_proto::{wire, worker};
use prost::Message as _;

use crate::references::last_of_each;
use crate::{Bus, Error, Result, history, log, streams, subjects};

pub use mahavishnu_proto::worker::CheckpointKey as Key;

/// A larger body is cut into pieces. Half of the server's default `max_payload`, so that everything else fits.
pub(crate) const PIECE: usize = 512 * 1024;
/// Values that are larger are left out: a record is one message.
const MAX_VALUES: usize = 256 * 1024;
/// Largest body, in bytes: it crosses the engine host's socket as base64 within one frame.
pub const MAX_SIZE: usize = 40 * 1024 * 1024;

/// Whose turn it is with a stage: a later one supersedes all earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// The attempt.
    pub attempt: u32,
    /// How many approvals it has passed.
    pub resume: u32,
    /// Which receipt of its task.
    pub delivery: u32,
}

impl Turn {
    /// The first one.
    const FIRST: Self = Self { attempt: 1, resume: 0, delivery: 1 };
}

/// A checkpoint, or what a task of the engine wrote after it, without its body.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position, which orders entries and by which its body is read.
    pub position: u64,
    /// Who wrote it.
    pub turn: Turn,
    /// When.
    pub time: DateTime<Utc>,
    /// Which checkpoint.
    pub key: Key,
    /// What people may see of it, a JSON object.
    pub view: Bytes,
    /// The values of the state, a JSON object; empty when there are none, or too many.
    pub values: Bytes,
    parts: Vec<u64>,
}

/// The checkpoints of a stage to which nothing was added for some time.
#[derive(Clone, Debug)]
pub struct Old {
    /// The execution.
    pub execution: ExecutionId,
    /// The stage.
    pub stage: StageId,
    last: u64,
}

/// What is to be stored as a checkpoint, or as what a task wrote after one.
#[derive(Clone, Debug, Default)]
pub struct Save {
    /// Which checkpoint.
    pub key: Key,
    /// What people may see of it, a JSON object.
    pub view: Bytes,
    /// The values of the state, a JSON object, or nothing.
    pub values: Bytes,
    /// The checkpoint in the engine's own form.
    pub body: Bytes,
}

/// The checkpoints of a stage, for the one who works on it.
pub struct Checkpoints {
    bus: Bus,
    subject: String,
    writer: worker::AttemptRef,
    last: u64,
    entries: Vec<Entry>,
}

impl Bus {
    /// Claims the checkpoints of a stage for an attempt.
    ///
    /// # Errors
    /// [`Error::Superseded`] when a later attempt, resume or delivery has them.
    pub async fn claim_checkpoints(&self, id: &ExecutionId, origin: &Origin) -> Result<Checkpoints> {
        let subject = subjects::checkpoints(id, &origin.stage);
        let ours = Turn { attempt: origin.attempt, resume: origin.resume, delivery: origin.delivery };
        // Most stages begin with their first delivery, and then there is nothing to read: whoever writes first knows it.
        let mut empty = (ours == Turn::FIRST).then(Log::default);
        loop {
            let Log { last, turn, entries } = match empty.take() {
                Some(log) => log,
                None => self.read_checkpoints(&subject).await?,
            };
            if turn > ours {
                return Err(Error::Superseded);
            }
            let (bus, subject, writer) = (self.clone(), subject.clone(), wire::origin(origin));
            let mut claimed = Checkpoints { bus, subject, writer, last, entries };
            match claimed.append(Kind::Claimed(worker::Claimed {})).await {
                // Somebody wrote in between; who was it?
                Err(Error::Superseded) => {}
                stored => return stored.map(|_| claimed),
            }
        }
    }

    /// The checkpoints of a stage in the order in which they were written.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn list_checkpoints(&self, id: &ExecutionId, stage: &StageId) -> Result<Vec<Entry>> {
        Ok(self.read_checkpoints(&subjects::checkpoints(id, stage)).await?.entries)
    }

    /// The body of an entry.
    async fn checkpoint_body(&self, entry: &Entry) -> Result<Bytes> {
        let stream = self.checkpoint_stream().await?;
        let mut body = Vec::new();
        let positions: Vec<u64> = entry.parts.iter().copied().chain([entry.position]).collect();
        for position in positions {
            match stream.get_raw_message(position).await {
                Ok(message) => match decode(message.payload)?.kind {
                    Some(Kind::Part(part)) => body.extend_from_slice(&part.body),
                    Some(Kind::Saved(saved)) if body.is_empty() => return Ok(saved.body),
                    Some(Kind::Saved(saved)) => body.extend_from_slice(&saved.body),
                    _ => return Err(Error::NotFound),
                },
                Err(error) if history::is_not_found(&error) => return Err(Error::NotFound),
                Err(error) => return Err(Error::new(error)),
            }
        }
        Ok(body.into())
    }

    /// Copies entries of a stage to an execution that is not accepted yet, in their order. Done again, also by several at
    /// once, it finishes what was begun.
    ///
    /// # Errors
    /// [`Error::Conflict`] when something else was copied there, [`Error::NotFound`] when an entry is not kept any more.
    pub async fn copy_checkpoints(&self, to: &ExecutionId, stage: &StageId, entries: &[Entry]) -> Result<()> {
        let subject = subjects::checkpoints(to, stage);
        loop {
            let Log { last, turn, entries: there } = self.read_checkpoints(&subject).await?;
            if turn > Turn::default() {
                // Its own attempt has begun, so all of it was there.
                return Ok(());
            }
            let same = there.iter().zip(entries).all(|(there, wanted)| there.key == wanted.key);
            if !same || there.len() > entries.len() {
                return Err(Error::Conflict);
            }
            let writer = worker::AttemptRef { stage_id: stage.to_string(), ..worker::AttemptRef::default() };
            let (bus, subject) = (self.clone(), subject.clone());
            let mut copy = Checkpoints { bus, subject, writer, last, entries: Vec::new() };
            match copy.add_all(entries.iter().skip(there.len())).await {
                // Somebody wrote in between; how far is it now?
                Err(Error::Superseded) => {}
                copied => return copied,
            }
        }
    }

    /// The stages of which nothing was written since `before`.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn old_checkpoints(&self, before: DateTime<Utc>) -> Result<Vec<Old>> {
        let mut old = Vec::new();
        let last = pull::Config { headers_only: true, ..last_of_each(subjects::CHECKPOINTS) };
        let mut last = pin!(self.sweep(streams::CHECKPOINTS, last));
        while let Some(message) = last.try_next().await? {
            let info = message.info().map_err(Error::Nats)?;
            if log::time(info.published) < before
                && let Some(execution) = subjects::execution(&message.subject)
                && let Some(Ok(stage)) = message.subject.split('.').nth(2).map(StageId::parse)
            {
                old.push(Old { execution, stage, last: info.stream_sequence });
            }
        }
        Ok(old)
    }

    /// Removes what was listed, and not what was written since.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn remove_checkpoints(&self, old: &Old) -> Result<()> {
        let stream = self.checkpoint_stream().await?;
        let subject = subjects::checkpoints(&old.execution, &old.stage);
        stream.purge().sequence(old.last + 1).filter(subject).await.map(drop).map_err(Error::new)
    }

    async fn read_checkpoints(&self, subject: &str) -> Result<Log> {
        let stream = self.checkpoint_stream().await?;
        let mut log = Log::default();
        loop {
            let message = match stream.get_first_raw_message_by_subject(subject, log.last + 1).await {
                Ok(message) => message,
                Err(error) if history::is_not_found(&error) => return Ok(log),
                Err(error) => return Err(Error::new(error)),
            };
            log.add(message.sequence, log::time(message.time), decode(message.payload)?);
        }
    }

    async fn checkpoint_stream(&self) -> Result<Stream<()>> {
        self.js.get_stream_no_info(streams::CHECKPOINTS).await.map_err(Error::new)
    }
}

impl Checkpoints {
    /// What there is, in the order in which it was written.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Stores a checkpoint, or what a task wrote after one. Gives its position.
    ///
    /// # Errors
    /// [`Error::Superseded`] when the stage has a later attempt or delivery, [`Error::TooLarge`] past [`MAX_SIZE`].
    pub async fn save(&mut self, Save { key, view, mut values, mut body }: Save) -> Result<u64> {
        if values.len() > MAX_VALUES {
            values.clear();
        }
        if body.len() > MAX_SIZE {
            return Err(Error::TooLarge { limit: MAX_SIZE as u64 });
        }
        let mut parts = Vec::new();
        while body.len() > PIECE {
            let piece = body.split_to(PIECE);
            parts.push(self.append(Kind::Part(worker::Part { body: piece })).await?);
        }
        let saved = worker::Saved {
            key: Some(key.clone()),
            view_json: view.clone(),
            body,
            parts: parts.clone(),
            values_json: values.clone(),
        };
        let position = self.append(Kind::Saved(saved)).await?;
        let turn = turn(&self.writer);
        self.entries.push(Entry { position, turn, time: Utc::now(), key, view, values, parts });
        Ok(position)
    }

    /// The body of an entry.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such entry, or the stream had no room left for it.
    pub async fn read(&self, position: u64) -> Result<Bytes> {
        let entry = self.entries.iter().find(|entry| entry.position == position).ok_or(Error::NotFound)?;
        self.bus.checkpoint_body(entry).await
    }

    /// Deletes these entries; those that are not there are deleted already.
    ///
    /// # Errors
    /// [`Error::Superseded`] when the stage has a later attempt or delivery.
    pub async fn delete(&mut self, positions: &[u64]) -> Result<()> {
        let deleted: Vec<u64> = self.entries.iter().map(|entry| entry.position).collect();
        let deleted: Vec<u64> = deleted.into_iter().filter(|known| positions.contains(known)).collect();
        if deleted.is_empty() {
            return Ok(());
        }
        self.append(Kind::Deleted(worker::Deleted { positions: deleted.clone() })).await?;
        let (gone, kept): (Vec<Entry>, _) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry| deleted.contains(&entry.position));
        self.entries = kept;
        let stream = self.bus.checkpoint_stream().await?;
        let messages: Vec<u64> =
            gone.into_iter().flat_map(|entry| entry.parts.into_iter().chain([entry.position])).collect();
        for position in messages {
            if let Err(error) = stream.delete_message(position).await {
                // It is recorded as deleted, and goes with its age.
                tracing::debug!(%error, position, "a checkpoint's message is not removed");
            }
        }
        Ok(())
    }

    async fn add_all(&mut self, entries: impl Iterator<Item = &Entry>) -> Result<()> {
        for entry in entries {
            let body = self.bus.checkpoint_body(entry).await?;
            let (key, view, values) = (entry.key.clone(), entry.view.clone(), entry.values.clone());
            self.save(Save { key, view, values, body }).await?;
        }
        Ok(())
    }

    async fn append(&mut self, kind: Kind) -> Result<u64> {
        let record = worker::CheckpointRecord { attempt: Some(self.writer.clone()), kind: Some(kind) };
        let body = Bytes::from(record.encode_to_vec());
        let message = PublishMessage::build().payload(body.clone()).expected_last_subject_sequence(self.last);
        self.last = match self.bus.store(&self.subject, message).await {
            Err(Error::Conflict) => self.own(&body).await?,
            stored => stored?,
        };
        Ok(self.last)
    }

    /// The position of a write of ours whose acknowledgement was lost.
    async fn own(&self, body: &Bytes) -> Result<u64> {
        let stream = self.bus.checkpoint_stream().await?;
        match stream.get_last_raw_message_by_subject(&self.subject).await {
            Ok(last) if last.sequence > self.last && last.payload == *body => Ok(last.sequence),
            Ok(_) => Err(Error::Superseded),
            Err(error) if history::is_not_found(&error) => Err(Error::NotFound),
            Err(error) => Err(Error::new(error)),
        }
    }
}

/// What the records of a subject amount to.
#[derive(Default)]
struct Log {
    last: u64,
    turn: Turn,
    entries: Vec<Entry>,
}

impl Log {
    fn add(&mut self, position: u64, time: DateTime<Utc>, record: worker::CheckpointRecord) {
        self.last = position;
        let turn = record.attempt.as_ref().map(turn).unwrap_or_default();
        self.turn = self.turn.max(turn);
        match record.kind {
            Some(Kind::Saved(saved)) => self.entries.push(Entry {
                position,
                turn,
                time,
                key: saved.key.unwrap_or_default(),
                view: saved.view_json,
                values: saved.values_json,
                parts: saved.parts,
            }),
            Some(Kind::Deleted(deleted)) => {
                self.entries.retain(|entry| !deleted.positions.contains(&entry.position));
            }
            Some(Kind::Claimed(_) | Kind::Part(_)) | None => {}
        }
    }
}

fn turn(writer: &worker::AttemptRef) -> Turn {
    Turn { attempt: writer.attempt, resume: writer.resume, delivery: writer.delivery }
}

fn decode(body: Bytes) -> Result<worker::CheckpointRecord> {
    Ok(worker::CheckpointRecord::decode(body).map_err(wire::Error::Decode)?)
}
