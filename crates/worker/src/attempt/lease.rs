//! Signs of life: the lease is kept, and who looks is told that the attempt began.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use mahavishnu_core::execution::Fact;
use mahavishnu_proto::worker;
use tokio::time::Instant;

use super::Attempt;

impl Attempt<'_> {
    /// Extends the lease as long as the bus can be reached; returns when it must be taken for lost, also because this process
    /// was stopped for too long.
    pub(super) async fn keep_lease(&self) {
        let lease = self.context.bus.lease();
        let mut tick = tokio::time::interval_at(self.contact() + lease / 3, lease / 3);
        loop {
            tick.tick().await;
            if self.contact().elapsed() > lease {
                return;
            }
            if self.context.bus.is_connected() {
                *self.contact.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                self.delivery.progress().await;
            }
        }
    }

    pub(super) fn contact(&self) -> Instant {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells for good that an attempt began that has a time limit, so that a coordinator watches over it.
    pub(super) async fn begin(&self) -> mahavishnu_bus::Result<()> {
        if self.delivery.task.timeout.is_none() {
            return Ok(());
        }
        self.shown.store(true, Ordering::Relaxed);
        let fact = Fact::Started(self.origin());
        self.context.bus.input(&self.delivery.execution, &fact, &self.trace).await.map(drop)
    }

    /// Tells whoever looks that the attempt began, once.
    pub(super) async fn show_start(&self) {
        if !self.shown.swap(true, Ordering::Relaxed) {
            self.show(worker::live::Kind::Started(worker::Started {
                worker_id: self.context.worker.to_string(),
                delivery: self.delivery.delivery,
            }))
            .await;
        }
    }
}
