//! Progress on its way to the history: in order, and together with what follows at once.
//!
//! Invariant: what an attempt said before its result is stored before it, or with it.

use std::cmp::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mahavishnu_core::execution::{Fact, Progressed};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Attempt;

/// Progress events kept of one attempt; the last one says that there will be no more. A flood beyond it costs nothing.
pub(super) const MAX_PROGRESS: u32 = 2_000;
/// So long it waits for more, or for the result: nobody who looks would see it sooner.
const TOGETHER: Duration = Duration::from_millis(2);
/// Whoever says more than this at once waits until it is stored.
const AT_ONCE: usize = 64;

/// What was said and is not stored yet.
#[derive(Default)]
pub(super) struct Untold {
    said: Mutex<Said>,
    more: Notify,
    room: Notify,
    /// What is left is stored with the result.
    pub ended: CancellationToken,
}

#[derive(Default)]
struct Said {
    waiting: Vec<Progressed>,
    /// In all.
    count: u32,
}

impl Untold {
    /// Takes what waits.
    pub(super) fn take(&self) -> Vec<Progressed> {
        let waiting = std::mem::take(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        self.room.notify_one();
        waiting
    }

    /// Adds one; gives it back if there is no room.
    fn add(&self, progress: Progressed) -> Option<Progressed> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.waiting.len() >= AT_ONCE {
            return Some(progress);
        }
        said.waiting.push(progress);
        drop(said);
        self.more.notify_one();
        None
    }

    fn count(&self) -> u32 {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.count = said.count.saturating_add(1);
        said.count
    }
}

impl Attempt<'_> {
    /// Has progress stored soon.
    pub(super) async fn progressed(&self, kind: String, name: String, data: Map<String, Value>) {
        match self.untold.count().cmp(&MAX_PROGRESS) {
            Ordering::Less => self.say(kind, name, data).await,
            Ordering::Equal => {
                tracing::warn!(kept = MAX_PROGRESS, "a flood of progress; what follows is left out");
                let note = format!(
                    "an attempt has {MAX_PROGRESS} events of progress at most; what follows is left out"
                );
                let data = Map::from_iter([("note".to_owned(), Value::String(note))]);
                self.say("message".to_owned(), "PROGRESS_LIMIT".to_owned(), data).await;
            }
            Ordering::Greater => {}
        }
    }

    async fn say(&self, kind: String, mut name: String, mut data: Map<String, Value>) {
        self.context.secrets.redactor.string(&mut name);
        self.context.secrets.redactor.object(&mut data);
        let mut progress = Progressed { origin: self.origin(), kind, name, data };
        while let Some(again) = self.untold.add(progress) {
            progress = again;
            self.untold.room.notified().await;
        }
    }

    /// Stores progress as it comes, one message after the other, until the attempt has ended.
    pub(super) async fn tell(&self) {
        let ended = &self.untold.ended;
        loop {
            tokio::select! {
                () = ended.cancelled() => return,
                () = self.untold.more.notified() => {}
            }
            tokio::select! {
                () = ended.cancelled() => return,
                () = tokio::time::sleep(TOGETHER) => {}
            }
            while !ended.is_cancelled() && self.tell_all(self.untold.take()).await {}
        }
    }

    /// Stores it; whether there was any.
    pub(super) async fn tell_all(&self, mut progress: Vec<Progressed>) -> bool {
        let Some(last) = progress.pop() else { return false };
        if let Err(error) = self.store(&progress, &Fact::Progressed(last)).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "progress is not stored");
        }
        true
    }
}
