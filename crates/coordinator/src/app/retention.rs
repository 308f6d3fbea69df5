//! Removing executions that have ended, on request, by age or for want of room; and checkpoints by age.

use std::time::Duration;

use chrono::{DateTime, Utc};
use mahavishnu_bus::references::before;
use mahavishnu_bus::summaries::Kind;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::{v1, wire};
use prost::Message as _;
use prost::bytes::Bytes;

use super::{App, Error, Result};

/// The longest and the shortest time between two looks at what is too old.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// Between two looks at how much room histories take.
const BYTES_LOOK: Duration = Duration::from_secs(2);
/// Executions that are removed between two such looks, when there is too little.
const BATCH: usize = 10;

impl App {
    /// Removes an execution that has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] while it runs.
    pub async fn delete(&self, id: &str) -> Result<()> {
        let parsed = ExecutionId::parse(id).map_err(|_| Error::no_execution(id))?;
        let history = match self.find(id).await {
            // A replica that was slow may have told of it after it was removed.
            Err(Error::NotFound { .. }) => {
                self.bus.remove_summaries(&parsed).await?;
                return Err(Error::no_execution(id));
            }
            history => history?,
        };
        if history.with_folded(|folded| folded.state.end.is_none()) {
            let message = format!("{id} has not ended; cancel it first: mahavishnu executions cancel {id}");
            return Err(Error::Precondition { reason: "NOT_ENDED", message });
        }
        // What this process has still to tell lists of it is told no more.
        let _summing_up = history.summing_up.lock().await;
        history.with_folded(|folded| folded.summary_put = u64::MAX);
        self.bus.remove(&parsed).await?;
        self.histories.forget(&parsed);
        self.removed.notify_one();
        Ok(())
    }

    /// Removes executions that ended longer ago than `age`, for ever.
    pub async fn retain(self, age: Duration) {
        let mut looks = tokio::time::interval((age / 10).clamp(LOOKS.0, LOOKS.1));
        loop {
            looks.tick().await;
            match self.remove_older(age).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, ?age, "executions removed by age"),
                // The next look finds them again.
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "retention"),
            }
        }
    }

    /// Removes what stages that have ended kept for going on, this long after they last wrote it, for ever.
    pub async fn age_checkpoints(self, age: Duration) {
        let mut looks = tokio::time::interval((age / 10).clamp(LOOKS.0, LOOKS.1));
        loop {
            looks.tick().await;
            match self.remove_checkpoints(age).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, ?age, "checkpoints of stages removed by age"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "checkpoints"),
            }
        }
    }

    /// A stage that has not ended keeps its checkpoints: it may wait for people longer than any age.
    async fn remove_checkpoints(&self, age: Duration) -> Result<usize> {
        let mut removed = 0;
        for old in self.bus.old_checkpoints(before(age)).await? {
            let open = match self.histories.get(&old.execution).await {
                Ok(history) => history.with_folded(|folded| {
                    let state = &folded.state;
                    state.end.is_none() && state.stage(&old.stage).is_some_and(|stage| !stage.is_settled())
                }),
                // It was to be forked, and was not; or it is no more.
                Err(mahavishnu_bus::Error::NotFound) => false,
                Err(error) => return Err(error.into()),
            };
            if !open {
                self.bus.remove_checkpoints(&old).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    async fn remove_older(&self, age: Duration) -> Result<usize> {
        let limit = before(age);
        let mut removed = 0;
        for (_, id) in self.ended().await?.into_iter().take_while(|(ended, _)| *ended < limit) {
            removed += self.delete_if_there(&id).await?;
        }
        Ok(removed)
    }

    /// Removes executions, those that ended first before the others, while histories take more than `bytes`, for ever.
    pub async fn retain_bytes(self, bytes: u64) {
        let mut looks = tokio::time::interval(BYTES_LOOK);
        loop {
            looks.tick().await;
            match self.remove_past(bytes).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, bytes, "executions removed for want of room"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "retention"),
            }
        }
    }

    async fn remove_past(&self, bytes: u64) -> Result<usize> {
        if self.bus.history_bytes().await? <= bytes {
            return Ok(0);
        }
        let mut removed = 0;
        for (n, (_, id)) in self.ended().await?.into_iter().enumerate() {
            // The server counts at once; asking it each time would cost as much as removing.
            if n % BATCH == 0 && self.bus.history_bytes().await? <= bytes {
                break;
            }
            removed += self.delete_if_there(&id).await?;
        }
        Ok(removed)
    }

    /// The executions that have ended, the first to end first.
    async fn ended(&self) -> Result<Vec<(DateTime<Utc>, String)>> {
        let read = |body: Bytes| {
            let execution = v1::Execution::decode(body).ok()?;
            Some((wire::time(execution.end_time, "end_time").ok()?, execution.id))
        };
        let (mut ended, _) = self.bus.list_summaries(Kind::Execution, None, usize::MAX, read).await?;
        ended.sort_unstable();
        Ok(ended)
    }

    /// Another replica may have been faster.
    async fn delete_if_there(&self, id: &str) -> Result<usize> {
        match self.delete(id).await {
            Ok(()) => Ok(1),
            Err(Error::NotFound { .. }) => Ok(0),
            Err(error) => Err(error),
        }
    }
}
