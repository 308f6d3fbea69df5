//! Which records of a history count, by the words of the design: the first stored result of the current attempt;
//! nothing after the end; a decision for the present pause, once; a timer for the next attempt.

use std::collections::BTreeMap;

use mahavishnu_core::execution::{Completed, Decided, Fact, Failed, Paused, Progressed, Timer};
use mahavishnu_core::id::StageId;

use super::Logged;

/// What is known of a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    Running,
    Paused(usize),
    Decided,
    Failed,
    Backoff,
    Due,
    Settled,
}

/// For each record: whether it counts.
pub fn verdicts(history: &[Logged]) -> Vec<bool> {
    let mut stages: BTreeMap<StageId, ((u32, u32), Stage)> = BTreeMap::new();
    let mut tasks: BTreeMap<u64, StageId> = BTreeMap::new();
    let (mut accepted, mut ended) = (false, false);
    let judge = |logged: &Logged| {
        let fact = &logged.record.fact;
        if ended {
            return false;
        }
        if let Fact::Accepted(acceptance) = fact {
            if accepted {
                return false;
            }
            accepted = true;
            let taken_over = |id| acceptance.forked.iter().any(|forked| forked.results.contains_key(id));
            let begin = |id| if taken_over(id) { Stage::Settled } else { Stage::Open };
            let ids = acceptance.workflow.stages.iter().map(|stage| &stage.id);
            stages = ids.map(|id| (id.clone(), ((0, 0), begin(id)))).collect();
            return true;
        }
        if fact.is_terminal() {
            ended = true;
            return true;
        }
        if let Fact::TaskUnreadable(unreadable) = fact {
            let id = tasks.get(&unreadable.position);
            let stage = id.and_then(|id| stages.get_mut(id)).map(|(_, stage)| stage);
            let current = stage.filter(|stage| **stage == Stage::Running);
            return current.map(|stage| *stage = Stage::Failed).is_some();
        }
        let Some(id) = fact.stage() else { return true };
        let Some((number, stage)) = stages.get_mut(id) else { return false };
        let (counts, next) = judge_stage(fact, *number, stage);
        if counts {
            if let Fact::Scheduled(task) = fact {
                *number = (task.attempt, task.resume);
                tasks.retain(|_, of| of != id);
                tasks.insert(logged.record.position, id.clone());
            }
            *stage = next;
        }
        counts
    };
    history.iter().map(judge).collect()
}

/// Whether a record of this stage counts, and what the stage is then.
fn judge_stage(fact: &Fact, number: (u32, u32), now: &Stage) -> (bool, Stage) {
    let result = |origin: &mahavishnu_core::execution::Origin, next| {
        ((origin.attempt, origin.resume) == number && *now == Stage::Running, next)
    };
    match fact {
        Fact::Scheduled(_) => (true, Stage::Running),
        Fact::Completed(Completed { origin, .. }) => result(origin, Stage::Settled),
        Fact::Failed(Failed { origin, .. }) => result(origin, Stage::Failed),
        Fact::Paused(Paused { origin, questions, .. }) => result(origin, Stage::Paused(questions.len())),
        Fact::Started(origin) => result(origin, Stage::Running),
        Fact::TimerFired(Timer::Timeout { attempt, resume, .. }) => {
            ((*attempt, *resume) == number && *now == Stage::Running, Stage::Failed)
        }
        Fact::Progressed(Progressed { origin, .. }) => {
            (number.0 > 0 && (origin.attempt, origin.resume) == number, now.clone())
        }
        Fact::Decided(Decided { attempt, resume, question, .. }) => {
            let pending = matches!(now, Stage::Paused(questions) if (*question as usize) < *questions);
            (pending && (*attempt, *resume) == number, Stage::Decided)
        }
        Fact::TimerFired(Timer::Retry { attempt, .. }) => {
            (matches!(now, Stage::Failed | Stage::Backoff) && *attempt == number.0 + 1, Stage::Due)
        }
        Fact::Skipped { .. } => (true, Stage::Settled),
        Fact::RetryScheduled { .. } => (*now == Stage::Failed, Stage::Backoff),
        // These name no stage.
        _ => (true, now.clone()),
    }
}
