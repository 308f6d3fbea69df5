//! The state of an execution: the fold of its records.
//!
//! | fact | takes effect when | the stage becomes |
//! |---|---|---|
//! | `Scheduled` | always (the log's condition ordered it) | `Scheduled` |
//! | `Completed`, `Failed`, `Paused` | its attempt and resume are the current ones and none of the three came before | `Completed`, `Failed`, `Paused` |
//! | `Started` | its attempt and resume are the current ones and it has no result | unchanged, and it has begun |
//! | `TaskUnreadable` | the message is the stage's present task, and it has no result | `Failed` |
//! | `Progressed` | its attempt is the current one | unchanged |
//! | `Decided` | the stage is paused with this attempt and resume, and its policy lets this person decide (see `approval`) | `Decided`, once enough people have |
//! | `TimerFired(Approval)` | the stage is paused with this attempt and resume | `Decided` |
//! | `TimerFired(Retry)` | the stage failed, in back-off or not yet, and this is its next attempt | `Due` |
//! | `TimerFired(Timeout)` | its attempt and resume are the current ones and it has no result | `Failed` |
//! | `Skipped` | always | `Skipped` |
//! | `RetryScheduled` | the stage failed and its timer has not fired | `Backoff` |
//! | terminal facts | always | unchanged |
//!
//! A timer is set before the `RetryScheduled` that tells of it, so it may fire first. It counts all the same: nobody
//! would set it again.
//!
//! Architecture invariant: anything after a terminal fact, and anything that does not take effect by this
//! table, is void: kept, numbered, shown, and never applied. Folding the same records gives the same state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::approval::Pause;
use super::fact::{Accepted, Decided, Ended, Fact, Failure, Object, Origin, Paused, Record, Timer};
use crate::id::{StageId, WorkerId};
use crate::workflow::{Stage, Workflow};

/// How much later than the worker the durable timer ends an attempt: the worker has seen what happened, and stops the
/// engine before it says so.
const TIMEOUT_GRACE: Duration = Duration::from_secs(2);

/// Why a record has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Void {
    /// The execution had ended.
    AfterEnd,
    /// The execution was accepted before.
    AlreadyAccepted,
    /// It belongs to an attempt that is not, or no longer, the current one.
    StaleAttempt,
    /// The attempt already has a result.
    DuplicateResult,
    /// Nobody asked, or somebody decided before.
    NotPending,
    /// It is about another pause.
    StaleNonce,
    /// Who decided is not among those who may.
    NotEligible,
    /// Who decided asked for the execution, and may not decide therefore.
    Requester,
    /// Who decided has done so before.
    AlreadyDecided,
    /// A decision without the reason that its stage requires.
    NoReason,
    /// The stage is not in this workflow, or there is no workflow.
    Unknown,
}

impl Void {
    /// A stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::AfterEnd => "AFTER_END",
            Self::AlreadyAccepted => "ALREADY_ACCEPTED",
            Self::StaleAttempt => "STALE_ATTEMPT",
            Self::DuplicateResult => "DUPLICATE_RESULT",
            Self::NotPending => "NOT_PENDING",
            Self::StaleNonce => "STALE_NONCE",
            Self::NotEligible => "NOT_ELIGIBLE",
            Self::Requester => "REQUESTER",
            Self::AlreadyDecided => "ALREADY_DECIDED",
            Self::NoReason => "NO_REASON",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every stage completed or was skipped.
    Completed,
    /// A stage failed, or the deadline passed.
    Failed {
        /// The stage at fault.
        stage: Option<StageId>,
        /// What went wrong.
        error: Failure,
    },
    /// Somebody asked for it.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// Where a stage stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Its dependencies have not ended, or nobody has decided yet.
    Pending,
    /// A task is published.
    Scheduled,
    /// The attempt waits for people.
    Paused(Paused),
    /// Somebody decided; the attempt is to be continued.
    Decided(Paused, Decided),
    /// The attempt failed; what follows is not decided yet.
    Failed(Failure, DateTime<Utc>),
    /// The next attempt waits for its time.
    Backoff(Failure, DateTime<Utc>),
    /// The next attempt may start.
    Due,
    /// It has its result.
    Completed(Arc<Object>),
    /// It does not run.
    Skipped(String),
}

/// A stage of an execution.
#[derive(Clone, Debug, PartialEq)]
pub struct StageState {
    /// The present attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// How many approvals the present attempt has passed.
    pub resume: u32,
    /// Where it stands.
    pub phase: Phase,
    /// When the present attempt first began, as far as the history tells, and which worker has it.
    pub started: Option<(DateTime<Utc>, WorkerId)>,
    /// The position of its present task; 0 before the first.
    pub task: u64,
    /// Its present pause, or the last one, until the attempt goes on.
    pub pause: Option<Pause>,
}

impl StageState {
    const NEW: Self =
        Self { attempt: 0, resume: 0, phase: Phase::Pending, started: None, task: 0, pause: None };

    /// It has ended, rightly: stages that need it may start.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Completed(_) | Phase::Skipped(_))
    }
}

/// An execution, as far as its records tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What it runs; `None` before `Accepted`.
    pub accepted: Option<Accepted>,
    /// When it was accepted.
    pub created: Option<DateTime<Utc>>,
    /// When its last record was stored.
    pub updated: Option<DateTime<Utc>>,
    /// Its stages, in the workflow's order.
    pub stages: Vec<StageState>,
    /// Somebody asked to cancel: why.
    pub cancel: Option<String>,
    /// Its deadline has passed.
    pub deadline_passed: bool,
    /// How and when it ended.
    pub end: Option<(End, DateTime<Utc>)>,
    /// The number of its last event.
    pub sequence: u64,
    /// The position of its last record.
    pub position: u64,
    /// The position of the last of the coordinators' own records: what the next one is conditional on.
    pub decided: u64,
    /// Where each stage is in `stages`: workflows of a thousand stages ask often.
    places: BTreeMap<StageId, usize>,
}

impl State {
    /// Folds one record; gives its event number and whether it is void.
    pub fn apply(&mut self, record: &Record) -> (u64, Option<Void>) {
        self.sequence += 1;
        self.position = record.position;
        self.updated = Some(record.time);
        if record.fact.is_decision() {
            self.decided = record.position;
        }
        (self.sequence, self.transition(record).err())
    }

    /// What it runs.
    pub fn workflow(&self) -> Option<&Arc<Workflow>> {
        self.accepted.as_ref().map(|accepted| &accepted.workflow)
    }

    /// The execution's deadline.
    pub fn deadline(&self) -> Option<DateTime<Utc>> {
        let timeout = chrono::Duration::from_std(self.workflow()?.timeout?).ok()?;
        self.created?.checked_add_signed(timeout)
    }

    /// A stage by id.
    pub fn stage(&self, id: &StageId) -> Option<&StageState> {
        self.stages.get(self.index(id)?)
    }

    /// The stage whose present task is at this position.
    pub fn stage_of_task(&self, position: u64) -> Option<(&Stage, &StageState)> {
        self.iter().find(|(_, now)| now.task == position)
    }

    /// How the stages ended that have, rightly: what an execution that goes on from here may take over.
    pub fn ended(&self) -> BTreeMap<StageId, Ended> {
        self.iter()
            .filter_map(|(stage, now)| match &now.phase {
                Phase::Completed(output) => Some((stage.id.clone(), Ended::Completed(Arc::clone(output)))),
                Phase::Skipped(reason) => Some((stage.id.clone(), Ended::Skipped(reason.clone()))),
                _ => None,
            })
            .collect()
    }

    /// Each stage with its definition.
    pub fn iter(&self) -> impl Iterator<Item = (&Stage, &StageState)> {
        let stages = self.workflow().map(|workflow| workflow.stages.as_slice()).unwrap_or_default();
        stages.iter().zip(&self.stages)
    }

    /// The outputs of the completed stages.
    pub fn outputs(&self) -> BTreeMap<StageId, Arc<Object>> {
        self.iter()
            .filter_map(|(stage, state)| match &state.phase {
                Phase::Completed(output) => Some((stage.id.clone(), Arc::clone(output))),
                _ => None,
            })
            .collect()
    }

    /// Nothing runs, and at least one stage waits for a person.
    pub fn is_waiting(&self) -> bool {
        let mut paused = false;
        if self.end.is_some() {
            return false;
        }
        for stage in &self.stages {
            match stage.phase {
                Phase::Paused(_) => paused = true,
                Phase::Pending | Phase::Completed(_) | Phase::Skipped(_) => {}
                _ => return false,
            }
        }
        paused
    }

    fn index(&self, id: &StageId) -> Option<usize> {
        self.places.get(id).copied()
    }

    pub(super) fn stage_mut(&mut self, id: &StageId) -> Result<&mut StageState, Void> {
        let index = self.index(id).ok_or(Void::Unknown)?;
        self.stages.get_mut(index).ok_or(Void::Unknown)
    }

    /// The stage, if `origin` is its current attempt.
    fn current(&mut self, origin: &Origin) -> Result<&mut StageState, Void> {
        let stage = self.stage_mut(&origin.stage)?;
        if origin.attempt > 0 && (stage.attempt, stage.resume) == (origin.attempt, origin.resume) {
            Ok(stage)
        } else {
            Err(Void::StaleAttempt)
        }
    }

    /// The timer that a record asks for: the limit of an attempt that has begun, counted from its first start, or the
    /// time that a pause waits for people. Whoever handles the record as an input sets it; setting it again changes
    /// nothing.
    pub fn timeout_after(&self, fact: &Fact) -> Option<(Timer, DateTime<Utc>)> {
        let origin = match fact {
            Fact::Started(origin) => origin,
            Fact::Paused(paused) => return self.approval_timer(&paused.origin.stage),
            _ => return None,
        };
        let (definition, now) = self.iter().find(|(definition, _)| definition.id == origin.stage)?;
        let Origin { stage, attempt, resume, .. } = origin.clone();
        if self.end.is_some()
            || now.phase != Phase::Scheduled
            || (now.attempt, now.resume) != (attempt, resume)
        {
            return None;
        }
        let limit = chrono::Duration::from_std(definition.timeout?.saturating_add(TIMEOUT_GRACE)).ok()?;
        let at = now.started.as_ref()?.0.checked_add_signed(limit)?;
        Some((Timer::Timeout { stage, attempt, resume }, at))
    }

    /// The first result of the current attempt decides it.
    fn settle(&mut self, origin: &Origin, phase: Phase) -> Result<(), Void> {
        self.running(origin)?.phase = phase;
        Ok(())
    }

    /// The stage, if `origin` is its current attempt and has no result.
    fn running(&mut self, origin: &Origin) -> Result<&mut StageState, Void> {
        let stage = self.current(origin)?;
        if stage.phase == Phase::Scheduled { Ok(stage) } else { Err(Void::DuplicateResult) }
    }

    fn time_out(&mut self, id: &StageId, number: (u32, u32), time: DateTime<Utc>) -> Result<(), Void> {
        let limit = self.workflow().and_then(|workflow| workflow.stage(id)?.timeout).unwrap_or_default();
        let stage = self.stage_mut(id)?;
        if (stage.attempt, stage.resume) != number || stage.phase != Phase::Scheduled {
            return Err(Void::StaleAttempt);
        }
        let message = match &stage.started {
            Some((_, worker)) => {
                format!("the attempt did not end within {limit:?}, and {worker} did not say so")
            }
            None => format!("the attempt did not end within {limit:?}"),
        };
        stage.phase = Phase::Failed(Failure::retryable("TIMEOUT", message), time);
        Ok(())
    }

    fn finish(&mut self, end: End, time: DateTime<Utc>) -> Result<(), Void> {
        self.end = Some((end, time));
        Ok(())
    }

    fn transition(&mut self, record: &Record) -> Result<(), Void> {
        if self.end.is_some() {
            return Err(Void::AfterEnd);
        }
        match &record.fact {
            Fact::Accepted(accepted) => {
                if self.accepted.is_some() {
                    return Err(Void::AlreadyAccepted);
                }
                self.created = Some(record.time);
                self.stages = vec![StageState::NEW; accepted.workflow.stages.len()];
                self.places =
                    accepted.workflow.stages.iter().map(|stage| stage.id.clone()).zip(0..).collect();
                self.accepted = Some(accepted.clone());
                for (id, ended) in accepted.forked.iter().flat_map(|forked| &forked.results) {
                    self.stage_mut(id)?.phase = match ended {
                        Ended::Completed(output) => Phase::Completed(Arc::clone(output)),
                        Ended::Skipped(reason) => Phase::Skipped(reason.clone()),
                    };
                }
                Ok(())
            }
            Fact::Started(origin) => {
                let stage = self.running(origin)?;
                let since = stage.started.take().map_or(record.time, |(since, _)| since);
                stage.started = Some((since, origin.worker.clone()));
                Ok(())
            }
            Fact::TaskUnreadable(unreadable) => {
                let of = |stage: &&mut StageState| stage.task == unreadable.position;
                let stage = self.stages.iter_mut().find(of).ok_or(Void::Unknown)?;
                if stage.phase != Phase::Scheduled {
                    return Err(Void::DuplicateResult);
                }
                stage.phase = Phase::Failed(unreadable.error.clone(), record.time);
                Ok(())
            }
            Fact::Progressed(progressed) => self.current(&progressed.origin).map(drop),
            Fact::Completed(done) => self.settle(&done.origin, Phase::Completed(Arc::clone(&done.output))),
            Fact::Failed(failed) => {
                self.settle(&failed.origin, Phase::Failed(failed.error.clone(), record.time))
            }
            Fact::Paused(paused) => {
                let stage = self.running(&paused.origin)?;
                stage.phase = Phase::Paused(paused.clone());
                stage.pause = Some(Pause { nonce: record.position, time: record.time, votes: Vec::new() });
                Ok(())
            }
            Fact::Decided(decided) => self.take_decision(decided),
            Fact::CancelRequested { reason, .. } => {
                self.cancel.get_or_insert_with(|| reason.clone());
                Ok(())
            }
            Fact::TimerFired(Timer::Deadline) => {
                self.deadline_passed = true;
                Ok(())
            }
            Fact::TimerFired(Timer::Timeout { stage, attempt, resume }) => {
                self.time_out(stage, (*attempt, *resume), record.time)
            }
            Fact::TimerFired(Timer::Approval { stage, attempt, resume }) => {
                self.approval_timed_out(stage, (*attempt, *resume))
            }
            Fact::TimerFired(Timer::Retry { stage, attempt }) => {
                let stage = self.stage_mut(stage)?;
                let failed = matches!(stage.phase, Phase::Failed(..) | Phase::Backoff(..));
                if !failed || attempt.checked_sub(1) != Some(stage.attempt) {
                    return Err(Void::StaleAttempt);
                }
                stage.phase = Phase::Due;
                Ok(())
            }
            Fact::Scheduled(task) => {
                let stage = self.stage_mut(&task.stage)?;
                let (attempt, resume) = (task.attempt, task.resume);
                let (phase, task) = (Phase::Scheduled, record.position);
                *stage = StageState { attempt, resume, phase, task, ..StageState::NEW };
                Ok(())
            }
            Fact::Skipped { stage, reason } => {
                self.stage_mut(stage)?.phase = Phase::Skipped(reason.clone());
                Ok(())
            }
            Fact::RetryScheduled { stage, at, .. } => {
                let stage = self.stage_mut(stage)?;
                let Phase::Failed(error, _) = &stage.phase else {
                    return Err(Void::StaleAttempt);
                };
                stage.phase = Phase::Backoff(error.clone(), *at);
                Ok(())
            }
            Fact::ExecutionCompleted => self.finish(End::Completed, record.time),
            Fact::ExecutionFailed { stage, error } => {
                self.finish(End::Failed { stage: stage.clone(), error: error.clone() }, record.time)
            }
            Fact::ExecutionCancelled { reason } => {
                self.finish(End::Cancelled { reason: reason.clone() }, record.time)
            }
        }
    }
}
