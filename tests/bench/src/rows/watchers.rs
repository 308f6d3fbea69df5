//! Many watchers of one execution: what they get, and what they cost everybody else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use mahavishnu_proto::v1;
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::Bench;
use crate::client::{chain, channel, load, stage, workflow};
use crate::report::Target;
use crate::system::System;

const TIME: Duration = Duration::from_secs(6);
/// Events of the fan-out's second stage.
const EVENTS: usize = 100;
/// Watchers on one connection.
const SHARED: usize = 100;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let system = System::start(&bench.parts, &bench.nats.url(), bench.mode).await?;
    for (count, name) in
        [(100, "100 watchers, events delivered"), (1_000, "1,000 watchers, events delivered")]
    {
        let fan_out = [stage("wait", json!({"sleep_ms": 2_000})), stage("tell", json!({"progress": EVENTS}))];
        let watch = Watch::start(&system.endpoint, workflow(fan_out), count).await?;
        let (events, took) = watch.end().await?;
        bench.report.tell("watchers", name, events as f64 / took.as_secs_f64(), "/s");
    }
    let none = load(&system.endpoint, chain(3), 64, TIME).await?;
    // Long enough for the load beside it: an event every half a second or more often.
    let slow = (0..40).map(|n| stage(&format!("s{n}"), json!({"sleep_ms": 500, "progress": 2})));
    let watch = Watch::start(&system.endpoint, workflow(slow), 1_000).await?;
    let with = load(&system.endpoint, chain(3), 64, TIME).await?;
    watch.cancel().await?;
    let report = &mut bench.report;
    report.tell("watchers", "64 clients, nobody watches, stages", none.stages, "/s");
    report.tell("watchers", "64 clients, 1,000 watchers of another one, stages", with.stages, "/s");
    let ratio = none.stages / with.stages;
    report.add("watchers", "throughput without / with 1,000 watchers", ratio, "x", Some(Target::AtMost(2.0)));
    Ok(())
}

/// What a watcher saw: events from the first progress on, and when that was.
type Seen = (usize, Option<Instant>);

/// Watchers of one execution.
struct Watch {
    id: String,
    client: ExecutionServiceClient<Channel>,
    watchers: Vec<JoinHandle<Result<Seen>>>,
}

impl Watch {
    /// Starts the execution and waits until all watch it.
    async fn start(endpoint: &str, workflow: v1::Workflow, count: usize) -> Result<Self> {
        let mut client = ExecutionServiceClient::new(channel(endpoint).await?);
        let request =
            v1::StartExecutionRequest { workflow: Some(workflow), ..v1::StartExecutionRequest::default() };
        let started =
            client.start_execution(request).await?.into_inner().execution.context("no execution")?;
        let id = started.id;
        let channels = try_join_all((0..count.div_ceil(SHARED)).map(|_| channel(endpoint))).await?;
        let (here, mut all_here) = mpsc::channel(count);
        let mut watchers = Vec::new();
        for channel in channels.iter().cycle().take(count) {
            let (mut client, id) = (ExecutionServiceClient::new(channel.clone()), id.clone());
            let here = here.clone();
            watchers.push(tokio::spawn(async move {
                let request = v1::WatchExecutionRequest { id, after_sequence: 0 };
                let mut stream = client.watch_execution(request).await?.into_inner();
                let (mut events, mut began, mut said) = (0, None, Some(here));
                while let Some(response) = stream.message().await? {
                    if let Some(here) = said.take() {
                        here.send(()).await?;
                    }
                    if let Some(Kind::StageProgress(_)) = response.event.and_then(|event| event.kind) {
                        began.get_or_insert_with(Instant::now);
                    }
                    events += usize::from(began.is_some());
                }
                anyhow::Ok((events, began))
            }));
        }
        for _ in 0..count {
            all_here.recv().await.context("a watcher ended")?;
        }
        Ok(Self { id, client, watchers })
    }

    /// Waits for the end: events that came after the first progress, and the time from the first of them to the last.
    async fn end(self) -> Result<(usize, Duration)> {
        let (mut events, mut began) = (0, None::<Instant>);
        for watcher in self.watchers {
            let (count, first) = watcher.await??;
            events += count;
            began = began.into_iter().chain(first).min();
        }
        Ok((events, began.context("no events")?.elapsed()))
    }

    async fn cancel(mut self) -> Result<()> {
        let request = v1::CancelExecutionRequest { id: self.id.clone(), reason: String::new() };
        self.client.cancel_execution(request).await?;
        for watcher in self.watchers {
            watcher.await??;
        }
        Ok(())
    }
}
