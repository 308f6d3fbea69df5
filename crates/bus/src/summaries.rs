//! The last known summary of each execution and approval, for lists: one last-value message each.
//!
//! Invariant: a list shows the most recently changed first. Its cursor is a position of this stream, so a
//! page holds what had not changed since the page before; what changed meanwhile moved to the front. A summary is
//! never replaced by one of an earlier state, whichever coordinator is slow.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::message::PublishMessage;
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

/// One summary.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Its place in the order of change.
    pub position: u64,
    /// What was put.
    pub body: Bytes,
}

/// Header with the position in the history up to which a summary tells.
const STATE: &str = "Mahavishnu-State";

/// How many positions one read covers.
const WINDOW: u64 = 512;

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

    /// Summaries below `before`, the last changed first, until `enough` says so. Gives the position to go
    /// on from, if there is anything left.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn list_summaries(
        &self,
        kind: Kind,
        before: Option<u64>,
        mut enough: impl FnMut(Summary) -> bool,
    ) -> Result<Option<u64>> {
        let mut stream = self.js.get_stream(streams::SUMMARIES).await.map_err(Error::new)?;
        let state = stream.info().await.map_err(Error::new)?.state.clone();
        // 0 in a stream that never held anything.
        let first = state.first_sequence.max(1);
        let mut end = before.unwrap_or(u64::MAX).min(state.last_sequence + 1);
        while end > first {
            let start = end.saturating_sub(WINDOW).max(first);
            for summary in self.window(&stream, kind, start, end).await?.into_iter().rev() {
                let position = summary.position;
                if enough(summary) {
                    return Ok(Some(position).filter(|position| *position > first));
                }
            }
            end = start;
        }
        Ok(None)
    }

    async fn window(
        &self,
        stream: &async_nats::jetstream::stream::Stream,
        kind: Kind,
        start: u64,
        end: u64,
    ) -> Result<Vec<Summary>> {
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
        let name = consumer.cached_info().name.clone();
        let mut found = Vec::new();
        if consumer.cached_info().num_pending > 0 {
            let wanted = usize::try_from(end - start).unwrap_or(usize::MAX);
            let mut batch = consumer.fetch().max_messages(wanted).messages().await.map_err(Error::new)?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(Error::Nats)?;
                let (position, _) = log::place(&message)?;
                if position >= end {
                    break;
                }
                found.push(Summary { position, body: message.message.payload });
            }
        }
        // It would go away by itself; a list should leave nothing behind.
        let _ = stream.delete_consumer(&name).await;
        Ok(found)
    }
}
