//! The only crate that knows NATS.
//!
//! | module | what goes over it |
//! |---|---|
//! | [`log`], `history` | the history of executions: inputs, decisions, tailing; reading one |
//! | [`partition`] | the streams that share the histories |
//! | `publish` | every write, and what the server answers to it |
//! | [`tasks`], `slots` | the task queues, one per engine; how many tasks to ask of which partition |
//! | [`timers`] | durable delays that fire into the inputs |
//! | [`checkpoints`] | resumable engine state, fenced by attempt and delivery |
//! | [`engine_state`] | what an engine keeps beyond its stages, shared by its workers |
//! | [`artifacts`], `content` | large payloads by content hash; reading them |
//! | [`references`] | who refers to which artifact |
//! | [`schedules`] | schedules as they stand, and what wakes whoever looks at them |
//! | [`summaries`] | the last known summary of each execution and approval, for lists |
//! | [`live`] | what is shown and not kept: heartbeats, token deltas, cancel signals |
//!
//! Architecture invariant: no type of async-nats is in this crate's public interface.

mod content;
mod direct;
mod envelope;
mod error;
mod history;
mod publish;
mod slots;
mod streams;
mod subjects;

pub mod artifacts;
pub mod checkpoints;
pub mod engine_state;
pub mod inputs;
pub mod live;
pub mod log;
pub mod partition;
pub mod references;
mod retention;
pub mod schedules;
pub mod summaries;
pub mod tasks;
pub mod timers;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream;

pub use error::{Error, Result};

/// W3C trace context as it travels in message headers (`traceparent`, `tracestate`).
pub type Trace = HashMap<String, String>;

/// How to reach NATS and how to lay the streams out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Server addresses, separated by commas: `nats://127.0.0.1:4222`.
    pub url: String,
    /// The name that the server shows for this connection.
    pub name: String,
    /// A credentials file, where the server asks for one.
    pub credentials: Option<std::path::PathBuf>,
    /// Copies of every stream; 1 on one node, 3 on a cluster.
    pub replicas: usize,
    /// Streams that share the histories, for a store that is to be made; of one that is there, `None` takes what it has.
    pub partitions: Option<u32>,
    /// How long a delivered task or input may stay without a sign of life before somebody else gets it.
    pub lease: Duration,
    /// How much room all checkpoints together have; the oldest make room for new ones.
    pub checkpoint_bytes: u64,
    /// How long what an engine keeps beyond its stages stays after it was written.
    pub state_age: Duration,
    /// How much room all of that has together; the oldest makes room for new.
    pub state_bytes: u64,
    /// Largest artifact, in bytes: a document, or a payload that travels as one.
    pub max_artifact: u64,
}

impl Options {
    /// One node, and a lease of five seconds: short enough for a killed worker to be replaced soon, long
    /// enough for three signs of life even on a busy machine.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            credentials: None,
            replicas: 1,
            partitions: None,
            lease: Duration::from_secs(5),
            checkpoint_bytes: 1 << 30,
            state_age: Duration::from_secs(90 * 24 * 60 * 60),
            state_bytes: 1 << 30,
            max_artifact: artifacts::MAX_SIZE,
        }
    }
}

/// A connection to the bus. Cheap to clone; reconnects by itself, for ever.
#[derive(Clone, Debug)]
pub struct Bus {
    client: async_nats::Client,
    js: jetstream::Context,
    options: std::sync::Arc<Options>,
    /// Learnt from the store; it never changes.
    partitions: std::sync::Arc<tokio::sync::OnceCell<u32>>,
}

impl Bus {
    /// Connects; waits for the server as long as it takes when it is not there yet.
    ///
    /// # Errors
    /// When the address or the credentials are not usable.
    pub async fn connect(options: Options) -> Result<Self> {
        let mut connect = async_nats::ConnectOptions::new()
            .name(&options.name)
            .retry_on_initial_connect()
            .event_callback(|event| async move {
                match event {
                    async_nats::Event::Connected => tracing::info!("connected to NATS"),
                    event => tracing::warn!(%event, "NATS connection"),
                }
            });
        if let Some(path) = &options.credentials {
            connect = connect
                .credentials_file(path)
                .await
                .map_err(|source| Error::Credentials { path: path.clone(), source })?;
        }
        let servers: Vec<&str> = options.url.split(',').map(str::trim).collect();
        let client = connect.connect(servers).await.map_err(Error::new)?;
        let mut js = jetstream::new(client.clone());
        js.set_timeout(Duration::from_secs(5));
        Ok(Self { client, js, options: std::sync::Arc::new(options), partitions: std::sync::Arc::default() })
    }

    /// Whether the server can be reached now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// The version that the server reports; empty before the first connection.
    pub fn server_version(&self) -> String {
        self.client.server_info().version
    }

    /// Sends what is buffered and closes.
    pub async fn close(&self) {
        if let Err(error) = self.client.drain().await {
            tracing::warn!(%error, "drain of the NATS connection");
        }
    }

    /// See [`Options::max_artifact`].
    pub fn max_artifact(&self) -> u64 {
        self.options.max_artifact
    }

    /// See [`Options::lease`].
    pub fn lease(&self) -> Duration {
        self.options.lease
    }
}
