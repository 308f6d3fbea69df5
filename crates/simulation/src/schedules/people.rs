//! A person who triggers, pauses or resumes a schedule by way of a coordinator that may die at any point, and asks again
//! under the same request id until there is an answer, or gives up.

use mahavishnu_core::execution::Fact;
use mahavishnu_core::id::{ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{Events, Request, Skip, Slot, State};

use super::coordinator::{Coordinator, execution, put};
use super::store::Store;
use crate::check::Acknowledged;
use crate::environment::{Environment, Reply};
use crate::mutation::Mutation;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Trigger,
    Pause,
    Resume,
}

enum Step {
    Read,
    Write(State, u64),
    /// Only who makes a mistake wakes apart from what is stored.
    Wake(Option<Slot>),
    Wait(Slot),
    Answered,
}

/// A call, until it is answered.
pub struct Call {
    schedule: ScheduleId,
    what: What,
    request: String,
    step: Step,
}

impl Call {
    pub fn new(schedule: ScheduleId, what: What, request: String) -> Self {
        Self { schedule, what, request, step: Step::Read }
    }

    pub fn is_answered(&self) -> bool {
        matches!(self.step, Step::Answered)
    }

    /// The coordinator that had it died.
    pub fn ask_again(&mut self) {
        if !self.is_answered() {
            self.step = Step::Read;
        }
    }

    /// A step of the coordinator that has it; what the person is told, once that is so.
    pub fn go_on(
        &mut self,
        coordinator: &Coordinator,
        store: &mut Store,
        env: &mut Environment,
    ) -> Option<Acknowledged> {
        match std::mem::replace(&mut self.step, Step::Read) {
            Step::Read => {
                let (state, revision) = store.get(&self.schedule)?;
                let known = state.requests.iter().find(|known| known.id == self.request);
                self.step = match known {
                    Some(known) => stored(known.slot, env),
                    None => Step::Write(self.changed(&state, coordinator, env), revision),
                };
            }
            Step::Write(next, revision) => {
                if let Reply::Stored(_) = put(&self.schedule, &next, revision, store, env) {
                    let last = next.requests.back();
                    self.step = stored(last.and_then(|request| request.slot), env);
                }
            }
            Step::Wake(slot) => {
                if env.fault("write lost", 20) {
                    self.step = Step::Wake(slot);
                    return None;
                }
                store.wake(&self.schedule, env.bus.now());
                self.step = waited_for(slot);
            }
            Step::Wait(slot) => {
                let execution = execution(&self.schedule, &slot, env);
                if env.bus.last_position(&execution) == 0 {
                    self.step = Step::Wait(slot);
                    return None;
                }
                self.step = Step::Answered;
                return Some(self.acknowledged(execution));
            }
            Step::Answered => self.step = Step::Answered,
        }
        None
    }

    fn acknowledged(&self, execution: ExecutionId) -> Acknowledged {
        Acknowledged { request: Some(self.request.clone()), execution, digest: vec![1] }
    }

    fn changed(&self, state: &State, coordinator: &Coordinator, env: &Environment) -> State {
        let now = coordinator.clock(env);
        let mut next = state.advance(now, &Events::default());
        let mut slot = None;
        match self.what {
            What::Trigger => slot = Some(next.trigger(now)),
            What::Pause => next.paused = true,
            What::Resume => {
                next.let_go(now, Skip::Paused);
                next.paused = false;
            }
        }
        next.requests.push_back(Request { id: self.request.clone(), digest: String::new(), slot, count: 0 });
        next
    }
}

/// The change is stored.
fn stored(slot: Option<Slot>, env: &Environment) -> Step {
    if env.makes(Mutation::ChangeAsleep) { Step::Wake(slot) } else { waited_for(slot) }
}

/// There is nothing to wait for but its execution.
fn waited_for(slot: Option<Slot>) -> Step {
    slot.map_or(Step::Answered, Step::Wait)
}

/// Ends an execution of a schedule, as coordinators and workers do elsewhere; whether it was still going on.
pub fn end(id: &ExecutionId, env: &mut Environment) -> bool {
    let decisions = env.bus.read(id, false, u64::MAX);
    if !decisions.is_empty() {
        return false;
    }
    let inputs = env.bus.read(id, true, u64::MAX);
    let Some(first) = inputs.first() else { return false };
    let cancelled = inputs.iter().any(|logged| matches!(logged.record.fact, Fact::CancelRequested { .. }));
    let fact = match cancelled {
        true => Fact::ExecutionCancelled { reason: "due".to_owned() },
        false => Fact::ExecutionCompleted,
    };
    let trace = first.trace.clone();
    env.bus.decide(id, &fact, Some(0), &trace).is_ok()
}
