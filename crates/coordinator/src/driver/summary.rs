//! What lists show of an execution and its approvals.

use mahavishnu_bus::summaries::Kind;
use mahavishnu_bus::{Bus, Result};
use mahavishnu_core::execution::{Fact, Void};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::v1::approval::State as Approval;
use mahavishnu_proto::{json, public, v1, wire};
use prost::Message as _;

use super::{Folded, History};

/// Writes the summaries anew, if something that they show has changed.
pub async fn put(bus: &Bus, history: &History) -> Result<()> {
    let (execution, approvals, position) = {
        let due = history.with_folded(|folded| {
            (folded.summary_due > folded.summary_put).then(|| {
                let execution = public::execution(&history.id, &folded.state, false);
                (execution, approvals(&history.id, folded), folded.summary_due)
            })
        });
        let Some(due) = due else { return Ok(()) };
        due
    };
    for approval in approvals {
        bus.put_summary(Kind::Approval, &approval.id, approval.encode_to_vec(), position).await?;
    }
    bus.put_summary(Kind::Execution, history.id.as_str(), execution.encode_to_vec(), position).await?;
    history.with_folded(|folded| folded.summary_put = folded.summary_put.max(position));
    Ok(())
}

/// Every approval that the execution asked for, in order.
pub fn approvals(id: &ExecutionId, folded: &Folded) -> Vec<v1::Approval> {
    let mut all = Vec::new();
    for numbered in folded.events.iter().filter(|numbered| numbered.void.is_none()) {
        match &numbered.record.fact {
            Fact::Paused(paused) => all.extend((0..).zip(&paused.questions).map(|(n, question)| {
                let origin = &paused.origin;
                v1::Approval {
                    id: public::approval_id(id, &origin.stage, origin.attempt, origin.resume, n),
                    execution_id: id.to_string(),
                    stage_id: origin.stage.to_string(),
                    state: Approval::Pending.into(),
                    title: question.title.clone(),
                    payload: Some(json::to_struct(&question.payload)),
                    create_time: Some(wire::timestamp(numbered.record.time)),
                    ..v1::Approval::default()
                }
            })),
            Fact::Decided(decided) => {
                let name = |question| {
                    public::approval_id(id, &decided.stage, decided.attempt, decided.resume, question)
                };
                let (own, pause) = (name(decided.question), name(0));
                let pause = pause.trim_end_matches('0');
                for approval in all.iter_mut().filter(|approval| approval.id.starts_with(pause)) {
                    let state = match (approval.id == own, decided.approved) {
                        (true, true) => Approval::Approved,
                        (true, false) => Approval::Rejected,
                        // One decision continues the attempt, which asks the others again.
                        (false, _) => Approval::Expired,
                    };
                    approval.state = state.into();
                    approval.decide_time = Some(wire::timestamp(numbered.record.time));
                    if approval.id == own {
                        approval.decided_by.clone_from(&decided.decided_by);
                        approval.reason.clone_from(&decided.reason);
                    }
                }
            }
            fact if fact.is_terminal() => expire(&mut all),
            _ => {}
        }
    }
    all
}

fn expire(approvals: &mut [v1::Approval]) {
    for approval in approvals.iter_mut().filter(|approval| approval.state() == Approval::Pending) {
        approval.set_state(Approval::Expired);
    }
}

/// Whether a decision at `position` took effect; `None` when it is not there.
pub fn took_effect(folded: &Folded, position: u64) -> Option<Result<(), Void>> {
    let numbered = folded.events.iter().rev().find(|numbered| numbered.record.position == position)?;
    Some(numbered.void.map_or(Ok(()), Err))
}
