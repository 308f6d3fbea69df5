//! What is shown and not kept. Lossy by contract: nothing here may be needed to reach the right end.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use mahavishnu_core::id::{EngineName, ExecutionId, StageId, WorkerId};
use mahavishnu_proto::worker::{Cancel, Heartbeat, Live};
use prost::Message as _;

use crate::{Bus, Error, Result, subjects};

/// Something that is shown, and not read yet: most of it nobody watches here.
pub struct Shown {
    /// The execution.
    pub execution: ExecutionId,
    body: Bytes,
}

impl Shown {
    /// Reads it; `None` when this version cannot.
    pub fn read(self) -> Option<Live> {
        Live::decode(self.body).ok()
    }
}

impl Bus {
    /// Shows something to whoever watches the execution now.
    pub async fn show(&self, id: &ExecutionId, live: &Live) {
        self.send(subjects::live(id), live.encode_to_vec()).await;
    }

    /// What is shown of all executions. One subscription for the process: one for each execution would cost the server two
    /// messages more for each, and one for each watcher would have it send everything as often as there are watchers.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn shown(&self) -> Result<BoxStream<'static, Shown>> {
        let messages = self.client.subscribe(subjects::LIVE).await.map_err(Error::new)?;
        let shown = |message: async_nats::Message| {
            let execution = subjects::execution(&message.subject);
            std::future::ready(execution.map(|execution| Shown { execution, body: message.payload }))
        };
        Ok(messages.filter_map(shown).boxed())
    }

    /// Tells that a worker is there.
    pub async fn heartbeat(&self, engine: &EngineName, worker: &WorkerId, heartbeat: &Heartbeat) {
        self.send(subjects::heartbeat(engine, worker), heartbeat.encode_to_vec()).await;
    }

    /// The heartbeats of all workers.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn heartbeats(&self) -> Result<BoxStream<'static, Heartbeat>> {
        let messages = self.client.subscribe(subjects::HEARTBEATS).await.map_err(Error::new)?;
        Ok(messages.filter_map(|message| async move { Heartbeat::decode(message.payload).ok() }).boxed())
    }

    /// Asks every worker for a heartbeat.
    pub async fn ping_workers(&self) {
        self.send(subjects::WORKER_PING.to_owned(), Vec::new()).await;
    }

    /// Requests for a heartbeat.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn worker_pings(&self) -> Result<BoxStream<'static, ()>> {
        let messages = self.client.subscribe(subjects::WORKER_PING).await.map_err(Error::new)?;
        Ok(messages.map(drop).boxed())
    }

    /// Has workers stop what they run for an execution that has ended.
    pub async fn cancel_attempts(&self, id: &ExecutionId, reason: &str) {
        let cancel = Cancel { reason: reason.to_owned(), ..Cancel::default() };
        self.send(subjects::cancel(id), cancel.encode_to_vec()).await;
    }

    /// Has whoever runs this attempt stop.
    pub async fn cancel_attempt(
        &self,
        id: &ExecutionId,
        stage: &StageId,
        (attempt, resume): (u32, u32),
        reason: &str,
    ) {
        let cancel = Cancel { reason: reason.to_owned(), stage_id: stage.to_string(), attempt, resume };
        self.send(subjects::cancel(id), cancel.encode_to_vec()).await;
    }

    /// Executions whose attempts are to stop: all, or the one that is named.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn cancelled_attempts(&self) -> Result<BoxStream<'static, (ExecutionId, Cancel)>> {
        let messages = self.client.subscribe(subjects::CANCELS).await.map_err(Error::new)?;
        Ok(messages
            .filter_map(|message| async move {
                let cancel = Cancel::decode(message.payload).ok()?;
                Some((subjects::execution(&message.subject)?, cancel))
            })
            .boxed())
    }

    pub(crate) async fn send(&self, subject: String, body: Vec<u8>) {
        if let Err(error) = self.client.publish(subject, Bytes::from(body)).await {
            tracing::debug!(%error, "not shown");
        }
    }
}
