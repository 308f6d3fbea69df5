//! A TCP proxy whose connections can be held up, so that what it carries arrives late and nothing is lost; or cut, so that
//! they end and no new one comes about.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What a proxy does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Held,
    Cut,
}

/// A proxy before one server. It ends with this value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    _serving: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Before the server with this URL (`nats://host:port`).
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start(url: &str) -> Result<Self> {
        let target = url.rsplit('/').next().context("no address")?.to_owned();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (state, gate) = watch::channel(State::Open);
        let serving = async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // What is cut is closed at once; the ended are forgotten.
                while connections.try_join_next().is_some() {}
                if *gate.borrow() != State::Cut {
                    connections.spawn(carry(client, target.clone(), gate.clone()));
                }
            }
        };
        Ok(Self { address, state, _serving: AbortOnDropHandle::new(tokio::spawn(serving)) })
    }

    /// What clients connect to instead.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Holds up what is carried, or lets it go on.
    pub fn hold(&self, hold: bool) {
        self.state.send_replace(if hold { State::Held } else { State::Open });
    }

    /// Ends all connections and refuses new ones, or lets them come about again.
    pub fn cut(&self, cut: bool) {
        self.state.send_replace(if cut { State::Cut } else { State::Open });
    }
}

async fn carry(client: TcpStream, target: String, gate: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut cut = gate.clone();
    // The end of one direction is the end of both.
    tokio::select! {
        () = copy(from_client, to_server, gate.clone()) => {}
        () = copy(from_server, to_client, gate) => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut gate: watch::Receiver<State>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut bytes).await {
        let Some(read) = bytes.get(..read).filter(|read| !read.is_empty()) else { return };
        if gate.wait_for(|state| *state == State::Open).await.is_err() || to.write_all(read).await.is_err() {
            return;
        }
    }
}
