//! A real `nats-server` as a child, started from the configuration files that ship in `deploy/nats`.
//!
//! Invariants:
//! - One server per data directory: a lock is held, and a predecessor that is still dying is waited for.
//! - Ready means that clients are answered and JetStream is (in a cluster: has found its leader).

mod config;
mod http;

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::process::{Child, Output, log_tail, withhold};
use crate::state::create_private;

pub use config::{CLUSTER_CONF, SINGLE_CONF};

/// The oldest server with everything that the bus uses (repeating message schedules came with it).
pub const OLDEST: (u32, u32) = (2, 14);

const NAME: &str = "nats-server";
/// Where a server says which ports it took, inside its directory.
const PORTS: &str = "ports";
const POLL: Duration = Duration::from_millis(10);
/// Recovery of a large store takes seconds; a cluster elects its leader in about ten.
const START_LIMIT: Duration = Duration::from_secs(60);
/// JetStream closes its files in this time.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long a predecessor on the same data may still be dying.
const PREDECESSOR_LIMIT: Duration = Duration::from_secs(10);

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of any process. Written to the disk within two minutes.
    #[default]
    Process,
    /// A power cut too. Written to the disk before it is acknowledged, which costs throughput.
    Power,
}

/// How a server is started. `new` gives a private server on a free port.
#[derive(Debug, Clone)]
pub struct Options {
    /// The executable, see [`crate::Provision::nats_server`].
    pub program: PathBuf,
    /// The server's own directory: configuration, data, lock.
    pub directory: PathBuf,
    /// The log file.
    pub log: PathBuf,
    /// The server's name, unique in a cluster.
    pub name: String,
    /// The address that clients connect to.
    pub host: IpAddr,
    /// The port that clients connect to; without one, any that is free.
    pub port: Option<u16>,
    /// The port of the monitoring endpoint, on the loopback address; without one, any that is free.
    pub monitor_port: Option<u16>,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Set for a node of a cluster.
    pub cluster: Option<Cluster>,
}

/// A node's place in a cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `address:port` at which the other nodes reach this one.
    pub listen: String,
    /// `nats://address:port` of all nodes.
    pub routes: Vec<String>,
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    ports: Ports,
    _lock: Lock,
}

#[derive(Debug, Deserialize)]
struct Ports {
    nats: Vec<String>,
    monitoring: Vec<String>,
}

impl Options {
    /// A private server on free ports, its log beside its data.
    pub fn new(program: impl Into<PathBuf>, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            program: program.into(),
            log: directory.join("nats-server.log"),
            directory,
            name: "mahavishnu".to_owned(),
            host: Ipv4Addr::LOCALHOST.into(),
            port: None,
            monitor_port: None,
            durability: Durability::default(),
            cluster: None,
        }
    }

    fn ports_directory(&self) -> PathBuf {
        self.directory.join(PORTS)
    }
}

impl NatsServer {
    /// Starts a server and waits until it is ready. The nodes of a cluster are ready only together, so start them side by side.
    pub async fn start(options: &Options) -> Result<Self> {
        let ports_directory = options.ports_directory();
        create_private(&options.directory)?;
        create_private(&ports_directory)?;
        let lock = Lock::try_take(&options.directory.join("lock"), NAME)?;
        bury_predecessors(&options.directory).await?;
        let file = config::write(options)?;
        let mut command = Command::new(&options.program);
        command.arg("-c").arg(file).envs(config::variables(options));
        let child =
            Child::spawn(command, Output::Log(options.log.clone()), Output::Log(options.log.clone()))?;
        let log = options.log.clone();
        Starting { child, lock, ports_directory, log }.ready().await
    }

    /// What clients connect to.
    pub fn url(&self) -> &str {
        self.ports.nats.first().map_or("", String::as_str)
    }

    /// The port that clients connect to.
    pub fn port(&self) -> Option<u16> {
        port_of(self.url())
    }

    /// The monitoring endpoint, without a path.
    pub fn monitor_url(&self) -> &str {
        self.ports.monitoring.first().map_or("", String::as_str)
    }

    /// The process id.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends when the server does, which nobody asked it to.
    pub async fn wait(&mut self) -> Result<()> {
        self.child.wait().await.map(drop).map_err(Error::io("cannot wait for", Path::new(NAME)))
    }

    /// Stops the server; its data stays.
    pub async fn stop(self) -> Result<()> {
        self.child.stop(STOP_GRACE).await.map(drop).map_err(Error::io("cannot stop", Path::new(NAME)))
    }

    /// Kills the server, as a crash would.
    pub async fn kill(self) -> Result<()> {
        self.child.kill().await.map(drop).map_err(Error::io("cannot kill", Path::new(NAME)))
    }
}

/// A server that is not ready yet. Dropping it kills it.
struct Starting {
    child: Child,
    lock: Lock,
    ports_directory: PathBuf,
    log: PathBuf,
}

impl Starting {
    /// Waits until the server is ready, or has failed to become so.
    async fn ready(mut self) -> Result<NatsServer> {
        let deadline = Instant::now() + START_LIMIT;
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ports: Option<Ports> = None;
        let mut last = "it has not opened its ports".to_owned();
        while Instant::now() < deadline {
            ticks.tick().await;
            if let Some(status) =
                self.child.try_wait().map_err(Error::io("cannot wait for", Path::new(NAME)))?
            {
                let (name, detail) = (NAME.to_owned(), log_tail(&self.log, 3));
                return Err(Error::Ended { name, status: status.to_string(), detail });
            }
            let Some(found) = ports.take().or_else(|| self.read_ports()) else {
                continue;
            };
            match found.health().await {
                Ok(()) => {
                    return Ok(NatsServer { child: self.child, ports: found, _lock: self.lock });
                }
                Err(reason) => last = reason,
            }
            ports = Some(found);
        }
        Err(Error::NotReady { name: NAME.to_owned(), seconds: START_LIMIT.as_secs(), detail: last })
    }

    fn read_ports(&self) -> Option<Ports> {
        Ports::read(&self.ports_directory.join(format!("nats-server_{}.ports", self.child.id()?)))
    }
}

/// The server on `PATH` and its version, if it is there and new enough.
pub async fn on_path() -> Option<(PathBuf, (u32, u32, u32))> {
    let program = which::which(NAME).ok()?;
    let version = version(&program).await?;
    ((version.0, version.1) >= OLDEST).then_some((program, version))
}

/// The version that an executable says it has.
pub async fn version(program: &Path) -> Option<(u32, u32, u32)> {
    let mut command = tokio::process::Command::new(program);
    withhold(command.as_std_mut());
    let output = command.arg("--version").stdin(Stdio::null()).kill_on_drop(true).output().await.ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// From `nats-server: v2.15.1`.
fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let number = text.trim().rsplit_once('v')?.1;
    let mut parts = number.split(['.', '-']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// The server that runs on the data in this directory: its URL and what its acknowledged writes survive.
pub async fn running(directory: &Path) -> Option<(String, Durability)> {
    for entry in std::fs::read_dir(directory.join(PORTS)).ok()?.filter_map(std::io::Result::ok) {
        let Some(ports) = Ports::read(&entry.path()) else { continue };
        if let Some(durability) = ports.durability(directory).await {
            return Some((ports.nats.into_iter().next().unwrap_or_default(), durability));
        }
    }
    None
}

/// Waits until no server that once used this data answers any more, and removes what it said about its ports.
/// A server whose parent was killed dies a moment after the parent's lock is free.
async fn bury_predecessors(directory: &Path) -> Result<()> {
    let ports = directory.join(PORTS);
    let cannot = || Error::io("cannot read", &ports);
    for entry in std::fs::read_dir(&ports).map_err(cannot())? {
        let file = entry.map_err(cannot())?.path();
        if let Some(ports) = Ports::read(&file) {
            let deadline = Instant::now() + PREDECESSOR_LIMIT;
            let mut ticks = interval(POLL);
            while ports.durability(directory).await.is_some() {
                if Instant::now() > deadline {
                    let holder = format!("at {}", ports.nats.join(", "));
                    return Err(Error::LockHeld {
                        what: NAME.to_owned(),
                        path: directory.to_owned(),
                        holder,
                    });
                }
                ticks.tick().await;
            }
        }
        std::fs::remove_file(&file).map_err(Error::io("cannot remove", &file))?;
    }
    Ok(())
}

impl Ports {
    /// From a file that a server has written; half-written, it does not parse and is read again.
    fn read(file: &Path) -> Option<Self> {
        let ports: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        (!ports.nats.is_empty() && !ports.monitoring.is_empty()).then_some(ports)
    }

    fn monitor(&self) -> &str {
        self.monitoring.first().and_then(|url| url.strip_prefix("http://")).unwrap_or_default()
    }

    /// Why it is not ready, if it is not.
    async fn health(&self) -> Result<(), String> {
        match http::get(self.monitor(), "/healthz").await {
            Ok((200, _)) => Ok(()),
            Ok((_, body)) => Err(body.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The durability of the server that answers here for this data; another one that was given the port is none.
    async fn durability(&self, directory: &Path) -> Option<Durability> {
        let (_, body) = http::get(self.monitor(), "/jsz").await.ok()?;
        let jsz: serde_json::Value = serde_json::from_str(&body).ok()?;
        let config = jsz.get("config")?;
        Path::new(config.get("store_dir")?.as_str()?).starts_with(directory).then_some(())?;
        let always = config.get("sync_always").and_then(serde_json::Value::as_bool);
        Some(if always == Some(true) { Durability::Power } else { Durability::Process })
    }
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_server_prints_them() {
        assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15, 1)));
        assert_eq!(parse_version("nats-server: v2.9.10"), Some((2, 9, 10)));
        assert_eq!(parse_version("nats-server: v2.16.0-RC.1"), Some((2, 16, 0)));
        assert_eq!(parse_version("something else"), None);
    }
}
