//! Large payloads, kept by content hash in a JetStream object store.
//!
//! Invariants:
//! - An artifact's id is the SHA-256 of its content; the same content is stored once.
//! - Who is about to refer to an artifact keeps it first ([`Bus::keep_artifact`]; storing it again does so too). One that
//!   somebody kept since it was listed is not removed, so a removal never takes what is about to be referred to, as long
//!   as only artifacts are removed that nobody kept for longer than any such step takes. No clock of a client matters.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use std::pin::pin;

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::{ObjectMetadata, ObjectStore};
use async_nats::jetstream::stream::Stream;
use backon::Retryable as _;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use mahavishnu_core::id::ArtifactId;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

pub use crate::content::Content;
use crate::log::patience;
use crate::references::last_of_each;
use crate::{Bus, Error, Result, history, log, streams, subjects};

/// Largest artifact, in bytes, unless a deployment says otherwise. Held in memory twice at most on its way to an engine.
pub const MAX_SIZE: u64 = 256 * 1024 * 1024;

impl Bus {
    /// Stores content that is in memory.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; when NATS cannot be reached or is full.
    pub async fn put_artifact(&self, content: Bytes) -> Result<ArtifactId> {
        let limit = self.options.max_artifact;
        if content.len() as u64 > limit {
            return Err(Error::TooLarge { limit });
        }
        let id = id(Sha256::digest(&content))?;
        let put = || async { self.put(&id, &mut Cursor::new(content.clone())).await };
        // As patient as any other write of the history: a body goes before its message.
        put.retry(patience()).await?;
        Ok(id)
    }

    /// Stores a file's content.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; when the file cannot be read, or NATS cannot be reached or is full.
    pub async fn put_artifact_file(&self, path: &Path) -> Result<ArtifactId> {
        let mut upload = self.begin_upload()?;
        let mut file = tokio::fs::File::open(path).await.map_err(Error::new)?;
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let read = file.read(&mut chunk).await.map_err(Error::new)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            upload.write(bytes).await?;
        }
        self.finish_upload(upload).await.map(|(id, _)| id)
    }

    /// Begins an upload of unknown size.
    ///
    /// # Errors
    /// When there is no room for a temporary file.
    pub fn begin_upload(&self) -> Result<Upload> {
        let file = tempfile::tempfile().map_err(Error::new)?;
        let limit = self.options.max_artifact;
        Ok(Upload { file: tokio::fs::File::from_std(file), hash: Sha256::new(), size: 0, limit })
    }

    /// Stores what was uploaded; gives its id and size.
    ///
    /// # Errors
    /// When NATS cannot be reached or is full.
    pub async fn finish_upload(&self, upload: Upload) -> Result<(ArtifactId, u64)> {
        let Upload { mut file, hash, size, .. } = upload;
        let id = id(hash.finalize())?;
        file.flush().await.map_err(Error::new)?;
        file.rewind().await.map_err(Error::new)?;
        self.put(&id, &mut file).await?;
        Ok((id, size))
    }

    /// Whether there is such an artifact.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn has_artifact(&self, id: &ArtifactId) -> Result<bool> {
        Ok(self.meta_of(id).await?.is_some())
    }

    /// Whether there is such an artifact; if so, its time begins anew.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn keep_artifact(&self, id: &ArtifactId) -> Result<bool> {
        // Somebody else who keeps or removes it at the same time is no reason to do it more often than once.
        for kept in [false, true] {
            let Some((last, _)) = self.meta_of(id).await? else { return Ok(false) };
            if kept {
                return Ok(true);
            }
            match self.store(&subjects::artifact(id), replacing(last.payload, last.sequence)).await {
                Ok(_) => return Ok(true),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// All artifacts, in no order.
    ///
    /// # Errors
    /// When NATS cannot be reached, or its answer has gaps.
    pub async fn artifacts(&self) -> Result<Vec<Artifact>> {
        let list = || self.try_artifacts();
        list.retry(patience()).when(|error| matches!(error, Error::Behind)).await
    }

    async fn try_artifacts(&self) -> Result<Vec<Artifact>> {
        let mut all = Vec::new();
        let mut metas = pin!(self.sweep(streams::ARTIFACT_STREAM, last_of_each(subjects::ARTIFACTS)));
        while let Some(message) = metas.try_next().await? {
            let info = message.info().map_err(Error::Nats)?;
            let meta = meta(&message.payload)?;
            if !meta.deleted
                && let Ok(id) = ArtifactId::parse(&meta.name)
            {
                let (revision, kept) = (info.stream_sequence, log::time(info.published));
                all.push(Artifact { id, size: meta.size, kept, revision, content: meta.nuid });
            }
        }
        Ok(all)
    }

    /// Removes an artifact, unless somebody kept it since it was listed; whether it did.
    ///
    /// # Errors
    /// When NATS cannot be reached. Done again, it finishes what was begun.
    pub async fn remove_artifact(&self, artifact: &Artifact) -> Result<bool> {
        let subject = subjects::artifact(&artifact.id);
        let tombstone = serde_json::json!({
            "name": artifact.id.as_str(), "bucket": streams::ARTIFACTS, "nuid": artifact.content, "deleted": true,
        });
        let tombstone = replacing(tombstone.to_string().into(), artifact.revision);
        let position = match self.store(&subject, tombstone).await {
            Ok(position) => position,
            Err(Error::Conflict) => return Ok(false),
            Err(error) => return Err(error),
        };
        let stream = self.stream_of_artifacts().await?;
        stream.purge().filter(subjects::artifact_content(&artifact.content)).await.map_err(Error::new)?;
        // The tombstone itself, and not what somebody stored after it.
        stream.purge().sequence(position + 1).filter(subject).await.map_err(Error::new)?;
        Ok(true)
    }

    /// Removes content that belongs to no artifact: of uploads that broke off, and of removals that did. Only what was
    /// written before `before` is looked at. Gives how many.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn remove_loose_content(&self, before: DateTime<Utc>) -> Result<usize> {
        let stream = self.js.get_stream(streams::ARTIFACT_STREAM).await.map_err(Error::new)?;
        let mut loose = BTreeSet::new();
        let mut contents =
            stream.info_with_subjects(subjects::ARTIFACT_CONTENTS).await.map_err(Error::new)?;
        while let Some(subject) = contents.next().await {
            loose.insert(subject.map_err(Error::new)?.0);
        }
        // Listed after the contents: what is complete by now is not loose.
        for artifact in self.artifacts().await? {
            loose.remove(&subjects::artifact_content(&artifact.content));
        }
        let mut removed = 0;
        for subject in loose {
            let last = match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(last) => last,
                Err(error) if history::is_not_found(&error) => continue,
                Err(error) => return Err(Error::new(error)),
            };
            if log::time(last.time) < before {
                stream.purge().filter(subject).await.map_err(Error::new)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn put(&self, id: &ArtifactId, content: &mut (impl AsyncRead + Unpin)) -> Result<()> {
        if self.keep_artifact(id).await? {
            return Ok(());
        }
        let store = self.store_of_artifacts().await?;
        let meta = ObjectMetadata { name: id.to_string(), ..ObjectMetadata::default() };
        store.put(meta, content).await.map_err(Error::new)?;
        Ok(())
    }

    async fn store_of_artifacts(&self) -> Result<ObjectStore> {
        self.js.get_object_store(streams::ARTIFACTS).await.map_err(Error::new)
    }

    pub(crate) async fn stream_of_artifacts(&self) -> Result<Stream<()>> {
        self.js.get_stream_no_info(streams::ARTIFACT_STREAM).await.map_err(Error::new)
    }
}

/// An artifact as it is stored.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its id.
    pub id: ArtifactId,
    /// Its size in bytes.
    pub size: u64,
    /// When it was last stored or kept.
    pub kept: DateTime<Utc>,
    revision: u64,
    content: String,
}

/// What the object store tells of an object.
#[derive(serde::Deserialize)]
pub(crate) struct Meta {
    name: String,
    #[serde(default)]
    pub nuid: String,
    #[serde(default)]
    pub size: u64,
    #[serde(default)]
    pub deleted: bool,
}

pub(crate) fn meta(body: &[u8]) -> Result<Meta> {
    serde_json::from_slice(body).map_err(Error::new)
}

/// Replaces the one message of its subject, if that is still this one.
fn replacing(body: Bytes, last: u64) -> PublishMessage {
    PublishMessage::build().payload(body).header("Nats-Rollup", "sub").expected_last_subject_sequence(last)
}

/// Content on its way in: hashed as it comes, spooled to a file that nobody else sees.
pub struct Upload {
    file: tokio::fs::File,
    hash: Sha256,
    size: u64,
    limit: u64,
}

impl Upload {
    /// Appends.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past [`crate::Options::max_artifact`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(Error::new)
    }
}

pub(crate) fn id(digest: impl AsRef<[u8]>) -> Result<ArtifactId> {
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    ArtifactId::parse(&hex).map_err(Error::new)
}
