//! The system under test: real processes, each of which can be killed, stopped, cut off and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex as Lock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use mahavishnu_test_support::nats::{TestCluster, TestNats};
use mahavishnu_test_support::proxy::Proxy;
use mahavishnu_test_support::system::{Home, Programs, Running};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;

use crate::Options;

/// A part that starts, also on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Tries to start a part.
const STARTS: u32 = 5;
/// A part that drains.
const DRAIN: Duration = Duration::from_secs(60);
/// Registers the no-op engine.
const ENGINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/bench/engines.yaml");

/// The servers.
pub enum Nats {
    One(TestNats),
    Three(TestCluster),
}

/// One process and how to start it.
pub struct Part {
    name: String,
    programs: Programs,
    program: String,
    arguments: Vec<String>,
    home: Arc<Home>,
    log: PathBuf,
    running: Option<Running>,
    /// Where a coordinator serves; the same in every life.
    pub address: Option<String>,
    /// Between this process and NATS; none in a cluster, whose clients find the servers by themselves.
    pub proxy: Option<Proxy>,
    by_itself: Arc<Lock<Vec<String>>>,
}

/// Everything.
pub struct System {
    pub nats: Arc<Mutex<Nats>>,
    pub coordinators: Vec<Arc<Mutex<Part>>>,
    pub workers: Vec<Arc<Mutex<Part>>>,
    /// The worker of a real engine, with hosts below it.
    pub real: Option<Arc<Mutex<Part>>>,
    by_itself: Arc<Lock<Vec<String>>>,
    urls: String,
    home: Arc<Home>,
}

impl System {
    /// Starts everything.
    pub async fn start(options: &Options, programs: &Programs) -> Result<Self> {
        let home = Arc::new(Home::temporary()?);
        let nats = match options.cluster {
            false => Nats::One(TestNats::start().await?),
            true => Nats::Three(TestCluster::start().await?),
        };
        let urls = nats.urls();
        let by_itself = Arc::default();
        let mut system = Self {
            nats: Arc::new(Mutex::new(nats)),
            coordinators: Vec::new(),
            workers: Vec::new(),
            real: None,
            by_itself,
            urls,
            home,
        };
        let replicas = if options.cluster { "3" } else { "1" };
        let partitions = options.partitions.to_string();
        let coordinator = ["--engines", ENGINES, "--replicas", replicas, "--partitions", &partitions];
        for n in 1..=2 {
            let name = format!("coordinator-{n}");
            let part = system.part(&name, programs, "mahavishnu-coordinator", &coordinator).await?;
            system.coordinators.push(part);
        }
        // Faults meet stages that a drain hands back; a rolling restart lets every stage end.
        let drain = if options.rolling { "30s" } else { "5s" };
        for n in 1..=2 {
            let noop = ["worker", "noop", "--slots", "32", "--drain", drain];
            let part = system.part(&format!("worker-{n}"), programs, "mahavishnu", &noop).await?;
            system.workers.push(part);
        }
        if !options.noop_only {
            let project = system.home.path().display().to_string();
            let real = ["--slots", "2", "--drain", drain, "--project", &project];
            let part = system.part("worker-real", programs, "mahavishnu-worker-langgraph", &real).await?;
            system.real = Some(part);
        }
        Ok(system)
    }

    /// Where clients reach the coordinators.
    pub async fn endpoints(&self) -> Vec<String> {
        let mut endpoints = Vec::new();
        for coordinator in &self.coordinators {
            endpoints.extend(coordinator.lock().await.address.clone());
        }
        endpoints
    }

    /// What a client that is not under test connects to.
    pub fn nats_urls(&self) -> &str {
        &self.urls
    }

    /// All parts, coordinators first.
    pub fn parts(&self) -> impl Iterator<Item = &Arc<Mutex<Part>>> {
        self.coordinators.iter().chain(&self.workers).chain(&self.real)
    }

    /// Everything runs and is connected again.
    pub async fn heal(&self) -> Result<()> {
        self.nats.lock().await.heal().await?;
        for part in self.parts() {
            part.lock().await.heal().await?;
        }
        Ok(())
    }

    /// Processes that ended although nobody killed them, with the end of their logs.
    pub async fn ended_by_itself(&self) -> Vec<String> {
        for part in self.parts() {
            part.lock().await.pid();
        }
        self.by_itself.lock().unwrap().clone()
    }

    /// Kills the servers and leaves what they stored, and all logs, below a directory.
    pub async fn keep(&self, directory: &Path) -> Result<()> {
        let mut nats = self.nats.lock().await;
        let mut from = vec![self.home.path().to_owned()];
        for n in 0..nats.nodes() {
            let node = nats.node(n);
            node.kill().await?;
            from.push(node.directory().to_owned());
        }
        std::fs::create_dir_all(directory)?;
        let copied = Command::new("cp").arg("-a").args(from).arg(directory).status().context("cp")?;
        anyhow::ensure!(copied.success(), "cp: {copied}");
        Ok(())
    }

    async fn part(
        &self,
        name: &str,
        programs: &Programs,
        program: &str,
        arguments: &[&str],
    ) -> Result<Arc<Mutex<Part>>> {
        let proxy = match &*self.nats.lock().await {
            Nats::One(_) => Some(Proxy::start(&self.urls).await?),
            Nats::Three(_) => None,
        };
        let url = proxy.as_ref().map_or_else(|| self.urls.clone(), Proxy::url);
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        arguments.extend(["--nats".to_owned(), url]);
        let mut part = Part {
            name: name.to_owned(),
            programs: programs.clone(),
            program: program.to_owned(),
            arguments,
            home: Arc::clone(&self.home),
            log: self.home.path().join(format!("{name}.log")),
            running: None,
            address: name.starts_with("coordinator").then(|| "127.0.0.1:0".to_owned()),
            proxy,
            by_itself: Arc::clone(&self.by_itself),
        };
        part.start().await?;
        Ok(Arc::new(Mutex::new(part)))
    }
}

impl Nats {
    /// What clients connect to.
    fn urls(&self) -> String {
        match self {
            Self::One(server) => server.url().to_owned(),
            Self::Three(cluster) => cluster.urls().join(","),
        }
    }

    /// How many servers there are.
    fn nodes(&self) -> usize {
        if matches!(self, Self::One(_)) { 1 } else { 3 }
    }

    /// The nth server, where there are several.
    pub fn node(&mut self, n: usize) -> &mut TestNats {
        match self {
            Self::One(server) => server,
            Self::Three(cluster) => cluster.node(n).expect("three nodes"),
        }
    }

    /// Whatever is dead is started again.
    async fn heal(&mut self) -> Result<()> {
        for n in 0..self.nodes() {
            if self.node(n).pid().is_none() {
                self.node(n).restart().await?;
            }
        }
        Ok(())
    }
}

impl Part {
    /// Starts it and waits until it is ready. It may give up while NATS is away: whoever supervises it starts it again.
    pub async fn start(&mut self) -> Result<()> {
        for _ in 1..STARTS {
            match self.try_start().await {
                Err(error) => eprintln!("starts again: {error:#}"),
                started => return started,
            }
        }
        self.try_start().await
    }

    async fn try_start(&mut self) -> Result<()> {
        let mut command = self.programs.command(&self.program, &self.home)?;
        command.args(&self.arguments).env("RUST_BACKTRACE", "1");
        if let Some(address) = &self.address {
            command.args(["--listen", address]);
        }
        let mut running = Running::start(command, &self.log)?;
        let said = running.ready(START).await.with_context(|| self.name.clone())?;
        if self.address.is_some() {
            self.address = said["address"].as_str().map(str::to_owned);
        }
        self.running = Some(running);
        Ok(())
    }

    /// Its number, if it is alive as it should be.
    pub fn pid(&mut self) -> Option<u32> {
        let running = self.running.take()?;
        match running.pid() {
            Ok(pid) => {
                self.running = Some(running);
                Some(pid)
            }
            Err(error) => {
                self.by_itself.lock().unwrap().push(format!("{}: {error:#}", self.name));
                None
            }
        }
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) -> Option<()> {
        send(self.pid()?, signal)
    }

    /// Waits for its end, after a signal that ends it.
    pub async fn end(&mut self) -> Result<()> {
        if let Some(running) = self.running.take() {
            running.end(DRAIN).await?;
        }
        Ok(())
    }

    /// Runs and is connected.
    async fn heal(&mut self) -> Result<()> {
        if let Some(proxy) = &self.proxy {
            proxy.cut(false);
        }
        if self.pid().is_none() { self.start().await } else { Ok(()) }
    }
}

/// Sends a signal to one process.
pub fn send(pid: u32, signal: Signal) -> Option<()> {
    kill_process(Pid::from_raw(pid.try_into().ok()?)?, signal).ok()
}
