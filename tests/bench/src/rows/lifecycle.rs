//! Starts, and what a kill costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use mahavishnu_proto::v1;
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use serde_json::json;

use super::Bench;
use crate::client::{Client, channel, stage, workflow};
use crate::system::{Nats, System};

/// How long the stage takes in which something is killed.
const STAGE: Duration = Duration::from_millis(300);

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let row = "lifecycle";
    let began = Instant::now();
    // One of its own: its store is to be killed.
    let mut nats = Nats::start(bench.mode).await?;
    bench.report.tell(row, "nats-server, start to ready", millis(began.elapsed()), "ms");
    let url = nats.url();
    let System { mut coordinator, mut worker, endpoint } =
        System::start(&bench.parts, &url, bench.mode).await?;
    bench.report.tell(row, "coordinator, start to ready", millis(coordinator.start), "ms");
    bench.report.tell(row, "worker without a host, start to ready", millis(worker.start), "ms");

    let id = begun(&endpoint).await?;
    worker.kill().await?;
    let killed = Instant::now();
    worker = bench.parts.worker(&url, "noop", &["--slots", "256"]).await?;
    ended(&endpoint, &id).await?;
    bench.report.tell(row, "worker killed in a stage, until the end", millis(killed.elapsed()), "ms");

    let id = begun(&endpoint).await?;
    coordinator.kill().await?;
    let killed = Instant::now();
    let listen = endpoint.trim_start_matches("http://");
    coordinator = bench.parts.coordinator(&url, bench.mode, listen).await?;
    ended(&endpoint, &id).await?;
    bench.report.tell(row, "coordinator killed in a stage, until the end", millis(killed.elapsed()), "ms");

    let id = begun(&endpoint).await?;
    let killed = Instant::now();
    nats.restart().await?;
    ended(&endpoint, &id).await?;
    bench.report.tell(row, "nats-server killed in a stage, until the end", millis(killed.elapsed()), "ms");
    drop((coordinator, worker));
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// An execution whose only stage has begun.
async fn begun(endpoint: &str) -> Result<String> {
    let mut client = Client::new(channel(endpoint).await?);
    let one = workflow([stage("one", json!({"sleep_ms": STAGE.as_millis() as u64}))]);
    let request = v1::ExecuteRequest { workflow: Some(one), ..v1::ExecuteRequest::default() };
    let mut events = client.execute(request).await?.into_inner();
    while let Some(response) = events.message().await? {
        let event = response.event.context("no event")?;
        if let Some(Kind::StageStarted(_)) = event.kind {
            return Ok(event.execution_id);
        }
    }
    bail!("the stage did not begin")
}

/// Waits for its end, over broken connections.
async fn ended(endpoint: &str, id: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if watch(endpoint, id).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bail!("the execution did not end")
}

async fn watch(endpoint: &str, id: &str) -> Result<()> {
    let mut client = ExecutionServiceClient::new(channel(endpoint).await?);
    let request = v1::WatchExecutionRequest { id: id.to_owned(), after_sequence: 0 };
    let mut events = client.watch_execution(request).await?.into_inner();
    while let Some(response) = events.message().await? {
        if let Some(Kind::ExecutionCompleted(_)) = response.event.and_then(|event| event.kind) {
            return Ok(());
        }
    }
    bail!("the stream ended")
}
