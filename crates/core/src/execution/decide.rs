//! What is to be done, given the state of an execution.
//!
//! `decide` is a pure function of the state, not of the input that changed it: whoever folds the same
//! history finds the same commands, so any coordinator can go on after any other. It asks for nothing that
//! the state shows as done, and gives commands in the order in which they must be stored: a timer before
//! the fact that relies on it, so that a crash in between leaves a timer too many and never one too few.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::fact::{Decided, Fact, Failure, Object, Paused, Resolution, StateUpdate, Task, Timer};
use super::state::{Phase, StageState, State};
use crate::id::{ExecutionId, StageId};
use crate::workflow::{self, RetryPolicy, Stage, StageOutcome, StageView, Workflow};

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Store this fact, on condition that no other coordinator stored one since.
    Record(Fact),
    /// Have this timer fire into the execution's inputs.
    SetTimer {
        /// Which.
        timer: Timer,
        /// When.
        at: DateTime<Utc>,
    },
}

/// What is to be done now.
pub fn decide(id: &ExecutionId, state: &State) -> Vec<Command> {
    let Some(workflow) = state.workflow() else {
        return Vec::new();
    };
    if state.end.is_some() {
        return Vec::new();
    }
    if let Some(reason) = &state.cancel {
        return vec![Command::Record(Fact::ExecutionCancelled { reason: reason.clone() })];
    }
    if state.deadline_passed {
        let error = Failure::terminal("DEADLINE_EXCEEDED", "the execution's deadline passed before it ended");
        return vec![Command::Record(Fact::ExecutionFailed { stage: None, error })];
    }
    if state.stages.iter().all(StageState::is_settled) {
        return vec![Command::Record(Fact::ExecutionCompleted)];
    }
    let mut round = Round { id, state, workflow, variables: None, commands: Vec::new() };
    if state.decided == 0
        && let Some(at) = state.deadline()
    {
        round.commands.push(Command::SetTimer { timer: Timer::Deadline, at });
    }
    for (stage, now) in state.iter() {
        if let Err(error) = round.advance(stage, now) {
            // Nothing else matters once the execution fails; what was to be scheduled would be in vain.
            let stage = Some(stage.id.clone());
            return vec![Command::Record(Fact::ExecutionFailed { stage, error })];
        }
    }
    round.commands
}

struct Round<'a> {
    id: &'a ExecutionId,
    state: &'a State,
    workflow: &'a Workflow,
    /// What expressions see; made when the first stage asks, as most rounds have none that does.
    variables: Option<Object>,
    commands: Vec<Command>,
}

impl<'a> Round<'a> {
    fn advance(&mut self, stage: &'a Stage, now: &'a StageState) -> Result<(), Failure> {
        match &now.phase {
            Phase::Pending => self.begin(stage),
            Phase::Failed(error, time) => self.after_failure(stage, now.attempt, error, *time),
            Phase::Due => self.schedule(stage, now.attempt + 1, 0, None),
            Phase::Decided(paused, decided) => {
                let resolution = resolution(paused, decided);
                self.schedule(stage, now.attempt, now.resume + 1, resolution)
            }
            Phase::Scheduled
            | Phase::Paused(_)
            | Phase::Backoff(..)
            | Phase::Completed(_)
            | Phase::Skipped(_) => Ok(()),
        }
    }

    fn begin(&mut self, stage: &'a Stage) -> Result<(), Failure> {
        let needs: Vec<_> = stage.needs.iter().filter_map(|id| self.state.stage(id)).collect();
        if !needs.iter().all(|needed| needed.is_settled()) {
            return Ok(());
        }
        let all_skipped =
            !needs.is_empty() && needs.iter().all(|needed| matches!(needed.phase, Phase::Skipped(_)));
        if stage.when.is_some() {
            if !workflow::condition_holds(stage, self.variables()).map_err(invalid)? {
                self.skip(stage, "its condition does not hold");
                return Ok(());
            }
        } else if all_skipped {
            self.skip(stage, "every stage that it needs was skipped");
            return Ok(());
        }
        self.schedule(stage, 1, 0, None)
    }

    fn skip(&mut self, stage: &Stage, reason: &str) {
        let fact = Fact::Skipped { stage: stage.id.clone(), reason: reason.to_owned() };
        self.commands.push(Command::Record(fact));
    }

    fn schedule(
        &mut self,
        stage: &'a Stage,
        attempt: u32,
        resume: u32,
        resolution: Option<Resolution>,
    ) -> Result<(), Failure> {
        // Most tasks have no templates, and the variables are as large as all outputs together.
        let none = Object::new();
        let has_templates = workflow::has_templates(stage);
        let secret_fields = if has_templates { workflow::secrets::fields(&stage.task) } else { Vec::new() };
        let variables = if has_templates { self.variables() } else { &none };
        let task = workflow::resolve_task(stage, variables).map_err(invalid)?;
        self.commands.push(Command::Record(Fact::Scheduled(Task {
            stage: stage.id.clone(),
            engine: stage.engine.clone(),
            pool: stage.pool.clone(),
            attempt,
            resume,
            task,
            secret_fields,
            input: self.workflow.input.clone(),
            dependencies: self.dependencies(stage),
            repos: self.workflow.repos.clone(),
            documents: self.workflow.documents.clone(),
            timeout: stage.timeout,
            deadline: self.state.deadline(),
            resolution,
            update: self.update(&stage.id),
        })));
        Ok(())
    }

    /// The change of the checkpoint that a stage of a fork goes on from. The engine makes it once: where it wrote a
    /// checkpoint of its own, it is in it.
    fn update(&self, stage: &StageId) -> Option<StateUpdate> {
        let forked = self.state.accepted.as_ref()?.forked.as_ref()?;
        forked.checkpoint.as_ref().filter(|_| &forked.stage == stage)?.update.clone()
    }

    fn after_failure(
        &mut self,
        stage: &Stage,
        attempt: u32,
        error: &Failure,
        time: DateTime<Utc>,
    ) -> Result<(), Failure> {
        if !error.retryable || stage.retry.gives_up(attempt, &error.reason) {
            return Err(error.clone());
        }
        let at = time + backoff(&stage.retry, self.id, &stage.id, attempt);
        let timer = Timer::Retry { stage: stage.id.clone(), attempt: attempt + 1 };
        self.commands.push(Command::SetTimer { timer, at });
        let fact = Fact::RetryScheduled { stage: stage.id.clone(), attempt: attempt + 1, at };
        self.commands.push(Command::Record(fact));
        Ok(())
    }

    fn dependencies(&self, stage: &Stage) -> BTreeMap<StageId, Arc<Object>> {
        let output = |id: &StageId| match &self.state.stage(id)?.phase {
            Phase::Completed(output) => Some((id.clone(), Arc::clone(output))),
            _ => None,
        };
        stage.needs.iter().filter_map(output).collect()
    }

    fn variables(&mut self) -> &Object {
        self.variables.get_or_insert_with(|| workflow::variables(self.workflow, &ended(self.state)))
    }
}

/// What expressions see of the stages that have ended.
fn ended(state: &State) -> BTreeMap<StageId, StageView> {
    state
        .iter()
        .filter_map(|(stage, now)| {
            let view = match &now.phase {
                Phase::Completed(output) => {
                    StageView { state: StageOutcome::Completed, output: Some(Arc::clone(output)) }
                }
                Phase::Skipped(_) => StageView { state: StageOutcome::Skipped, output: None },
                _ => return None,
            };
            Some((stage.id.clone(), view))
        })
        .collect()
}

fn resolution(paused: &Paused, decided: &Decided) -> Option<Resolution> {
    let question = paused.questions.get(decided.question as usize)?;
    Some(Resolution {
        checkpoint: paused.checkpoint.clone(),
        key: question.key.clone(),
        approved: decided.approved,
        reason: decided.reason.clone(),
        decided_by: decided.decided_by.clone(),
        values: decided.values.clone(),
    })
}

fn invalid(violations: crate::violation::Violations) -> Failure {
    let field = violations.0.first().map(|violation| violation.field.clone()).unwrap_or_default();
    Failure { field, ..Failure::terminal("TEMPLATE_FAILED", violations.to_string()) }
}

/// The policy's wait, shortened by up to a fifth so that stages that failed together do not return
/// together. The jitter comes from the ids, so every coordinator finds the same time.
fn backoff(policy: &RetryPolicy, id: &ExecutionId, stage: &StageId, attempt: u32) -> chrono::Duration {
    let full = policy.backoff(attempt);
    let text = [id.as_str().as_bytes(), stage.as_str().as_bytes(), &attempt.to_be_bytes()].concat();
    // FNV-1a: any stable spread will do.
    let hash = text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let fifth = full / 5;
    let cut = fifth.mul_f64((hash >> 11) as f64 / (1_u64 << 53) as f64);
    chrono::Duration::from_std(full.saturating_sub(cut)).unwrap_or(chrono::Duration::MAX)
}
