//! One model server for everybody on this machine, started when the first one asks.
//!
//! Whoever holds the lock beside the announcement has started the server and keeps it; the others read where it is.
//! When its keeper ends, so does the server; when the server ends, its keeper lets go. The next one who asks starts
//! another.
//!
//! Invariant: an announcement is believed only while somebody holds the lock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::Provision;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::model::ModelServer;

/// How long somebody else may take to start it: as long as we would.
const PATIENCE: Duration = Duration::from_secs(150);
/// Between looks at what somebody else is starting.
const LOOK: Duration = Duration::from_millis(50);
const WHAT: &str = "the model server of this machine";

/// The handle. Clones share the server that one of them started; dropping the last one stops it.
#[derive(Clone)]
pub struct SharedModel {
    provision: Provision,
    kept: Arc<Mutex<Option<Kept>>>,
}

/// A server that we keep for everybody. Dropping this stops it.
struct Kept {
    base_url: String,
    /// Ends with the server, the lock then free.
    server: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

/// What the keeper tells the others.
#[derive(Serialize, Deserialize)]
struct Announcement {
    base_url: String,
}

impl SharedModel {
    /// Nothing is started yet.
    pub fn new(provision: Provision) -> Self {
        Self { provision, kept: Arc::default() }
    }

    /// Where it is, once it answers.
    ///
    /// # Errors
    /// When it cannot be provided or started, here or by its keeper.
    pub async fn base_url(&self) -> Result<String> {
        let mut kept = self.kept.lock().await;
        if let Some(ours) = kept.as_ref().filter(|ours| !ours.server.is_finished()) {
            return Ok(ours.base_url.clone());
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_lock() {
                Ok(lock) => {
                    let server = self.start().await?;
                    let base_url = server.base_url().to_owned();
                    let (stop, stopped) = oneshot::channel();
                    let server = tokio::spawn(keep(server, lock, stopped));
                    *kept = Some(Kept { base_url: base_url.clone(), server, _stop: stop });
                    return Ok(base_url);
                }
                Err(error @ Error::LockHeld { .. }) => match self.announced() {
                    Some(base_url) => return Ok(base_url),
                    None if Instant::now() > deadline => return Err(error),
                    None => sleep(LOOK).await,
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts it and says where. The lock is held, so nobody else writes; an older word is taken back first.
    async fn start(&self) -> Result<ModelServer> {
        let file = self.announcement_file();
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("cannot remove", &file)(error));
            }
            _ => {}
        }
        let server = ModelServer::start(&self.provision).await?;
        let announcement = Announcement { base_url: server.base_url().to_owned() };
        let part = file.with_extension("part");
        let text = serde_json::json!(announcement).to_string();
        std::fs::write(&part, text).map_err(Error::io("cannot write", &part))?;
        std::fs::rename(&part, &file).map_err(Error::io("cannot write", &file))?;
        Ok(server)
    }

    fn announced(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.announcement_file()).ok()?;
        serde_json::from_str::<Announcement>(&text).ok().map(|announcement| announcement.base_url)
    }

    fn try_lock(&self) -> Result<Lock> {
        let directory = self.provision.state().model();
        std::fs::create_dir_all(&directory).map_err(Error::io("cannot create", &directory))?;
        Lock::try_take(&directory.join("lock"), WHAT)
    }

    fn announcement_file(&self) -> PathBuf {
        self.provision.state().model().join("server.json")
    }
}

/// Waits for the end of the server, or ends it when nobody wants it any more.
async fn keep(mut server: ModelServer, lock: Lock, stopped: oneshot::Receiver<()>) {
    tokio::select! {
        ended = server.wait() => tracing::warn!(?ended, "the model server has ended"),
        _ = stopped => if let Err(error) = server.stop().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the model server cannot be stopped");
        },
    }
    drop(lock);
}
