//! A coordinator: folds the tail, takes the inputs that it brings, performs the steps of the core's `Advance`, settles.
//!
//! Whose turn an input is says only how soon a coordinator acts on it, so here it is anybody's, sooner or later.
//!
//! Its memory follows the rules of the real one: executions are fed by the tail, loaded on demand by reads that are
//! not atomic and may come from a server that is behind, though not behind what the tail had passed when the load began;
//! and a load ends when the tail has passed what was read.

use std::collections::BTreeMap;
use std::sync::Arc;

use mahavishnu_core::execution::{
    Advance, Decided, Fact, Phase, Record, StageState, State, Step, Timer, Void,
};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::inputs::{Cursor, Inputs, PATIENCE, Turn};

use crate::check::Logged;
use crate::environment::{Environment, Reply, Write};
use crate::mutation::Mutation;

/// Tries of one write before the input is left to come again.
const TRIES: u32 = 3;

/// How far a history is loaded.
enum Load {
    Inputs,
    Decisions(Vec<Logged>),
    Passing(Vec<Logged>),
    Done,
}

/// An execution in memory.
pub struct Memory {
    pub state: State,
    /// Every record with what the fold said of it.
    pub records: Vec<(Record, Option<Void>)>,
    pub trace: String,
    load: Load,
    /// Where the tail was when the load began.
    begun: u64,
    pending: Vec<Logged>,
}

enum Task {
    /// The history is being loaded.
    Loading,
    /// Watching over the limit of an attempt that began; how often it was tried.
    Limiting(u32),
    /// Performing; the step that is under way, and how often it was tried.
    Advancing(Advance, Option<Step>, u32),
}

struct Handling {
    input: Turn,
    task: Task,
    /// For a mistake: timers that are set too late.
    late: Vec<Step>,
}

/// A coordinator process.
pub struct Coordinator {
    pub name: String,
    /// Counts its restarts: whoever was connected sees it change.
    pub life: u32,
    /// Stopped, and to be continued.
    pub stopped: bool,
    tail: u64,
    pub memory: BTreeMap<ExecutionId, Memory>,
    inputs: Inputs,
    /// How much of what coordinators say it has heard.
    heard: usize,
    /// A cursor on its way to the server.
    saving: Option<Cursor>,
    handling: Vec<Handling>,
}

impl Coordinator {
    pub fn new(name: String) -> Self {
        let (tail, memory, inputs, heard, saving, handling) = Default::default();
        Self { name, life: 0, stopped: false, tail, memory, inputs, heard, saving, handling }
    }

    /// Killed and started again: the memory is empty, the tail begins at the cursor that was saved last.
    pub fn restart(&mut self, env: &Environment) {
        *self = Self {
            life: self.life + 1,
            tail: env.bus.cursor.passed,
            inputs: Inputs::from(env.bus.cursor.clone()),
            heard: env.settled.len(),
            ..Self::new(std::mem::take(&mut self.name))
        };
    }

    /// Nothing asks for anything and the tail has come to the end.
    pub fn is_idle(&self, env: &Environment) -> bool {
        self.inputs.is_empty() && env.bus.following(self.tail).is_none()
    }

    /// Folds the next record of the tail.
    pub fn follow(&mut self, env: &Environment) {
        let Some((id, logged)) = env.bus.following(self.tail) else {
            self.tail = env.bus.last();
            return;
        };
        self.tail = logged.record.position;
        if logged.record.fact.is_acted_on() {
            self.inputs.arrive(self.tail, id.clone());
        }
        let first = matches!(logged.record.fact, Fact::Accepted(_));
        if first && !self.memory.contains_key(&id) {
            self.memory.insert(id.clone(), Memory::new(Load::Done, self.tail));
        }
        if let Some(memory) = self.memory.get_mut(&id) {
            match memory.load {
                Load::Done => memory.fold(logged, env.mutation),
                _ => memory.pending.push(logged),
            }
        }
    }

    /// Takes inputs.
    pub fn take(&mut self, env: &mut Environment) {
        (0..PATIENCE).for_each(|_| self.inputs.tick());
        for input in self.inputs.take_all(|_| env.rng.u64(..3)) {
            if env.makes(Mutation::SettledFirst) {
                self.inputs.settle(input.position);
            }
            self.handling.push(Handling { input, task: Task::Loading, late: Vec::new() });
        }
    }

    /// Hears what coordinators say that is done with.
    pub fn hear(&mut self, env: &mut Environment) {
        let heard = std::mem::replace(&mut self.heard, env.settled.len());
        for n in heard..self.heard {
            if !env.fault("heartbeat lost", 100) {
                self.inputs.settle(env.settled[n]);
            }
        }
    }

    /// Saves a cursor, which is an old one when it arrives.
    pub fn save(&mut self, env: &mut Environment) {
        if let Some(cursor) = self.saving.take() {
            env.bus.cursor = cursor;
        }
        if !env.fault("cursor not saved", 100) {
            let mut cursor = self.inputs.cursor(env.rng.usize(..4));
            if env.makes(Mutation::CursorBehindWaiting) {
                cursor.passed = self.tail;
            }
            self.saving = Some(cursor);
        }
    }

    /// Goes on with one of the inputs.
    pub fn handle(&mut self, env: &mut Environment) {
        if self.handling.is_empty() {
            return;
        }
        let index = env.rng.usize(..self.handling.len());
        let mut handling = self.handling.swap_remove(index);
        if self.go_on(&mut handling, env) {
            self.handling.push(handling);
        } else {
            // Nothing, if it is done with.
            self.inputs.give_back(handling.input.position);
        }
    }

    /// Loads an execution a little further; whether it is whole. `None` when it does not exist.
    pub fn load(&mut self, id: &ExecutionId, env: &mut Environment) -> Option<bool> {
        let tail = self.tail;
        let memory = self.memory.entry(id.clone()).or_insert_with(|| Memory::new(Load::Inputs, tail));
        let at_least = if env.makes(Mutation::ServerTrusted) { 0 } else { memory.begun };
        match std::mem::replace(&mut memory.load, Load::Done) {
            Load::Done => return Some(true),
            Load::Inputs => {
                let inputs = env.read(id, true, at_least);
                if inputs.is_empty() {
                    self.memory.remove(id);
                    return None;
                }
                memory.load = Load::Decisions(inputs);
            }
            Load::Decisions(mut read) => {
                read.extend(env.read(id, false, at_least));
                read.sort_by_key(|logged| logged.record.position);
                memory.load = Load::Passing(read);
            }
            Load::Passing(read) => {
                let last = read.last().map_or(0, |logged| logged.record.position);
                if tail < last {
                    memory.load = Load::Passing(read);
                } else {
                    let mut all = read;
                    let pending = std::mem::take(&mut memory.pending);
                    if env.mutation != Some(Mutation::LoadForgetsTail) {
                        all.extend(pending);
                    }
                    all.sort_by_key(|logged| logged.record.position);
                    all.dedup_by_key(|logged| logged.record.position);
                    all.into_iter().for_each(|logged| memory.fold(logged, env.mutation));
                    return Some(true);
                }
            }
        }
        Some(false)
    }

    /// The tail has passed everything that the log holds of the execution.
    pub fn has_caught_up(&self, id: &ExecutionId, env: &Environment) -> bool {
        self.tail >= env.bus.last_position(id)
    }

    /// Forgets an execution that nobody here looks at.
    pub fn forget(&mut self, id: &ExecutionId) {
        if !self.handling.iter().any(|handling| &handling.input.execution == id) {
            self.memory.remove(id);
        }
    }

    /// A step; whether there are more.
    fn go_on(&mut self, handling: &mut Handling, env: &mut Environment) -> bool {
        let id = handling.input.execution.clone();
        if matches!(handling.task, Task::Loading) {
            match self.load(&id, env) {
                None => return self.settle(handling, env),
                Some(false) => return true,
                Some(true) => handling.task = Task::Limiting(0),
            }
        }
        if let Task::Limiting(tries) = handling.task {
            if !self.limit(&handling.input, env) {
                handling.task = Task::Limiting(tries + 1);
                return tries < TRIES;
            }
            // One at a time decides for an execution in this process.
            if self.is_deciding(&id) {
                return true;
            }
            handling.task = Task::Advancing(Advance::default(), None, 0);
        }
        let Some(memory) = self.memory.get_mut(&id) else { return false };
        if env.makes(Mutation::EndIgnored) {
            memory.state.end = None;
        }
        if env.makes(Mutation::ResultsNotAwaited) {
            let scheduled = |now: &&mut StageState| now.phase == Phase::Scheduled;
            for now in memory.state.stages.iter_mut().filter(scheduled) {
                now.phase = Phase::Completed(Arc::default());
            }
        }
        let Task::Advancing(advance, under_way, tries) = &mut handling.task else { return true };
        let step = under_way.take().unwrap_or_else(|| advance.next(&id, &memory.state));
        let write = match &step {
            Step::Wait(_) => return true,
            Step::Done => return self.settle(handling, env),
            Step::SetTimer { .. } if env.makes(Mutation::TimerAfterRecord) && tries == &0 => {
                handling.late.push(step);
                return true;
            }
            Step::SetTimer { timer, at } => Write::Timer(timer.clone(), *at),
            Step::Store { fact, after } => Write::Decision(fact.clone(), *after),
        };
        match (env.write(&id, &write, &memory.trace), &step) {
            (Reply::Stored(position), Step::Store { fact, .. }) => {
                advance.stored(position);
                if fact.is_terminal() {
                    env.bus.drop_timers(&id);
                }
                if let Some(Step::SetTimer { timer, at }) = handling.late.pop() {
                    // The mistake is only one if somebody dies in between.
                    if env.fault("coordinator killed", 300) {
                        self.restart(env);
                        return false;
                    }
                    env.write(&id, &Write::Timer(timer, at), &memory.trace);
                }
            }
            (Reply::Stored(_), _) => {}
            (Reply::Conflict, _) if env.makes(Mutation::RefusalTakenForSuccess) => {
                return self.settle(handling, env);
            }
            (Reply::Conflict, _) => advance.refused(),
            (Reply::Silence, _) => {
                *tries += 1;
                if *tries > TRIES {
                    // The input's turn comes again.
                    return false;
                }
                *under_way = Some(step);
                return true;
            }
        }
        *tries = 0;
        true
    }

    /// Sets the timer that the input asks for; whether that is done.
    fn limit(&self, input: &Turn, env: &mut Environment) -> bool {
        let Some(memory) = self.memory.get(&input.execution) else { return false };
        let record = memory.records.iter().find(|(record, _)| record.position == input.position);
        match record.and_then(|(record, _)| memory.state.timeout_after(&record.fact)) {
            Some((Timer::Timeout { .. }, _)) if env.makes(Mutation::LimitNotWatched) => true,
            Some((Timer::Approval { .. }, _)) if env.makes(Mutation::PauseNotWatched) => true,
            Some((timer, at)) => {
                env.write(&input.execution, &Write::Timer(timer, at), &memory.trace) != Reply::Silence
            }
            None => true,
        }
    }

    fn is_deciding(&self, id: &ExecutionId) -> bool {
        let deciding = |handling: &Handling| matches!(handling.task, Task::Advancing(..));
        self.handling.iter().any(|handling| deciding(handling) && &handling.input.execution == id)
    }

    /// The input caused nothing more. It is done with, and the others are told.
    fn settle(&mut self, handling: &Handling, env: &mut Environment) -> bool {
        self.inputs.settle(handling.input.position);
        env.settled.push(handling.input.position);
        false
    }
}

impl Memory {
    fn new(load: Load, begun: u64) -> Self {
        let (state, records, trace, pending) = Default::default();
        Self { state, records, trace, load, begun, pending }
    }

    pub fn is_loaded(&self) -> bool {
        matches!(self.load, Load::Done)
    }

    /// The mistakes that concern votes.
    fn misjudge(&mut self, vote: &mut Decided, mutation: Option<Mutation>) {
        let index = self.state.iter().position(|(stage, _)| stage.id == vote.stage);
        let Some(now) = index.and_then(|index| self.state.stages.get_mut(index)) else { return };
        let number = (now.attempt, now.resume);
        let (Phase::Paused(_), Some(pause)) = (&now.phase, &mut now.pause) else { return };
        match mutation {
            Some(Mutation::NonceNotCompared) => {
                (vote.attempt, vote.resume, vote.nonce) = (number.0, number.1, Some(pause.nonce));
            }
            Some(Mutation::VoteCountedTwice) => {
                pause.votes.iter_mut().for_each(|vote| vote.decided_by.push('!'));
            }
            Some(Mutation::QuorumIgnored) if vote.approved => {
                // As if another one had approved before.
                let other = Decided { decided_by: "nobody".to_owned(), ..vote.clone() };
                pause.votes.push(other);
            }
            _ => {}
        }
    }

    fn fold(&mut self, logged: Logged, mutation: Option<Mutation>) {
        if self.trace.is_empty() {
            self.trace.clone_from(&logged.trace);
        }
        let mut record = logged.record;
        if let Fact::Completed(done) = &mut record.fact {
            let id = done.origin.stage.clone();
            let index = self.state.iter().position(|(stage, _)| stage.id == id);
            if let Some(now) = index.and_then(|index| self.state.stages.get_mut(index)) {
                if mutation == Some(Mutation::AttemptIgnored) && now.attempt > 0 {
                    (done.origin.attempt, done.origin.resume) = (now.attempt, now.resume);
                }
                if mutation == Some(Mutation::LastResultWins) && matches!(now.phase, Phase::Completed(_)) {
                    now.phase = Phase::Scheduled;
                }
            }
        }
        if let Fact::Decided(vote) = &mut record.fact {
            self.misjudge(vote, mutation);
        }
        let (sequence, void) = self.state.apply(&record);
        if void.is_some() && mutation == Some(Mutation::VoidNotNumbered) {
            self.state.sequence = sequence - 1;
            return;
        }
        self.records.push((record, void));
    }
}
