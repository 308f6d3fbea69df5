//! The programs as their users run them: real binaries, real processes, state directories that share what is
//! fetched and nothing else.
//!
//! Invariants: the binaries are those of this source, built once per process in this test's own target directory
//! and profile; whatever is started here ends with this process, however it ends; every wait has a limit and says
//! what it waited for.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use mahavishnu_provision::process::{Child, Output, log_tail};
use mahavishnu_provision::progress::{Progress, Terminal};
use mahavishnu_provision::{Provision, StateDir};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;
use tokio::sync::OnceCell;

/// Between two looks at a condition that nobody tells of.
const LOOK: Duration = Duration::from_millis(20);
/// Variables that would lead a program elsewhere than the test says.
const FOREIGN: [&str; 3] = ["MAHAVISHNU_", "OTEL_", "PREFECT_"];

/// The programs of this workspace, by name.
#[derive(Clone, Debug)]
pub struct Programs(BTreeMap<String, PathBuf>);

/// Builds them, once.
///
/// # Errors
/// When they do not build.
pub async fn programs() -> Result<&'static Programs> {
    static PROGRAMS: OnceCell<Programs> = OnceCell::const_new();
    let build = || async { tokio::task::spawn_blocking(build).await.context("cargo")? };
    PROGRAMS.get_or_try_init(build).await
}

impl Programs {
    /// Those that a build has left in this directory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn built(directory: &Path) -> Result<Self> {
        let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(Self(paths.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path))).collect()))
    }

    /// A command of this name, with that state directory and without settings of the one who runs the tests.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn command(&self, name: &str, home: &Home) -> Result<Command> {
        let mut command = Command::new(self.0.get(name).with_context(|| format!("no program {name}"))?);
        for (variable, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
                command.env_remove(variable);
            }
        }
        command.env("MAHAVISHNU_HOME", home.path()).stdin(Stdio::null());
        Ok(command)
    }
}

/// `cargo test` builds no program of another package. The profile is that of this test.
fn build() -> Result<Programs> {
    let test = std::env::current_exe().context("the path of this test")?;
    // target/PROFILE/deps/TEST
    let profile = test.ancestors().nth(2).context("profile directory")?;
    let target = profile.parent().context("target directory")?;
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package would make build scripts run anew, here and after this.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(&variable);
        }
    }
    let output = cargo
        .args(["build", "--workspace", "--bins", "--message-format", "json-render-diagnostics"])
        .args([
            "--profile",
            name,
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"),
        ])
        .arg("--target-dir")
        .arg(target)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo")?;
    if !output.status.success() {
        bail!("the programs do not build");
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let built =
        messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok()).filter_map(|message| {
            let path = message.get("executable")?.as_str()?;
            let name = message.get("target")?.get("name")?.as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        });
    Ok(Programs(built.collect()))
}

/// A state directory of a test's own; what is fetched from outside is the shared one's.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    _owned: Owned,
}

/// What makes it this test's alone.
#[derive(Debug)]
enum Owned {
    Temporary { _directory: TempDir },
    Locked { _file: File },
}

impl Home {
    /// One that goes with this value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("mahavishnu-home-").tempdir()?;
        Self::link(directory.path())?;
        Ok(Self { path: directory.path().to_owned(), _owned: Owned::Temporary { _directory: directory } })
    }

    /// One that stays, for what takes long to make, such as Prefect's database; histories and outputs are removed.
    /// Waits while another process has it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn kept(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let lock = File::create(path.join("lock"))?;
        lock.lock()?;
        for stale in ["nats", "data", "run", "log"] {
            let stale = path.join(stale);
            if stale.exists() {
                std::fs::remove_dir_all(stale)?;
            }
        }
        Self::link(path)?;
        Ok(Self { path: path.to_owned(), _owned: Owned::Locked { _file: lock } })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn link(path: &Path) -> Result<()> {
        std::fs::create_dir_all(path)?;
        let shared = StateDir::open(std::env::var_os("MAHAVISHNU_HOME").map(PathBuf::from).as_deref())?;
        for (name, to) in [("bin", shared.bin()), ("env", shared.env()), ("hosts", shared.hosts())] {
            let link = path.join(name);
            if !link.exists() {
                std::os::unix::fs::symlink(to, link)?;
            }
        }
        Ok(())
    }
}

/// The handle to the state directory whose environments all tests share. What is fetched is shown, as it takes minutes.
///
/// # Errors
/// When it cannot be opened.
pub fn provision() -> Result<Provision> {
    let state_dir = std::env::var_os("MAHAVISHNU_HOME").map(PathBuf::from);
    let progress: Option<Arc<dyn Progress>> = Some(Arc::new(Terminal::new()));
    Ok(Provision::open(mahavishnu_provision::Options { state_dir, progress, ..Default::default() })?)
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
    log: PathBuf,
}

impl Running {
    /// Starts it; what it logs goes to the end of the file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: Command, log: &Path) -> Result<Self> {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default();
        let first = command.get_args().next().unwrap_or_default();
        let name = format!("{} {}", program.to_string_lossy(), first.to_string_lossy());
        let mut child = Child::spawn(command, Output::Piped, Output::Log(log.to_owned()))?;
        let stdout = child.take_stdout().context("standard output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines(), name, log: log.to_owned() })
    }

    /// The next line of its standard output, which is JSON; `None` at the end.
    ///
    /// # Errors
    /// When none comes in time, or it is something else.
    pub async fn json(&mut self, limit: Duration) -> Result<Option<Value>> {
        let line = tokio::time::timeout(limit, self.lines.next_line()).await;
        let line =
            line.map_err(|_| anyhow::anyhow!("{} says nothing for {limit:?}{}", self.name, self.tail()))?;
        let Some(line) = line? else { return Ok(None) };
        serde_json::from_str(&line).map(Some).with_context(|| format!("{} said {line:?}", self.name))
    }

    /// The first line, which says that it is ready.
    ///
    /// # Errors
    /// When it does not come in time.
    pub async fn ready(&mut self, limit: Duration) -> Result<Value> {
        let said = self.json(limit).await?;
        said.with_context(|| format!("{} ended before it was ready{}", self.name, self.tail()))
    }

    /// The rest of its standard output and how it ended.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn end(mut self, limit: Duration) -> Result<(Vec<Value>, ExitStatus)> {
        let deadline = tokio::time::Instant::now() + limit;
        let mut said = Vec::new();
        while let Some(value) = self.json(deadline - tokio::time::Instant::now()).await? {
            said.push(value);
        }
        let status = tokio::time::timeout_at(deadline, self.child.wait()).await;
        let status = status.map_err(|_| anyhow::anyhow!("{} does not end within {limit:?}", self.name))??;
        Ok((said, status))
    }

    /// Its number, as long as it runs.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended{}", self.name, self.tail()))
    }

    /// Sends a signal to this process and to no other.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw).context("process number")?;
        kill_process(pid, signal).with_context(|| format!("signal to {}", self.name))
    }

    /// What it logged last.
    pub fn tail(&self) -> String {
        format!("; its log ends: {}", log_tail(&self.log, 8))
    }
}

/// What a program that ran to its end said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a program to its end.
///
/// # Errors
/// When it does not end in time; it is then killed.
pub async fn finished(command: Command, input: &[u8], limit: Duration) -> Result<Said> {
    use tokio::io::AsyncWriteExt as _;
    let text = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| text.clone())?;
    let mut stdin = child.stdin.take().context("standard input")?;
    let work = async {
        let write = async {
            // Whoever does not read its input closes it.
            let _ = stdin.write_all(input).await;
            drop(stdin);
        };
        let ((), output) = tokio::join!(write, child.wait_with_output());
        output
    };
    let output = tokio::time::timeout(limit, work).await.map_err(|_| {
        anyhow::anyhow!("does not end within {limit:?}: {}", text.chars().take(400).collect::<String>())
    })??;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Looks until there is something to see.
///
/// # Errors
/// When there is nothing in time: says what was waited for.
pub async fn eventually<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let mut ticks = tokio::time::interval(LOOK);
    let deadline = tokio::time::Instant::now() + limit;
    while tokio::time::Instant::now() < deadline {
        ticks.tick().await;
        if let Some(seen) = look() {
            return Ok(seen);
        }
    }
    bail!("not within {limit:?}: {what}")
}
