//! A server that an engine's host needs beside it, as a child of the worker: Prefect's own.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use mahavishnu_provision::StateDir;
use mahavishnu_provision::process::{Child, Output, log_tail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// A server that an engine's host needs beside it.
#[derive(Clone, Copy, Debug)]
pub struct Sidecar {
    /// The Python module that serves; it prints one line of JSON with its `url` when it answers.
    pub module: &'static str,
    /// Its directory in the state directory. While another system on this machine uses it, the next one is
    /// taken: `prefect-2` after `prefect`.
    pub directory: &'static str,
    /// The environment variable through which the host finds it. When it is set already, the server that it
    /// names is used, and none is started.
    pub variable: &'static str,
    /// The environment variable that gives the host a private directory for its client's own files, so that
    /// it does not touch the user's.
    pub home: &'static str,
    /// Further environment variables for the host when the server is the worker's own.
    pub own: &'static [(&'static str, &'static str)],
}

/// What a sidecar is started from.
pub(crate) struct Program<'a> {
    pub python: &'a Path,
    pub sources: &'a Path,
    pub state: &'a StateDir,
}

/// A sidecar that answers.
pub(crate) struct Running {
    /// The environment variable with its address.
    pub variable: (String, String),
    /// Further environment variables for the host.
    pub own: &'static [(&'static str, &'static str)],
    child: Option<Child>,
}

#[derive(Deserialize)]
struct Ready {
    url: String,
}

/// Enough for the first start, which makes a database, on a cold disk.
const PATIENCE: Duration = Duration::from_secs(120);

/// Its exit status when another process uses its directory (`EX_TEMPFAIL`).
const IN_USE: i32 = 75;
/// Systems that one state directory serves at the same time.
const DIRECTORIES: usize = 16;

/// Starts it and waits until it answers.
pub(crate) async fn start(
    sidecar: Option<&Sidecar>,
    program: &Program<'_>,
) -> anyhow::Result<Option<Running>> {
    let Some(sidecar) = sidecar else { return Ok(None) };
    if let Some((name, url)) =
        std::env::vars().find(|(name, url)| name == sidecar.variable && !url.is_empty())
    {
        return Ok(Some(Running { variable: (name, url), own: &[], child: None }));
    }
    for n in 1..=DIRECTORIES {
        let directory =
            if n == 1 { sidecar.directory.to_owned() } else { format!("{}-{n}", sidecar.directory) };
        if let Some(running) = start_in(sidecar, program, &directory).await? {
            return Ok(Some(running));
        }
    }
    bail!("{DIRECTORIES} servers of {} run in this state directory already", sidecar.module)
}

/// `None` when another process uses the directory.
async fn start_in(
    sidecar: &Sidecar,
    program: &Program<'_>,
    directory: &str,
) -> anyhow::Result<Option<Running>> {
    let log = program.state.log(directory);
    let mut command = Command::new(program.python);
    command
        .args(["-m", sidecar.module, "--data"])
        .arg(program.state.root().join(directory))
        .env("PYTHONPATH", program.sources)
        .env_remove("PYTHONDONTWRITEBYTECODE");
    let mut child = Child::spawn(command, Output::Piped, Output::Log(log.clone())).context(sidecar.module)?;
    let stdout = child.take_stdout().context("standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line())
        .await
        .map_err(|_| anyhow!("{} does not answer after {PATIENCE:?}", sidecar.module))
        .and_then(|line| line.context("standard output"))?;
    let Some(line) = line else {
        let status = child.wait().await.context(sidecar.module)?;
        if status.code() == Some(IN_USE) {
            return Ok(None);
        }
        bail!("{} ended with {status}: {}", sidecar.module, log_tail(&log, 3));
    };
    let ready: Ready =
        serde_json::from_str(&line).with_context(|| format!("{} said {line:?}", sidecar.module))?;
    tracing::info!(url = ready.url, "{} answers", sidecar.module);
    let variable = (sidecar.variable.to_owned(), ready.url);
    Ok(Some(Running { variable, own: sidecar.own, child: Some(child) }))
}

impl Running {
    /// Ends it, if it is ours.
    pub async fn stop(self) {
        if let Some(child) = self.child
            && let Err(error) = child.stop(Duration::from_secs(8)).await
        {
            tracing::warn!(%error, "stopping the server beside the engine host");
        }
    }
}
