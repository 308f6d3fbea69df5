//! A connection for one attempt.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};

use super::frame::{Frames, FromHost, ToHost};
use crate::Isolation;

/// A connection for one attempt. Dropping it cancels what still runs behind it.
pub struct Connection {
    frames: Frames,
    pid: i32,
    isolation: Isolation,
}

impl Connection {
    pub(super) const fn new(frames: Frames, pid: i32, isolation: Isolation) -> Self {
        Self { frames, pid, isolation }
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

    /// The attempt's own process; in `shared` isolation it has none.
    pub fn process(&self) -> Option<i32> {
        (self.isolation == Isolation::Process).then_some(self.pid)
    }

    /// Ends the attempt's process and everything that it started. In `shared` isolation the process serves
    /// others too; there the closed connection says it, and [`super::Host::suspect`] looks after code that does not obey.
    pub fn kill(&self) {
        if self.isolation == Isolation::Process
            && let Some(group) = Pid::from_raw(self.pid)
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::debug!(%error, pid = self.pid, "the attempt's process had ended");
        }
    }
}
