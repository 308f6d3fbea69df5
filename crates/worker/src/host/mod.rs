//! The engine host: the warm process in which the engine really runs.
//!
//! Invariants: new attempts go to one host at a time; a host that ends is started again, with growing pauses; every attempt
//! has a connection of its own, and in `process` isolation a process of its own, opened ahead of need. In `shared` isolation a
//! host that has grown too large ends with the last attempt in it, and the next attempts are in another one.

pub mod connection;
pub mod frame;
mod supervisor;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::watch;

pub use connection::Connection;
use supervisor::{Live, Supervisor};

use crate::Isolation;
use crate::secrets::Redactor;

/// How long an attempt waits for a host that is being started again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a host is started from.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine.
    pub engine: String,
    /// Where its module is, when it does not come with the program.
    pub own: Option<Own>,
    /// The interpreter.
    pub python: PathBuf,
    /// The directory of the host's sources.
    pub sources: PathBuf,
    /// How attempts are kept apart, and what they may hold.
    pub bounds: Bounds,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// Keeps secrets out of what is printed.
    pub redactor: Redactor,
}

/// How attempts are kept apart, and what they may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A process for each, or one for all.
    pub isolation: Isolation,
    /// Bytes that such a process may hold, with all that it starts.
    pub memory: Option<u64>,
}

/// An engine module of a project's own.
#[derive(Clone, Debug)]
pub struct Own {
    /// `path.py` or `package.module`.
    pub module: String,
    /// The project directory that it is in.
    pub project: PathBuf,
}

/// Where the supervisor stands.
#[derive(Clone)]
enum State {
    Starting,
    Ready(Arc<Live>),
    /// The engine is not there; starting again will not help.
    Unavailable(String),
}

/// The engine host. Cheap to clone; the process ends with the last clone.
#[derive(Clone)]
pub struct Host {
    isolation: Isolation,
    state: watch::Receiver<State>,
    _supervisor: Arc<tokio_util::task::AbortOnDropHandle<()>>,
}

impl Host {
    /// Starts it and waits until it is warm.
    ///
    /// # Errors
    /// When the engine cannot be imported in this environment.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let (sender, state) = watch::channel(State::Starting);
        let isolation = options.bounds.isolation;
        let task = tokio::spawn(Supervisor::new(options, sender).run());
        let host =
            Self { isolation, state, _supervisor: Arc::new(tokio_util::task::AbortOnDropHandle::new(task)) };
        ready(&mut host.state.clone()).await?;
        Ok(host)
    }

    /// A connection for one attempt; of the next host, if one ends before.
    ///
    /// # Errors
    /// When there is no host for a long time, or it does not answer.
    pub async fn open(&self) -> anyhow::Result<Connection> {
        let mut state = self.state.clone();
        let opened = async {
            loop {
                let live = ready(&mut state).await?;
                match live.open().await? {
                    Some(greeted) => return anyhow::Ok(Connection::new(greeted, live)),
                    None => state.changed().await.context("the engine host is being stopped")?,
                }
            }
        };
        let opened = tokio::time::timeout(PATIENCE, opened).await;
        opened.unwrap_or_else(|_| Err(anyhow!("the engine host is not ready after {PATIENCE:?}")))
    }

    /// Has a connection ready for the next attempt, now that one has ended. In `process` isolation that takes longer, and is done
    /// while an attempt runs.
    pub fn make_ready(&self) {
        if let (Isolation::Shared, State::Ready(live)) = (self.isolation, &*self.state.borrow()) {
            live.make_ready();
        }
    }

    /// How it keeps attempts apart.
    pub const fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Versions of what it runs.
    pub fn versions(&self) -> BTreeMap<String, String> {
        match &*self.state.borrow() {
            State::Ready(live) => live.versions.clone(),
            State::Starting | State::Unavailable(_) => BTreeMap::new(),
        }
    }
}

async fn ready(state: &mut watch::Receiver<State>) -> anyhow::Result<Arc<Live>> {
    match state.wait_for(|state| !matches!(state, State::Starting)).await.as_deref() {
        Ok(State::Ready(live)) => Ok(Arc::clone(live)),
        Ok(State::Unavailable(why)) => bail!("{why}"),
        Ok(State::Starting) | Err(_) => bail!("the engine host is being stopped"),
    }
}
