//! The ends that an attempt does not choose: cancelled, handed back, out of time.

use std::time::Duration;

use mahavishnu_core::execution::Failure;
use tokio::time::Instant;

use super::outcome::timed_out;
use super::{Attempt, Outcome};
use crate::host::Connection;
use crate::host::frame::{FromHost, ToHost};

/// How long the engine may take to obey before its process is killed: so that also code that does not obey is gone within a
/// second of the request.
const GRACE: Duration = Duration::from_millis(500);

/// Why an attempt is to stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The execution has ended.
    Cancelled,
    /// The worker ends.
    Drained,
}

impl Attempt<'_> {
    /// How long the attempt may take: the stage's timeout or what the execution's deadline leaves, whichever is less.
    pub(super) fn limit(&self) -> Option<Duration> {
        let task = &self.delivery.task;
        let deadline = task.deadline.map(|deadline| (deadline - self.started).to_std().unwrap_or_default());
        [task.timeout, deadline].into_iter().flatten().min()
    }

    /// When it is out of time. What a host takes to get ready counts: the coordinator that watches over the limit counts it too.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.began.checked_add(self.limit()?)
    }

    pub(super) async fn stop(&self, connection: Connection, stop: Stop) -> Outcome {
        self.wind_down(connection, "cancelled").await;
        self.stopped(stop).await
    }

    pub(super) async fn stopped(&self, stop: Stop) -> Outcome {
        match stop {
            Stop::Cancelled => Outcome::Failed(Failure::terminal("CANCELLED", "the execution has ended")),
            Stop::Drained => {
                self.delivery.give_back(Duration::ZERO).await;
                Outcome::LeaseLost
            }
        }
    }

    pub(super) async fn time_out(&self, connection: Connection) -> Outcome {
        self.wind_down(connection, "timeout").await;
        timed_out(self.limit())
    }

    /// Asks the engine to stop, waits a little, and ends its process.
    async fn wind_down(&self, mut connection: Connection, reason: &str) {
        let obey = async {
            connection.write(&ToHost::Cancel { reason }).await?;
            while let Some(frame) = connection.read().await? {
                match frame {
                    FromHost::Spans { otlp } => self.relay(otlp),
                    FromHost::Cancelled
                    | FromHost::Done { .. }
                    | FromHost::Error { .. }
                    | FromHost::Paused { .. } => {
                        break;
                    }
                    _ => {}
                }
            }
            std::io::Result::Ok(())
        };
        if !matches!(tokio::time::timeout(GRACE, obey).await, Ok(Ok(()))) {
            tracing::info!("the engine did not stop by itself; its process is ended");
            connection.interrupt();
        }
        connection.kill();
    }
}

pub(super) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
