//! Removing executions that have ended: on request, or by age.

use std::time::Duration;

use chrono::Utc;
use mahavishnu_bus::summaries::Kind;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::{v1, wire};
use prost::Message as _;

use super::{App, Error, Result};

/// The longest and the shortest time between two looks at what is too old.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

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

    async fn remove_older(&self, age: Duration) -> Result<usize> {
        let age = chrono::Duration::from_std(age).unwrap_or(chrono::Duration::MAX);
        let Some(limit) = Utc::now().checked_sub_signed(age) else { return Ok(0) };
        let mut old = Vec::new();
        let collect = |summary: mahavishnu_bus::summaries::Summary| {
            if let Ok(execution) = v1::Execution::decode(summary.body)
                && wire::time(execution.end_time, "end_time").is_ok_and(|ended| ended < limit)
            {
                old.push(execution.id);
            }
            false
        };
        self.bus.list_summaries(Kind::Execution, None, collect).await?;
        let mut removed = 0;
        for id in &old {
            match self.delete(id).await {
                Ok(()) => removed += 1,
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }
}
