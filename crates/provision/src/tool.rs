//! Running pip and uv to their end, and telling their failures apart.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::process::{Child, Output, last_lines};
use crate::progress::{Event, Progress, State};
use crate::{Provision, StateDir, python};

/// Lines of output kept for judging a failure.
const KEPT_LINES: usize = 200;
/// Lines of output quoted in an error.
const QUOTED_LINES: usize = 3;
/// The first lines of work that a user may like to see; pip's and uv's own words.
const TELLING: [&str; 8] = [
    "Collecting",
    "Downloading",
    "Downloaded",
    "Building",
    "Prepared",
    "Installing",
    "Installed",
    "Bytecode",
];

/// A step in progress: tells its end even if it is cancelled.
pub(crate) struct Step {
    progress: Arc<dyn Progress>,
    name: String,
    log: PathBuf,
    directory: PathBuf,
    done: bool,
}

impl Step {
    pub fn start(provision: &Provision, name: impl Into<String>) -> Self {
        let (progress, name) = (Arc::clone(provision.progress()), name.into());
        progress.event(Event { step: name.clone(), state: State::Started });
        let state = provision.state();
        Self { progress, name, log: state.log("provision"), directory: state.root().to_owned(), done: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn detail(&self, text: impl Into<String>) {
        self.progress.event(Event { step: self.name.clone(), state: State::Detail(text.into()) });
    }

    pub fn done(mut self) {
        self.done = true;
    }

    /// Runs a command to its end. Its output goes to the log and, where telling, to the progress.
    pub async fn run(&self, mut command: Command) -> Result<()> {
        // Not in the user's directory: its project files must not change what is installed.
        command.current_dir(&self.directory);
        for name in python::FOREIGN_SETTINGS {
            command.env_remove(name);
        }
        let mut child = Child::spawn(command, Output::Piped, Output::Piped)?;
        let (lines, mut received) = mpsc::channel(64);
        let readers = (
            tokio::spawn(forward(child.take_stdout(), lines.clone())),
            tokio::spawn(forward(child.take_stderr(), lines)),
        );
        let mut log = tokio::fs::OpenOptions::new().create(true).append(true).open(&self.log).await.ok();
        let mut kept = std::collections::VecDeque::new();
        while let Some(line) = received.recv().await {
            if let Some(file) = &mut log {
                use tokio::io::AsyncWriteExt as _;
                // The log is a help, not a need: a full disk shows in the command itself.
                let _ = file.write_all(format!("{}: {line}\n", self.name).as_bytes()).await;
            }
            if TELLING.iter().any(|word| line.trim_start().starts_with(word)) {
                self.detail(line.trim());
            }
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        drop(readers);
        let status = child.wait().await.map_err(Error::io("cannot wait for a tool in", &self.directory))?;
        if status.success() {
            return Ok(());
        }
        let output: Vec<String> = kept.into();
        Err(judge(&self.name, &output.join("\n"), &self.directory))
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let state = if self.done { State::Done } else { State::Failed };
        self.progress.event(Event { step: self.name.clone(), state });
    }
}

/// Refuses to start what would fill the disk.
pub(crate) fn require_space(state: &StateDir, what: &str, bytes: u64) -> Result<()> {
    if state.free_bytes()? < bytes {
        return Err(Error::NoSpace { what: what.to_owned(), path: state.root().to_owned() });
    }
    Ok(())
}

async fn forward(stream: Option<impl AsyncRead + Unpin>, lines: mpsc::Sender<String>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Bytes, not text: a package's message in another encoding must not end the reading.
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).await.is_err() {
            return;
        }
        line.clear();
    }
}

/// Tells from the words of pip and uv what went wrong. The order matters: the cause before its consequences.
fn judge(what: &str, output: &str, path: &Path) -> Error {
    const NO_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];
    const HASH: [&str; 2] = ["Hash mismatch", "DO NOT MATCH THE HASHES"];
    const CERTIFICATE: [&str; 4] = [
        "CERTIFICATE_VERIFY_FAILED",
        "certificate verify failed",
        "invalid peer certificate",
        "UnknownIssuer",
    ];
    const NETWORK: [&str; 12] = [
        "Failed to fetch",
        "error sending request",
        "dns error",
        "client error (Connect)",
        "operation timed out",
        "NewConnectionError",
        "ConnectTimeoutError",
        "Read timed out",
        "Connection refused",
        "Connection aborted",
        "Temporary failure in name resolution",
        "Cannot connect to proxy",
    ];
    const NO_BUILD: [&str; 5] = [
        "no wheels with a matching",
        "has no usable wheels",
        "no binary distribution",
        "No matching distribution found",
        "requires-python",
    ];
    let says = |words: &[&str]| words.iter().any(|word| output.contains(word));
    let what = what.to_owned();
    let quoting = |words: &[&str]| {
        let line = output.lines().find(|line| words.iter().any(|word| line.contains(word)));
        line.unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
    };
    if says(&NO_SPACE) {
        Error::NoSpace { what, path: path.to_owned() }
    } else if says(&HASH) {
        Error::HashMismatch { what, detail: last_lines(output, QUOTED_LINES) }
    } else if says(&CERTIFICATE) {
        Error::Certificate { what, detail: quoting(&CERTIFICATE) }
    } else if says(&NETWORK) {
        Error::Network { what, detail: quoting(&NETWORK) }
    } else if says(&NO_BUILD) {
        Error::NoBuild { what, detail: quoting(&NO_BUILD) }
    } else {
        Error::Tool { what, detail: last_lines(output, QUOTED_LINES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_the_tools_own_words() {
        let judged = |output| judge("environment of agno", output, Path::new("/state"));
        assert!(matches!(
            judged("error: Failed to fetch: `x`\n  Caused by: dns error"),
            Error::Network { .. }
        ));
        assert!(matches!(
            judged("Failed to fetch\n  Caused by: invalid peer certificate: UnknownIssuer"),
            Error::Certificate { .. }
        ));
        assert!(matches!(
            judged("  × Failed to download `six`\n  Hash mismatch for `six==1`"),
            Error::HashMismatch { .. }
        ));
        assert!(matches!(
            judged("Failed to write: No space left on device (os error 28)"),
            Error::NoSpace { .. }
        ));
        assert!(matches!(judged("ERROR: No matching distribution found for uv"), Error::NoBuild { .. }));
        let other = judged("one\n\ntwo\nthree\nfour");
        assert_eq!(other.to_string(), "environment of agno failed: two | three | four");
    }
}
