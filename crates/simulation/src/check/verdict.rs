//! Which records of a history count, by the words of the design: the first stored result of the current attempt;
//! nothing after the end; votes on the present pause until it is decided; a timer for the next attempt.

use std::collections::BTreeMap;

use mahavishnu_core::execution::{Completed, Decided, Fact, Failed, Origin, Paused, Progressed, Timer};
use mahavishnu_core::id::StageId;
use mahavishnu_core::workflow;

use super::Logged;
use super::ballot::{Answer, Ballot, timed_out};

/// What is known of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Running,
    Paused(Ballot),
    Decided(Answer),
    Failed,
    Backoff,
    Due,
    Settled,
}

struct Stage {
    definition: workflow::Stage,
    number: (u32, u32),
    phase: Phase,
}

/// What is said of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It counts.
    pub counts: bool,
    /// What the pause came to that it ends.
    pub answer: Option<Answer>,
}

/// For each record: whether it counts.
pub fn verdicts(history: &[Logged]) -> Vec<bool> {
    judged(history).into_iter().map(|verdict| verdict.counts).collect()
}

/// For each record: what is said of it.
pub(super) fn judged(history: &[Logged]) -> Vec<Verdict> {
    let mut judge = Judge::default();
    let verdict = |logged| {
        let (counts, answer) = judge.judge(logged);
        Verdict { counts, answer }
    };
    history.iter().map(verdict).collect()
}

#[derive(Default)]
struct Judge {
    stages: BTreeMap<StageId, Stage>,
    tasks: BTreeMap<u64, StageId>,
    requester: String,
    accepted: bool,
    ended: bool,
}

impl Judge {
    fn judge(&mut self, logged: &Logged) -> (bool, Option<Answer>) {
        let fact = &logged.record.fact;
        if self.ended {
            return (false, None);
        }
        if let Fact::Accepted(acceptance) = fact {
            if self.accepted {
                return (false, None);
            }
            self.accepted = true;
            self.requester.clone_from(&acceptance.requested_by);
            let taken_over =
                |id: &StageId| acceptance.forked.iter().any(|forked| forked.results.contains_key(id));
            let begin = |stage: &workflow::Stage| {
                let phase = if taken_over(&stage.id) { Phase::Settled } else { Phase::Open };
                (stage.id.clone(), Stage { definition: stage.clone(), number: (0, 0), phase })
            };
            self.stages = acceptance.workflow.stages.iter().map(begin).collect();
            return (true, None);
        }
        if fact.is_terminal() {
            self.ended = true;
            return (true, None);
        }
        if let Fact::TaskUnreadable(unreadable) = fact {
            let stage = self.tasks.get(&unreadable.position).and_then(|id| self.stages.get_mut(id));
            let current = stage.filter(|stage| stage.phase == Phase::Running);
            return (current.map(|stage| stage.phase = Phase::Failed).is_some(), None);
        }
        let Some(id) = fact.stage() else { return (true, None) };
        let Some(stage) = self.stages.get_mut(id) else { return (false, None) };
        let (counts, next) = stage.judge(logged, &self.requester);
        if !counts {
            return (false, None);
        }
        if let Fact::Scheduled(task) = fact {
            stage.number = (task.attempt, task.resume);
            self.tasks.retain(|_, of| of != id);
            self.tasks.insert(logged.record.position, id.clone());
        }
        let answer = match &next {
            Phase::Decided(answer) if next != stage.phase => Some(answer.clone()),
            _ => None,
        };
        stage.phase = next;
        (true, answer)
    }
}

impl Stage {
    /// Whether a record of this stage counts, and where the stage is then.
    fn judge(&self, logged: &Logged, requester: &str) -> (bool, Phase) {
        let (number, now) = (self.number, &self.phase);
        let result = |origin: &Origin, next| {
            ((origin.attempt, origin.resume) == number && *now == Phase::Running, next)
        };
        match &logged.record.fact {
            Fact::Scheduled(_) => (true, Phase::Running),
            Fact::Completed(Completed { origin, .. }) => result(origin, Phase::Settled),
            Fact::Failed(Failed { origin, .. }) => result(origin, Phase::Failed),
            Fact::Paused(Paused { origin, questions, .. }) => {
                result(origin, Phase::Paused(Ballot::new(logged.record.position, questions.len())))
            }
            Fact::Started(origin) => result(origin, Phase::Running),
            Fact::TimerFired(Timer::Timeout { attempt, resume, .. }) => {
                ((*attempt, *resume) == number && *now == Phase::Running, Phase::Failed)
            }
            Fact::TimerFired(Timer::Approval { attempt, resume, .. }) => {
                let counts = (*attempt, *resume) == number && matches!(now, Phase::Paused(_));
                (counts, Phase::Decided(timed_out(self.definition.approval.as_ref())))
            }
            Fact::Progressed(Progressed { origin, .. }) => {
                (number.0 > 0 && (origin.attempt, origin.resume) == number, now.clone())
            }
            Fact::Decided(vote) => self.vote(vote, requester),
            Fact::TimerFired(Timer::Retry { attempt, .. }) => {
                (matches!(now, Phase::Failed | Phase::Backoff) && *attempt == number.0 + 1, Phase::Due)
            }
            Fact::Skipped { .. } => (true, Phase::Settled),
            Fact::RetryScheduled { .. } => (*now == Phase::Failed, Phase::Backoff),
            // These name no stage.
            _ => (true, now.clone()),
        }
    }

    fn vote(&self, vote: &Decided, requester: &str) -> (bool, Phase) {
        let Phase::Paused(ballot) = &self.phase else { return (false, self.phase.clone()) };
        let now = (vote.attempt, vote.resume) == self.number;
        if !now || !ballot.admits(vote, &self.definition, requester) {
            return (false, self.phase.clone());
        }
        let mut ballot = ballot.clone();
        match ballot.take(vote, &self.definition) {
            Some(answer) => (true, Phase::Decided(answer)),
            None => (true, Phase::Paused(ballot)),
        }
    }
}
