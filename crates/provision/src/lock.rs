//! Exclusive locks between processes, on files; the kernel releases them when their holder ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::{Error, Result};

/// How often a lock that is held is tried again: polled, because a blocking wait could not be cancelled.
const RETRY: Duration = Duration::from_millis(100);

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Said aloud: a child that another thread is just starting shares the open file until it executes its program,
    /// and would keep the lock that long.
    fn drop(&mut self) {
        // A failure leaves what closing the file does.
        let _ = self.file.unlock();
    }
}

impl Lock {
    /// Takes the lock if nobody has it.
    pub fn try_take(path: &Path, what: &str) -> Result<Self> {
        let cannot = |source| Error::Io { action: "cannot lock", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::LockHeld {
                    what: what.to_owned(),
                    path: path.to_owned(),
                    holder: holder(path),
                });
            }
            Err(TryLockError::Error(source)) => return Err(cannot(source)),
        }
        // For the error message of whoever comes second; the lock itself does not depend on it.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()))
            .map_err(cannot)?;
        Ok(Self { file })
    }

    /// Takes the lock as soon as it is free, for at most `patience`; `waiting` is called once if it is not free at once.
    pub async fn take(
        path: PathBuf,
        what: &str,
        patience: Duration,
        waiting: impl FnOnce(&str),
    ) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let mut waiting = Some(waiting);
        let mut ticks = interval(RETRY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match Self::try_take(&path, what) {
                Err(Error::LockHeld { holder, .. }) if Instant::now() < deadline => {
                    if let Some(waiting) = waiting.take() {
                        waiting(&holder);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

fn holder(path: &Path) -> String {
    match std::fs::read_to_string(path) {
        Ok(pid) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_taker_hears_who_holds_it_and_gets_it_afterwards() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let first = Lock::try_take(&path, "a test").unwrap();
        let error = Lock::try_take(&path, "a test").unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");

        let (told, waits) = tokio::sync::oneshot::channel();
        let second =
            tokio::spawn(Lock::take(path, "a test", Duration::from_secs(60), |_| told.send(()).unwrap()));
        waits.await.unwrap();
        drop(first);
        second.await.unwrap().unwrap();
    }
}
