//! Decisions of people, under the policy of their stage: a ballot for each pause.
//!
//! | fact | takes effect when |
//! |---|---|
//! | `Decided` | it is about a question of the present pause, by somebody who may decide and has not decided it yet, with a reason where one is required |
//! | `TimerFired(Approval)` | the present pause is the one that it was set for |
//!
//! The first outcome of any question ends the pause: one who rejects, the last of as many as must approve, or the end of
//! the time. Whatever comes later is void, so a pause is decided once, and by the order of the log alone.

use chrono::{DateTime, Utc};

use super::fact::{Decided, Object, Timer};
use super::state::{Phase, State, Void};
use crate::id::StageId;
use crate::workflow::{ANYBODY, ApprovalPolicy, OnTimeout};

/// The present pause of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// Names it: the position of its record in the log, which no other pause has, whichever execution's.
    pub nonce: u64,
    /// When it began.
    pub time: DateTime<Utc>,
    /// The decisions that counted, in order.
    pub votes: Vec<Decided>,
}

impl Pause {
    /// The decisions on one question.
    pub fn votes_on(&self, question: u32) -> impl Iterator<Item = &Decided> {
        self.votes.iter().filter(move |vote| vote.question == question)
    }
}

impl State {
    /// Whether a decision would count now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_decide(&self, decided: &Decided) -> Result<(), Void> {
        let (stage, now) = self.iter().find(|(stage, _)| stage.id == decided.stage).ok_or(Void::Unknown)?;
        if self.end.is_some() {
            return Err(Void::AfterEnd);
        }
        let (Phase::Paused(paused), Some(pause)) = (&now.phase, &now.pause) else {
            return Err(Void::NotPending);
        };
        let same = (now.attempt, now.resume) == (decided.attempt, decided.resume);
        if !same || decided.question as usize >= paused.questions.len() {
            return Err(Void::NotPending);
        }
        if decided.nonce.is_some_and(|nonce| nonce != pause.nonce) {
            return Err(Void::StaleNonce);
        }
        let (policy, who) = (stage.approval_policy(), &decided.decided_by);
        let listed = policy.approvers.is_empty() || policy.approvers.contains(who);
        if !listed || (policy.asks_who() && who.is_empty()) {
            return Err(Void::NotEligible);
        }
        if policy.exclude_requester && self.requester() == who {
            return Err(Void::Requester);
        }
        if policy.require_reason && decided.reason.trim().is_empty() {
            return Err(Void::NoReason);
        }
        if pause.votes_on(decided.question).any(|vote| &vote.decided_by == who) {
            return Err(Void::AlreadyDecided);
        }
        Ok(())
    }

    /// Who asked for the execution; empty when nobody said.
    pub fn requester(&self) -> &str {
        self.accepted.as_ref().map_or("", |accepted| &accepted.requested_by)
    }

    /// When the present pause of a stage ends by itself.
    pub fn approval_deadline(&self, id: &StageId) -> Option<DateTime<Utc>> {
        let pause = self.stage(id)?.pause.as_ref()?;
        self.policy(id).deadline(pause.time)
    }

    pub(super) fn approval_timer(&self, id: &StageId) -> Option<(Timer, DateTime<Utc>)> {
        let now = self.stage(id)?;
        if self.end.is_some() || !matches!(now.phase, Phase::Paused(_)) {
            return None;
        }
        let timer = Timer::Approval { stage: id.clone(), attempt: now.attempt, resume: now.resume };
        Some((timer, self.approval_deadline(id)?))
    }

    pub(super) fn take_decision(&mut self, decided: &Decided) -> Result<(), Void> {
        self.may_decide(decided)?;
        let policy = self.policy(&decided.stage).clone();
        let stage = self.stage_mut(&decided.stage)?;
        let pause = stage.pause.as_mut().ok_or(Void::NotPending)?;
        pause.votes.push(decided.clone());
        let Some(approved) = policy.outcome(pause.votes_on(decided.question).map(|vote| vote.approved))
        else {
            return Ok(());
        };
        let whole = if approved { together(pause.votes_on(decided.question)) } else { None };
        if let Phase::Paused(paused) = &stage.phase {
            stage.phase = Phase::Decided(paused.clone(), whole.unwrap_or_else(|| decided.clone()));
        }
        Ok(())
    }

    pub(super) fn approval_timed_out(&mut self, id: &StageId, number: (u32, u32)) -> Result<(), Void> {
        let policy = self.policy(id).clone();
        let stage = self.stage_mut(id)?;
        let Phase::Paused(paused) = &stage.phase else { return Err(Void::NotPending) };
        if (stage.attempt, stage.resume) != number {
            return Err(Void::NotPending);
        }
        let decided = Decided {
            stage: id.clone(),
            attempt: number.0,
            resume: number.1,
            question: 0,
            nonce: stage.pause.as_ref().map(|pause| pause.nonce),
            approved: policy.on_timeout == OnTimeout::Approve,
            reason: policy.timed_out(),
            decided_by: String::new(),
            values: Object::new(),
            request_id: String::new(),
        };
        stage.phase = Phase::Decided(paused.clone(), decided);
        Ok(())
    }

    fn policy(&self, id: &StageId) -> &ApprovalPolicy {
        let stage = self.workflow().and_then(|workflow| workflow.stage(id));
        stage.map_or(&ANYBODY, |stage| stage.approval_policy())
    }
}

impl ApprovalPolicy {
    /// When a pause that began then ends by itself.
    pub fn deadline(&self, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        since.checked_add_signed(chrono::Duration::from_std(self.timeout?).ok()?)
    }

    /// The reason of a decision that nobody took in time.
    pub fn timed_out(&self) -> String {
        let limit = humantime::format_duration(self.timeout.unwrap_or_default());
        match self.quorum {
            1 => format!("nobody decided within {limit}"),
            quorum => format!("fewer than {quorum} approved within {limit}"),
        }
    }
}

/// What several who approved said, as one decision: all names and reasons, and their values, the later over the earlier.
pub fn together<'a>(votes: impl Iterator<Item = &'a Decided>) -> Option<Decided> {
    votes.cloned().reduce(|mut all, vote| {
        all.decided_by = format!("{}, {}", all.decided_by, vote.decided_by);
        if !vote.reason.is_empty() {
            let between = if all.reason.is_empty() { "" } else { "; " };
            all.reason = format!("{}{between}{}", all.reason, vote.reason);
        }
        all.values.extend(vote.values);
        all
    })
}
