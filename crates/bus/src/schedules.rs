//! Schedules: the state of each, and what wakes whoever is to look at one.
//!
//! A wake says nothing but "look": all that matters is in the state and in the histories, so a later wake may take
//! the place of an earlier one. It stays with the coordinators until it is acknowledged.
//!
//! Invariants:
//! - A state is stored only over the revision that it was made from ([`Error::Conflict`]).
//! - Every state that is stored is a wake, too, by the same write: whoever changes a schedule may die right after, and
//!   somebody looks at it all the same.
//! - The timers of different times stand side by side, so a coordinator that is late with an old one takes nothing
//!   away; a wake too many finds nothing to do.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::message::{Acker, PublishMessage};
use backon::Retryable as _;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_core::id::ScheduleId;

use crate::{Bus, Error, Result, history, log, streams, subjects};

/// Largest state, in bytes: below the server's default limit of a message, with room for the slots that wait.
pub const MAX_STATE: usize = 800 * 1024;

/// What is stored of a schedule.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Whose state it is.
    pub id: ScheduleId,
    /// The state.
    pub body: Bytes,
    /// Which revision of it; 0 for none.
    pub revision: u64,
}

/// Somebody is to look at a schedule.
pub struct Wake {
    /// The schedule.
    pub id: ScheduleId,
    /// When the server made it; the one clock that all coordinators share.
    pub time: DateTime<Utc>,
    acker: Acker,
}

impl Wake {
    /// Everything that was to be done is done or stored.
    pub async fn ack(self) {
        if let Err(error) = self.acker.ack().await {
            tracing::debug!(%error, "wake not acknowledged; it comes again");
        }
    }
}

impl Bus {
    /// The state of a schedule, as the stream's leader has it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn schedule(&self, id: &ScheduleId) -> Result<Kept> {
        let stream = self.js.get_stream_no_info(streams::SCHEDULES).await.map_err(Error::new)?;
        match stream.get_last_raw_message_by_subject(&subjects::schedule_state(id)).await {
            Ok(message) => Ok(Kept { id: id.clone(), body: message.payload, revision: message.sequence }),
            Err(error) if history::is_not_found(&error) => Err(Error::NotFound),
            Err(error) => Err(Error::new(error)),
        }
    }

    /// Stores a state over the revision `after`, 0 for the first, which has one of the coordinators look at it; gives the new
    /// revision. With `expiry` it vanishes after that time.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the revision is another; it may be one of a repetition of this very write.
    pub async fn put_schedule(
        &self,
        id: &ScheduleId,
        body: Vec<u8>,
        after: u64,
        expiry: Option<Duration>,
    ) -> Result<u64> {
        if body.len() > MAX_STATE {
            return Err(Error::TooLarge { limit: MAX_STATE as u64 });
        }
        let mut message = PublishMessage::build().payload(body.into()).expected_last_subject_sequence(after);
        if let Some(expiry) = expiry {
            message = message.header("Nats-TTL", format!("{}s", expiry.as_secs()));
        }
        self.store(&subjects::schedule_state(id), message).await
    }

    /// The states of all schedules.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn schedules(&self) -> Result<Vec<Kept>> {
        let stream = self.js.get_stream_no_info(streams::SCHEDULES).await.map_err(Error::new)?;
        let consumer = stream
            .create_consumer(pull::Config {
                filter_subject: subjects::SCHEDULE_STATES.to_owned(),
                ack_policy: AckPolicy::None,
                deliver_policy: DeliverPolicy::All,
                memory_storage: true,
                num_replicas: 1,
                inactive_threshold: Duration::from_secs(5),
                ..pull::Config::default()
            })
            .await
            .map_err(Error::new)?;
        let name = consumer.cached_info().name.clone();
        let wanted = usize::try_from(consumer.cached_info().num_pending).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        if wanted > 0 {
            let mut batch = consumer.fetch().max_messages(wanted).messages().await.map_err(Error::new)?;
            while let Some(message) = batch.next().await {
                let message = message.map_err(Error::Nats)?;
                let (revision, _) = log::place(&message)?;
                if let Some(id) = subjects::schedule(&message.subject) {
                    found.push(Kept { id, body: message.message.payload, revision });
                }
            }
        }
        // It would go away by itself; a list should leave nothing behind.
        let _ = stream.delete_consumer(&name).await;
        Ok(found)
    }

    /// Has one of the coordinators look at a schedule.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn wake_schedule(&self, id: &ScheduleId) -> Result<()> {
        self.store(&subjects::schedule_wake(id), PublishMessage::build()).await.map(drop)
    }

    /// The same at a time; the server's resolution is a second.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn wake_schedule_at(&self, id: &ScheduleId, at: DateTime<Utc>) -> Result<()> {
        let mut headers = HeaderMap::new();
        let text = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        headers.insert("Nats-Schedule", format!("@at {text}"));
        headers.insert("Nats-Schedule-Target", subjects::schedule_wake(id));
        let message = PublishMessage::build().headers(headers);
        self.store(&subjects::schedule_timer(id, at), message).await.map(drop)
    }

    /// The wakes that the coordinators share: each goes to one of them, until it is acknowledged. Patient: a coordinator that
    /// has said that it is ready does not end because a server is slow for a moment.
    ///
    /// # Errors
    /// When the consumer does not exist or cannot be reached.
    pub async fn wakes(&self) -> Result<BoxStream<'static, Result<Wake>>> {
        let open = || async {
            let consumer = self.js.get_consumer_from_stream(streams::COORDINATORS, streams::SCHEDULES).await;
            let consumer: PullConsumer = consumer.map_err(Error::new)?;
            let messages = consumer.stream().max_messages_per_batch(100).heartbeat(Duration::from_secs(5));
            messages.messages().await.map_err(Error::new)
        };
        let messages = open.retry(log::patience()).await?;
        Ok(messages
            .map(|message| {
                let message = message.map_err(Error::new)?;
                let time = log::time(message.info().map_err(Error::Nats)?.published);
                let (message, acker) = message.split();
                let id = subjects::schedule(&message.subject).ok_or(Error::NotFound)?;
                Ok(Wake { id, time, acker })
            })
            .boxed())
    }
}
