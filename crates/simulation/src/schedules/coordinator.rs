//! A coordinator that looks at schedules, step by step as the driver does, so that it can die, be late or be refused
//! between any two.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use mahavishnu_core::execution::{Accepted, Fact, Firing};
use mahavishnu_core::id::{ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{Command, Events, Outcome, Overlap, Slot, State};

use super::store::{Store, Wake};
use crate::check::Logged;
use crate::environment::{Environment, Reply, Write};
use crate::mutation::Mutation;

/// Tries of one write before the wake is left to come again.
const TRIES: u32 = 3;

enum Step {
    Read,
    Look(State, u64),
    Write(State, u64),
    Perform(State, Vec<Command>),
}

/// One look at a schedule.
struct Looking {
    wake: Wake,
    events: Events,
    step: Step,
    tries: u32,
}

/// A coordinator process.
#[derive(Default)]
pub struct Coordinator {
    /// How its clock differs from the server's.
    pub skew: TimeDelta,
    /// How far it has heard of executions.
    tail: u64,
    looking: Vec<Looking>,
}

/// The id of a slot's execution, as everybody finds it.
pub fn execution(id: &ScheduleId, slot: &Slot, env: &mut Environment) -> ExecutionId {
    let kind = if slot.triggered { "trigger" } else { "slot" };
    let fresh = if env.makes(Mutation::SlotIdFresh) { env.rng.u32(..1_000) } else { 0 };
    ExecutionId::parse(&format!("{id}-{kind}-{}-{fresh}", slot.time.timestamp_micros())).unwrap()
}

impl Coordinator {
    /// Killed and started again.
    pub fn restart(&mut self, env: &Environment) {
        self.looking.clear();
        self.tail = env.bus.last();
    }

    pub fn is_idle(&self) -> bool {
        self.looking.is_empty()
    }

    /// Never a whole second, so that nobody asks for anything at the very time of a slot.
    pub fn clock(&self, env: &Environment) -> DateTime<Utc> {
        env.bus.now() + self.skew + TimeDelta::microseconds(137)
    }

    /// Hears of some more.
    pub fn follow(&mut self, env: &mut Environment) {
        let last = env.bus.last();
        self.tail = if env.stormy { env.rng.u64(self.tail..=last.max(self.tail)) } else { last };
    }

    /// Takes a wake.
    pub fn take(&mut self, store: &mut Store, env: &mut Environment) {
        let Some(wake) = store.pull(env.bus.now()) else { return };
        if env.fault("wake lost on its way", 30) {
            return;
        }
        if env.makes(Mutation::WakeAckedFirst) {
            store.ack(&wake);
        }
        self.looking.push(Looking { wake, events: Events::default(), step: Step::Read, tries: 0 });
    }

    /// Goes on with one of its looks.
    pub fn work(&mut self, store: &mut Store, env: &mut Environment) {
        if self.looking.is_empty() {
            return;
        }
        let index = env.rng.usize(..self.looking.len());
        let mut looking = self.looking.swap_remove(index);
        if self.go_on(&mut looking, store, env) {
            self.looking.push(looking);
        }
    }

    /// A step; whether there are more.
    fn go_on(&self, looking: &mut Looking, store: &mut Store, env: &mut Environment) -> bool {
        let id = looking.wake.schedule.clone();
        let stored = match std::mem::replace(&mut looking.step, Step::Read) {
            Step::Read => {
                let Some((state, revision)) = store.get(&id) else { return done(looking, store, env) };
                looking.step = Step::Look(state, revision);
                return true;
            }
            Step::Look(state, revision) => {
                let Some(ended) = self.ended(&id, &state, env) else {
                    looking.step = Step::Look(state, revision);
                    return true;
                };
                looking.events.ended = ended;
                let now = self.clock(env).max(looking.wake.time);
                let mut next = state.advance(now, &looking.events);
                mistake(&state, &mut next, env);
                looking.step = if next == state { perform(next) } else { Step::Write(next, revision) };
                return true;
            }
            Step::Write(next, revision) => {
                let reply = put(&id, &next, revision, store, env);
                match reply {
                    Reply::Stored(_) => looking.step = perform(next),
                    Reply::Conflict => looking.step = Step::Read,
                    Reply::Silence => looking.step = Step::Write(next, revision),
                }
                reply != Reply::Silence
            }
            Step::Perform(next, mut commands) => {
                let Some(command) = commands.pop() else {
                    if next.starting.is_empty() && next.cancelling.is_empty() {
                        return done(looking, store, env);
                    }
                    looking.events.started.extend(&next.starting);
                    looking.events.cancelled.extend(&next.cancelling);
                    return true;
                };
                let done = self.perform(&id, &next, command, store, env);
                if !done {
                    commands.push(command);
                }
                looking.step = Step::Perform(next, commands);
                done
            }
        };
        looking.tries = if stored { 0 } else { looking.tries + 1 };
        looking.tries < TRIES
    }

    /// Which of its executions have ended; nothing while this coordinator has not heard of all that the log has.
    fn ended(&self, id: &ScheduleId, state: &State, env: &mut Environment) -> Option<BTreeSet<Slot>> {
        let starting = state.starting.iter().map(|slot| (slot, false));
        let mut ended = BTreeSet::new();
        for (slot, was_there) in starting.chain(state.running.iter().map(|slot| (slot, true))) {
            let execution = execution(id, slot, env);
            let memory = env.makes(Mutation::EndFromMemory);
            let up_to = if memory { self.tail } else { env.bus.last_position(&execution) };
            if self.tail < up_to {
                return None;
            }
            let exists = !env.bus.read(&execution, true, up_to).is_empty();
            let over = |logged: &Logged| logged.record.fact.is_terminal();
            if (!exists && was_there) || env.bus.read(&execution, false, up_to).iter().any(over) {
                ended.insert(*slot);
            }
        }
        Some(ended)
    }

    /// Whether it is done.
    fn perform(
        &self,
        id: &ScheduleId,
        state: &State,
        command: Command,
        store: &mut Store,
        env: &mut Environment,
    ) -> bool {
        match command {
            Command::Wake(_) if env.makes(Mutation::NextSlotNotWoken) => true,
            Command::Wake(at) => {
                if env.fault("write lost", 20) {
                    return false;
                }
                store.wake_at(id, at);
                // One that is late fires at once.
                store.pass(env.bus.now());
                !env.fault("answer lost", 30)
            }
            Command::Start(slot) => {
                let execution = execution(id, &slot, env);
                let fact = Fact::Accepted(Accepted {
                    workflow: state.definition.workflow.clone().into(),
                    digest: vec![1],
                    notes: Vec::new(),
                    requested_by: format!("schedule {id}"),
                    forked: None,
                    firing: Some(Firing { schedule: id.clone(), time: slot.time }),
                });
                let trace = format!("trace-{}", env.rng.u32(..));
                env.write(&execution, &Write::Accept(fact, execution.to_string()), &trace) != Reply::Silence
            }
            Command::Cancel(slot) => {
                let execution = execution(id, &slot, env);
                let history = env.bus.read(&execution, true, u64::MAX);
                let Some(first) = history.first() else { return true };
                let trace = if env.makes(Mutation::CancelTraceLost) { "" } else { &first.trace };
                let (reason, requested_by) = ("due".to_owned(), format!("schedule {id}"));
                let fact = Fact::CancelRequested { reason, requested_by };
                env.write(&execution, &Write::Input(fact), trace) != Reply::Silence
            }
        }
    }
}

/// Stores a state, as the network has it.
pub fn put(id: &ScheduleId, next: &State, revision: u64, store: &mut Store, env: &mut Environment) -> Reply {
    if env.fault("write lost", 20) {
        return Reply::Silence;
    }
    let after = (!env.makes(Mutation::StateUnconditional)).then_some(revision);
    let stored = store.put(id, next.clone(), after, env.bus.now());
    if env.makes(Mutation::ChangeAsleep) {
        store.let_sleep(id);
    }
    match stored {
        _ if env.fault("answer lost", 30) => Reply::Silence,
        Ok(()) => Reply::Stored(0),
        Err(_) => Reply::Conflict,
    }
}

/// Starts are performed before cancellations, and these before wakes; the last of the list comes first.
fn perform(next: State) -> Step {
    let mut commands = next.commands();
    commands.reverse();
    Step::Perform(next, commands)
}

/// Nothing more is to be done; the wake is acknowledged, whether the server hears of it or not.
fn done(looking: &Looking, store: &mut Store, env: &mut Environment) -> bool {
    if !env.fault("acknowledgement lost", 30) {
        store.ack(&looking.wake);
    }
    false
}

/// Mistakes in what is decided.
fn mistake(before: &State, next: &mut State, env: &Environment) {
    match env.mutation {
        Some(Mutation::SlotNotRecorded) if next.skipped > before.skipped => {
            next.past.retain(|past| !matches!(past.outcome, Outcome::Skipped(_)));
            next.skipped = before.skipped;
        }
        Some(Mutation::StartNotStored) => {
            // What is to start is taken for started, and only this process knows better.
            next.running.append(&mut next.starting);
        }
        Some(Mutation::OverlapIgnored) if next.definition.overlap != Overlap::Allow => {
            let waiting: Vec<_> = next.queue.drain(..).collect();
            next.fired += waiting.len() as u64;
            next.starting.extend(waiting);
        }
        Some(Mutation::SettledTooFar) if next.settled > before.settled => {
            next.settled += TimeDelta::minutes(1);
        }
        _ => {}
    }
}
