//! What all actors share: the bus behind a network that loses, delays and is silent, the seed's choices, what engines
//! really did, and the count of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fastrand::Rng;
use mahavishnu_core::execution::{Fact, Object, Timer};
use mahavishnu_core::id::ExecutionId;

use crate::bus::ModelBus;
use crate::check::Logged;
use crate::mutation::Mutation;

/// How many messages a server may be behind.
const BEHIND: u64 = 20;

/// Faults, by kind, and how often each happened.
pub type Faults = BTreeMap<&'static str, u64>;

/// A write on its way to the server.
#[derive(Clone, Debug)]
pub enum Write {
    /// The first record of an execution, and the message id of its request.
    Accept(Fact, String),
    /// An input.
    Input(Fact),
    /// A decision, on condition.
    Decision(Fact, u64),
    /// A timer.
    Timer(Timer, DateTime<Utc>),
}

/// What the writer learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is stored, at this position.
    Stored(u64),
    /// The condition does not hold.
    Conflict,
    /// No answer in time: it may be stored, may come to be stored, or be lost.
    Silence,
}

struct InFlight {
    id: ExecutionId,
    write: Write,
    trace: String,
}

/// What all actors share.
pub struct Environment {
    /// The bus.
    pub bus: ModelBus,
    /// The seed's choices.
    pub rng: Rng,
    /// The mistake that is made, if one is.
    pub mutation: Option<Mutation>,
    /// Whether faults happen now.
    pub stormy: bool,
    /// Whether engines fail for good and people cancel.
    pub hostile: bool,
    /// Those that happened.
    pub faults: Faults,
    /// What engines gave: execution, stage, attempt, resume, delivery.
    pub given: BTreeMap<(ExecutionId, String, u32, u32, u32), BTreeSet<String>>,
    /// Inputs that coordinators say are done with.
    pub settled: Vec<u64>,
    in_flight: Vec<InFlight>,
}

impl Environment {
    pub fn new(bus: ModelBus, rng: Rng, mutation: Option<Mutation>, hostile: bool) -> Self {
        Self {
            bus,
            rng,
            mutation,
            stormy: true,
            hostile,
            faults: Faults::new(),
            given: BTreeMap::new(),
            settled: Vec::new(),
            in_flight: Vec::new(),
        }
    }

    /// Whether this mistake is made.
    pub fn makes(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether a fault happens, in so many of a thousand cases; counts it.
    pub fn fault(&mut self, kind: &'static str, permille: u32) -> bool {
        let happens = self.stormy && self.rng.u32(..1_000) < permille;
        if happens {
            *self.faults.entry(kind).or_default() += 1;
        }
        happens
    }

    /// Sends a write and waits for the answer, as long as one waits.
    pub fn write(&mut self, id: &ExecutionId, write: &Write, trace: &str) -> Reply {
        if self.fault("write lost", 20) {
            return Reply::Silence;
        }
        if self.fault("write delayed", 20) {
            let (id, write, trace) = (id.clone(), write.clone(), trace.to_owned());
            self.in_flight.push(InFlight { id, write, trace });
            return Reply::Silence;
        }
        let reply = self.apply(id, write, trace);
        if self.fault("answer lost", 30) { Reply::Silence } else { reply }
    }

    /// Reads from a server that has got at least so far.
    pub fn read(&mut self, id: &ExecutionId, inputs: bool, at_least: u64) -> Vec<Logged> {
        let last = self.bus.last();
        let behind = at_least < last && self.fault("server behind", 200);
        let up_to =
            if behind { self.rng.u64(at_least.max(last.saturating_sub(BEHIND))..=last) } else { last };
        self.bus.read(id, inputs, up_to)
    }

    /// A delayed write arrives.
    pub fn deliver_one(&mut self) {
        if !self.in_flight.is_empty() {
            let index = self.rng.usize(..self.in_flight.len());
            let InFlight { id, write, trace } = self.in_flight.swap_remove(index);
            self.apply(&id, &write, &trace);
        }
    }

    /// Time passes, mostly a little.
    pub fn pass_time(&mut self) {
        let mut milliseconds = self.rng.i64(0..200);
        if self.fault("clock jumps ahead", 4) {
            milliseconds = self.rng.i64(5_000..3_600_000);
        } else if self.fault("clock jumps back", 4) {
            milliseconds = -self.rng.i64(0..60_000);
        }
        self.bus.pass(TimeDelta::milliseconds(milliseconds));
    }

    /// An engine gave this.
    pub fn gave(&mut self, key: (ExecutionId, String, u32, u32, u32), output: &Arc<Object>) {
        self.given.entry(key).or_default().insert(format!("{output:?}"));
    }

    fn apply(&mut self, id: &ExecutionId, write: &Write, trace: &str) -> Reply {
        let stored = match write {
            Write::Accept(fact, _) if self.makes(Mutation::AcceptUnconditional) => {
                Ok(self.bus.input(id, fact, trace))
            }
            Write::Accept(fact, message_id) if self.makes(Mutation::WindowTrusted) => {
                Ok(self.bus.input_once(id, fact, trace, message_id))
            }
            Write::Accept(fact, _) => self.bus.accept(id, fact, trace),
            Write::Input(fact) => Ok(self.bus.input(id, fact, trace)),
            Write::Decision(fact, after) => {
                let condition = (!self.makes(Mutation::ConditionDropped)).then_some(*after);
                self.bus.decide(id, fact, condition, trace)
            }
            Write::Timer(timer, at) => Ok(self.bus.set_timer(id, timer, *at, trace)),
        };
        stored.map_or(Reply::Conflict, Reply::Stored)
    }
}
