//! Removing executions that have ended.
//!
//! Invariants:
//! - What is removed is removed whole: an execution has its whole history, or none.
//! - A tombstone keeps the place for a while, so that a repeated request does not start the execution anew.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use mahavishnu_core::id::ExecutionId;

use crate::partition::Partition;
use crate::{Bus, Error, Result, streams};

/// How long a request id stays used, and a slot of a schedule taken, after its execution is removed: longer than the seven
/// days for which a schedule may catch up.
const TOMBSTONE: Duration = Duration::from_secs(8 * 24 * 3600);

impl Bus {
    /// Removes the history of an execution and what lists show of it. Done again, it finishes what was begun.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn remove(&self, id: &ExecutionId) -> Result<()> {
        self.remove_summaries(id).await?;
        self.purge(streams::CHECKPOINTS, format!("checkpoint.{id}.*")).await?;
        // The inputs are what makes it exist: they go after what nobody would find without them.
        let partition = self.partition(id).await?;
        let stream = partition.stream();
        for filter in [partition.timers_of(id), partition.tasks(id), partition.input(id)] {
            self.purge(&stream, filter).await?;
        }
        let tombstone = PublishMessage::build().payload(Bytes::new()).ttl(TOMBSTONE);
        self.store(&partition.input(id), tombstone).await?;
        self.purge(&stream, partition.decision(id)).await
    }

    /// Removes what lists show of an execution.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn remove_summaries(&self, id: &ExecutionId) -> Result<()> {
        for filter in
            [format!("sum.execution.{id}"), format!("sum.approval.{id}.>"), format!("sum.dead-letter.{id}.>")]
        {
            self.purge(streams::SUMMARIES, filter).await?;
        }
        Ok(())
    }

    /// How many bytes all histories take, without the artifacts that they refer to.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn history_bytes(&self) -> Result<u64> {
        let mut bytes = 0;
        for partition in Partition::all(self.partitions().await?) {
            let stream = self.js.get_stream(partition.stream()).await.map_err(Error::new)?;
            bytes += stream.cached_info().state.bytes;
        }
        Ok(bytes)
    }

    async fn purge(&self, stream: &str, filter: String) -> Result<()> {
        let stream = self.js.get_stream_no_info(stream).await.map_err(Error::new)?;
        stream.purge().filter(filter).await.map(drop).map_err(Error::new)
    }
}
