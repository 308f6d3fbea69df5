//! Reading the history of one execution.
//!
//! Any server that has a copy of the stream answers, and each may be behind: a follower by nature, and also the one that
//! leads, which hears of what is stored no earlier than the server that feeds a tail. So no answer is taken for complete
//! without evidence.
//!
//! Invariant: [`Bus::history`] gives every record up to the position asked for, in stream order, without gaps; or an error.

use std::time::Duration;

use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageError};
use backon::{ExponentialBuilder, Retryable as _};
use mahavishnu_core::execution::Fact;
use mahavishnu_core::id::ExecutionId;

use crate::direct::place;
use crate::log::Stored;
use crate::partition::Partition;
use crate::{Bus, Error, Result};

/// Messages of one subject that are asked for at once.
const BATCH: u32 = 256;

impl Bus {
    /// The whole history of one execution, from a server that holds everything up to `at_least`; what is stored later may
    /// be missing. Waits for such a server, but not for ever.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none, [`Error::Behind`] when no server is far enough.
    pub async fn history(&self, id: &ExecutionId, at_least: u64) -> Result<Vec<Stored>> {
        let read = || self.try_history(id, at_least);
        let patience = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(5))
            .with_max_delay(Duration::from_millis(500))
            .with_max_times(14);
        read.retry(patience).when(|error| matches!(error, Error::Behind)).await
    }

    /// The position of the execution's last message, as the stream's leader has it; 0 without one.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn last_position(&self, id: &ExecutionId) -> Result<u64> {
        let partition = self.partition(id).await?;
        Ok(self.last_of(partition, &partition.input(id)).await?.max(self.last_decision(id).await?))
    }

    /// The position of the last message that decisions are conditional on, readable or not; 0 without one.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn last_decision(&self, id: &ExecutionId) -> Result<u64> {
        let partition = self.partition(id).await?;
        self.last_of(partition, &partition.decided(id)).await
    }

    /// Whether there is such an execution.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn exists(&self, id: &ExecutionId) -> Result<bool> {
        let partition = self.partition(id).await?;
        Ok(self.last_of(partition, &partition.input(id)).await? > 0)
    }

    /// The position of the last record of any execution, in each partition; 0 without one.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn last_records(&self) -> Result<Vec<u64>> {
        let mut last = Vec::new();
        for partition in Partition::all(self.partitions().await?) {
            let inputs = self.last_of(partition, &partition.inputs()).await?;
            last.push(inputs.max(self.last_of(partition, &partition.decisions()).await?));
        }
        Ok(last)
    }

    async fn last_of(&self, partition: Partition, subject: &str) -> Result<u64> {
        match self.history_stream(partition).await?.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(message.sequence),
            Err(error) if is_not_found(&error) => Ok(0),
            Err(error) => Err(Error::new(error)),
        }
    }

    async fn try_history(&self, id: &ExecutionId, at_least: u64) -> Result<Vec<Stored>> {
        let partition = self.partition(id).await?;
        let stream = partition.stream();
        let subjects = [partition.input(id), partition.decision(id), partition.tasks(id)];
        let last = self.direct(&stream, serde_json::json!({"multi_last": subjects})).await?;
        if last.messages.is_empty() {
            // Without a message there is no evidence either. The leader has the last word.
            return Err(if self.exists(id).await? { Error::Behind } else { Error::NotFound });
        }
        if last.up_to < at_least {
            return Err(Error::Behind);
        }
        let read = last.messages.iter().map(|last| async {
            let (subject, position, _) = place(last)?;
            self.read_subject(&stream, subject, position).await
        });
        let mut all = futures::future::try_join_all(read).await?.concat();
        all.sort_unstable_by_key(|stored| stored.record.position);
        match all.first() {
            Some(Stored { record, .. }) if matches!(record.fact, Fact::Accepted(_)) => Ok(all),
            _ => Err(Error::NotFound),
        }
    }

    /// What a subject holds, from a server that holds it up to `last`.
    async fn read_subject(&self, stream: &str, subject: &str, last: u64) -> Result<Vec<Stored>> {
        let mut records = Vec::new();
        let mut next = 1;
        while next <= last {
            let request = serde_json::json!({"seq": next, "next_by_subj": subject, "batch": BATCH});
            let answer = self.direct(stream, request).await?;
            if answer.messages.is_empty() {
                return Err(Error::Behind);
            }
            for message in answer.messages {
                let (_, position, time) = place(&message)?;
                next = position + 1;
                let headers = message.headers.as_ref();
                match self.unwrap_settled(subject, headers, message.payload.clone(), position, time).await {
                    Ok(stored) => records.push(stored),
                    // Every reader passes over it, so all number the records alike.
                    Err(Error::Unreadable(error)) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            subject,
                            "unreadable record"
                        );
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(records)
    }
}

pub(crate) fn is_not_found(error: &RawMessageError) -> bool {
    matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound)
}
