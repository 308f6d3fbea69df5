//! Durable delays: JetStream message schedules that fire into an execution's inputs.
//!
//! Invariant: setting the same timer again replaces it, so a crash between a timer and the fact that relies
//! on it is mended by doing both again.

use chrono::{DateTime, SecondsFormat, Utc};
use mahavishnu_core::execution::{Fact, Timer};
use mahavishnu_core::id::ExecutionId;

use crate::{Bus, Error, Result, Trace};

impl Bus {
    /// Has `timer` fire at `at`. The server's resolution is a second.
    ///
    /// # Errors
    /// When NATS cannot be reached for some time.
    pub async fn set_timer(
        &self,
        id: &ExecutionId,
        timer: &Timer,
        at: DateTime<Utc>,
        trace: &Trace,
    ) -> Result<()> {
        let name = match timer {
            Timer::Retry { stage, attempt } => format!("retry.{stage}.{attempt}"),
            Timer::Deadline => "deadline".to_owned(),
            Timer::Approval { stage, attempt, resume } => format!("approval.{stage}.{attempt}.{resume}"),
            Timer::Timeout { stage, attempt, resume } => format!("timeout.{stage}.{attempt}.{resume}"),
        };
        let envelope = self.wrap(id, &Fact::TimerFired(timer.clone()), trace).await?;
        let message = envelope
            .publish()
            .header("Nats-Schedule", format!("@at {}", at.to_rfc3339_opts(SecondsFormat::Nanos, true)))
            .header("Nats-Schedule-Target", envelope.subject.as_str());
        self.store(&self.partition(id).await?.timer(id, &name), message).await.map(drop)
    }

    /// Takes back the timers of an execution that have not fired.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn drop_timers(&self, id: &ExecutionId) -> Result<()> {
        let partition = self.partition(id).await?;
        let stream = self.history_stream(partition).await?;
        stream.purge().filter(partition.timers_of(id)).await.map(drop).map_err(Error::new)
    }
}
