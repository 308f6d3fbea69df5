//! One delivery of one task: from the lease to the stored result.
//!
//! Invariants:
//! - Exactly one result is published for a delivery that keeps its lease, and the task is acknowledged
//!   after it is stored; none for one that loses it.
//! - A failure of the engine is a failure here: nothing is made up.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use mahavishnu_bus::tasks::{Delivery, MAX_DELIVERIES};
use mahavishnu_bus::{Bus, Trace};
use mahavishnu_core::execution::{Completed, Fact, Failed, Failure, Origin, Paused, Progressed, Question};
use mahavishnu_core::id::{Queue, WorkerId};
use mahavishnu_proto::{wire, worker};
use mahavishnu_telemetry::{SpanRelay, context};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::calls::{Calls, Refusal};
use crate::documents;
use crate::host::frame::{CallError, DecisionFrame, FromHost, TaskFrame, ToHost};
use crate::host::{Connection, Host};
use crate::memory;
use crate::model::{KeyedModel, Models};
use crate::noop;

/// How long the engine may take to obey before its process is killed.
const GRACE: Duration = Duration::from_millis(800);
/// An attempt that ends sooner is not shown as begun: who looks would not see it, and its result says when it began.
const WORTH_SHOWING: Duration = Duration::from_millis(2);
/// Progress events kept of one attempt; a flood beyond it is shown to nobody and costs nothing.
const MAX_PROGRESS: u32 = 2_000;

/// What all attempts of a worker share.
pub struct Context {
    /// The bus.
    pub bus: Bus,
    /// Whose tasks it takes.
    pub queue: Queue,
    /// This worker.
    pub worker: WorkerId,
    /// The engine host; the no-op engine has none.
    pub host: Option<Host>,
    /// The project directory, resolved.
    pub project: PathBuf,
    /// Where the engine may keep things.
    pub data: PathBuf,
    /// The models.
    pub models: Models,
    /// Bytes that the process of an attempt may hold.
    pub memory: Option<u64>,
    /// Where the host's spans go.
    pub relay: Option<SpanRelay>,
}

/// How an attempt ended, as far as this worker is concerned.
pub enum Outcome {
    /// With this output.
    Completed(Map<String, Value>),
    /// With this failure.
    Failed(Failure),
    /// Until somebody decides.
    Paused {
        /// What is to be decided.
        questions: Vec<Question>,
        /// Where to go on; none for an engine that keeps its checkpoints.
        checkpoint: Option<Vec<u8>>,
    },
    /// Others have the task now, or will.
    LeaseLost,
}

/// Why an attempt is to stop before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The execution has ended.
    Cancelled,
    /// The worker ends.
    Drained,
}

/// Signals to a running attempt.
#[derive(Clone, Default)]
pub struct Signals {
    /// The execution has ended.
    pub cancel: CancellationToken,
    /// The worker ends, and will not wait any longer.
    pub hand_back: CancellationToken,
}

/// Runs one delivery to its end.
pub async fn run(context: Arc<Context>, delivery: &Delivery, signals: Signals) {
    let span = tracing::info_span!(
        "process task",
        otel.name = format!("process task.{}", context.queue),
        otel.kind = "consumer",
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.destination.template = "dec.{execution}.task.{queue}",
        messaging.message.conversation_id = %delivery.execution,
        mahavishnu.execution.id = %delivery.execution,
        mahavishnu.stage.id = %delivery.task.stage,
        mahavishnu.attempt = delivery.task.attempt,
        mahavishnu.delivery = delivery.delivery,
        mahavishnu.worker.id = %context.worker,
    );
    context::adopt(&span, &delivery.trace);
    let trace = match context::of(&span) {
        headers if headers.is_empty() => delivery.trace.clone(),
        headers => headers,
    };
    let shown = AtomicBool::new(false);
    Attempt { context: &context, delivery, started: Utc::now(), shown, trace }
        .run(signals)
        .instrument(span)
        .await;
}

struct Attempt<'a> {
    context: &'a Context,
    delivery: &'a Delivery,
    started: DateTime<Utc>,
    /// Whether it was told that the attempt began.
    shown: AtomicBool,
    trace: Trace,
}

impl Attempt<'_> {
    async fn run(&self, signals: Signals) {
        let outcome = self.outcome(&signals).await;
        let fact = match outcome {
            Outcome::LeaseLost => {
                tracing::warn!("the lease is lost; another worker has the task");
                return;
            }
            Outcome::Completed(output) => {
                Fact::Completed(Completed { origin: self.origin(), output: Arc::new(output) })
            }
            Outcome::Failed(error) => {
                tracing::info!(reason = error.reason, message = error.message, "attempt failed");
                Fact::Failed(Failed { origin: self.origin(), error })
            }
            Outcome::Paused { questions, checkpoint } => {
                let stored = match checkpoint {
                    Some(checkpoint) => self.context.bus.put_artifact(checkpoint.into()).await.map(Some),
                    None => Ok(None),
                };
                match stored {
                    Ok(checkpoint) => Fact::Paused(Paused { origin: self.origin(), questions, checkpoint }),
                    Err(error) => {
                        let error =
                            Failure::retryable("CHECKPOINT_UNAVAILABLE", format!("the checkpoint: {error}"));
                        Fact::Failed(Failed { origin: self.origin(), error })
                    }
                }
            }
        };
        match self.context.bus.input(&self.delivery.execution, &fact, &self.trace).await {
            Ok(_) => self.delivery.ack().await,
            // Not acknowledged: the task comes again.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the result is not stored")
            }
        }
    }

    async fn outcome(&self, signals: &Signals) -> Outcome {
        if self.delivery.delivery > MAX_DELIVERIES {
            let message =
                format!("the task was delivered {} times and no worker survived it", self.delivery.delivery);
            return Outcome::Failed(Failure::terminal(Failure::EXHAUSTED, message));
        }
        // Documents and host are slow at times; the lease is kept from the first moment.
        let work = async {
            if let Err(error) = self.begin().await {
                tracing::warn!(error = &error as &dyn std::error::Error, "the start is not stored");
                return Outcome::LeaseLost;
            }
            let Some(host) = &self.context.host else { return self.noop(signals).await };
            match self.prepare(host).await {
                Ok((connection, staged)) => self.talk(connection, &staged, signals).await,
                Err(failure) => Outcome::Failed(failure),
            }
        };
        let show_start = async {
            tokio::time::sleep(WORTH_SHOWING).await;
            self.show_start().await;
            std::future::pending().await
        };
        tokio::select! {
            outcome = work => outcome,
            () = self.keep_lease() => Outcome::LeaseLost,
            () = show_start => Outcome::LeaseLost,
        }
    }

    /// Extends the lease as long as the bus can be reached; returns when it must be taken for lost.
    async fn keep_lease(&self) {
        let lease = self.context.bus.lease();
        let mut contact = Instant::now();
        // The delivery itself was a sign of life.
        let mut tick = tokio::time::interval_at(contact + lease / 3, lease / 3);
        loop {
            tick.tick().await;
            if self.context.bus.is_connected() {
                contact = Instant::now();
                self.delivery.progress().await;
            } else if contact.elapsed() > lease {
                return;
            }
        }
    }

    /// Tells for good that an attempt began that has a time limit, so that a coordinator watches over it.
    async fn begin(&self) -> mahavishnu_bus::Result<()> {
        if self.delivery.task.timeout.is_none() {
            return Ok(());
        }
        self.shown.store(true, Ordering::Relaxed);
        let fact = Fact::Started(self.origin());
        self.context.bus.input(&self.delivery.execution, &fact, &self.trace).await.map(drop)
    }

    /// Tells whoever looks that the attempt began, once.
    async fn show_start(&self) {
        if !self.shown.swap(true, Ordering::Relaxed) {
            self.show(worker::live::Kind::Started(worker::Started {
                worker_id: self.context.worker.to_string(),
                delivery: self.delivery.delivery,
            }))
            .await;
        }
    }

    async fn prepare(&self, host: &Host) -> Result<(Connection, Prepared), Failure> {
        let task = &self.delivery.task;
        let model = self.context.models.choose(task.task.get("model").and_then(Value::as_str))?;
        let staged = documents::stage(&self.context.bus, task, &self.context.project).await?;
        let checkpoint = match task.resolution.as_ref().and_then(|resolution| resolution.checkpoint.as_ref())
        {
            None => None,
            Some(checkpoint) => match self.context.bus.get_artifact(checkpoint).await {
                Ok(bytes) => Some(BASE64_STANDARD.encode(bytes)),
                Err(error) => {
                    return Err(Failure::retryable(
                        "CHECKPOINT_UNAVAILABLE",
                        format!("the checkpoint: {error}"),
                    ));
                }
            },
        };
        let connection = host
            .open()
            .await
            .map_err(|error| Failure::retryable("HOST_UNAVAILABLE", format!("{error:#}")))?;
        Ok((connection, Prepared { staged, model, checkpoint }))
    }

    async fn talk(&self, mut connection: Connection, prepared: &Prepared, signals: &Signals) -> Outcome {
        let time_left = self.time_left();
        if let Err(error) = connection.write(&self.frame(prepared, time_left)).await {
            return died(&error.to_string());
        }
        let deadline = time_left.map(|left| Instant::now() + left);
        let calls = Calls::new(self.context.bus.clone(), self.delivery.execution.clone(), self.origin());
        let mut talk = Talk { calls, progress: 0 };
        let mut leaked = pin!(memory::exceeded(connection.process(), self.context.memory));
        loop {
            // What a frame asks for may take long; a stop does not wait for it.
            let step = tokio::select! {
                step = self.step(&mut connection, &mut talk) => step,
                () = signals.cancel.cancelled() => return self.stop(connection, Stop::Cancelled).await,
                () = signals.hand_back.cancelled() => return self.stop(connection, Stop::Drained).await,
                () = until(deadline) => return self.time_out(connection, time_left).await,
                held = &mut leaked => {
                    connection.kill();
                    return too_much_memory(held, self.context.memory.unwrap_or_default());
                }
            };
            match step {
                Ok(None) => {}
                Ok(Some(outcome)) => return outcome,
                Err(error) => {
                    connection.kill();
                    return died(&error.to_string());
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
                Ok(Some(died("its process ended without a result")))
            }
        }
    }

    /// What is left of the stage's timeout and of the execution's deadline, whichever ends first.
    fn time_left(&self) -> Option<Duration> {
        let task = &self.delivery.task;
        let deadline = task.deadline.map(|deadline| (deadline - Utc::now()).to_std().unwrap_or_default());
        [task.timeout, deadline].into_iter().flatten().min()
    }

    fn frame<'f>(&'f self, prepared: &'f Prepared, time_left: Option<Duration>) -> ToHost<'f> {
        let task = &self.delivery.task;
        ToHost::Task(Box::new(TaskFrame {
            execution: self.delivery.execution.as_str(),
            stage: task.stage.as_str(),
            attempt: task.attempt,
            resume: task.resume,
            delivery: self.delivery.delivery,
            deadline_ms: time_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            task: &task.task,
            input: &task.input,
            dependencies: task.dependencies.iter().map(|(id, output)| (id.as_str(), &**output)).collect(),
            repos: &task.repos,
            documents: &prepared.staged.paths,
            project: &self.context.project,
            data: &self.context.data,
            model: &prepared.model,
            trace: &self.trace,
            decision: task.resolution.as_ref().map(|resolution| DecisionFrame {
                approval_key: &resolution.key,
                approved: resolution.approved,
                reason: &resolution.reason,
                decided_by: &resolution.decided_by,
                values: &resolution.values,
            }),
            checkpoint: prepared.checkpoint.clone(),
        }))
    }

    /// Acts on one frame; gives the outcome if it was the last one.
    async fn handle(
        &self,
        connection: &mut Connection,
        frame: FromHost,
        talk: &mut Talk,
    ) -> std::io::Result<Option<Outcome>> {
        match frame {
            FromHost::Progress { kind, name, data } => {
                talk.progress += 1;
                if talk.progress <= MAX_PROGRESS {
                    self.progressed(kind, name, data).await;
                }
            }
            FromHost::Delta { source, text } => {
                self.show_start().await;
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
                connection.write(&ToHost::Reply { id, result, error }).await?;
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

    /// The no-op engine's attempt.
    async fn noop(&self, signals: &Signals) -> Outcome {
        let task = &self.delivery.task;
        let script = match noop::Script::read(&task.task) {
            Ok(script) => script,
            Err(failure) => return Outcome::Failed(failure),
        };
        let time_left = self.time_left();
        let deadline = time_left.map(|left| Instant::now() + left);
        let work = async {
            for n in 1..=script.progress.min(MAX_PROGRESS) {
                self.progressed("step".to_owned(), n.to_string(), Map::new()).await;
            }
            if script.sleep_ms > 0 {
                tokio::time::sleep(Duration::from_millis(script.sleep_ms)).await;
            }
        };
        tokio::select! {
            biased;
            () = work => script.end(task),
            () = signals.cancel.cancelled() => self.stopped(Stop::Cancelled).await,
            () = signals.hand_back.cancelled() => self.stopped(Stop::Drained).await,
            () = until(deadline) => timed_out(time_left),
        }
    }

    async fn progressed(&self, kind: String, name: String, data: Map<String, Value>) {
        let fact = Fact::Progressed(Progressed { origin: self.origin(), kind, name, data });
        if let Err(error) = self.context.bus.input(&self.delivery.execution, &fact, &self.trace).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "progress is not stored");
        }
    }

    /// The model that an agent or node names.
    fn model(&self, params: &Value) -> Result<Value, CallError> {
        let invalid = |message: String| CallError { reason: "MODEL_INVALID", message, retryable: false };
        let name = params.get("name").and_then(Value::as_str).unwrap_or_default();
        let model = self.context.models.choose(Some(name)).map_err(|failure| invalid(failure.message))?;
        serde_json::to_value(model).map_err(|error| invalid(error.to_string()))
    }

    async fn stop(&self, connection: Connection, stop: Stop) -> Outcome {
        self.wind_down(connection, "cancelled").await;
        self.stopped(stop).await
    }

    async fn stopped(&self, stop: Stop) -> Outcome {
        match stop {
            Stop::Cancelled => Outcome::Failed(Failure::terminal("CANCELLED", "the execution has ended")),
            Stop::Drained => {
                self.delivery.give_back(Duration::ZERO).await;
                Outcome::LeaseLost
            }
        }
    }

    async fn time_out(&self, connection: Connection, time_left: Option<Duration>) -> Outcome {
        self.wind_down(connection, "timeout").await;
        timed_out(time_left)
    }

    /// Asks the engine to stop, waits a little, and ends its process.
    async fn wind_down(&self, mut connection: Connection, reason: &str) {
        let obey = async {
            connection.write(&ToHost::Cancel { reason }).await?;
            while let Some(frame) = connection.read().await? {
                match frame {
                    FromHost::Spans { otlp } => self.relay(otlp),
                    FromHost::Cancelled
                    | FromHost::Done { .. }
                    | FromHost::Error { .. }
                    | FromHost::Paused { .. } => {
                        break;
                    }
                    _ => {}
                }
            }
            std::io::Result::Ok(())
        };
        if !matches!(tokio::time::timeout(GRACE, obey).await, Ok(Ok(()))) {
            tracing::info!("the engine did not stop by itself; its process is killed");
        }
        connection.kill();
    }

    fn relay(&self, otlp: String) {
        let Some(relay) = self.context.relay.clone() else { return };
        tokio::spawn(async move {
            let sent = match BASE64_STANDARD.decode(otlp) {
                Ok(request) => relay.export(&request).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = sent {
                tracing::warn!(error = format!("{error:#}"), "spans of the engine host are lost");
            }
        });
    }

    async fn show(&self, kind: worker::live::Kind) {
        let live = worker::Live {
            stage_id: self.delivery.task.stage.to_string(),
            attempt: self.delivery.task.attempt,
            time: Some(wire::timestamp(Utc::now())),
            kind: Some(kind),
        };
        self.context.bus.show(&self.delivery.execution, &live).await;
    }

    fn origin(&self) -> Origin {
        Origin {
            stage: self.delivery.task.stage.clone(),
            attempt: self.delivery.task.attempt,
            resume: self.delivery.task.resume,
            delivery: self.delivery.delivery,
            worker: self.context.worker.clone(),
            started: self.started,
        }
    }
}

/// One attempt's conversation with its host.
struct Talk {
    calls: Calls,
    /// Progress frames so far.
    progress: u32,
}

/// What is ready before the host gets the task.
struct Prepared {
    staged: documents::Staged,
    model: KeyedModel,
    checkpoint: Option<String>,
}

fn died(why: &str) -> Outcome {
    Outcome::Failed(Failure::retryable("HOST_DIED", format!("the engine host: {why}")))
}

fn timed_out(time_left: Option<Duration>) -> Outcome {
    let limit = time_left.unwrap_or_default();
    Outcome::Failed(Failure::retryable("TIMEOUT", format!("the attempt did not end within {limit:?}")))
}

fn too_much_memory(held: u64, ceiling: u64) -> Outcome {
    let [held, ceiling] = [held, ceiling].map(|bytes| bytes >> 20);
    let message = format!(
        "the attempt's process held {held} MiB, more than the {ceiling} MiB that it may; a worker started with a higher \
         --memory-mib allows more"
    );
    Outcome::Failed(Failure::terminal("MEMORY_EXCEEDED", message))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
