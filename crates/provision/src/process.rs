//! Child processes that do not outlive their parent, whichever way it ends.
//!
//! Every child lives in a process group that is led by a *guard*: a small shell that reads a pipe which only this
//! process holds. When the pipe closes (the [`Child`] is stopped or dropped, this process panics, is killed with
//! SIGKILL, or the machine's out-of-memory killer takes it) the guard kills its own group. As the guard is a member,
//! the group's number cannot have been given to anyone else; no polling and no platform call is involved.
//!
//! Secrets are not inherited: a child that needs them is given them by name ([`withhold`]).
//!
//! Not covered: a descendant that leaves the group (`setsid`); it must watch its parent by itself.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::error::{Error, Result};

/// Signals to the group must not end the guard before the group; the shell's own directory must not be kept busy.
const GUARD: &str = "trap '' HUP INT QUIT TERM; cd /; read -r _; kill -s KILL 0";
/// Variables that hold secrets of workers, or say where they are, begin with this: `MAHAVISHNU_SECRET_<NAME>` and
/// `MAHAVISHNU_SECRETS_DIR`.
const SECRETS: &str = "MAHAVISHNU_SECRET";
/// The key of the workers' model.
const MODEL_KEY: &str = "MAHAVISHNU_MODEL_API_KEY";
/// A log larger than this is put aside (`.old`) when its process is started the next time.
const LOG_LIMIT: u64 = 8 << 20;
/// How much of the end of a log is read for an error message.
const TAIL: u64 = 16 << 10;

/// Where an output stream of a child goes.
#[derive(Debug, Clone)]
pub enum Output {
    /// Nowhere.
    Null,
    /// To the end of a file.
    Log(PathBuf),
    /// To the parent, see [`Child::take_stdout`] and [`Child::take_stderr`].
    Piped,
    /// Where the parent's own output goes.
    Inherit,
}

/// A running child. Dropping it kills it and its group.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
    guard: Guard,
}

#[derive(Debug)]
struct Guard {
    process: tokio::process::Child,
    /// The pipe; closed, the group dies.
    pipe: Option<ChildStdin>,
}

impl Child {
    /// Starts the command in a guarded group of its own, its standard input empty. Secrets that it was not given itself are
    /// taken out of its environment.
    pub fn spawn(mut command: std::process::Command, stdout: Output, stderr: Output) -> Result<Self> {
        withhold(&mut command);
        let program = PathBuf::from(command.get_program());
        let guard = Guard::spawn()?;
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(stdout.open()?).stderr(stderr.open()?);
        command.process_group(guard.group()).kill_on_drop(true);
        let process = command.spawn().map_err(|source| Error::Spawn { program, source })?;
        Ok(Self { process, guard })
    }

    /// The process id, as long as the child has not been waited for.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// The standard output of a child started with [`Output::Piped`], once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// The standard error of a child started with [`Output::Piped`], once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.process.stderr.take()
    }

    /// How the child ended, if it has.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Waits for the child to end. What it left behind in its group lives until this is dropped or stopped.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks the child to end (SIGTERM), after `grace` forces it to, and ends what is left of its group.
    pub async fn stop(mut self, grace: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        if let Ok(status) = timeout(grace, self.process.wait()).await {
            self.guard.end().await?;
            return status;
        }
        self.kill().await
    }

    /// Kills the child and its group, and waits until both are gone.
    pub async fn kill(mut self) -> io::Result<ExitStatus> {
        self.process.start_kill()?;
        self.guard.end().await?;
        self.process.wait().await
    }

    /// Sends a signal to the child itself. Nothing happens to one that has ended.
    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Not waited for, so the number is still this child's; one that just ended is what was wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Guard {
    fn spawn() -> Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD, "mahavishnu-guard"]).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut process =
            command.spawn().map_err(|source| Error::Spawn { program: "/bin/sh".into(), source })?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// The group that the guard leads. A fresh guard has a number; without one (0) the child leads a group of its own.
    fn group(&self) -> i32 {
        self.process.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
    }

    async fn end(&mut self) -> io::Result<()> {
        drop(self.pipe.take());
        self.process.wait().await.map(drop)
    }
}

impl Output {
    fn open(&self) -> Result<Stdio> {
        Ok(match self {
            Self::Null => Stdio::null(),
            Self::Piped => Stdio::piped(),
            Self::Inherit => Stdio::inherit(),
            Self::Log(path) => append(path).map_err(Error::io("cannot write", path))?.into(),
        })
    }
}

/// Takes what is secret out of the environment that a command would inherit; what the command was given itself stays.
pub(crate) fn withhold(command: &mut std::process::Command) {
    let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for (name, _) in secrets().filter(|(name, _)| !given.contains(name)) {
        command.env_remove(name);
    }
}

/// Gives a command what is secret in this process' environment: it is a worker, or starts one.
pub fn entrust(command: &mut std::process::Command) {
    command.envs(secrets());
}

fn secrets() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| name == MODEL_KEY || name.to_string_lossy().starts_with(SECRETS))
}

/// The last lines of a log, for an error message; empty if there is none.
pub fn log_tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    last_lines(&read().unwrap_or_default(), lines)
}

/// The last lines that say something, joined to one.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.get(lines.len().saturating_sub(count)..).unwrap_or_default().join(" | ")
}

fn append(path: &Path) -> io::Result<File> {
    if path.metadata().is_ok_and(|metadata| metadata.len() > LOG_LIMIT) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
