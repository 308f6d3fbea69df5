//! Reading the content of artifacts.
//!
//! With direct gets, because the object store's own way makes a consumer for each read, which stays for half a minute: the
//! server allows a stream a thousand of them, and a cluster agrees on every one.
//!
//! Invariants:
//! - What is given is the whole content, as its hash says, or an error.
//! - A message's body is taken for lost only after the servers had time to agree: one that is behind does not have it yet,
//!   and whoever passed over the message would number all that follows differently from everybody else.

use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use backon::{ExponentialBuilder, Retryable as _};
use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use mahavishnu_core::id::ArtifactId;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::artifacts::{self, Meta};
use crate::direct::place;
use crate::log::patience;
use crate::{Bus, Error, Result, history, streams, subjects};

/// The content of an artifact, as it comes.
pub type Content = Box<dyn AsyncRead + Send + Unpin>;

/// Pieces that are asked for at once; each has 128 KiB.
const BATCH: u32 = 8;

/// How long servers may take to agree that something is there: some five seconds. Even the leader may be behind: it may have
/// been replaced and not know it yet.
pub fn settling() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(Duration::from_millis(20)).with_max_times(8)
}

impl Bus {
    /// Reads content into memory.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such artifact.
    pub async fn get_artifact(&self, id: &ArtifactId) -> Result<Bytes> {
        let mut pieces = pin!(self.pieces(id).await?);
        let Some(first) = pieces.try_next().await? else { return Ok(Bytes::new()) };
        let mut content = BytesMut::from(first);
        while let Some(piece) = pieces.try_next().await? {
            content.extend_from_slice(&piece);
        }
        Ok(content.freeze())
    }

    /// Reads content piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such artifact.
    pub async fn open_artifact(&self, id: &ArtifactId) -> Result<Content> {
        let pieces = self.pieces(id).await?.map_err(std::io::Error::other);
        Ok(Box::new(StreamReader::new(pieces.boxed())))
    }

    /// Reads the body of a message, which was stored before the message.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is lost.
    pub(crate) async fn get_body(&self, id: &ArtifactId) -> Result<Bytes> {
        let get = || self.get_artifact(id);
        get.retry(settling()).when(|error| matches!(error, Error::NotFound)).await
    }

    /// What an artifact is, as the leader has it, and the message that says so; nothing when there is none.
    pub(crate) async fn meta_of(&self, id: &ArtifactId) -> Result<Option<(StreamMessage, Meta)>> {
        let stream = self.stream_of_artifacts().await?;
        let last = match stream.get_last_raw_message_by_subject(&subjects::artifact(id)).await {
            Ok(last) => last,
            Err(error) if history::is_not_found(&error) => return Ok(None),
            Err(error) => return Err(Error::new(error)),
        };
        let meta = artifacts::meta(&last.payload)?;
        Ok((!meta.deleted).then_some((last, meta)))
    }

    async fn pieces(&self, id: &ArtifactId) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
        let (_, meta) = self.meta_of(id).await?.ok_or(Error::NotFound)?;
        let (bus, id) = (self.clone(), id.clone());
        let subject = subjects::artifact_content(&meta.nuid);
        Ok(async_stream::try_stream! {
            let (mut next, mut left, mut hash) = (1, meta.size, Sha256::new());
            while left > 0 {
                let some = || bus.some_pieces(&id, &subject, next);
                let some = some.retry(patience()).when(|error| matches!(error, Error::Behind)).await?;
                for (position, piece) in some {
                    next = position + 1;
                    left = left.saturating_sub(piece.len() as u64);
                    hash.update(&piece);
                    yield piece;
                }
            }
            if artifacts::id(hash.finalize())? != id {
                Err(Error::Nats(format!("the content of artifact {id} is damaged").into()))?;
            }
        })
    }

    /// Pieces from a position on, at least one.
    async fn some_pieces(&self, id: &ArtifactId, subject: &str, next: u64) -> Result<Vec<(u64, Bytes)>> {
        let request = serde_json::json!({"seq": next, "next_by_subj": subject, "batch": BATCH});
        let answer = self.direct(streams::ARTIFACT_STREAM, request).await?;
        if answer.messages.is_empty() {
            // Removed meanwhile, or not there yet.
            return Err(if self.meta_of(id).await?.is_some() { Error::Behind } else { Error::NotFound });
        }
        let read = answer.messages.into_iter().map(|message| {
            let (_, position, _) = place(&message)?;
            Ok((position, message.payload))
        });
        read.collect()
    }
}
