//! The NATS server and where it keeps its data.
//!
//! A store that is only for one command lives in the state directory's `run` and is removed with it. What a killed
//! program left behind is removed by the next one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mahavishnu_provision::StateDir;
use mahavishnu_provision::nats::{self, Durability, NatsServer};
use mahavishnu_provision::process::log_tail;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::part::{Notice, Part};

/// The names of temporary stores begin with this.
const PREFIX: &str = "nats-";
/// A younger store may belong to a program that has not locked it yet.
const YOUNG: Duration = Duration::from_secs(60);
/// A killed server's last files may appear while its directory is removed.
const REMOVALS: usize = 5;

/// A store that is removed when this is dropped.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes one, after removing what killed programs left.
    pub fn new(state: &StateDir) -> anyhow::Result<Self> {
        sweep(&state.run());
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(state.run());
        Ok(Self(directory.with_context(|| format!("cannot write to {}", state.run().display()))?.keep()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            if std::fs::remove_dir_all(&self.0).is_ok() || !self.0.exists() {
                return;
            }
        }
        tracing::warn!(path = %self.0.display(), "cannot remove a temporary directory");
    }
}

/// Removes the stores that nobody holds any more.
fn sweep(run: &Path) {
    for entry in std::fs::read_dir(run).into_iter().flatten().filter_map(Result::ok) {
        let old = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > YOUNG));
        if old && entry.file_name().to_string_lossy().starts_with(PREFIX) && is_free(&entry.path()) {
            // What cannot be removed now is tried again by the next program.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_free(store: &Path) -> bool {
    match File::open(store.join("lock")) {
        Ok(lock) => lock.try_lock().is_ok(),
        // Its program ended before it made one.
        Err(_) => true,
    }
}

/// Where a started server can be reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// What clients connect to.
    pub nats: String,
    /// The monitoring endpoint.
    pub monitor: String,
}

/// Starts the server on a temporary store, or on the data that stays in the state directory. Its end, when nobody
/// asked for it, is told.
pub async fn start(
    program: PathBuf,
    state: &StateDir,
    keep_data: bool,
    durability: Durability,
    notices: mpsc::UnboundedSender<Notice>,
    kill: CancellationToken,
) -> anyhow::Result<(Part, Addresses)> {
    let store = if keep_data { None } else { Some(Temporary::new(state)?) };
    let directory = store.as_ref().map_or_else(|| state.nats(), |store| store.path().to_owned());
    let log = state.log("nats-server");
    let options = nats::Options { log: log.clone(), durability, ..nats::Options::new(program, directory) };
    let server = NatsServer::start(&options).await?;
    let addresses = Addresses { nats: server.url().to_owned(), monitor: server.monitor_url().to_owned() };
    let part = Part::task(|stop| keep(store, server, log, notices, stop, kill));
    Ok((part, addresses))
}

/// Arguments are dropped from the last to the first: the server dies before its store is removed.
async fn keep(
    _store: Option<Temporary>,
    mut server: NatsServer,
    log: PathBuf,
    notices: mpsc::UnboundedSender<Notice>,
    stop: CancellationToken,
    kill: CancellationToken,
) {
    tokio::select! {
        ended = server.wait() => {
            let status = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            // Whoever listened may be gone already; then nobody needs to know.
            let _ = notices.send(Notice { part: "nats-server".to_owned(), status, tail: log_tail(&log, 3), log, again: None });
            return;
        }
        () = stop.cancelled() => {}
    }
    let stopped = async { if kill.is_cancelled() { server.kill().await } else { server.stop().await } };
    if let Err(error) = stopped.await {
        tracing::warn!(%error, "nats-server cannot be stopped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_store_goes_with_its_owner() {
        let base = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(base.path())).unwrap();
        let store = Temporary::new(&state).unwrap();
        let path = store.path().to_owned();
        std::fs::write(path.join("data"), "x").unwrap();
        drop(store);
        assert!(!path.exists());
    }

    #[test]
    fn only_old_stores_that_nobody_holds_are_swept() {
        let run = tempfile::tempdir().unwrap();
        let make = |name: &str, age: u64| {
            let path = run.path().join(name);
            std::fs::create_dir(&path).unwrap();
            let lock = File::create(path.join("lock")).unwrap();
            let modified = SystemTime::now() - Duration::from_secs(age);
            File::open(&path).unwrap().set_modified(modified).unwrap();
            (path, lock)
        };
        let (young, _) = make("nats-young", 1);
        let (held, lock) = make("nats-held", 3600);
        lock.try_lock().unwrap();
        let (left, _) = make("nats-left", 3600);
        let (other, _) = make("other", 3600);
        sweep(run.path());
        assert!(young.exists() && held.exists() && other.exists());
        assert!(!left.exists());
    }
}
