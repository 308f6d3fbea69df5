//! The loop over inputs, and one round of decisions.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use mahavishnu_bus::log::InputDelivery;
use mahavishnu_bus::{Bus, Error, Result, Trace};
use mahavishnu_core::execution::{Advance, Fact, Failure, Step, Timer};
use mahavishnu_core::workflow::Stage;
use mahavishnu_telemetry::context;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{Histories, History, summary};

/// Executions that are advanced at the same time.
const CONCURRENCY: usize = 4_000;

/// Nothing takes longer unless NATS is away; the input then comes again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Advances executions.
pub struct Driver {
    bus: Bus,
    histories: Histories,
}

impl Driver {
    /// Over these executions.
    pub fn new(bus: Bus, histories: Histories) -> Self {
        Self { bus, histories }
    }

    /// Takes inputs until `stop`, then finishes what it has.
    ///
    /// # Errors
    /// When the inputs end, which they do only when their consumer is deleted.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut inputs = self.bus.inputs().await?;
        let driver = Arc::new(self);
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let running = TaskTracker::new();
        loop {
            let input = tokio::select! {
                () = stop.cancelled() => break,
                input = inputs.next() => input,
            };
            match input {
                None => return Err(Error::NotFound),
                // The stream goes on after a missed heartbeat or a reconnection.
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "inputs disturbed");
                }
                Some(Ok(input)) => {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
                    let driver = Arc::clone(&driver);
                    running.spawn(async move {
                        driver.handle(input).await;
                        drop(slot);
                    });
                }
            }
        }
        running.close();
        running.wait().await;
        Ok(())
    }

    async fn handle(&self, input: InputDelivery) {
        let execution = input.execution.clone();
        let advance = async {
            let history = self.histories.folded_to(&execution, input.position).await?;
            self.limit(&history, input.position).await?;
            self.advance(&history).await?;
            self.tell_schedule(&history).await?;
            // Whatever else the execution is told meanwhile does not wait for this.
            summary::put(&self.bus, &history).await
        };
        match tokio::time::timeout(PATIENCE, advance).await {
            Ok(Ok(())) => input.ack().await,
            // A timer of an execution that was never accepted, or a stray message. Looked for twice: an execution whose input
            // was thrown away because a server was behind would never go on.
            Ok(Err(Error::NotFound)) if input.delivery > 1 => input.ack().await,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, %execution, "not advanced; the input comes again");
            }
            Err(_) => tracing::warn!(%execution, "advancing takes too long; the input comes again"),
        }
    }

    /// An attempt that began has its limit watched over, a pause its deadline; an attempt that used up its time is stopped,
    /// wherever it still runs.
    async fn limit(&self, history: &History, position: u64) -> Result<()> {
        let (timer, over, trace) = history.with_folded(|folded| {
            let input = folded.at(position);
            let timer = input.and_then(|input| folded.state.timeout_after(&input.record.fact));
            let over =
                input.filter(|input| input.void.is_none()).and_then(|input| match &input.record.fact {
                    Fact::TimerFired(Timer::Timeout { stage, attempt, resume }) => {
                        Some((stage.clone(), (*attempt, *resume)))
                    }
                    _ => None,
                });
            (timer, over, folded.trace.clone())
        });
        if let Some((stage, number)) = over {
            self.bus.cancel_attempt(&history.id, &stage, number, "the attempt has timed out").await;
        }
        if let Some((timer, at)) = timer {
            self.bus.set_timer(&history.id, &timer, at, &trace).await?;
        }
        Ok(())
    }

    /// Decides until there is nothing to decide.
    async fn advance(&self, history: &History) -> Result<()> {
        let _deciding = history.deciding.lock().await;
        let trace = history.with_folded(|folded| folded.trace.clone());
        let mut advance = Advance::default();
        loop {
            match history.with_folded(|folded| advance.next(&history.id, &folded.state)) {
                Step::SetTimer { timer, at } => self.bus.set_timer(&history.id, &timer, at, &trace).await?,
                Step::Store { fact, after } => match self.store(history, &fact, after, &trace).await {
                    Err(Error::TooLarge { limit }) if matches!(fact, Fact::Scheduled(_)) => {
                        self.give_up(history, &fact, limit, after, &trace).await?;
                        // Whoever ended it, nothing else of the plan is to be done.
                        advance.refused();
                    }
                    Ok(position) => {
                        advance.stored(position);
                        if fact.is_terminal() {
                            // After a completion nothing runs any more.
                            if fact != Fact::ExecutionCompleted {
                                self.bus.cancel_attempts(&history.id, "the execution has ended").await;
                            }
                            self.drop_timers(history).await;
                        }
                    }
                    Err(Error::Conflict) => {
                        advance.refused();
                        self.pass_unreadable(history).await?;
                    }
                    Err(error) => return Err(error),
                },
                Step::Wait(wait) => history.folded(wait).await,
                Step::Done => return Ok(()),
            }
        }
    }

    /// Ends an execution whose next task is larger than anything that travels: no other try would be smaller.
    async fn give_up(
        &self,
        history: &History,
        fact: &Fact,
        limit: u64,
        after: u64,
        trace: &Trace,
    ) -> Result<()> {
        let message = format!(
            "the task with its inputs is larger than the {limit} bytes that an artifact may have; have an earlier stage put \
             out less, or start coordinators and workers with a higher --max-artifact-bytes"
        );
        let error = Failure::terminal("INPUT_TOO_LARGE", message);
        let failed = Fact::ExecutionFailed { stage: fact.stage().cloned(), error };
        match self.bus.decide(&history.id, &failed, after, trace).await {
            Ok(_) => {
                self.bus.cancel_attempts(&history.id, "the execution has ended").await;
                self.drop_timers(history).await;
                Ok(())
            }
            Err(Error::Conflict) => self.pass_unreadable(history).await,
            Err(error) => Err(error),
        }
    }

    /// Has the schedule looked at that started an execution which has ended: another one may wait for that.
    async fn tell_schedule(&self, history: &History) -> Result<()> {
        let schedule = history.with_folded(|folded| {
            let due = folded.state.end.is_some() && !folded.schedule_told;
            let firing = folded.state.accepted.as_ref().and_then(|accepted| accepted.firing.as_ref());
            firing.filter(|_| due).map(|firing| firing.schedule.clone())
        });
        let Some(schedule) = schedule else { return Ok(()) };
        self.bus.wake_schedule(&schedule).await?;
        history.with_folded(|folded| folded.schedule_told = true);
        Ok(())
    }

    /// Somebody else stored a message under the condition. If it is none that can be read, no fold will ever tell of it.
    async fn pass_unreadable(&self, history: &History) -> Result<()> {
        let last = self.bus.last_decision(&history.id).await?;
        self.histories.passed(&history.id, last).await;
        history.decided_at_least(last);
        Ok(())
    }

    /// Timers that are left would fire in vain, and be kept as void events.
    async fn drop_timers(&self, history: &History) {
        let timed = history.with_folded(|folded| {
            folded.state.workflow().is_some_and(|workflow| {
                let timed = |stage: &Stage| stage.timeout.or(stage.approval_policy().timeout).is_some();
                workflow.timeout.is_some() || workflow.stages.iter().any(timed)
            })
        });
        if timed && let Err(error) = self.bus.drop_timers(&history.id).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "timers left");
        }
    }

    async fn store(&self, history: &History, fact: &Fact, after: u64, trace: &Trace) -> Result<u64> {
        let Fact::Scheduled(task) = fact else {
            return self.bus.decide(&history.id, fact, after, trace).await;
        };
        let span = tracing::info_span!(
            "send task",
            otel.name = format!("send task.{}", task.queue()),
            otel.kind = "producer",
            messaging.system = "nats",
            messaging.operation.name = "send",
            messaging.destination.template = "dec.{execution}.task.{queue}",
            messaging.message.conversation_id = %history.id,
            mahavishnu.execution.id = %history.id,
            mahavishnu.stage.id = %task.stage,
            mahavishnu.attempt = task.attempt,
        );
        context::adopt(&span, trace);
        let headers = match context::of(&span) {
            // Without an exporter there is no span of ours; the caller's context is passed on.
            headers if headers.is_empty() => trace.clone(),
            headers => headers,
        };
        self.bus.decide(&history.id, fact, after, &headers).instrument(span).await
    }
}
