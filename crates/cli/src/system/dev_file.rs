//! `run/dev.json` in the state directory: how other commands find the running `mahavishnu dev`.
//!
//! Invariant: the file is a hint. Whoever reads it asks the endpoint before believing it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_provision::StateDir;
use serde::{Deserialize, Serialize};

/// A server of this machine answers at once or is not there.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);

/// What a running `dev` says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevFile {
    /// Its coordinator.
    pub endpoint: String,
    /// Its process.
    pub pid: u32,
    /// Its NATS server.
    pub nats: String,
    /// Where that is monitored.
    pub monitor: String,
    /// Its project directory.
    pub project: PathBuf,
}

/// The file, removed when this is dropped.
#[derive(Debug)]
pub struct Written(PathBuf);

impl DevFile {
    /// What the last `dev` of this state directory wrote, if it is readable.
    pub fn read(state: &StateDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(state)).ok()?).ok()
    }

    /// Where the NATS server of a running `dev` is, if one answers there.
    pub fn nats(state_dir: Option<&Path>) -> Option<String> {
        let nats = Self::read(&StateDir::open(state_dir).ok()?)?.nats;
        let address = nats.strip_prefix("nats://")?.parse().ok()?;
        TcpStream::connect_timeout(&address, CONNECT_LIMIT).is_ok().then_some(nats)
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, state: &StateDir) -> anyhow::Result<Written> {
        let path = path(state);
        let cannot = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(state.run()).with_context(cannot)?;
        serde_json::to_writer(&mut file, self).with_context(cannot)?;
        file.persist(&path).with_context(cannot)?;
        Ok(Written(path))
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        // A file that stays is stale, which every reader allows for.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn path(state: &StateDir) -> PathBuf {
    state.run().join("dev.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_until_it_is_dropped() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(base.path())).unwrap();
        assert_eq!(DevFile::read(&state), None);
        let file = DevFile {
            endpoint: "http://127.0.0.1:1".into(),
            pid: 1,
            nats: "nats://127.0.0.1:2".into(),
            monitor: "http://127.0.0.1:3".into(),
            project: "/p".into(),
        };
        let written = file.write(&state).unwrap();
        assert_eq!(DevFile::read(&state), Some(file));
        drop(written);
        assert_eq!(DevFile::read(&state), None);
        std::fs::write(base.path().join("run/dev.json"), "{").unwrap();
        assert_eq!(DevFile::read(&state), None);
    }
}
