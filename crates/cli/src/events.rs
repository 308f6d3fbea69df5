//! An execution's events from first to last, across broken connections.
//!
//! Invariant: durable events come in order, each once, whatever happens to the connection; the stream ends after the
//! terminal event, or with an error that trying again cannot help.

use std::time::{Duration, Instant};

use async_stream::stream;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::{
    Event, ExecuteRequest, Execution, GetExecutionRequest, WatchExecutionRequest, execution,
};
use tonic::{Code, Status};

use crate::client::Client;
use crate::failure;

/// Between two tries; doubles to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A coordinator that is started again is back in seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// One that has never answered is probably not there.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);

/// What to follow.
#[derive(Debug)]
pub enum Follow {
    /// Start this, and follow it. The request id makes it safe to ask twice.
    Execute(Box<ExecuteRequest>),
    /// An execution, after this event.
    Watch {
        /// The execution.
        id: String,
        /// The last event that is known.
        after: i64,
    },
}

/// What comes.
#[derive(Debug)]
pub enum Item {
    /// An event.
    Event(Box<Event>),
    /// The execution had ended before the first event that was asked for.
    Over(execution::State),
    /// It cannot be followed.
    Failed(Status),
}

/// Follows as long as it is polled; ends after the last item. It is no task of its own, so that it is gone when its user is:
/// what it did is in the user's span, which a program exports when it ends.
pub fn follow(client: Client, follow: Follow) -> BoxStream<'static, Item> {
    let mut follower = match follow {
        Follow::Execute(request) => Follower { client, request: Some(request), id: String::new(), after: 0 },
        Follow::Watch { id, after } => Follower { client, request: None, id, after },
    };
    stream! {
        let mut pause = FIRST_PAUSE;
        let mut broken = None;
        loop {
            let before = follower.after;
            let status = 'connection: {
                let mut events = match follower.open().await {
                    Ok(events) => events,
                    Err(status) => break 'connection status,
                };
                while let Some(event) = events.next().await {
                    let event = match event {
                        Ok(event) => event,
                        Err(status) => break 'connection status,
                    };
                    follower.id.clone_from(&event.execution_id);
                    follower.after = follower.after.max(event.sequence);
                    let end = end_of(&event).is_some();
                    yield Item::Event(Box::new(event));
                    if end {
                        return;
                    }
                }
                // An orderly end without a terminal event: there was nothing after the cursor, or the server stops.
                match follower.state().await {
                    Ok(state) if ended(state) => {
                        yield Item::Over(state);
                        return;
                    }
                    Ok(_) => Status::unavailable("the stream ended early"),
                    Err(status) => status,
                }
            };
            if follower.after > before {
                (pause, broken) = (FIRST_PAUSE, None);
            }
            let since = *broken.get_or_insert_with(Instant::now);
            let patience = if follower.after == 0 { FIRST_PATIENCE } else { PATIENCE };
            if !passing(&status) || since.elapsed() > patience {
                yield Item::Failed(failure::at(&follower.client.endpoint)(status));
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    .boxed()
}

/// Whether an event is the last that has an effect.
pub fn end_of(event: &Event) -> Option<execution::State> {
    if !event.void_reason.is_empty() {
        return None;
    }
    match event.kind.as_ref()? {
        Kind::ExecutionCompleted(_) => Some(execution::State::Completed),
        Kind::ExecutionFailed(_) => Some(execution::State::Failed),
        Kind::ExecutionCancelled(_) => Some(execution::State::Cancelled),
        _ => None,
    }
}

struct Follower {
    client: Client,
    request: Option<Box<ExecuteRequest>>,
    id: String,
    after: i64,
}

impl Follower {
    async fn open(&self) -> Result<BoxStream<'static, Result<Event, Status>>, Status> {
        let missing = || Status::data_loss("a response without an event");
        match &self.request {
            Some(request) if self.id.is_empty() => {
                let responses = self.client.orchestrator().execute((**request).clone()).await?.into_inner();
                Ok(responses.map(move |response| response?.event.ok_or_else(missing)).boxed())
            }
            _ => {
                let request = WatchExecutionRequest { id: self.id.clone(), after_sequence: self.after };
                let responses = self.client.executions().watch_execution(request).await?.into_inner();
                Ok(responses.map(move |response| response?.event.ok_or_else(missing)).boxed())
            }
        }
    }

    async fn state(&self) -> Result<execution::State, Status> {
        let request = GetExecutionRequest { id: self.id.clone() };
        let response = self.client.executions().get_execution(request).await?.into_inner();
        Ok(response.execution.as_ref().map_or(execution::State::Unspecified, Execution::state))
    }
}

fn ended(state: execution::State) -> bool {
    use execution::State::{Cancelled, Completed, Failed};
    matches!(state, Completed | Failed | Cancelled)
}

/// Whether trying again may help. A broken connection shows as any of these.
pub fn passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded
    )
}

#[cfg(test)]
mod tests;
