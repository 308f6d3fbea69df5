//! What an engine host asks its worker during an attempt: conditions, the stage's checkpoints, and what its engine keeps
//! beyond stages.
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
use mahavishnu_core::id::{EngineName, ExecutionId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::host::frame::CallError;
use crate::secrets::{Changed, Redactor, Sealing};

/// The calls of one attempt.
pub struct Calls {
    bus: Bus,
    engine: EngineName,
    execution: ExecutionId,
    origin: Origin,
    checkpoints: Option<Checkpoints>,
    /// Keeps secrets out of checkpoints, and
    pub sealing: Sealing,
    /// out of what people see of them.
    redactor: Redactor,
}

/// Why a call is not answered with a result.
pub enum Refusal {
    /// The host is told.
    Error(CallError),
    /// Another delivery or attempt has the stage: this one is over.
    Superseded,
}

impl Calls {
    pub const fn new(
        bus: Bus,
        engine: EngineName,
        execution: ExecutionId,
        origin: Origin,
        sealing: Sealing,
        redactor: Redactor,
    ) -> Self {
        Self { bus, engine, execution, origin, checkpoints: None, sealing, redactor }
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
                let changed = |changed: Changed| error("SECRET_CHANGED", changed.to_string());
                let body = self.sealing.open(body.into()).map_err(changed)?;
                Ok(json!({"body": BASE64_STANDARD.encode(body)}))
            }
            "checkpoints_delete" => {
                let Positions { positions } = read(params)?;
                self.opened()?.delete(&positions).await.map_err(refused)?;
                Ok(Value::Null)
            }
            "state_read" => self.read_state(read(params)?).await,
            "state_write" => self.write_state(read(params)?).await,
            _ => Err(error("UNKNOWN_METHOD", format!("no method {method:?}"))),
        }
    }

    async fn read_state(&self, StateKey { key }: StateKey) -> Result<Value, Refusal> {
        let state = self.bus.read_state(&self.engine, &key).await.map_err(|failed| state_refused(&failed))?;
        Ok(json!({"revision": state.revision, "body": state.body.map(|body| BASE64_STANDARD.encode(body))}))
    }

    async fn write_state(&self, StateWrite { key, body, revision }: StateWrite) -> Result<Value, Refusal> {
        let written = self.bus.write_state(&self.engine, &key, decoded(&body)?, revision).await;
        Ok(json!({"revision": written.map_err(|failed| state_refused(&failed))?}))
    }

    async fn open(&mut self) -> Result<Value, Refusal> {
        let claimed = self.bus.claim_checkpoints(&self.execution, &self.origin).await.map_err(refused)?;
        let entries: Vec<Value> = claimed.entries().iter().map(entry).collect();
        self.checkpoints = Some(claimed);
        Ok(json!({"entries": entries}))
    }

    async fn save(&mut self, record: Save) -> Result<Value, Refusal> {
        let mut view = record.view;
        self.redactor.object(&mut view);
        let view = Bytes::from(Value::Object(view).to_string());
        let body = self.sealing.seal(decoded(&record.body)?.into());
        let key = Key {
            thread: record.thread,
            namespace: record.namespace,
            checkpoint_id: record.checkpoint,
            parent_id: record.parent,
            task_id: record.task,
        };
        let values = record.values.map(|mut values| {
            self.redactor.object(&mut values);
            Bytes::from(Value::Object(values).to_string())
        });
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

#[derive(Deserialize)]
struct StateKey {
    key: String,
}

#[derive(Deserialize)]
struct StateWrite {
    key: String,
    body: String,
    revision: Option<u64>,
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

fn decoded(body: &str) -> Result<Bytes, Refusal> {
    let decoded = BASE64_STANDARD.decode(body);
    decoded.map(Bytes::from).map_err(|_| error("INVALID_PARAMS", "the body is not base64".to_owned()))
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

fn state_refused(failed: &mahavishnu_bus::Error) -> Refusal {
    use mahavishnu_bus::Error;
    match failed {
        Error::Conflict => error("STATE_CONFLICT", "somebody else wrote it meanwhile".to_owned()),
        Error::TooLarge { .. } => error("STATE_TOO_LARGE", format!("engine state: {failed}")),
        Error::Unreadable(_) => error("STATE_UNREADABLE", format!("engine state: {failed}")),
        _ => {
            let message = format!("engine state: {failed}");
            Refusal::Error(CallError { reason: "STATE_UNAVAILABLE", message, retryable: true })
        }
    }
}
