//! Clients: ask for executions under a request id, again until they are answered; decide approvals; cancel.

use std::sync::Arc;

use mahavishnu_core::execution::{Accepted, Decided, End, Ended, Fact, Forked, Object, Phase};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::workflow::Workflow;

use crate::check::Acknowledged;
use crate::coordinator::{Coordinator, Memory};
use crate::environment::{Environment, Reply, Write};
use crate::mutation::Mutation;
use crate::workflows::{PEOPLE, REQUESTER};

/// A request, until it is answered.
pub struct Request {
    name: String,
    digest: Vec<u8>,
    workflow: Arc<Workflow>,
    forked: Option<Forked>,
    tries: u32,
    /// Answered with yes or no.
    pub answered: bool,
}

impl Request {
    pub fn new(name: &str, body: u8, workflow: Arc<Workflow>) -> Self {
        let (name, digest) = (name.to_owned(), vec![body]);
        Self { name, digest, workflow, forked: None, tries: 0, answered: false }
    }

    /// Continues an execution that ended and did not complete, as this coordinator shows it; whoever continues the same one asks
    /// for the same.
    pub fn continuing(coordinator: &Coordinator, env: &mut Environment) -> Option<Self> {
        let failed = |(_, memory): &(&ExecutionId, &Memory)| {
            memory.is_loaded() && memory.state.end.as_ref().is_some_and(|(end, _)| *end != End::Completed)
        };
        let ended: Vec<_> = coordinator.memory.iter().filter(failed).collect();
        let (id, memory) = *ended.get(env.rng.usize(..ended.len().max(1)))?;
        let (workflow, mut results) = (memory.state.workflow()?, memory.state.ended());
        let (stage, _) = memory.state.iter().find(|(_, now)| !now.is_settled())?;
        if env.makes(Mutation::ForkTakesVoid) {
            for (record, _) in &memory.records {
                if let Fact::Completed(done) = &record.fact {
                    results.insert(done.origin.stage.clone(), Ended::Completed(Arc::clone(&done.output)));
                }
            }
        }
        let forked = Forked { from: id.clone(), stage: stage.id.clone(), results, checkpoint: None };
        let forked = Some(forked);
        Some(Self { forked, ..Self::new(&format!("{id}-again"), 1, Arc::clone(workflow)) })
    }

    /// The execution that it becomes.
    pub fn execution(&self) -> ExecutionId {
        ExecutionId::parse(&self.name).unwrap()
    }

    /// Asks, or asks again; what it was told, once it is told.
    pub fn ask(&mut self, env: &mut Environment) -> Option<Acknowledged> {
        self.tries += 1;
        let again = env.makes(Mutation::RequestIdIgnored) && self.tries > 1;
        let id = if again { format!("{}-{}", self.name, self.tries) } else { self.name.clone() };
        let id = ExecutionId::parse(&id).unwrap();
        let fact = Fact::Accepted(Accepted {
            workflow: Arc::clone(&self.workflow),
            digest: self.digest.clone(),
            notes: Vec::new(),
            requested_by: REQUESTER.to_owned(),
            forked: self.forked.clone(),
            firing: None,
        });
        let same = match env.write(&id, &Write::Accept(fact, self.name.clone()), &format!("trace-{id}")) {
            Reply::Silence => return None,
            Reply::Stored(_) => true,
            Reply::Conflict => {
                let history = env.bus.read(&id, true, u64::MAX);
                let first = history.first().map(|logged| &logged.record.fact);
                let same = matches!(first, Some(Fact::Accepted(accepted)) if accepted.digest == self.digest);
                same || env.makes(Mutation::BodyNotCompared)
            }
        };
        self.answered = true;
        // Whoever was lucky may ask again all the same: the answer was lost behind the coordinator.
        if env.fault("response lost", 100) {
            self.answered = false;
        }
        same.then(|| Acknowledged {
            request: Some(self.name.clone()),
            execution: id,
            digest: self.digest.clone(),
        })
    }
}

/// A person decides something that waits, or did before, as this coordinator shows it.
pub fn decide(coordinator: &Coordinator, env: &mut Environment) {
    let mut pauses = Vec::new();
    // In the storm also what has ended: somebody may still look at an old list.
    let shown = |memory: &Memory| memory.is_loaded() && (env.stormy || memory.state.end.is_none());
    for (id, memory) in coordinator.memory.iter().filter(|(_, memory)| shown(memory)) {
        for (stage, now) in memory.state.iter() {
            if let (Phase::Paused(paused) | Phase::Decided(paused, _), Some(pause)) = (&now.phase, &now.pause)
            {
                pauses.push((id, memory, stage.id.clone(), paused, pause.nonce));
            }
        }
    }
    if pauses.is_empty() {
        return;
    }
    let (id, memory, stage, paused, nonce) = pauses.swap_remove(env.rng.usize(..pauses.len()));
    let (attempt, resume) = (paused.origin.attempt, paused.origin.resume);
    let mut decided = Decided {
        stage,
        attempt,
        resume,
        // Sometimes a question that was not asked.
        question: env.rng.u32(..2),
        // Sometimes that of a pause that was never looked at.
        nonce: match env.rng.u32(..8) {
            0 => None,
            1 => Some(nonce - 1),
            _ => Some(nonce),
        },
        approved: env.rng.u32(..3) > 0,
        reason: if env.rng.bool() { "because".to_owned() } else { String::new() },
        decided_by: PEOPLE[env.rng.usize(..PEOPLE.len())].to_owned(),
        values: Object::new(),
        request_id: String::new(),
    };
    // In the calm those decide who are asked to.
    if !env.stormy {
        (decided.question, decided.nonce, decided.reason) = (0, Some(nonce), "because".to_owned());
        let may = |who: &&&str| {
            let vote = Decided { decided_by: (**who).to_owned(), ..decided.clone() };
            memory.state.may_decide(&vote).is_ok()
        };
        let Some(who) = PEOPLE.iter().find(may) else { return };
        decided.decided_by = (*who).to_owned();
    }
    env.write(id, &Write::Input(Fact::Decided(decided)), &memory.trace);
}

/// Somebody cancels an execution.
pub fn cancel(coordinator: &Coordinator, env: &mut Environment) {
    let ids: Vec<_> = coordinator.memory.iter().filter(|(_, memory)| memory.is_loaded()).collect();
    if ids.is_empty() {
        return;
    }
    let (id, memory) = ids[env.rng.usize(..ids.len())];
    let fact = Fact::CancelRequested { reason: "enough".to_owned(), requested_by: "ada".to_owned() };
    let trace = memory.trace.clone();
    env.write(id, &Write::Input(fact), &trace);
}
