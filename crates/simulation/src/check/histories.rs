//! What one history must be by itself, and what must be left of an execution that has not ended.

use std::collections::BTreeMap;
use std::sync::Arc;

use mahavishnu_core::execution::{
    Ended, Fact, Object, Origin, Phase, Resolution, State, Task, Timer, decide,
};
use mahavishnu_core::id::{ExecutionId, StageId};

use super::ballot::Answer;
use super::verdict::{Verdict, judged};
use super::{Complaints, Evidence, Live, Logged};

pub(super) fn check(history: &[Logged], evidence: &Evidence<'_>, complaints: &mut Complaints<'_>) {
    let verdicts = judged(history);
    let counts: Vec<bool> = verdicts.iter().map(|verdict| verdict.counts).collect();
    ends(history, evidence.at_rest, complaints);
    results(history, &verdicts, complaints);
    order(history, &counts, complaints);
    folds(history, &counts, complaints);
    truthful(history, evidence, complaints);
    traced(history, complaints);
    orphans(history, &evidence.live, complaints);
}

/// **I1.** A history begins with its acceptance and has at most one terminal record, counted whether it is void or
/// not: coordinators write on condition, so even a void second end means that two of them decided for the same
/// state. Once the faults are over and everything came to rest it has exactly one.
fn ends(history: &[Logged], at_rest: bool, complaints: &mut Complaints<'_>) {
    if !matches!(history.first().map(|logged| &logged.record.fact), Some(Fact::Accepted(_))) {
        complaints.add("I1", "it does not begin with its acceptance".to_owned());
    }
    let accepted = history.iter().filter(|logged| matches!(logged.record.fact, Fact::Accepted(_))).count();
    if accepted > 1 {
        complaints.add("I6", format!("it was accepted {accepted} times"));
    }
    let ends = history.iter().filter(|logged| logged.record.fact.is_terminal()).count();
    if ends > 1 || (at_rest && ends == 0) {
        let last = history.last().map(|logged| &logged.record);
        let last = last.map(|record| format!("{:?} at {}", record.fact, record.time)).unwrap_or_default();
        complaints.add("I1", format!("it has {ends} ends; the last of {} records is {last}", history.len()));
    }
}

/// **I2.** Each attempt of a stage is scheduled once; a stage has at most one result that counts, and it is the first
/// stored one of the attempt that was current; an attempt follows only a failure of the one before, a resumption only
/// a pause that is decided, and is told that answer; and whoever used the stage's output used the accepted one.
fn results(history: &[Logged], verdicts: &[Verdict], complaints: &mut Complaints<'_>) {
    let mut current: BTreeMap<&StageId, (u32, u32)> = BTreeMap::new();
    let mut outputs: BTreeMap<&StageId, &Arc<Object>> = BTreeMap::new();
    let mut failed: BTreeMap<&StageId, u32> = BTreeMap::new();
    let mut decided: BTreeMap<&StageId, ((u32, u32), &Answer)> = BTreeMap::new();
    for (logged, Verdict { counts, answer }) in history.iter().zip(verdicts) {
        if let (Some(stage), Some(answer)) = (logged.record.fact.stage(), answer) {
            decided.insert(stage, (current.get(stage).copied().unwrap_or_default(), answer));
        }
        match &logged.record.fact {
            Fact::Accepted(accepted) if *counts => {
                for (id, ended) in accepted.forked.iter().flat_map(|forked| &forked.results) {
                    if let Ended::Completed(output) = ended {
                        outputs.insert(id, output);
                    }
                }
            }
            Fact::Scheduled(task) => {
                let number = (task.attempt, task.resume);
                let follows = match current.get(&task.stage) {
                    None => number == (1, 0),
                    Some((attempt, resume)) => {
                        (number == (attempt + 1, 0) && failed.get(&task.stage) == Some(attempt))
                            || (number == (*attempt, resume + 1)
                                && decided.get(&task.stage).is_some_and(|(number, answer)| {
                                    *number == (*attempt, *resume) && is_told(task, answer)
                                }))
                    }
                };
                if !follows {
                    let before = current.get(&task.stage);
                    complaints.add("I2", format!("{} {number:?} is scheduled after {before:?}", task.stage));
                }
                for (need, output) in &task.dependencies {
                    if outputs.get(need).is_none_or(|accepted| *accepted != output) {
                        let what = format!("{} got an output of {need} that was not accepted", task.stage);
                        complaints.add("I2", what);
                    }
                }
                current.insert(&task.stage, number);
            }
            Fact::Completed(done) if *counts => {
                let before = outputs.insert(&done.origin.stage, &done.output);
                if before.is_some() {
                    complaints.add("I2", format!("{} has two accepted results", done.origin.stage));
                }
            }
            Fact::Failed(failure) if *counts => {
                failed.insert(&failure.origin.stage, failure.origin.attempt);
            }
            Fact::TimerFired(Timer::Timeout { stage, attempt, .. }) if *counts => {
                failed.insert(stage, *attempt);
            }
            _ => {}
        }
    }
}

/// The task continues with this answer.
fn is_told(task: &Task, answer: &Answer) -> bool {
    let told = |told: &Resolution| (told.approved, &told.decided_by) == (answer.approved, &answer.by);
    task.resolution.as_ref().is_some_and(told)
}

/// **I3.** A stage is scheduled only after every stage that it needs has an accepted result or was skipped, by stream
/// order; and coordinators store nothing at all after the end.
fn order(history: &[Logged], counts: &[bool], complaints: &mut Complaints<'_>) {
    let mut workflow = None;
    let mut settled = Vec::new();
    let mut ended = false;
    for (logged, counts) in history.iter().zip(counts) {
        match &logged.record.fact {
            Fact::Accepted(accepted) if *counts => {
                workflow = Some(&accepted.workflow);
                settled.extend(accepted.forked.iter().flat_map(|forked| forked.results.keys()));
            }
            Fact::Completed(done) if *counts => settled.push(&done.origin.stage),
            Fact::Skipped { stage, .. } if *counts => settled.push(stage),
            Fact::Scheduled(task) => {
                let definition = workflow.and_then(|workflow| workflow.stage(&task.stage));
                let needs = definition.map_or(&[][..], |stage| stage.needs.as_slice());
                for need in needs.iter().filter(|need| !settled.contains(need)) {
                    complaints.add("I3", format!("{} is scheduled before {need} has ended", task.stage));
                }
            }
            _ => {}
        }
        if ended && is_decision(&logged.record.fact) {
            complaints.add("I3", format!("decided after the end: {:?}", short(&logged.record.fact)));
        }
        ended |= logged.record.fact.is_terminal();
    }
}

/// **I4.** The core's fold and the judge agree record for record on what counts, and the fold numbers every record.
fn folds(history: &[Logged], counts: &[bool], complaints: &mut Complaints<'_>) {
    let mut state = State::default();
    for (n, (logged, counts)) in (1..).zip(history.iter().zip(counts)) {
        let (sequence, void) = state.apply(&logged.record);
        if sequence != n || void.is_none() != *counts {
            let said = void.map_or("counts", |void| void.code());
            let what =
                format!("record {n}, {}: the fold says {sequence}, {said}", short(&logged.record.fact));
            complaints.add("I4", what);
        }
    }
}

/// **I8.** Whatever is recorded as completed was completed: the engine itself gave this output for this task. So a
/// failed or absent engine is never a success, and a worker that died in between invented nothing.
fn truthful(history: &[Logged], evidence: &Evidence<'_>, complaints: &mut Complaints<'_>) {
    let mut tasks: BTreeMap<(&StageId, u32, u32), &Task> = BTreeMap::new();
    for logged in history {
        match &logged.record.fact {
            Fact::Scheduled(task) => {
                tasks.insert((&task.stage, task.attempt, task.resume), task);
            }
            Fact::Completed(done) => {
                let Origin { stage, attempt, resume, .. } = &done.origin;
                let task = tasks.get(&(stage, *attempt, *resume));
                if task.is_none_or(|task| !(evidence.truth)(complaints.execution, task, done)) {
                    complaints.add("I8", format!("{stage} completed with what no engine gave"));
                }
            }
            _ => {}
        }
    }
}

/// **I9.** Every record of an execution was published in one trace, whichever process stored it and however often it
/// was delivered before. (That all parents resolve is seen in the spans themselves, by the chaos run.)
fn traced(history: &[Logged], complaints: &mut Complaints<'_>) {
    let Some(first) = history.first() else { return };
    if let Some(other) = history.iter().find(|logged| logged.trace != first.trace) {
        let what =
            format!("{} is in trace {:?}, not {:?}", short(&other.record.fact), other.trace, first.trace);
        complaints.add("I9", what);
    }
}

/// **I7.** At any moment an execution that has not ended has an input that no cursor has passed by; or nothing
/// is left to decide for it, every scheduled stage has a task that no worker has acknowledged, every back-off a timer,
/// the deadline, the limit of an attempt that began and that of a pause their own, and at least one stage waits for one of these or for a person.
fn orphans(history: &[Logged], live: &Live, complaints: &mut Complaints<'_>) {
    let execution: &ExecutionId = complaints.execution;
    if live.inputs.contains(execution) {
        return;
    }
    let mut state = State::default();
    for logged in history {
        state.apply(&logged.record);
    }
    if state.end.is_some() || state.accepted.is_none() {
        return;
    }
    let commands = decide(execution, &state);
    if !commands.is_empty() {
        complaints.add("I7", format!("nobody will ever do what is to be done: {} commands", commands.len()));
        return;
    }
    let timer = |timer: Timer| live.timers.iter().any(|(id, set)| id == execution && *set == timer);
    if state.deadline().is_some() && !state.deadline_passed && !timer(Timer::Deadline) {
        complaints.add("I7", "its deadline has no timer".to_owned());
    }
    let mut waits = false;
    for (stage, now) in state.iter() {
        let alive = match &now.phase {
            Phase::Scheduled => {
                live.tasks.contains(&(execution.clone(), stage.id.clone(), now.attempt, now.resume))
            }
            Phase::Backoff(..) => timer(Timer::Retry { stage: stage.id.clone(), attempt: now.attempt + 1 }),
            Phase::Paused(_) => {
                stage.approval.as_ref().is_none_or(|policy| policy.timeout.is_none())
                    || timer(Timer::Approval {
                        stage: stage.id.clone(),
                        attempt: now.attempt,
                        resume: now.resume,
                    })
            }
            _ => continue,
        };
        waits = true;
        let (id, attempt, resume) = (stage.id.clone(), now.attempt, now.resume);
        if stage.timeout.is_some()
            && now.started.is_some()
            && now.phase == Phase::Scheduled
            && !timer(Timer::Timeout { stage: id, attempt, resume })
        {
            complaints.add("I7", format!("the limit of {} has no timer", stage.id));
        }
        if !alive {
            complaints.add("I7", format!("{} waits for nothing", stage.id));
        }
    }
    if !waits {
        complaints.add("I7", "no stage of it waits for anything".to_owned());
    }
}

fn is_decision(fact: &Fact) -> bool {
    fact.is_terminal()
        || matches!(fact, Fact::Scheduled(_) | Fact::Skipped { .. } | Fact::RetryScheduled { .. })
}

fn short(fact: &Fact) -> String {
    let seen = super::seen(fact, 0, false);
    format!("{} {}.{}", seen.kind, seen.stage, seen.attempt)
}
