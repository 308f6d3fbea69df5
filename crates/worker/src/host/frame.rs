//! The frames of the engine host protocol (`python/PROTOCOL.md`), length-prefixed JSON.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Largest frame, in bytes.
const MAX_FRAME: usize = 64 * 1024 * 1024;

/// What the host sends on either kind of connection.
#[derive(Debug, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum FromHost {
    /// The host is warm.
    ServerHello {
        /// The host's process.
        pid: i32,
        /// Versions of what it runs.
        versions: BTreeMap<String, String>,
        /// How long the start took.
        warm_ms: u64,
    },
    /// The engine cannot be imported.
    ServerError {
        /// A stable code.
        reason: String,
        /// Why.
        message: String,
    },
    /// A child ended.
    Exited {
        /// Its attempt connection.
        token: String,
        /// Exit status, or
        status: Option<i32>,
        /// the signal that ended it.
        signal: Option<i32>,
    },
    /// An attempt connection begins.
    Hello {
        /// From the `open` that asked for it.
        token: String,
        /// The process that serves it.
        pid: i32,
    },
    /// Engine-native progress.
    Progress {
        /// What kind.
        kind: String,
        /// What it is about.
        name: String,
        /// Details.
        #[serde(default)]
        data: Map<String, Value>,
    },
    /// A piece of generated text.
    Delta {
        /// Who generates.
        #[serde(default)]
        source: String,
        /// The text.
        text: String,
    },
    /// A question to the worker.
    Call {
        /// To be repeated in the reply.
        id: u64,
        /// What is asked.
        method: String,
        /// With what.
        #[serde(default)]
        params: Value,
    },
    /// Finished spans.
    Spans {
        /// An `ExportTraceServiceRequest`, base64.
        otlp: String,
    },
    /// Last: the attempt waits for people.
    Paused {
        /// What to decide.
        approvals: Vec<Question>,
        /// Where to continue, base64; none for an engine that keeps its checkpoints in the worker's store.
        #[serde(default)]
        checkpoint: Option<String>,
    },
    /// Last: success.
    Done {
        /// The output.
        output: Map<String, Value>,
    },
    /// Last: failure.
    Error {
        /// A stable code.
        reason: String,
        /// The engine's own message.
        message: String,
        /// Another attempt may succeed.
        #[serde(default)]
        retryable: bool,
        /// The engine's traceback.
        #[serde(default)]
        traceback: String,
        /// The field of the task at fault.
        #[serde(default)]
        field: Option<String>,
    },
    /// Last: the attempt obeyed.
    Cancelled,
}

/// One question to a person.
#[derive(Debug, Deserialize)]
pub struct Question {
    /// The engine's own key.
    pub key: String,
    /// What it is about.
    pub title: String,
    /// What to show.
    #[serde(default)]
    pub payload: Map<String, Value>,
}

/// What the worker sends. Not for logs: a task has its secrets in it.
#[derive(Serialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ToHost<'a> {
    /// Make one attempt connection.
    Open {
        /// To be repeated in its `hello`.
        token: &'a str,
    },
    /// Raise a cancellation where the attempt's code holds the event loop (`shared` only).
    Interrupt {
        /// Its connection's.
        token: &'a str,
    },
    /// The attempt.
    Task(Box<TaskFrame<'a>>),
    /// Answer to a call.
    Reply {
        /// The call's.
        id: u64,
        /// The answer, or
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
        /// why there is none.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<CallError>,
    },
    /// Stop.
    Cancel {
        /// Why.
        reason: &'a str,
    },
}

/// Why a call has no answer.
#[derive(Debug, Serialize)]
pub struct CallError {
    /// A stable code.
    pub reason: &'static str,
    /// In words.
    pub message: String,
    /// The same call may be answered later.
    pub retryable: bool,
}

/// The attempt, as the host gets it.
#[derive(Serialize)]
pub struct TaskFrame<'a> {
    /// The execution.
    pub execution: &'a str,
    /// The stage.
    pub stage: &'a str,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How many approvals it has passed.
    pub resume: u32,
    /// Which delivery this is.
    pub delivery: u32,
    /// Time that it has, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// The stage's task, with its secrets.
    pub task: &'a Map<String, Value>,
    /// The values of these, which an engine with a store of its own must keep out of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<&'a str>,
    /// The workflow's input.
    pub input: &'a Map<String, Value>,
    /// Outputs of the stages that it needs.
    pub dependencies: BTreeMap<&'a str, &'a Map<String, Value>>,
    /// Directories that file tools may read.
    pub repos: &'a [String],
    /// Readable files by name.
    pub documents: &'a BTreeMap<String, std::path::PathBuf>,
    /// The project directory.
    pub project: &'a std::path::Path,
    /// Where the engine may keep things.
    pub data: &'a std::path::Path,
    /// The model.
    pub model: &'a crate::model::KeyedModel,
    /// W3C trace context.
    pub trace: &'a std::collections::HashMap<String, String>,
    /// What was decided, when `resume` is above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionFrame<'a>>,
    /// Where to continue, base64, when `resume` is above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// What is changed in the state that a fork goes on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateFrame<'a>>,
}

/// What is changed in the state that a fork goes on from.
#[derive(Debug, Serialize)]
pub struct UpdateFrame<'a> {
    /// Values for the state.
    pub values: &'a Map<String, Value>,
    /// The node that is taken to have written them; empty leaves it to the engine.
    pub as_node: &'a str,
}

/// What was decided.
#[derive(Debug, Serialize)]
pub struct DecisionFrame<'a> {
    /// The engine's own key of the question.
    pub approval_key: &'a str,
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub reason: &'a str,
    /// Who.
    pub decided_by: &'a str,
    /// Values for the stage's state.
    pub values: &'a Map<String, Value>,
}

/// A connection that speaks frames.
pub struct Frames(Framed<UnixStream, LengthDelimitedCodec>);

impl Frames {
    /// Over this stream.
    pub fn new(stream: UnixStream) -> Self {
        Self(LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_framed(stream))
    }

    /// The next frame; `None` at the end of the stream.
    pub async fn read(&mut self) -> io::Result<Option<FromHost>> {
        match self.0.next().await {
            None => Ok(None),
            Some(frame) => Ok(Some(serde_json::from_slice(&frame?)?)),
        }
    }

    /// Sends a frame.
    pub async fn write(&mut self, frame: &ToHost<'_>) -> io::Result<()> {
        self.0.send(Bytes::from(serde_json::to_vec(frame)?)).await
    }
}
