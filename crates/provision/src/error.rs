//! What can go wrong, each with one line that says it and one that says what to do.
//!
//! `Display` is the first line, [`Error::advice`] the second. `Display` never repeats its source.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something could not be provided or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable Python on `PATH`.
    #[error("no Python 3.10 or newer was found ({seen})")]
    NoPython {
        /// What was looked at, and what was wrong with it.
        seen: String,
    },
    /// The Python that was asked for cannot be used.
    #[error("{} cannot be used: {reason}", python.display())]
    UnusablePython {
        /// The interpreter asked for.
        python: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A Python without the standard modules that make environments.
    #[error("the Python at {} has no {module} module", python.display())]
    NoVenv {
        /// The interpreter.
        python: PathBuf,
        /// `venv` or `ensurepip`.
        module: &'static str,
    },
    /// A package index could not be reached.
    #[error("{what}: the package index cannot be reached: {detail}")]
    Network {
        /// What was being done.
        what: String,
        /// The tool's own words.
        detail: String,
    },
    /// The package index was reached, but its certificate is not trusted.
    #[error("{what}: the certificate of the package index is not trusted: {detail}")]
    Certificate {
        /// What was being done.
        what: String,
        /// The tool's own words.
        detail: String,
    },
    /// Not enough room on the disk.
    #[error("{what}: not enough disk space in {}", path.display())]
    NoSpace {
        /// What was being done.
        what: String,
        /// The directory.
        path: PathBuf,
    },
    /// A download is not the file that was locked.
    #[error("{what}: a downloaded file is not the one that is locked: {detail}")]
    HashMismatch {
        /// What was being done.
        what: String,
        /// The tool's own words.
        detail: String,
    },
    /// A locked package has no build for this platform or Python.
    #[error("{what}: no build for this platform and Python: {detail}")]
    NoBuild {
        /// What was being done.
        what: String,
        /// The tool's own words.
        detail: String,
    },
    /// A tool failed in a way that is not known here.
    #[error("{what} failed: {detail}")]
    Tool {
        /// What was being done.
        what: String,
        /// The end of the tool's output.
        detail: String,
    },
    /// Another process keeps a lock.
    #[error("{what}: another process ({holder}) holds {}", path.display())]
    LockHeld {
        /// What was being done.
        what: String,
        /// The lock file.
        path: PathBuf,
        /// The process that wrote itself into the lock file.
        holder: String,
    },
    /// A program could not be started.
    #[error("{} cannot be started", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A server ended while it was being started.
    #[error("{name} ended while starting ({status}): {detail}")]
    Ended {
        /// Which server.
        name: String,
        /// How it ended.
        status: String,
        /// The end of its log.
        detail: String,
    },
    /// A server was not ready in time.
    #[error("{name} was not ready within {seconds} s: {detail}")]
    NotReady {
        /// Which server.
        name: String,
        /// The time given.
        seconds: u64,
        /// What it was waiting for, or the end of its log.
        detail: String,
    },
    /// The user's data directory is not known.
    #[error("the user's data directory is not known: no home directory")]
    NoHome,
    /// A file or directory could not be read or written.
    #[error("{action} {}", path.display())]
    Io {
        /// What was being done, in the infinitive form `cannot ...`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, in one line.
    pub fn advice(&self) -> String {
        match self {
            Self::NoPython { .. } => {
                "install Python 3.10 or newer (Debian, Ubuntu: apt install python3 python3-venv), or name one with --python".into()
            }
            Self::UnusablePython { .. } => "name a CPython 3.10 or newer with --python".into(),
            Self::NoVenv { .. } => {
                "install it (Debian, Ubuntu: apt install python3-venv), or name another Python with --python".into()
            }
            Self::Network { .. } => {
                "check the network, or point pip to a mirror (pip config set global.index-url URL) and try again".into()
            }
            Self::Certificate { .. } => {
                "name the certificates to trust (pip config set global.cert FILE, or SSL_CERT_FILE) and try again".into()
            }
            Self::NoSpace { .. } => "free some space, or choose another place with --state-dir or MAHAVISHNU_HOME".into(),
            Self::HashMismatch { .. } => {
                "do not use the file: check the mirror or proxy in between, clear uv's cache (uv cache clean) and try again".into()
            }
            Self::NoBuild { .. } => {
                "use CPython 3.10 to 3.13 on x86-64 or arm64 Linux or macOS; --python chooses the interpreter".into()
            }
            Self::Tool { .. } => "see log/provision.log in the state directory for the whole output".into(),
            Self::LockHeld { .. } => "wait for it, stop it, or use another state directory (--state-dir)".into(),
            Self::Spawn { .. } => "check that the program is there and may be executed".into(),
            Self::Ended { .. } | Self::NotReady { .. } => "see its log in the state directory; `mahavishnu doctor` checks the rest".into(),
            Self::NoHome => "set HOME, or choose a place with --state-dir or MAHAVISHNU_HOME".into(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => {
                    "free some space, or choose another place with --state-dir or MAHAVISHNU_HOME".into()
                }
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a place that you may write to with --state-dir or MAHAVISHNU_HOME".into()
                }
                _ => "check the path, or choose another place with --state-dir or MAHAVISHNU_HOME".into(),
            },
        }
    }

    /// For `map_err` on file operations.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
