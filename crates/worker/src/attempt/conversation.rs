//! The conversation with the host, from the task to the last frame.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::pin::pin;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mahavishnu_core::execution::{Failure, Question};
use mahavishnu_proto::worker;
use serde_json::Value;
use tokio::time::Instant;

use super::outcome::{died, lost, not_taken, too_much_memory};
use super::prepare::Prepared;
use super::stop::{Stop, until};
use super::{Attempt, Outcome, Signals};
use crate::calls::{Calls, Refusal};
use crate::host::Connection;
use crate::host::frame::{CallError, FromHost, ToHost};

/// One attempt's conversation with its host.
struct Talk {
    calls: Calls,
    /// The ends of deltas, by source, in which a secret may have begun.
    deltas: HashMap<String, String>,
}

impl Attempt<'_> {
    pub(super) async fn talk(
        &self,
        mut connection: Connection,
        prepared: &Prepared,
        signals: &Signals,
    ) -> Outcome {
        let deadline = self.deadline();
        let time_left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if let Err(error) = connection.write(&self.frame(prepared, time_left)).await {
            return not_taken(&connection, &error);
        }
        let (bus, execution) = (self.context.bus.clone(), self.delivery.execution.clone());
        let engine = self.context.queue.engine.clone();
        let (sealing, redactor) = (prepared.sealing.clone(), self.context.secrets.redactor.clone());
        let calls = Calls::new(bus, engine, execution, self.origin(), sealing, redactor);
        let mut talk = Talk { calls, deltas: HashMap::new() };
        let mut exceeds = pin!(connection.exceeds());
        loop {
            // What a frame asks for may take long; a stop does not wait for it.
            let step = tokio::select! {
                step = self.step(&mut connection, &mut talk) => step,
                () = signals.cancel.cancelled() => return self.stop(connection, Stop::Cancelled).await,
                () = signals.hand_back.cancelled() => return self.stop(connection, Stop::Drained).await,
                () = until(deadline) => return self.time_out(connection).await,
                exceeded = &mut exceeds => {
                    connection.kill();
                    return too_much_memory(exceeded, connection.isolation());
                }
            };
            match step {
                Ok(None) => {}
                Ok(Some(outcome)) => return outcome,
                Err(error) => {
                    connection.kill();
                    return lost(&connection, &error.to_string());
                }
            }
        }
    }

    /// Reads one frame and acts on it; gives the outcome if there will be no other.
    async fn step(&self, connection: &mut Connection, talk: &mut Talk) -> std::io::Result<Option<Outcome>> {
        match connection.read().await? {
            Some(frame) => self.handle(connection, frame, talk).await,
            None => {
                connection.kill();
                Ok(Some(lost(connection, "its process ended without a result")))
            }
        }
    }

    /// Acts on one frame; gives the outcome if it was the last one.
    async fn handle(
        &self,
        connection: &mut Connection,
        frame: FromHost,
        talk: &mut Talk,
    ) -> std::io::Result<Option<Outcome>> {
        match frame {
            FromHost::Progress { kind, name, data } => self.progressed(kind, name, data).await,
            FromHost::Delta { source, text } => {
                self.show_start().await;
                let redactor = &self.context.secrets.redactor;
                let text = redactor.piece(talk.deltas.entry(source.clone()).or_default(), &text);
                self.show(worker::live::Kind::Delta(worker::Delta { source, text })).await;
            }
            FromHost::Call { id, method, params } => {
                let answered = match method.as_str() {
                    "model" => self.model(&params).map_err(Refusal::Error),
                    _ => talk.calls.answer(&method, params).await,
                };
                let (result, error) = match answered {
                    Ok(result) => (Some(result), None),
                    Err(Refusal::Error(error)) => (None, Some(error)),
                    Err(Refusal::Superseded) => {
                        connection.kill();
                        return Ok(Some(Outcome::LeaseLost));
                    }
                };
                match connection.write(&ToHost::Reply { id, result, error }).await {
                    // It ended meanwhile; how is in what it sent before, which is read next.
                    Err(gone)
                        if matches!(gone.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
                    written => written?,
                }
            }
            FromHost::Spans { otlp } => self.relay(otlp),
            FromHost::Paused { approvals, checkpoint } => {
                let Ok(checkpoint) = checkpoint.map(|text| BASE64_STANDARD.decode(text)).transpose() else {
                    return Ok(Some(died("its checkpoint is not base64")));
                };
                let questions = approvals
                    .into_iter()
                    .map(|question| Question {
                        key: question.key,
                        title: question.title,
                        payload: question.payload,
                    })
                    .collect();
                let checkpoint = checkpoint.map(|body| talk.calls.sealing.seal(body));
                return Ok(Some(Outcome::Paused { questions, checkpoint }));
            }
            FromHost::Done { output } => return Ok(Some(Outcome::Completed(output))),
            FromHost::Error { reason, message, retryable, traceback, field } => {
                let field = field.unwrap_or_default();
                return Ok(Some(Outcome::Failed(Failure { reason, message, retryable, traceback, field })));
            }
            FromHost::Cancelled => {
                return Ok(Some(Outcome::Failed(Failure::retryable(
                    "CANCELLED",
                    "the attempt was cancelled",
                ))));
            }
            FromHost::ServerHello { .. }
            | FromHost::ServerError { .. }
            | FromHost::Exited { .. }
            | FromHost::Hello { .. } => return Ok(Some(died("it sent a frame that is not an attempt's"))),
        }
        Ok(None)
    }

    /// The model that an agent or node names.
    fn model(&self, params: &Value) -> Result<Value, CallError> {
        let invalid = |message: String| CallError { reason: "MODEL_INVALID", message, retryable: false };
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let model = self.choose(Some(name)).map_err(|failure| invalid(failure.message))?;
        serde_json::to_value(model).map_err(|error| invalid(error.to_string()))
    }

    pub(super) fn relay(&self, otlp: String) {
        let Some(relay) = self.context.relay.clone() else { return };
        let redactor = self.context.secrets.redactor.clone();
        tokio::spawn(async move {
            let sent = match BASE64_STANDARD.decode(otlp) {
                Ok(mut request) => {
                    redactor.overwrite(&mut request);
                    relay.export(&request).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = sent {
                tracing::warn!(error = format!("{error:#}"), "spans of the engine host are lost");
            }
        });
    }
}
