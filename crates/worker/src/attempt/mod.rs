//! One delivery of one task: from the lease to the stored result.
//!
//! Invariants:
//! - Exactly one result is published for a delivery that keeps its lease, and the task is acknowledged
//!   after it is stored.
//! - A delivery that lost its lease is stopped and publishes no failure. What it had completed by then is stored all the same: the
//!   log takes the first result of the attempt, and shows any other as void.
//! - A failure of the engine is a failure here: nothing is made up.
//! - What an engine host says is stored, shown and logged without the values of secrets.

mod conversation;
mod lease;
mod noop;
mod outcome;
mod prepare;
mod progress;
mod stop;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use mahavishnu_bus::tasks::{Delivery, MAX_DELIVERIES};
use mahavishnu_bus::{Bus, Error, Trace};
use mahavishnu_core::execution::{Completed, Fact, Failed, Failure, Origin, Paused, Progressed};
use mahavishnu_core::id::{Queue, WorkerId};
use mahavishnu_proto::{wire, worker};
use mahavishnu_telemetry::{SpanRelay, context};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::host::Host;
use crate::model::Models;
use crate::secrets::Secrets;
pub use outcome::Outcome;
use outcome::{timed_out, too_large};
use progress::Untold;
use stop::{Stop, until};

/// An attempt that ends sooner is not shown as begun: who looks would not see it, and its result says when it began.
const WORTH_SHOWING: Duration = Duration::from_millis(2);

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
    /// The secrets that tasks may refer to.
    pub secrets: Secrets,
    /// Where the host's spans go.
    pub relay: Option<SpanRelay>,
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
    let attempt = Attempt {
        context: &context,
        delivery,
        started: Utc::now(),
        began: Instant::now(),
        shown: AtomicBool::new(false),
        untold: Untold::default(),
        trace,
        // The delivery itself was a sign of life.
        contact: Mutex::new(Instant::now()),
    };
    attempt.run(signals).instrument(span).await;
}

struct Attempt<'a> {
    context: &'a Context,
    delivery: &'a Delivery,
    started: DateTime<Utc>,
    began: Instant,
    /// Whether it was told that the attempt began.
    shown: AtomicBool,
    untold: Untold,
    trace: Trace,
    /// The last sign of life.
    contact: Mutex<Instant>,
}

impl Attempt<'_> {
    async fn run(&self, signals: Signals) {
        let mut outcome = self.outcome(&signals).await.without_secrets(&self.context.secrets.redactor);
        if matches!(outcome, Outcome::Failed(_)) && self.contact().elapsed() > self.context.bus.lease() {
            outcome = Outcome::LeaseLost;
        }
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
                self.failed(error)
            }
            Outcome::Paused { questions, checkpoint } => {
                let stored = match checkpoint {
                    Some(checkpoint) => {
                        Box::pin(self.context.bus.put_artifact(checkpoint.into())).await.map(Some)
                    }
                    None => Ok(None),
                };
                match stored {
                    Ok(checkpoint) => Fact::Paused(Paused { origin: self.origin(), questions, checkpoint }),
                    Err(Error::TooLarge { limit }) => {
                        self.failed(too_large("CHECKPOINT_TOO_LARGE", "the checkpoint", limit))
                    }
                    Err(error) => self.failed(Failure::retryable(
                        "CHECKPOINT_UNAVAILABLE",
                        format!("the checkpoint: {error}"),
                    )),
                }
            }
        };
        let before = self.untold.take();
        // First the result is on its way, then the host has something to do again.
        let next = async { self.context.host.iter().for_each(Host::make_ready) };
        let stored = match futures::join!(self.store(&before, &fact), next).0 {
            Err(Error::TooLarge { limit }) => {
                tracing::info!(limit, "the output is too large");
                self.store(&before, &self.failed(too_large("OUTPUT_TOO_LARGE", "the output", limit))).await
            }
            stored => stored,
        };
        match stored {
            Ok(_) => self.delivery.ack().await,
            // Not acknowledged: the task comes again.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the result is not stored")
            }
        }
    }

    async fn store(&self, before: &[Progressed], fact: &Fact) -> mahavishnu_bus::Result<u64> {
        self.context.bus.input_after(&self.delivery.execution, before, fact, &self.trace).await
    }

    fn failed(&self, error: Failure) -> Fact {
        Fact::Failed(Failed { origin: self.origin(), error })
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
            let (task, secrets) = match self.context.secrets.fill(&self.delivery.task) {
                Ok(filled) => filled,
                Err(failure) => return Outcome::Failed(failure),
            };
            let Some(host) = &self.context.host else { return self.noop(&task, signals).await };
            // Large as futures: an attempt that has no host is not to carry them.
            let prepared = tokio::select! {
                prepared = Box::pin(self.prepare(host, task, secrets)) => prepared,
                () = signals.cancel.cancelled() => return self.stopped(Stop::Cancelled).await,
                () = signals.hand_back.cancelled() => return self.stopped(Stop::Drained).await,
                () = until(self.deadline()) => return timed_out(self.limit()),
            };
            match prepared {
                Ok((connection, staged)) => Box::pin(self.talk(connection, &staged, signals)).await,
                Err(failure) => Outcome::Failed(failure),
            }
        };
        let show_start = async {
            tokio::time::sleep(WORTH_SHOWING).await;
            self.show_start().await;
            std::future::pending().await
        };
        let work = async {
            let outcome = tokio::select! {
                biased;
                // What is done is told, however late.
                outcome = work => outcome,
                () = self.keep_lease() => Outcome::LeaseLost,
                () = show_start => Outcome::LeaseLost,
            };
            self.untold.ended.cancel();
            outcome
        };
        // What is being stored is waited for.
        futures::join!(work, self.tell()).0
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
