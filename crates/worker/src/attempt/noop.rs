//! The no-op engine's attempt: it does what its task says, without a host.

use std::time::Duration;

use mahavishnu_core::execution::Object;
use serde_json::Map;

use super::outcome::timed_out;
use super::progress::MAX_PROGRESS;
use super::stop::{Stop, until};
use super::{Attempt, Outcome, Signals};
use crate::noop;

impl Attempt<'_> {
    /// The no-op engine's attempt.
    pub(super) async fn noop(&self, filled: &Object, signals: &Signals) -> Outcome {
        let task = &self.delivery.task;
        let script = match noop::Script::read(filled) {
            Ok(script) => script,
            Err(failure) => return Outcome::Failed(failure),
        };
        let work = async {
            for n in 1..=script.progress.min(MAX_PROGRESS) {
                self.progressed("step".to_owned(), n.to_string(), Map::new()).await;
            }
            if script.sleep_ms > 0 {
                tokio::time::sleep(Duration::from_millis(script.sleep_ms)).await;
            }
        };
        tokio::select! {
            biased;
            () = work => script.end(task),
            () = signals.cancel.cancelled() => self.stopped(Stop::Cancelled).await,
            () = signals.hand_back.cancelled() => self.stopped(Stop::Drained).await,
            () = until(self.deadline()) => timed_out(self.limit()),
        }
    }
}
