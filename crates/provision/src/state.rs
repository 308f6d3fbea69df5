//! The state directory: everything that is fetched, generated or stored on this machine.
//!
//! ```text
//! bin/tools-<hash>/            uv and nats-server; beside it python.json, the Python that was found
//! env/<engine>-<python>-<hash>/  one Python environment per engine, lock and Python version
//! hosts/<hash>/                Python sources of the engine hosts, as embedded in the binaries
//! nats/  prefect/  model/      data of the servers that run here
//! log/  run/                   logs; sockets and other things of running processes
//! ```
//!
//! Invariant: what is created here is readable by its owner alone.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy as _;

use crate::error::{Error, Result};

const SUBDIRECTORIES: [&str; 8] = ["bin", "env", "hosts", "nats", "prefect", "model", "log", "run"];

/// The state directory, created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the given directory, or `mahavishnu` in the user's data directory, and creates what is missing.
    pub fn open(explicit: Option<&Path>) -> Result<Self> {
        let root = match explicit {
            Some(path) => std::path::absolute(path).map_err(Error::io("cannot resolve", path))?,
            None => Self::default_root()?,
        };
        create_private(&root)?;
        for name in SUBDIRECTORIES {
            create_private(&root.join(name))?;
        }
        Ok(Self { root })
    }

    /// Where the state directory is when nobody says otherwise.
    pub fn default_root() -> Result<PathBuf> {
        let strategy = etcetera::choose_base_strategy().map_err(|_| Error::NoHome)?;
        Ok(strategy.data_dir().join("mahavishnu"))
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Environments of the tools.
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    /// Environments of the engines.
    pub fn env(&self) -> PathBuf {
        self.root.join("env")
    }

    /// Sources of the engine hosts.
    pub fn hosts(&self) -> PathBuf {
        self.root.join("hosts")
    }

    /// Configuration and data of the NATS server.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// Data of the Prefect server.
    pub fn prefect(&self) -> PathBuf {
        self.root.join("prefect")
    }

    /// Data of the model server.
    pub fn model(&self) -> PathBuf {
        self.root.join("model")
    }

    /// The log file of the named process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(name).with_extension("log")
    }

    /// Sockets and other things of running processes.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Bytes that are free for this user on the file system of the state directory.
    pub fn free_bytes(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|errno| Error::io("cannot ask for the free space of", &self.root)(errno.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Creates a directory (and its parents) that only its owner may enter; one that exists is left as it is.
pub(crate) fn create_private(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("cannot create", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn creates_the_layout_for_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("deep/state");
        let state = StateDir::open(Some(&root)).unwrap();
        for path in
            [state.root().to_owned(), state.bin(), state.env(), state.hosts(), state.nats(), state.run()]
        {
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
        }
        assert_eq!(StateDir::open(Some(&root)).unwrap(), state);
        assert!(state.free_bytes().unwrap() > 0);
    }

    #[test]
    fn a_place_that_cannot_be_created_is_an_error_with_advice() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("file"), "").unwrap();
        let error = StateDir::open(Some(&base.path().join("file/state"))).unwrap_err();
        assert!(matches!(error, Error::Io { .. }));
        assert!(error.advice().contains("--state-dir"));
    }
}
