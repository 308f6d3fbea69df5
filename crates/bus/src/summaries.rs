//! The last known summary of each execution and approval, for lists: one last-value message each.
//!
//! Invariant: a list shows the most recently changed first. Its cursor is a position of this stream, so a
//! page holds what had not changed since the page before; what changed meanwhile moved to the front. A summary is
//! never replaced by one of an earlier state, whichever coordinator is slow.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures::StreamExt as _;

use crate::{Bus, Error, Result, history, log, streams};

/// Which summaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of executions.
    Execution,
    /// Of approvals.
    Approval,
    /// Of tasks that were given up.
    DeadLetter,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Execution => "sum.execution",
            Self::Approval => "sum.approval",
            Self::DeadLetter => "sum.dead-letter",
        }
    }
}

/// One summary: its place in the order of change, whose it is, and what was put.
struct Summary {
    position: u64,
    subject: Subject,
    body: Bytes,
}

/// Header with the position in the history up to which a summary tells.
const STATE: &str = "Mahavishnu-State";

/// How many positions one read covers.
const WINDOW: u64 = 512;
/// How many summaries are asked for at once.
const BATCH: usize = 512;

impl Bus {
    /// Replaces the summary of `id`, whose dots are part of the name, unless it is of a later state: `state` is the
    /// position in the history up to which it tells. One that says the same stays where it is. `first` says that there
    /// is probably none yet, which saves a look.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn put_summary(
        &self,
        kind: Kind,
        id: &str,
        body: Vec<u8>,
        state: u64,
        first: bool,
    ) -> Result<()> {
        let subject = format!("{}.{id}", kind.prefix());
        let body = Bytes::from(body);
        let put = async |after: u64| {
            let message = PublishMessage::build()
                .payload(body.clone())
                .header(STATE, state.to_string())
                .expected_last_subject_sequence(after);
            match self.store(&subject, message).await {
                // Another coordinator was faster; which of the two knows more?
                Err(Error::Conflict) => Ok(false),
                stored => stored.map(|_| true),
            }
        };
        if first && put(0).await? {
            return Ok(());
        }
        let stream = self.js.get_stream_no_info(streams::SUMMARIES).await.map_err(Error::new)?;
        loop {
            let after = match stream.get_last_raw_message_by_subject(&subject).await {
                Ok(last) => {
                    let of = last.headers.get(STATE).and_then(|of| of.as_str().parse::<u64>().ok());
                    if of.is_some_and(|of| of > state) || last.payload == body {
                        return Ok(());
                    }
                    last.sequence
                }
                Err(error) if history::is_not_found(&error) => 0,
                Err(error) => return Err(Error::new(error)),
            };
            if put(after).await? {
                return Ok(());
            }
        }
    }

    /// What `read` makes of at most `size` summaries, the last changed first, and the position to go on from, if there is
    /// anything left. Only summaries below `before` are in it, or any.
    ///
    /// A list from the front has each summary that was there when it began and still is: one that changes meanwhile is
    /// in it as it is now.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn list_summaries<T>(
        &self,
        kind: Kind,
        before: Option<u64>,
        size: usize,
        mut read: impl FnMut(Bytes) -> Option<T>,
    ) -> Result<(Vec<T>, Option<u64>)> {
        let mut stream = self.js.get_stream(streams::SUMMARIES).await.map_err(Error::new)?;
        let state = stream.cached_info().state.clone();
        // 0 in a stream that never held anything.
        let first = state.first_sequence.max(1);
        let front = state.last_sequence + 1;
        let mut end = before.unwrap_or(u64::MAX).min(front);
        let mut found = Vec::new();
        let mut next = None;
        while end > first && next.is_none() {
            let start = end.saturating_sub(WINDOW).max(first);
            for summary in self.window(&stream, kind, start, end).await?.into_iter().rev() {
                let Summary { position, subject, body } = summary;
                found.extend(read(body).map(|item| (position, subject, item)));
                if found.len() >= size {
                    next = Some(position).filter(|position| *position > first);
                    break;
                }
            }
            end = start;
        }
        if before.is_none() && stream.info().await.map_err(Error::new)?.state.last_sequence >= front {
            // What changes moves to the front, and may have done so before its place was read.
            let moved = self.window(&stream, kind, front, u64::MAX).await?.into_iter();
            let moved: HashMap<_, _> = moved.map(|summary| (summary.subject.to_string(), summary)).collect();
            found.retain(|(_, subject, _)| !moved.contains_key(subject.as_str()));
            found.extend(moved.into_values().filter_map(|Summary { position, subject, body }| {
                read(body).map(|item| (position, subject, item))
            }));
            found.sort_unstable_by_key(|(position, ..)| Reverse(*position));
            if found.len() > size {
                found.truncate(size);
                next = found.last().map(|(position, ..)| *position);
            }
        }
        Ok((found.into_iter().map(|(.., item)| item).collect(), next))
    }

    /// The summaries from `start` on that are below `end`, in order. Without a bound it has one twice if that changes
    /// while it is read.
    async fn window(&self, stream: &Stream, kind: Kind, start: u64, end: u64) -> Result<Vec<Summary>> {
        let consumer = stream
            .create_consumer(pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start },
                filter_subject: format!("{}.>", kind.prefix()),
                ack_policy: AckPolicy::None,
                memory_storage: true,
                num_replicas: 1,
                inactive_threshold: Duration::from_secs(5),
                ..pull::Config::default()
            })
            .await
            .map_err(Error::new)?;
        let mut found = Vec::new();
        let mut more = consumer.cached_info().num_pending > 0;
        while more {
            let mut batch = consumer.fetch().max_messages(BATCH).messages().await.map_err(Error::new)?;
            let full = found.len() + BATCH;
            while let Some(message) = batch.next().await {
                let message = message.map_err(Error::Nats)?;
                let (position, _) = log::place(&message)?;
                if position >= end {
                    break;
                }
                let message = message.message;
                found.push(Summary { position, subject: message.subject, body: message.payload });
            }
            more = found.len() == full;
        }
        // It would go away by itself; a list should leave nothing behind.
        let _ = stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(found)
    }
}
