//! What one input asks for: timers, decisions, what lists show.

use mahavishnu_bus::{Error, Result, Trace};
use mahavishnu_core::execution::{Advance, Fact, Failure, Step, Timer};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::workflow::Stage;
use mahavishnu_telemetry::context;
use tracing::Instrument as _;

use super::{Driver, History, summary};

impl Driver {
    /// Does everything that an input asks for.
    pub(super) async fn act_on(&self, execution: &ExecutionId, position: u64) -> Result<()> {
        let history = self.histories.folded_to(execution, position).await?;
        self.limit(&history, position).await?;
        self.advance(&history).await?;
        self.tell_schedule(&history).await?;
        // Whatever else the execution is told meanwhile does not wait for this.
        summary::put(&self.bus, &history).await
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
