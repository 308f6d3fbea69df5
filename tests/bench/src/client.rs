//! What drives a system: one execution after the other, or many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use mahavishnu_proto::v1::event::Kind;
use mahavishnu_proto::v1::orchestrator_service_client::OrchestratorServiceClient;
use mahavishnu_proto::{json, v1};
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};

use crate::floor::pb;
use crate::floor::pb::floor_client::FloorClient;
use crate::samples::Samples;

/// A client of the system.
pub type Client = OrchestratorServiceClient<Channel>;

/// What one execution took.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    /// Until the first event.
    pub first: Duration,
    /// Until the last.
    pub whole: Duration,
}

/// What many took together.
#[derive(Clone, Debug)]
pub struct Load {
    /// Stages completed a second.
    pub stages: f64,
    /// Each execution's time.
    pub whole: Samples,
}

/// A connection.
pub async fn channel(endpoint: &str) -> Result<Channel> {
    Ok(Endpoint::from_shared(endpoint.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// A workflow of so many stages of the no-op engine, one after the other.
pub fn chain(stages: usize) -> v1::Workflow {
    workflow((0..stages).map(|n| stage(&format!("s{n}"), json!({}))))
}

/// A workflow.
pub fn workflow(stages: impl IntoIterator<Item = v1::Stage>) -> v1::Workflow {
    v1::Workflow { stages: stages.into_iter().collect(), ..v1::Workflow::default() }
}

/// A stage of the no-op engine, after the one before it.
pub fn stage(id: &str, task: Value) -> v1::Stage {
    v1::Stage { id: id.to_owned(), ..of("noop", task) }
}

/// A stage of this engine.
pub fn of(engine: &str, task: Value) -> v1::Stage {
    let task = task.as_object().map(json::to_struct);
    v1::Stage { r#type: engine.to_owned(), task, ..v1::Stage::default() }
}

/// Executes it once, from the call to the event that says that it completed. What follows that event, the end of the
/// stream, is read all the same: a stream that is dropped before it is a reset, and HTTP/2 forgives a connection only so many.
pub async fn once(client: &mut Client, workflow: &v1::Workflow) -> Result<Took> {
    let request = v1::ExecuteRequest { workflow: Some(workflow.clone()), ..v1::ExecuteRequest::default() };
    let began = Instant::now();
    let mut events = client.execute(request).await?.into_inner();
    let (mut first, mut whole) = (None, None);
    while let Some(response) = events.message().await? {
        first.get_or_insert_with(|| began.elapsed());
        match response.event.and_then(|event| event.kind) {
            Some(Kind::ExecutionCompleted(_)) => whole = Some(began.elapsed()),
            Some(Kind::ExecutionFailed(failed)) => bail!("it failed: {:?}", failed.error),
            _ => {}
        }
    }
    took(first, whole)
}

fn took(first: Option<Duration>, whole: Option<Duration>) -> Result<Took> {
    let (first, whole) = first.zip(whole).context("the stream ended before the execution")?;
    Ok(Took { first, whole })
}

/// The same with the bare prototype.
pub async fn once_bare(client: &mut FloorClient<Channel>, stages: u32) -> Result<Took> {
    let request = pb::RunRequest { stages, payload: crate::floor::payload().to_vec() };
    let began = Instant::now();
    let mut events = client.run(request).await?.into_inner();
    let (mut first, mut whole) = (None, None);
    while let Some(event) = events.message().await? {
        first.get_or_insert_with(|| began.elapsed());
        if event.end {
            whole = Some(began.elapsed());
        }
    }
    took(first, whole)
}

/// So many clients at once, each executing one workflow after the other for some time.
pub async fn load(endpoint: &str, workflow: v1::Workflow, clients: usize, time: Duration) -> Result<Load> {
    let channels = channels(endpoint, clients).await?;
    let stages = workflow.stages.len();
    let workflow = Arc::new(workflow);
    let one = |n: usize| {
        let (workflow, channel) = (Arc::clone(&workflow), channels.get(n % channels.len().max(1)).cloned());
        async move {
            let mut client = Client::new(channel.context("no connection")?);
            Ok(once(&mut client, &workflow).await?.whole)
        }
    };
    together(one, stages, clients, time).await
}

/// The same with the bare prototype.
pub async fn load_bare(endpoint: &str, stages: u32, clients: usize, time: Duration) -> Result<Load> {
    let channels = channels(endpoint, clients).await?;
    let one = |n: usize| {
        let channel = channels.get(n % channels.len().max(1)).cloned();
        async move {
            let mut client = FloorClient::new(channel.context("no connection")?);
            Ok(once_bare(&mut client, stages).await?.whole)
        }
    };
    together(one, stages as usize, clients, time).await
}

/// One connection for every 64 clients.
async fn channels(endpoint: &str, clients: usize) -> Result<Vec<Channel>> {
    try_join_all((0..clients.div_ceil(64)).map(|_| channel(endpoint))).await
}

/// Counts what is done between a quarter of the time and its end.
pub async fn together<F>(
    one: impl Fn(usize) -> F,
    stages: usize,
    clients: usize,
    time: Duration,
) -> Result<Load>
where
    F: Future<Output = Result<Duration>> + Send + 'static,
{
    let (from, until) = (Instant::now() + time / 4, Instant::now() + time);
    let done = AtomicU64::new(0);
    let times = try_join_all((0..clients).map(async |n| {
        let mut times = Vec::new();
        while Instant::now() < until {
            let took = tokio::spawn(one(n)).await??;
            let now = Instant::now();
            if now >= from && now < until {
                done.fetch_add(1, Ordering::Relaxed);
                times.push(took);
            }
        }
        anyhow::Ok(times)
    }))
    .await?;
    let seconds = (until - from).as_secs_f64();
    let stages = done.load(Ordering::Relaxed) as f64 * stages as f64 / seconds;
    Ok(Load { stages, whole: Samples::new(times.into_iter().flatten()) })
}
