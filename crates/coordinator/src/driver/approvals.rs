//! The approvals of an execution, as its history tells them: what was asked, who decided what and when, how it ended.

use mahavishnu_core::execution::{Decided, Fact, Paused, State, Timer, together};
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_core::workflow::{ANYBODY, ApprovalPolicy, OnTimeout};
use mahavishnu_proto::v1::approval::State as Standing;
use mahavishnu_proto::{public, v1, wire};
use prost_types::Timestamp;

use super::history::{Folded, Numbered};

/// Every approval that the execution asked for, in order.
pub fn approvals(id: &ExecutionId, folded: &Folded) -> Vec<v1::Approval> {
    let mut all = Vec::new();
    for numbered in folded.events.iter().filter(|numbered| numbered.void.is_none()) {
        let time = wire::timestamp(numbered.record.time);
        match &numbered.record.fact {
            Fact::Paused(paused) => all.extend(Ballot::of(id, paused, numbered, &folded.state)),
            Fact::Decided(decided) => vote(&mut all, decided, time),
            Fact::TimerFired(Timer::Approval { stage, attempt, resume }) => {
                let pause = (stage, *attempt, *resume);
                let policy = policy(&folded.state, stage);
                let approved = policy.on_timeout == OnTimeout::Approve;
                close(&mut all, pause, 0, approved, ("", &policy.timed_out()), time);
            }
            fact if fact.is_terminal() => {
                let pending = all.iter_mut().filter(|ballot| ballot.approval.state() == Standing::Pending);
                pending.for_each(|ballot| ballot.approval.set_state(Standing::Expired));
            }
            _ => {}
        }
    }
    all.into_iter().map(|ballot| ballot.approval).collect()
}

/// How many have approved what the last of these events is about, that one included.
pub fn given(events: &[Numbered], last: &Decided) -> u32 {
    let same = |decided: &Decided| pause(decided) == pause(last) && decided.question == last.question;
    let approving = events.iter().filter(|numbered| match &numbered.record.fact {
        Fact::Decided(decided) => numbered.void.is_none() && decided.approved && same(decided),
        _ => false,
    });
    approving.count().try_into().unwrap_or(u32::MAX)
}

/// The decision of this request that took effect, whichever copy of it did.
pub fn decision_of<'a>(folded: &'a Folded, request_id: &str) -> Option<&'a Decided> {
    folded.events.iter().find_map(|numbered| match &numbered.record.fact {
        Fact::Decided(decided) if decided.request_id == request_id && numbered.void.is_none() => {
            Some(decided)
        }
        _ => None,
    })
}

/// Stage, attempt and resume count.
type PauseOf<'a> = (&'a StageId, u32, u32);

/// A question with its votes.
struct Ballot<'a> {
    pause: PauseOf<'a>,
    question: u32,
    policy: &'a ApprovalPolicy,
    votes: Vec<&'a Decided>,
    approval: v1::Approval,
}

impl<'a> Ballot<'a> {
    fn of(
        id: &ExecutionId,
        paused: &'a Paused,
        numbered: &Numbered,
        state: &'a State,
    ) -> impl Iterator<Item = Self> {
        let origin = &paused.origin;
        let pause = (numbered.record.position, numbered.record.time);
        (0..).zip(public::pending(id, paused, pause, state)).map(move |(question, pending)| Self {
            pause: (&origin.stage, origin.attempt, origin.resume),
            question,
            policy: policy(state, &origin.stage),
            votes: Vec::new(),
            approval: v1::Approval {
                id: pending.approval_id,
                execution_id: id.to_string(),
                stage_id: origin.stage.to_string(),
                state: Standing::Pending.into(),
                title: pending.title,
                payload: pending.payload,
                create_time: Some(wire::timestamp(pause.1)),
                policy: pending.policy,
                expire_time: pending.expire_time,
                nonce: pending.nonce,
                requested_by: state.requester().to_owned(),
                ..v1::Approval::default()
            },
        })
    }
}

fn vote<'a>(all: &mut [Ballot<'a>], decided: &'a Decided, time: Timestamp) {
    let of = pause(decided);
    let asked = |ballot: &&mut Ballot<'_>| ballot.pause == of && ballot.question == decided.question;
    let Some(ballot) = all.iter_mut().find(asked) else { return };
    ballot.votes.push(decided);
    ballot.approval.votes.push(v1::ApprovalVote {
        decided_by: decided.decided_by.clone(),
        approved: decided.approved,
        reason: decided.reason.clone(),
        time: Some(time),
    });
    let Some(approved) = ballot.policy.outcome(ballot.votes.iter().map(|vote| vote.approved)) else { return };
    let whole = if approved { together(ballot.votes.iter().copied()) } else { None };
    let whole = whole.as_ref().unwrap_or(decided);
    close(all, of, decided.question, approved, (&whole.decided_by, &whole.reason), time);
}

/// One answer continues the attempt, which asks the pause's other questions again.
fn close(
    all: &mut [Ballot<'_>],
    pause: PauseOf<'_>,
    question: u32,
    approved: bool,
    (by, why): (&str, &str),
    time: Timestamp,
) {
    for ballot in all.iter_mut().filter(|ballot| ballot.pause == pause) {
        let approval = &mut ballot.approval;
        approval.decide_time = Some(time);
        if ballot.question != question {
            approval.set_state(Standing::Expired);
            continue;
        }
        approval.set_state(if approved { Standing::Approved } else { Standing::Rejected });
        by.clone_into(&mut approval.decided_by);
        why.clone_into(&mut approval.reason);
    }
}

fn pause(decided: &Decided) -> PauseOf<'_> {
    (&decided.stage, decided.attempt, decided.resume)
}

fn policy<'a>(state: &'a State, id: &StageId) -> &'a ApprovalPolicy {
    let stage = state.workflow().and_then(|workflow| workflow.stage(id));
    stage.map_or(&ANYBODY, |stage| stage.approval_policy())
}
