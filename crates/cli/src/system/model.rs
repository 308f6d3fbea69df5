//! The local model, started beside the rest: workers are told its address before it answers.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_provision::Provision;
use mahavishnu_provision::model::{MODEL, ModelServer};
use mahavishnu_provision::process::log_tail;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::part::{Notice, Part};

/// Between two starts.
const PAUSE: Duration = Duration::from_secs(2);
/// Failures in a row after which it is given up: stages that need a model then say so themselves.
const TRIES: u32 = 3;

/// Starts it; gives the part and how workers are told of it.
pub fn start(
    provision: &Provision,
    notices: mpsc::UnboundedSender<Notice>,
    kill: CancellationToken,
) -> anyhow::Result<(Part, String)> {
    let port = free_port()?;
    let provision = provision.clone();
    let part = Part::task(|stop| async move {
        tokio::select! {
            () = keep(provision, port, notices, &stop) => {}
            () = kill.cancelled() => {}
        }
    });
    Ok((part, format!("local:{MODEL}@http://127.0.0.1:{port}/v1")))
}

async fn keep(
    provision: Provision,
    port: u16,
    notices: mpsc::UnboundedSender<Notice>,
    stop: &CancellationToken,
) {
    let log = provision.state().log("model");
    let mut failures = 0;
    loop {
        let started = tokio::select! {
            started = ModelServer::start_at(&provision, port) => started,
            () = stop.cancelled() => return,
        };
        let status = match started {
            Err(error) => error.to_string(),
            Ok(mut server) => {
                failures = 0;
                let ended = tokio::select! {
                    ended = server.wait() => ended,
                    () = stop.cancelled() => {
                        if let Err(error) = server.stop().await {
                            tracing::warn!(%error, "the model server cannot be stopped");
                        }
                        return;
                    }
                };
                ended.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
        };
        failures += 1;
        let again = (failures < TRIES).then_some(PAUSE);
        // Whoever listened may be gone already; then nobody needs to know.
        let _ = notices.send(Notice {
            part: "model server".to_owned(),
            status,
            tail: log_tail(&log, 3),
            log: log.clone(),
            again,
        });
        if again.is_none() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// A port that is free now. Somebody else may take it before the server does; then the server's start says so.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("no free port on 127.0.0.1")?.port())
}
