//! A connection for one attempt.

use std::io;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process_group};

use super::frame::{Frames, FromHost, ToHost};
use super::supervisor::{Greeted, Live};
use crate::Isolation;
use crate::memory::{self, Exceeded};

/// A connection for one attempt. Dropping it cancels what still runs behind it.
pub struct Connection {
    frames: Frames,
    token: String,
    pid: i32,
    /// Keeps a host that gets no new attempts.
    live: Arc<Live>,
}

impl Connection {
    pub(super) fn new(Greeted { frames, token, pid }: Greeted, live: Arc<Live>) -> Self {
        Self { frames, token, pid, live }
    }

    /// The next frame; `None` when the other side is gone.
    ///
    /// # Errors
    /// When what came is not a frame.
    pub async fn read(&mut self) -> io::Result<Option<FromHost>> {
        self.frames.read().await
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the other side is gone.
    pub async fn write(&mut self, frame: &ToHost<'_>) -> io::Result<()> {
        self.frames.write(frame).await
    }

    /// How attempts are kept apart.
    pub fn isolation(&self) -> Isolation {
        self.live.bounds.isolation
    }

    /// Returns when the attempt may not go on for what is held: by its own process, or by the one of all.
    pub fn exceeds(&self) -> impl Future<Output = Exceeded> + use<> {
        let (pid, bounds, mut of_all) = (self.pid, self.live.bounds, self.live.exceeded());
        async move {
            match (bounds.isolation, bounds.memory) {
                (Isolation::Process, Some(ceiling)) => return memory::exceeded(pid, ceiling).await,
                (Isolation::Process, None) => {}
                (Isolation::Shared, _) => {
                    if let Ok(exceeded) = of_all.wait_for(Option::is_some).await.as_deref().copied() {
                        return exceeded.unwrap_or_default();
                    }
                }
            }
            std::future::pending().await
        }
    }

    /// The process of all attempts is being ended for this.
    pub fn exceeded(&self) -> Option<Exceeded> {
        *self.live.exceeded().borrow()
    }

    /// The attempt did not end when it was told to. In `shared` isolation its code may hold the one event loop that all
    /// attempts need: it is interrupted there, and a host whose loop stands still all the same is replaced.
    pub fn interrupt(&self) {
        Arc::clone(&self.live).interrupt(self.token.clone());
    }

    /// Ends the attempt's process and everything that it started. In `shared` isolation the process serves
    /// others too; there the closed connection says it, and [`Self::interrupt`] looks after code that does not obey.
    pub fn kill(&self) {
        if self.isolation() == Isolation::Process
            && let Some(group) = Pid::from_raw(self.pid)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, pid = self.pid, "the attempt's process had ended");
        }
    }
}
