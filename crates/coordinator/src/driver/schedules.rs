//! The loop over wakes, and what is done for one schedule.
//!
//! Invariant: a wake is acknowledged only after the state that followed from it is stored, all that the state asks to
//! be started is accepted, and the timer for its next slot is set. Whoever dies before leaves the wake to the others. Every
//! state is a wake itself; one that asks for nothing more is the last.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, TryStreamExt as _};
use mahavishnu_bus::schedules::{Kept, Wake};
use mahavishnu_bus::{Bus, Error, Result};
use mahavishnu_core::execution::{Accepted, Fact, Firing};
use mahavishnu_core::id::{ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{Command, Events, Slot, State};
use mahavishnu_core::workflow::{NoteCode, plan};
use mahavishnu_proto::wire;
use mahavishnu_telemetry::context;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{Histories, History};

/// Schedules that are looked at at the same time.
const CONCURRENCY: usize = 100;
/// Executions of one schedule that are looked at or started at the same time.
const WIDTH: usize = 16;
/// Nothing takes longer unless NATS is away; the wake then comes again.
const PATIENCE: Duration = Duration::from_secs(30);
/// A deleted schedule is remembered this long, so that a repeated deletion is no error.
const TOMBSTONE: Duration = Duration::from_secs(3600);
/// Namespace of the execution ids that come from slots; any constant will do, this one is ours.
const SLOTS: Uuid = Uuid::from_u128(0x6d61_6861_7669_7368_6e75_2e76_312e_736c);

/// The id of a slot's execution. It follows from the slot, so the log itself refuses a second one.
///
/// # Errors
/// Never for a schedule's own name and slot.
pub fn execution_id(schedule: &ScheduleId, created: DateTime<Utc>, slot: &Slot) -> Result<ExecutionId> {
    let kind = if slot.triggered { "trigger" } else { "slot" };
    let text = format!("{schedule} {} {kind} {}", created.timestamp_micros(), slot.time.timestamp_micros());
    let uuid = Uuid::new_v5(&SLOTS, text.as_bytes());
    ExecutionId::parse(&uuid.to_string()).map_err(|error| Error::Unreadable(error.into()))
}

/// Reads a state.
///
/// # Errors
/// When it is not one of this version.
pub fn read(kept: &Kept) -> Result<State> {
    let read = serde_json::from_slice(&kept.body);
    read.map_err(|source| Error::Unreadable(wire::Error::Json("schedule", source)))
}

/// Stores a state over a revision; gives the new one.
///
/// # Errors
/// [`Error::Conflict`] when somebody else was faster.
pub async fn write(bus: &Bus, id: &ScheduleId, state: &State, after: u64) -> Result<u64> {
    let body = serde_json::to_vec(state)
        .map_err(|source| Error::Unreadable(wire::Error::Json("schedule", source)))?;
    bus.put_schedule(id, body, after, state.deleted.then_some(TOMBSTONE)).await
}

/// Advances schedules. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    bus: Bus,
    histories: Histories,
}

impl Scheduler {
    /// Over these executions.
    pub fn new(bus: Bus, histories: Histories) -> Self {
        Self { bus, histories }
    }

    /// Takes wakes until `stop`, then finishes what it has.
    ///
    /// # Errors
    /// When the wakes end, which they do only when their consumer is deleted.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut wakes = self.bus.wakes().await?;
        let slots = Arc::new(Semaphore::new(CONCURRENCY));
        let running = TaskTracker::new();
        loop {
            let wake = tokio::select! {
                () = stop.cancelled() => break,
                wake = wakes.next() => wake,
            };
            match wake {
                None => return Err(Error::NotFound),
                // The stream goes on after a missed heartbeat or a reconnection.
                Some(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "wakes disturbed");
                }
                Some(Ok(wake)) => {
                    let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
                    let scheduler = self.clone();
                    running.spawn(async move {
                        scheduler.handle(wake).await;
                        drop(slot);
                    });
                }
            }
        }
        running.close();
        running.wait().await;
        Ok(())
    }

    async fn handle(&self, wake: Wake) {
        match tokio::time::timeout(PATIENCE, self.settle(&wake.id, wake.time)).await {
            Ok(Ok(())) => wake.ack().await,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, schedule = %wake.id, "schedule not looked at; its wake comes again");
            }
            Err(_) => {
                tracing::warn!(schedule = %wake.id, "looking at a schedule takes too long; its wake comes again");
            }
        }
    }

    /// Does all that is to be done for a schedule at `time` or now, whichever is later: this process' clock may be
    /// slow.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn settle(&self, id: &ScheduleId, time: DateTime<Utc>) -> Result<()> {
        let mut events = Events::default();
        loop {
            let kept = match self.bus.schedule(id).await {
                Ok(kept) => kept,
                Err(Error::NotFound) => return Ok(()),
                Err(error) => return Err(error),
            };
            let state = read(&kept)?;
            events.ended = self.ended(id, &state).await?;
            let next = state.advance(Utc::now().max(time), &events);
            if next != state {
                match write(&self.bus, id, &next, kept.revision).await {
                    Ok(_) => {}
                    // Somebody was faster, or this is the repetition of a write whose answer was lost.
                    Err(Error::Conflict) => continue,
                    Err(error) => return Err(error),
                }
            }
            let commands = next.commands();
            // What is to be cancelled may be to be started too: a request to cancel must not be its first message.
            let (starts, others): (Vec<_>, Vec<_>) =
                commands.into_iter().partition(|command| matches!(command, Command::Start(_)));
            for commands in [starts, others] {
                stream::iter(commands.into_iter().map(Ok))
                    .try_for_each_concurrent(WIDTH, |command| self.perform(id, &next, command))
                    .await?;
            }
            if next.starting.is_empty() && next.cancelling.is_empty() {
                return Ok(());
            }
            events.started.extend(&next.starting);
            events.cancelled.extend(&next.cancelling);
        }
    }

    async fn perform(&self, id: &ScheduleId, state: &State, command: Command) -> Result<()> {
        match command {
            Command::Wake(at) => self.bus.wake_schedule_at(id, at).await,
            Command::Start(slot) => {
                let execution = execution_id(id, state.created, &slot)?;
                let span = tracing::info_span!(
                    "fire",
                    otel.name = "fire schedule",
                    mahavishnu.schedule.id = %id,
                    mahavishnu.execution.id = %execution,
                );
                let trace = context::of(&span);
                match self.bus.accept(&execution, &accepted(id, state, &slot), &trace).instrument(span).await
                {
                    // Somebody who died had come so far, or it is the repetition of a lost answer.
                    Ok(_) | Err(Error::Conflict) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Command::Cancel(slot) => {
                let execution = execution_id(id, state.created, &slot)?;
                let reason = format!("the next slot of the schedule {id} is due");
                let fact = Fact::CancelRequested { reason, requested_by: format!("schedule {id}") };
                let Some(history) = self.now(&execution).await? else { return Ok(()) };
                let trace = history.with_folded(|folded| folded.trace.clone());
                self.bus.input(&execution, &fact, &trace).await.map(drop)
            }
        }
    }

    /// An execution as far as the log's leader has it, if there is one. Whoever looks because one has ended may be a replica
    /// that has not heard of that, and a server that is behind does not even know that it began.
    async fn now(&self, execution: &ExecutionId) -> Result<Option<Arc<History>>> {
        match self.bus.last_position(execution).await? {
            0 => Ok(None),
            last => self.histories.folded_to(execution, last).await.map(Some),
        }
    }

    /// Which of its executions have ended, or are no more.
    async fn ended(&self, id: &ScheduleId, state: &State) -> Result<BTreeSet<Slot>> {
        let starting = state.starting.iter().copied().map(|slot| (slot, false));
        let known: Vec<_> = starting.chain(state.running.iter().copied().map(|slot| (slot, true))).collect();
        let looked = stream::iter(known).map(|(slot, was_there)| async move {
            let history = self.now(&execution_id(id, state.created, &slot)?).await?;
            let ended =
                history.map_or(was_there, |history| history.with_folded(|folded| folded.state.end.is_some()));
            Ok(ended.then_some(slot))
        });
        looked.buffer_unordered(WIDTH).try_filter_map(|slot| async move { Ok(slot) }).try_collect().await
    }
}

fn accepted(id: &ScheduleId, state: &State, slot: &Slot) -> Fact {
    let workflow = &state.definition.workflow;
    let mut notes: Vec<_> = plan(workflow, slot.time)
        .notes
        .into_iter()
        .filter(|note| note.code != NoteCode::Scheduled)
        .map(|note| note.message)
        .collect();
    let why = if slot.triggered { "on request, at" } else { "for" };
    notes.push(format!(
        "started by the schedule {id} {why} {}",
        slot.time.with_timezone(&state.definition.rule.zone()).to_rfc3339()
    ));
    Fact::Accepted(Accepted {
        digest: Sha256::digest(serde_json::to_vec(workflow).unwrap_or_default()).to_vec(),
        workflow: Arc::new(workflow.clone()),
        notes,
        // Made before its maker was kept, or by nobody: then nobody is excluded from approving.
        requested_by: match state.requested_by.as_str() {
            "" => format!("schedule {id}"),
            requester => requester.to_owned(),
        },
        forked: None,
        firing: Some(Firing { schedule: id.clone(), time: slot.time }),
    })
}
