//! The bare prototype of our shape: gRPC to JetStream to a worker process and back. No state machine, no conditions, no
//! recovery, no validation, no telemetry: what these cost is the difference to it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, async_trait};

use pb::floor_server::{Floor, FloorServer};
use pb::{Event, RunRequest};

/// Its protocol.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod pb {
    tonic::include_proto!("mahavishnu.floor");
}

/// Its stream.
pub const STREAM: &str = "FLOOR";

/// Makes the stream, if it is not there; its subjects are unlike ours.
pub async fn prepare(js: &jetstream::Context, replicas: usize) -> Result<()> {
    let config = Config {
        name: STREAM.to_owned(),
        subjects: vec!["floor.>".to_owned()],
        num_replicas: replicas,
        ..Config::default()
    };
    js.get_or_create_stream(config).await?;
    Ok(())
}

async fn consume(js: &jetstream::Context, name: &str, filter: &str) -> Result<pull::Stream> {
    let config = pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: filter.to_owned(),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    let consumer: PullConsumer = js.create_consumer_on_stream(config, STREAM).await?;
    Ok(consumer.stream().max_messages_per_batch(1_000).messages().await?)
}

async fn connect(nats: &str) -> Result<jetstream::Context> {
    Ok(jetstream::new(async_nats::connect(nats.split(',').collect::<Vec<_>>()).await?))
}

/// The worker process: answers every task.
pub async fn worker(nats: &str) -> Result<()> {
    let js = connect(nats).await?;
    let mut tasks = consume(&js, "tasks", "floor.task.*").await?;
    mahavishnu_process::say_ready(&serde_json::json!({"ready": "floor worker"}));
    while let Some(task) = tasks.next().await {
        let (task, js) = (task?, js.clone());
        tokio::spawn(async move {
            let answer = async {
                let subject = task.subject.replace("task", "in");
                js.publish(subject, task.payload.clone()).await?.await?;
                task.ack().await.map_err(anyhow::Error::from_boxed)
            };
            if let Err(error) = answer.await {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(())
}

/// The coordinator process.
pub async fn coordinator(nats: &str) -> Result<()> {
    let js = connect(nats).await?;
    let mut inputs = consume(&js, "inputs", "floor.in.*").await?;
    let floor = Bare { js, next: Arc::default(), running: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    mahavishnu_process::say_ready(&serde_json::json!({"ready": "floor", "address": address}));
    let serving = tonic::transport::Server::builder()
        .add_service(FloorServer::new(floor.clone()))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    let driving = async {
        while let Some(input) = inputs.next().await {
            let (input, floor) = (input?, floor.clone());
            tokio::spawn(async move {
                if let Err(error) = floor.advance(input).await {
                    eprintln!("{error:#}");
                }
            });
        }
        anyhow::Ok(())
    };
    tokio::select! {
        served = serving => served.context("gRPC"),
        driven = driving => driven,
    }
}

struct Running {
    events: UnboundedSender<Result<Event, Status>>,
    stages: u32,
}

#[derive(Clone)]
struct Bare {
    js: jetstream::Context,
    next: Arc<AtomicU64>,
    running: Arc<Mutex<HashMap<u64, Running>>>,
}

impl Bare {
    async fn store(&self, subject: String, event: &Event) -> Result<()> {
        self.js.publish(subject, event.encode_to_vec().into()).await?.await?;
        Ok(())
    }

    /// A result came: the next stage, or the end.
    async fn advance(&self, input: Message) -> Result<()> {
        let mut event = Event::decode(input.payload.clone())?;
        if event.stage > 0 {
            let (stages, events) = {
                let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(found) = running.get(&event.execution) else { return Ok(()) };
                (found.stages, found.events.clone())
            };
            // Whoever asked may be gone.
            let _ = events.send(Ok(event.clone()));
            if event.stage < stages {
                event.stage += 1;
                self.store(format!("floor.task.{}", event.execution), &event).await?;
                let _ = events.send(Ok(event));
            } else {
                event.end = true;
                self.store(format!("floor.dec.{}", event.execution), &event).await?;
                let _ = events.send(Ok(event.clone()));
                self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&event.execution);
            }
        }
        input.ack().await.map_err(anyhow::Error::from_boxed)
    }

    async fn begin(&self, request: RunRequest, events: UnboundedSender<Result<Event, Status>>) -> Result<()> {
        let execution = self.next.fetch_add(1, Ordering::Relaxed);
        let mut event = Event { execution, stage: 0, end: false, payload: request.payload };
        if request.stages == 0 {
            event.end = true;
            let _ = events.send(Ok(event));
            return Ok(());
        }
        self.store(format!("floor.in.{execution}"), &event).await?;
        let _ = events.send(Ok(event.clone()));
        let running = Running { events, stages: request.stages };
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(execution, running);
        event.stage = 1;
        let bare = self.clone();
        tokio::spawn(async move { bare.store(format!("floor.task.{execution}"), &event).await });
        Ok(())
    }
}

#[async_trait]
impl Floor for Bare {
    type RunStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn run(&self, request: Request<RunRequest>) -> Result<Response<Self::RunStream>, Status> {
        let (events, stream) = unbounded_channel();
        self.begin(request.into_inner(), events)
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }

    async fn ping(&self, request: Request<RunRequest>) -> Result<Response<Event>, Status> {
        Ok(Response::new(Event { payload: request.into_inner().payload, ..Event::default() }))
    }
}

/// The bytes of the prototype's messages: about as long as ours.
pub fn payload() -> Bytes {
    Bytes::from_static(&[b'x'; 256])
}
