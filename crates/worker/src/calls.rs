//! What an engine host asks its worker during an attempt: conditions, and the stage's checkpoints.
//!
//! Invariant: a host reaches the checkpoints of its own stage and no others, and none at all once a later attempt
//! or delivery has them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use mahavishnu_bus::Bus;
use mahavishnu_bus::checkpoints::{self, Checkpoints, Entry, Key};
use mahavishnu_core::execution::Origin;
use mahavishnu_core::expression::Expression;
use mahavishnu_core::id::ExecutionId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::host::frame::CallError;

/// The calls of one attempt.
pub struct Calls {
    bus: Bus,
    execution: ExecutionId,
    origin: Origin,
    checkpoints: Option<Checkpoints>,
}

/// Why a call is not answered with a result.
pub enum Refusal {
    /// The host is told.
    Error(CallError),
    /// Another delivery or attempt has the stage: this one is over.
    Superseded,
}

impl Calls {
    pub const fn new(bus: Bus, execution: ExecutionId, origin: Origin) -> Self {
        Self { bus, execution, origin, checkpoints: None }
    }

    /// Answers one call.
    pub async fn answer(&mut self, method: &str, params: Value) -> Result<Value, Refusal> {
        match method {
            "evaluate" => evaluate(read(params)?),
            "checkpoints_open" => self.open().await,
            "checkpoints_save" => self.save(read(params)?).await,
            "checkpoints_read" => {
                let Position { position } = read(params)?;
                let body = self.opened()?.read(position).await.map_err(refused)?;
                Ok(json!({"body": BASE64_STANDARD.encode(body)}))
            }
            "checkpoints_delete" => {
                let Positions { positions } = read(params)?;
                self.opened()?.delete(&positions).await.map_err(refused)?;
                Ok(Value::Null)
            }
            _ => Err(error("UNKNOWN_METHOD", format!("no method {method:?}"))),
        }
    }

    async fn open(&mut self) -> Result<Value, Refusal> {
        let claimed = self.bus.claim_checkpoints(&self.execution, &self.origin).await.map_err(refused)?;
        let entries: Vec<Value> = claimed.entries().iter().map(entry).collect();
        self.checkpoints = Some(claimed);
        Ok(json!({"entries": entries}))
    }

    async fn save(&mut self, record: Save) -> Result<Value, Refusal> {
        let body = BASE64_STANDARD
            .decode(&record.body)
            .map_err(|_| error("INVALID_PARAMS", "the body is not base64".to_owned()))?;
        let view = Bytes::from(Value::Object(record.view).to_string());
        let key = Key {
            thread: record.thread,
            namespace: record.namespace,
            checkpoint_id: record.checkpoint,
            parent_id: record.parent,
            task_id: record.task,
        };
        let values = record.values.map(|values| Bytes::from(Value::Object(values).to_string()));
        let save = checkpoints::Save { key, view, values: values.unwrap_or_default(), body: body.into() };
        let position = self.opened()?.save(save).await.map_err(refused)?;
        Ok(json!({"position": position}))
    }

    fn opened(&mut self) -> Result<&mut Checkpoints, Refusal> {
        let closed = || error("CHECKPOINTS_CLOSED", "checkpoints_open comes first".to_owned());
        self.checkpoints.as_mut().ok_or_else(closed)
    }
}

#[derive(Deserialize)]
struct Evaluate {
    expression: String,
    variables: Map<String, Value>,
}

#[derive(Deserialize)]
struct Save {
    #[serde(default)]
    thread: String,
    #[serde(default)]
    namespace: String,
    checkpoint: String,
    #[serde(default)]
    parent: String,
    #[serde(default)]
    task: String,
    #[serde(default)]
    view: Map<String, Value>,
    #[serde(default)]
    values: Option<Map<String, Value>>,
    body: String,
}

#[derive(Deserialize)]
struct Position {
    position: u64,
}

#[derive(Deserialize)]
struct Positions {
    positions: Vec<u64>,
}

fn evaluate(Evaluate { expression, variables }: Evaluate) -> Result<Value, Refusal> {
    Expression::parse(&expression)
        .and_then(|parsed| parsed.evaluate(&variables))
        .map_err(|invalid| error("INVALID_EXPRESSION", format!("{expression}: {invalid}")))
}

fn entry(entry: &Entry) -> Value {
    json!({
        "position": entry.position,
        "attempt": entry.turn.attempt,
        "resume": entry.turn.resume,
        "thread": entry.key.thread,
        "namespace": entry.key.namespace,
        "checkpoint": entry.key.checkpoint_id,
        "parent": entry.key.parent_id,
        "task": entry.key.task_id,
        "view": serde_json::from_slice::<Value>(&entry.view).unwrap_or_default(),
    })
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Refusal> {
    serde_json::from_value(params).map_err(|invalid| error("INVALID_PARAMS", invalid.to_string()))
}

const fn error(reason: &'static str, message: String) -> Refusal {
    Refusal::Error(CallError { reason, message, retryable: false })
}

fn refused(failed: mahavishnu_bus::Error) -> Refusal {
    use mahavishnu_bus::Error;
    let message = format!("the stage's checkpoints: {failed}");
    match failed {
        Error::Superseded => Refusal::Superseded,
        Error::TooLarge { .. } => error("CHECKPOINT_TOO_LARGE", message),
        Error::NotFound => error("CHECKPOINT_NOT_FOUND", message),
        Error::Unreadable(_) => error("CHECKPOINT_UNREADABLE", message),
        _ => Refusal::Error(CallError { reason: "CHECKPOINTS_UNAVAILABLE", message, retryable: true }),
    }
}
