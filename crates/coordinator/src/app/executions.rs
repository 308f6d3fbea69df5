//! Looking at one execution, and cancelling it.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_core::execution::{Fact, Phase};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::{public, v1};

use super::{App, Error, Result};
use crate::driver::{Folded, History};

/// Events without effect that an execution shows.
const VOIDS: usize = 100;

impl App {
    /// An execution by the id that a client gave.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn find(&self, id: &str) -> Result<Arc<History>> {
        let parsed = ExecutionId::parse(id).map_err(|_| Error::no_execution(id))?;
        self.histories.get(&parsed).await.map_err(|error| match error {
            mahavishnu_bus::Error::NotFound => Error::no_execution(id),
            error => error.into(),
        })
    }

    /// The resource, with what its stages wait for now.
    pub fn describe(&self, history: &History) -> v1::Execution {
        history.with_folded(|folded| {
            let mut execution = public::execution(&history.id, &folded.state, true);
            execution.voids = voids(&history.id, folded);
            if folded.state.end.is_none() {
                for ((stage, now), status) in folded.state.iter().zip(&mut execution.stages) {
                    if now.phase == Phase::Scheduled
                        && let Some(missing) = self.no_worker(&stage.queue())
                    {
                        status.waiting_for = missing;
                    }
                }
            }
            execution
        })
    }

    /// Asks to cancel; gives the execution once the request is recorded. Asking again, or for an execution
    /// that has ended, changes nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel(&self, id: &str, reason: &str, caller: &str, trace: &Trace) -> Result<Arc<History>> {
        let history = self.find(id).await?;
        if history.with_folded(|folded| folded.state.end.is_some() || folded.state.cancel.is_some()) {
            return Ok(history);
        }
        let reason = if reason.is_empty() { "cancelled on request" } else { reason };
        let fact = Fact::CancelRequested { reason: reason.to_owned(), requested_by: caller.to_owned() };
        let position = self.bus.input(&history.id, &fact, trace).await?;
        history.folded_to(position).await;
        Ok(history)
    }
}

/// The last events without effect, in order.
fn voids(id: &ExecutionId, folded: &Folded) -> Vec<v1::Event> {
    let numbered = folded.events.iter().enumerate().rev().filter(|(_, numbered)| numbered.void.is_some());
    let told = numbered.take(VOIDS).map(|(n, numbered)| {
        let sequence = u64::try_from(n + 1).unwrap_or(u64::MAX);
        public::event(id, &numbered.record, sequence, numbered.void, &folded.state)
    });
    let mut told: Vec<_> = told.collect();
    told.reverse();
    told
}
