//! What coordinators tell each other of inputs, and where one of them starts.
//!
//! Inputs come by the tail, to all coordinators. What they tell each other may be lost: an input is then looked at once more. A
//! cursor is kept: the last one that was saved of each partition.
//!
//! Architecture invariant: a cursor stands before every input that may still ask for something, or names it. An old one costs
//! looking again, so anybody may save what it knows at any time.

use async_nats::jetstream::message::PublishMessage;
use backon::Retryable as _;
use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::inputs::Cursor;
use mahavishnu_proto::wire;
use mahavishnu_proto::worker::{CoordinatorHeartbeat, InputCursor, WaitingInput};
use prost::Message as _;

use crate::log::patience;
use crate::partition::Partition;
use crate::{Bus, Error, Result, history, streams, subjects};

impl Bus {
    /// Where to start in each partition: where a coordinator was last; at the beginning where none has been.
    ///
    /// # Errors
    /// When the store is not there, NATS cannot be reached for some time, or another version has written what this one cannot read.
    pub async fn input_cursors(&self) -> Result<Vec<Cursor>> {
        let stream = self.js.get_stream_no_info(streams::SUMMARIES).await.map_err(Error::new)?;
        let mut cursors = Vec::new();
        for partition in Partition::all(self.partitions().await?) {
            let subject = subjects::input_cursor(partition.number());
            let last = || async {
                match stream.get_last_raw_message_by_subject(&subject).await {
                    Ok(last) => Ok(Some(last.payload)),
                    Err(error) if history::is_not_found(&error) => Ok(None),
                    Err(error) => Err(Error::new(error)),
                }
            };
            let cursor = match last.retry(patience()).await? {
                Some(body) => InputCursor::decode(body).map_err(wire::Error::Decode)?,
                None => InputCursor::default(),
            };
            let waiting = cursor.waiting.into_iter().map(|input| {
                let execution = ExecutionId::parse(&input.execution_id).map_err(wire::Error::Id)?;
                Ok((input.position, execution))
            });
            let waiting = waiting.collect::<Result<_, wire::Error>>()?;
            cursors.push(Cursor { passed: cursor.passed, waiting });
        }
        Ok(cursors)
    }

    /// Saves where to start in a partition, counted from 0.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn save_input_cursor(&self, partition: usize, cursor: &Cursor) -> Result<()> {
        let waiting = cursor.waiting.iter().map(|(position, execution)| WaitingInput {
            position: *position,
            execution_id: execution.to_string(),
        });
        let body = InputCursor { passed: cursor.passed, waiting: waiting.collect() }.encode_to_vec();
        let message = PublishMessage::build().payload(body.into());
        self.store(&subjects::input_cursor(partition), message).await.map(drop)
    }

    /// Tells the other coordinators.
    pub async fn tell_coordinators(&self, heartbeat: &CoordinatorHeartbeat) {
        self.send(subjects::COORDINATOR.to_owned(), heartbeat.encode_to_vec()).await;
    }

    /// What coordinators tell, this one too.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn coordinators(&self) -> Result<BoxStream<'static, CoordinatorHeartbeat>> {
        let messages = self.client.subscribe(subjects::COORDINATOR).await.map_err(Error::new)?;
        let heartbeat =
            |message: async_nats::Message| async { CoordinatorHeartbeat::decode(message.payload).ok() };
        Ok(messages.filter_map(heartbeat).boxed())
    }
}
