//! Real NATS servers for tests, each test its own: in a temporary directory, on free ports, gone with the test.
//!
//! The executable comes from the shared state directory (`MAHAVISHNU_HOME`, or the user's), so it is fetched once.
//! A server keeps its port over [`TestNats::restart`], so that clients find it again.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::try_join_all;
use mahavishnu_provision::nats::{Cluster, Durability, NatsServer, Options};
use mahavishnu_provision::{Error, Provision, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

/// Free ports are found by opening and closing them, so now and then somebody else is faster.
const CLUSTER_STARTS: usize = 5;

/// Finds `nats-server`, or fetches it, once per process.
pub async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let find = || async {
        let state_dir = std::env::var_os("MAHAVISHNU_HOME").map(PathBuf::from);
        let provision = Provision::open(mahavishnu_provision::Options { state_dir, ..Default::default() })?;
        provision.nats_server().await
    };
    Ok(PROGRAM.get_or_try_init(find).await?)
}

/// One server. Stopped and removed when dropped, also by a panic.
#[derive(Debug)]
pub struct TestNats {
    // Before the directory: the server goes first.
    server: Option<NatsServer>,
    options: Options,
    url: String,
    directory: TempDir,
}

impl TestNats {
    /// Starts a server whose acknowledged writes survive a kill.
    pub async fn start() -> Result<Self> {
        Self::start_with(Durability::Process).await
    }

    /// Starts a server with the durability given.
    pub async fn start_with(durability: Durability) -> Result<Self> {
        Self::start_node("mahavishnu", durability, None).await
    }

    /// What clients connect to; the same after a restart.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The monitoring endpoint, while the server runs.
    pub fn monitor_url(&self) -> Option<&str> {
        self.server.as_ref().map(NatsServer::monitor_url)
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().and_then(NatsServer::id)
    }

    /// Stops the process, or has it go on, as if nothing had happened meanwhile.
    pub fn stop(&self, stopped: bool) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            let _ = kill_process(pid, if stopped { Signal::STOP } else { Signal::CONT });
        }
    }

    /// A place for other files of the test; removed with the server's data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills the server as a crash would; its data stays. Nothing happens when it is not running.
    pub async fn kill(&mut self) -> Result<()> {
        match self.server.take() {
            Some(server) => server.kill().await,
            None => Ok(()),
        }
    }

    /// Starts the server again on its port and data, after a kill if it runs.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.options.port = port_of(&self.url);
        self.server = Some(NatsServer::start(&self.options).await?);
        Ok(())
    }

    async fn start_node(name: &str, durability: Durability, cluster: Option<Cluster>) -> Result<Self> {
        let place = std::env::temp_dir();
        let directory = tempfile::Builder::new().prefix("mahavishnu-nats-").tempdir();
        let directory =
            directory.map_err(|source| Error::Io { action: "cannot write to", path: place, source })?;
        let mut options = Options::new(program().await?, directory.path().join("nats"));
        options.name = name.to_owned();
        options.durability = durability;
        options.cluster = cluster;
        let server = NatsServer::start(&options).await?;
        Ok(Self { url: server.url().to_owned(), server: Some(server), options, directory })
    }
}

/// Three servers that replicate.
#[derive(Debug)]
pub struct TestCluster {
    nodes: Vec<TestNats>,
}

impl TestCluster {
    /// Starts three nodes and waits until they have found their leader.
    pub async fn start() -> Result<Self> {
        Self::start_with(Durability::Process).await
    }

    /// Starts three nodes with the durability given.
    pub async fn start_with(durability: Durability) -> Result<Self> {
        let mut starts = 1;
        loop {
            match Self::try_start(durability).await {
                Err(Error::Ended { .. }) if starts < CLUSTER_STARTS => starts += 1,
                outcome => return outcome,
            }
        }
    }

    /// What clients connect to: all nodes.
    pub fn urls(&self) -> Vec<&str> {
        self.nodes.iter().map(TestNats::url).collect()
    }

    /// The nodes `n1`, `n2` and `n3`.
    pub fn nodes(&self) -> &[TestNats] {
        &self.nodes
    }

    /// Which node leads a stream now, if any does and says so.
    pub async fn leader_of(&self, stream: &str) -> Option<usize> {
        for node in &self.nodes {
            let leader = async { monitored(node.monitor_url()?, "/jsz?streams=true").await.ok() }.await;
            let name = leader.as_ref().and_then(|jsz| {
                let streams = jsz.pointer("/account_details/0/stream_detail")?.as_array()?;
                let named = streams.iter().find(|detail| detail["name"] == stream)?;
                named.pointer("/cluster/leader")?.as_str()
            });
            let index = name.and_then(|name| self.nodes.iter().position(|node| node.options.name == name));
            if index.is_some() {
                return index;
            }
        }
        None
    }

    /// One of the nodes, to kill and restart it.
    pub fn node(&mut self, index: usize) -> Option<&mut TestNats> {
        self.nodes.get_mut(index)
    }

    /// Kills all nodes, as a power cut would, but that the machine's page cache stays.
    pub async fn kill(&mut self) -> Result<()> {
        try_join_all(self.nodes.iter_mut().map(TestNats::kill)).await.map(drop)
    }

    /// Starts all nodes again, those that run after a kill.
    pub async fn restart(&mut self) -> Result<()> {
        try_join_all(self.nodes.iter_mut().map(TestNats::restart)).await.map(drop)
    }

    async fn try_start(durability: Durability) -> Result<Self> {
        let listens: Vec<String> = free_ports(3)?.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let routes: Vec<String> = listens.iter().map(|listen| format!("nats://{listen}")).collect();
        // Side by side: a node is ready when it has found the others.
        let nodes = listens.into_iter().zip(["n1", "n2", "n3"]).map(|(listen, name)| {
            TestNats::start_node(name, durability, Some(Cluster { listen, routes: routes.clone() }))
        });
        Ok(Self { nodes: try_join_all(nodes).await? })
    }
}

/// What a server's monitoring endpoint says.
async fn monitored(url: &str, path: &str) -> anyhow::Result<serde_json::Value> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let exchange = async {
        let mut connection = TcpStream::connect(url.trim_start_matches("http://")).await?;
        connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(2), exchange).await??;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(serde_json::from_str(body)?)
}

/// Ports that were free at the same time, hence different.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bind = |_| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let bound: std::io::Result<Vec<(TcpListener, u16)>> = (0..count).map(bind).collect();
    let bound = bound.map_err(|source| Error::Io {
        action: "cannot find a free port on",
        path: "127.0.0.1".into(),
        source,
    })?;
    Ok(bound.into_iter().map(|(_, port)| port).collect())
}

fn port_of(url: &str) -> Option<u16> {
    url.rsplit_once(':')?.1.parse().ok()
}
