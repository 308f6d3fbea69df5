//! The small local model that every engine uses when no other is configured: no key, no account, no hub.
//!
//! It proves plumbing and streaming; nothing that must be right may depend on what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use include_dir::{Dir, include_dir};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::process::{Child, Output, log_tail};
use crate::{Provision, python};

static SOURCES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/model");
const LOCK: &str = include_str!("../model/requirements.lock");
/// The name of the model that is served.
pub const MODEL: &str = "smollm2-135m-instruct";
const NAME: &str = "model server";
/// Loading takes a second or two, from a cold disk many more.
const START_LIMIT: Duration = Duration::from_secs(120);
/// It holds nothing that would have to be saved.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The environment of the model: its weights and the program that serves them.
pub fn environment() -> Environment {
    Environment::new("model", LOCK)
}

/// A running model server, OpenAI-compatible, on the loopback address. Dropping it kills it.
#[derive(Debug)]
pub struct ModelServer {
    child: Child,
    announcement: Announcement,
}

/// The one line that the server prints when it is ready.
#[derive(Debug, Deserialize)]
struct Announcement {
    base_url: String,
    model: String,
}

impl ModelServer {
    /// Provides what is missing, starts a server on a free port and waits until it is ready.
    pub async fn start(provision: &Provision) -> Result<Self> {
        let interpreter = provision.environment(&environment()).await?;
        let sources = provision.sources(&SOURCES).await?;
        Self::launch(&interpreter, &sources, provision.state().log("model")).await
    }

    /// What an OpenAI client takes as its base URL: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> &str {
        &self.announcement.base_url
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.announcement.model
    }

    /// The process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends when the server does, which nobody asked it to.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await.map_err(Error::io("cannot wait for", Path::new(NAME)))
    }

    /// Stops the server.
    pub async fn stop(self) -> Result<()> {
        self.child.stop(STOP_GRACE).await.map(drop).map_err(Error::io("cannot stop", Path::new(NAME)))
    }

    async fn launch(interpreter: &Path, sources: &Path, log: PathBuf) -> Result<Self> {
        let mut command = Command::new(interpreter);
        command.arg(sources.join("serve.py")).args(["--name", MODEL]);
        for name in python::FOREIGN_SETTINGS {
            command.env_remove(name);
        }
        let mut child = Child::spawn(command, Output::Piped, Output::Log(log.clone()))?;
        let announcement = timeout(START_LIMIT, announcement(child.take_stdout())).await;
        match announcement {
            Ok(Some(announcement)) => Ok(Self { child, announcement }),
            Ok(None) => {
                // Its output is closed without the line: it has ended, or will when it is killed.
                let status = child.kill().await.map_err(Error::io("cannot wait for", Path::new(NAME)))?;
                let detail = log_tail(&log, 3);
                Err(Error::Ended { name: NAME.to_owned(), status: status.to_string(), detail })
            }
            Err(_) => {
                let seconds = START_LIMIT.as_secs();
                Err(Error::NotReady { name: NAME.to_owned(), seconds, detail: log_tail(&log, 3) })
            }
        }
    }
}

async fn announcement(output: Option<ChildStdout>) -> Option<Announcement> {
    let mut lines = BufReader::new(output?).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(announcement) = serde_json::from_str(&line) {
            return Some(announcement);
        }
    }
    None
}
