//! The real programs, each a process: nats-server, coordinator, workers, and the bare prototype.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mahavishnu_provision::nats::Durability;
use mahavishnu_test_support::nats::{TestCluster, TestNats};
use mahavishnu_test_support::system::{Home, Running};
use rustix::process::Signal;
use serde_json::Value;

/// How NATS is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// One node; acknowledged writes survive the death of any process.
    #[default]
    Default,
    /// One node; acknowledged writes survive a power cut.
    SyncAlways,
    /// Three nodes, three copies.
    Cluster,
}

impl Mode {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::SyncAlways => "sync-always",
            Self::Cluster => "cluster",
        }
    }

    /// Copies of every stream.
    pub const fn replicas(self) -> usize {
        match self {
            Self::Cluster => 3,
            Self::Default | Self::SyncAlways => 1,
        }
    }
}

/// A part that is not ready after this time is not getting ready.
const START: Duration = Duration::from_secs(60);

/// The servers.
#[derive(Debug)]
pub enum Nats {
    /// One.
    One(Box<TestNats>),
    /// Three.
    Three(TestCluster),
}

impl Nats {
    /// Starts them on empty directories.
    pub async fn start(mode: Mode) -> Result<Self> {
        Ok(match mode {
            Mode::Default => Self::One(Box::new(TestNats::start_with(Durability::Process).await?)),
            Mode::SyncAlways => Self::One(Box::new(TestNats::start_with(Durability::Power).await?)),
            Mode::Cluster => Self::Three(TestCluster::start().await?),
        })
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        match self {
            Self::One(one) => one.url().to_owned(),
            Self::Three(three) => three.urls().join(","),
        }
    }

    /// The servers' processes.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Self::One(one) => one.pid().into_iter().collect(),
            Self::Three(three) => three.nodes().iter().filter_map(TestNats::pid).collect(),
        }
    }

    /// Kills it and starts it again on its data; gives the time from the start until it answers.
    pub async fn restart(&mut self) -> Result<Duration> {
        let began = match self {
            Self::One(one) => {
                one.kill().await?;
                let began = Instant::now();
                one.restart().await?;
                began
            }
            Self::Three(three) => {
                three.kill().await?;
                let began = Instant::now();
                three.restart().await?;
                began
            }
        };
        Ok(began.elapsed())
    }
}

/// A process of ours that said that it is ready.
#[derive(Debug)]
pub struct Part {
    running: Running,
    /// What it said.
    pub said: Value,
    /// How long it took.
    pub start: Duration,
}

impl Part {
    async fn start(command: Command, log: &Path) -> Result<Self> {
        let began = Instant::now();
        let mut running = Running::start(command, log)?;
        let said = running.ready(START).await?;
        Ok(Self { running, said, start: began.elapsed() })
    }

    /// Where it serves.
    pub fn endpoint(&self) -> Result<String> {
        let address = self.said.get("address").and_then(Value::as_str).context("no address")?;
        Ok(format!("http://{address}"))
    }

    /// Its process.
    pub fn pid(&self) -> Result<u32> {
        self.running.pid()
    }

    /// Resident memory, in MB.
    pub fn memory(&self) -> Result<f64> {
        memory(self.pid()?)
    }

    /// Kills it as a crash would.
    pub async fn kill(self) -> Result<()> {
        self.end(Signal::KILL).await
    }

    /// Has it finish what it does, and end.
    pub async fn stop(self) -> Result<()> {
        self.end(Signal::TERM).await
    }

    async fn end(self, signal: Signal) -> Result<()> {
        self.running.signal(signal)?;
        self.running.end(START).await?;
        Ok(())
    }
}

/// Resident memory of a process, in MB.
pub fn memory(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes / 1024.0)
}

/// Starts parts.
#[derive(Debug)]
pub struct Parts {
    home: Home,
    programs: PathBuf,
    /// Streams that share the histories.
    pub partitions: u32,
}

impl Parts {
    /// From the programs that were built beside this one.
    pub fn new(partitions: u32) -> Result<Self> {
        let own = std::env::current_exe()?;
        let programs = own.parent().context("no directory")?.to_owned();
        Ok(Self { home: Home::temporary()?, programs, partitions })
    }

    fn command(&self, program: &str) -> Result<Command> {
        let path = self.programs.join(program);
        anyhow::ensure!(path.exists(), "{} is not built: run `cargo xtask bench`", path.display());
        let mut command = Command::new(path);
        command.env("MAHAVISHNU_HOME", self.home.path()).env("MAHAVISHNU_LOG", "warn");
        Ok(command)
    }

    async fn start(&self, command: Command, name: &str) -> Result<Part> {
        Part::start(command, &self.home.path().join(format!("{name}.log"))).await
    }

    /// A coordinator, which knows the no-op engine.
    pub async fn coordinator(&self, nats: &str, mode: Mode, listen: &str) -> Result<Part> {
        let mut command = self.command("mahavishnu")?;
        command.args(["coordinator", "--listen", listen, "--nats", nats]);
        command.args(["--replicas", &mode.replicas().to_string()]);
        command.args(["--partitions", &self.partitions.to_string(), "--engines"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("engines.yaml"));
        self.start(command, "coordinator").await
    }

    /// A worker.
    pub async fn worker(&self, nats: &str, engine: &str, arguments: &[&str]) -> Result<Part> {
        let mut command = self.command("mahavishnu")?;
        command.args(["worker", engine, "--nats", nats, "--project"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("project"));
        command.args(arguments);
        self.start(command, &format!("worker-{engine}")).await
    }

    /// A part of the bare prototype.
    pub async fn floor(&self, nats: &str, role: &str) -> Result<Part> {
        let mut command = self.command("mahavishnu-bench")?;
        command.args([role, "--nats", nats]);
        self.start(command, role).await
    }
}

/// A coordinator with its worker of the no-op engine.
#[derive(Debug)]
pub struct System {
    /// The coordinator.
    pub coordinator: Part,
    /// The worker.
    pub worker: Part,
    /// Where it serves.
    pub endpoint: String,
}

impl System {
    /// Starts both.
    pub async fn start(parts: &Parts, nats: &str, mode: Mode) -> Result<Self> {
        let coordinator = parts.coordinator(nats, mode, "127.0.0.1:0").await?;
        let worker = parts.worker(nats, "noop", &["--slots", "256"]).await?;
        let endpoint = coordinator.endpoint()?;
        Ok(Self { coordinator, worker, endpoint })
    }

    /// Every process of the system, and the one that drives it.
    pub fn processes(&self, nats: &Nats) -> Result<Vec<(&'static str, u32)>> {
        let mut all = vec![
            ("coordinator", self.coordinator.pid()?),
            ("worker", self.worker.pid()?),
            ("client", std::process::id()),
        ];
        all.extend(nats.pids().into_iter().map(|pid| ("nats-server", pid)));
        Ok(all)
    }
}
