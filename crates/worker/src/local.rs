//! The small local model behind an address that is there at once: the first connection starts the server, or finds the
//! one that another worker of this machine keeps.
//!
//! The server ends with the worker that started it.
//!
//! Invariant: whoever cannot be served is told why (503), so that the failure of the attempt says it too.

use std::io;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use mahavishnu_provision::{Provision, SharedModel};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The way to the local model. Dropping it closes the address, and stops the server if it is ours.
pub struct LocalModel {
    /// Where it is, as clients of its API take it.
    pub base_url: String,
    serving: JoinHandle<()>,
}

impl LocalModel {
    /// Opens the address; nothing is started yet.
    pub async fn open(provision: &Provision) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free port on 127.0.0.1")?;
        let base_url = format!("http://{}/v1", listener.local_addr().context("the model's address")?);
        let serving = tokio::spawn(serve(listener, SharedModel::new(provision.clone())));
        Ok(Self { base_url, serving })
    }
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, shared: SharedModel) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = forward(client, &shared).await {
                        tracing::debug!(%error, "a connection to the local model");
                    }
                });
            }
            // Out of file descriptors, most likely: others end meanwhile.
            Err(error) => {
                tracing::warn!(%error, "a connection to the local model cannot be accepted");
                tokio::task::yield_now().await;
            }
        }
    }
}

async fn forward(mut client: TcpStream, shared: &SharedModel) -> io::Result<()> {
    match connect(shared).await {
        Ok(mut server) => copy_bidirectional(&mut client, &mut server).await.map(drop),
        Err(error) => refuse(client, &format!("the local model: {error:#}")).await,
    }
}

async fn connect(shared: &SharedModel) -> anyhow::Result<TcpStream> {
    let base_url = shared.base_url().await?;
    let address = base_url.trim_start_matches("http://").trim_end_matches("/v1");
    TcpStream::connect(address).await.with_context(|| format!("it does not answer at {address}"))
}

/// Answers whatever was asked with the reason, as the API words errors.
async fn refuse(mut client: TcpStream, reason: &str) -> io::Result<()> {
    // Something of the request must have come, or its sender takes the answer for a broken connection.
    let mut request = [0; 4096];
    let _ = client.read(&mut request).await?;
    let body = serde_json::json!({"error": {"message": reason, "type": "server_error"}}).to_string();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    client.write_all(body.as_bytes()).await?;
    client.shutdown().await
}
