//! Direct gets: messages from whichever server holds a copy of a stream. It may be behind the others, so that something is
//! missing from its answer is no evidence that it does not exist.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;

use crate::{Bus, Error, Result};

/// A server that does not answer for so long is away.
const SILENCE: Duration = Duration::from_secs(5);

/// What a server gave.
pub struct Answer {
    pub messages: Vec<Message>,
    /// The last position of the stream when it looked, where it says so.
    pub up_to: u64,
}

impl Bus {
    /// Asks any server for messages of a stream.
    pub(crate) async fn direct(&self, stream: &str, request: serde_json::Value) -> Result<Answer> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(Error::new)?;
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let request = request.to_string().into();
        self.client.publish_with_reply(subject, inbox, request).await.map_err(Error::new)?;
        let mut messages = Vec::new();
        loop {
            let message = tokio::time::timeout(SILENCE, answers.next()).await.map_err(Error::new)?;
            let message = message.ok_or(Error::NotFound)?;
            match message.status {
                None => messages.push(message),
                // The end of the batch.
                Some(status) if status.as_u16() == 204 => {
                    let up_to = header(&message, "Nats-UpTo-Sequence").and_then(|up_to| up_to.parse().ok());
                    return Ok(Answer { messages, up_to: up_to.unwrap_or_default() });
                }
                Some(StatusCode::NOT_FOUND) => return Ok(Answer { messages, up_to: 0 }),
                Some(status) => return Err(Error::Nats(format!("direct get: {status}").into())),
            }
        }
    }
}

/// Subject, position and time of a message that was asked for.
pub fn place(message: &Message) -> Result<(&str, u64, DateTime<Utc>)> {
    let place = || {
        let time = DateTime::parse_from_rfc3339(header(message, "Nats-Time-Stamp")?).ok()?;
        let position = header(message, "Nats-Sequence")?.parse().ok()?;
        Some((header(message, "Nats-Subject")?, position, time.to_utc()))
    };
    place().ok_or_else(|| Error::Nats("a message without its place".into()))
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
