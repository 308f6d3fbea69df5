//! The history of executions: writing and following it.
//!
//! Invariants:
//! - A decision is stored only if no coordinator stored one for the execution since `after` ([`Error::Conflict`]).
//! - A [`Tail`] gives records in stream order, each once, without gaps.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, push};
use backon::{ExponentialBuilder, Retryable as _};
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, Stream, StreamExt as _};
use mahavishnu_core::execution::{Fact, Progressed, Record};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::inputs::Cursor;

use crate::partition::Partition;
use crate::{Bus, Error, Result, Trace, subjects};

/// A message of the history with the execution that it belongs to.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The execution.
    pub execution: ExecutionId,
    /// Progress that was told together with the record: records of their own from before it, at the same position.
    pub before: Vec<Record>,
    /// The record.
    pub record: Record,
    /// The trace context that it was published under.
    pub trace: Trace,
}

impl Stored {
    /// All its records, in order.
    pub fn records(self) -> impl Iterator<Item = Record> {
        self.before.into_iter().chain([self.record])
    }
}

/// Every record of every execution, in stream order, from some position on.
pub struct Tail {
    /// The positions that the tail starts after, of each partition.
    pub start: Vec<u64>,
    /// What follows. Between partitions there is no order.
    pub items: BoxStream<'static, (Partition, TailItem)>,
}

/// What a tail gives.
pub enum TailItem {
    /// A record.
    Record(Stored),
    /// A message that this version cannot read. It has no number and no effect, for every reader alike.
    Unreadable {
        /// The execution, when the subject names one.
        execution: Option<ExecutionId>,
        /// Its position.
        position: u64,
        /// What is wrong with it.
        error: Error,
    },
    /// The connection is disturbed; the tail goes on where it was.
    Disturbed(Error),
}

/// Longest wait between two tries.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(5);

impl Bus {
    /// Stores the first record of an execution, if it has none.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the execution exists.
    pub async fn accept(&self, id: &ExecutionId, fact: &Fact, trace: &Trace) -> Result<u64> {
        let envelope = self.wrap(id, fact, trace).await?;
        let message = envelope.publish().expected_last_subject_sequence(0);
        self.store(&envelope.subject, message).await
    }

    /// Stores an input, unconditionally.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn input(&self, id: &ExecutionId, fact: &Fact, trace: &Trace) -> Result<u64> {
        self.input_after(id, &[], fact, trace).await
    }

    /// The same together with progress of the attempt from before it: one message, so all of it or nothing.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn input_after(
        &self,
        id: &ExecutionId,
        before: &[Progressed],
        fact: &Fact,
        trace: &Trace,
    ) -> Result<u64> {
        let envelope = self.wrap_after(id, before, fact, trace).await?;
        self.store(&envelope.subject, envelope.publish()).await
    }

    /// Stores a decision, if `after` is the position of the last one.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it is not, which is also the answer to the repetition of a write whose
    /// acknowledgement was lost.
    pub async fn decide(&self, id: &ExecutionId, fact: &Fact, after: u64, trace: &Trace) -> Result<u64> {
        let envelope = self.wrap(id, fact, trace).await?;
        let decided = self.partition(id).await?.decided(id);
        let message = envelope
            .publish()
            .expected_last_subject_sequence(after)
            .header("Nats-Expected-Last-Subject-Sequence-Subject", decided);
        self.store(&envelope.subject, message).await
    }

    /// Follows all histories from after these cursors on, from the beginning where there is none. Reconnects and fills its
    /// gaps by itself.
    ///
    /// # Errors
    /// When a stream does not exist or cannot be reached.
    pub async fn tail(&self, cursors: &[Cursor]) -> Result<Tail> {
        let mut tails = Vec::new();
        for partition in Partition::all(self.partitions().await?) {
            let passed = cursors.get(partition.number()).map_or(0, |cursor| cursor.passed);
            let open = || async {
                let stream = self.js.get_stream(partition.stream()).await.map_err(Error::new)?;
                let last = stream.cached_info().state.last_sequence;
                self.tail_after(partition, passed.min(last)).await
            };
            tails.push(open.retry(patience()).await?);
        }
        Ok(together(tails))
    }

    /// Follows a stream from after a position on; 0 for everything that was ever stored.
    async fn tail_after(&self, partition: Partition, start: u64) -> Result<Tail> {
        let stream = self.history_stream(partition).await?;
        let consumer = stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: self.client.new_inbox(),
                // No filter, which would only keep the few timers away: the server would match every message against three, and
                // count what matches in the whole store whenever a tail begins.
                // Not the one after it: a consumer that is made anew before it gave anything begins with the first message of all.
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: start.max(1) },
                ..push::OrderedConfig::default()
            })
            .await
            .map_err(Error::new)?;
        let messages = consumer.messages().await.map_err(Error::new)?;
        // A connection's handle has a dozen parts, each of which is counted.
        let bus = Arc::new(self.clone());
        let mut last = start;
        let items = messages.filter_map(move |message| {
            let place = message.map_err(Error::new).and_then(|message| {
                let info = message.info().map_err(Error::Nats)?;
                let place = (info.stream_sequence, time(info.published));
                Ok((message, place))
            });
            // A consumer that is made anew, on a server that is behind, tells again what was told.
            let again = place.as_ref().is_ok_and(|(_, (position, _))| *position <= last);
            if let Ok((_, (position, _))) = &place {
                last = last.max(*position);
            }
            let bus = Arc::clone(&bus);
            async move {
                let (message, (position, time)) = match place {
                    Ok((message, _)) if again || subjects::is_timer(&message.subject) => return None,
                    Ok(place) => place,
                    Err(error) => return Some((partition, TailItem::Disturbed(error))),
                };
                let (headers, body) = (message.headers.as_ref(), message.payload.clone());
                let item = match bus.unwrap_whole(&message.subject, headers, body, position, time).await {
                    Ok(stored) => TailItem::Record(stored),
                    Err(error) => TailItem::Unreadable {
                        execution: subjects::execution(&message.subject),
                        position,
                        error,
                    },
                };
                Some((partition, item))
            }
        });
        Ok(Tail { start: vec![start], items: items.boxed() })
    }
}

/// The tails of all partitions as one.
fn together(tails: Vec<Tail>) -> Tail {
    let (starts, items): (Vec<_>, Vec<_>) = tails.into_iter().map(|tail| (tail.start, tail.items)).unzip();
    Tail { start: starts.concat(), items: merged(items) }
}

/// Streams as one, which costs nothing where there is one.
fn merged<T: 'static>(
    mut streams: Vec<impl Stream<Item = T> + Send + Unpin + 'static>,
) -> BoxStream<'static, T> {
    match streams.pop() {
        Some(only) if streams.is_empty() => only.boxed(),
        last => stream::select_all(streams.into_iter().chain(last)).boxed(),
    }
}

/// How long a write is tried again: some twenty seconds, longer than an election or a restart takes.
pub(crate) fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default().with_jitter().with_max_times(8).with_max_delay(MAX_WAIT)
}

/// Stream sequence and delivery count of a message.
pub(crate) fn place(message: &async_nats::jetstream::Message) -> Result<(u64, u32)> {
    let info = message.info().map_err(Error::Nats)?;
    Ok((info.stream_sequence, u32::try_from(info.delivered).unwrap_or(u32::MAX)))
}

pub(crate) fn time(time: impl Into<std::time::SystemTime>) -> DateTime<Utc> {
    time.into().into()
}
