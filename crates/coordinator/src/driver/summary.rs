//! What lists show of an execution and its approvals.

use std::time::Duration;

use mahavishnu_bus::summaries::Kind;
use mahavishnu_bus::{Bus, Result};
use mahavishnu_core::execution::{Fact, Failed};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::{json, public, v1, wire};
use prost::Message as _;

use super::approvals::approvals;
use super::history::{Folded, History, Numbered};

/// How long lists may lag. What changes again within this time is written once.
const LAG: Duration = Duration::from_millis(50);

/// Writes the summaries anew, if something that they show has changed.
pub async fn put(bus: &Bus, history: &History) -> Result<()> {
    let is_due = || history.with_folded(|folded| folded.summary_due > folded.summary_put);
    // Every input carries this as a future; most have nothing to write.
    if is_due() { Box::pin(write(bus, history, is_due)).await } else { Ok(()) }
}

async fn write(bus: &Bus, history: &History, is_due: impl Fn() -> bool) -> Result<()> {
    tokio::time::sleep(LAG).await;
    let _summing_up = history.summing_up.lock().await;
    if !is_due() {
        return Ok(());
    }
    let (execution, approvals, letters, position, first) = history.with_folded(|folded| {
        let execution = public::execution(&history.id, &folded.state, false);
        let (approvals, letters) = (approvals(&history.id, folded), dead_letters(&history.id, folded));
        (execution, approvals, letters, folded.summary_due, folded.fresh && folded.summary_put == 0)
    });
    for approval in approvals {
        bus.put_summary(Kind::Approval, &approval.id, approval.encode_to_vec(), position, false).await?;
    }
    for letter in letters {
        let letter = v1::DeadLetter { task: None, ..letter };
        bus.put_summary(Kind::DeadLetter, &letter.id, letter.encode_to_vec(), position, false).await?;
    }
    let body = execution.encode_to_vec();
    bus.put_summary(Kind::Execution, history.id.as_str(), body, position, first).await?;
    history.with_folded(|folded| folded.summary_put = folded.summary_put.max(position));
    Ok(())
}

/// Every task of the execution that was given up, in order.
pub fn dead_letters(id: &ExecutionId, folded: &Folded) -> Vec<v1::DeadLetter> {
    let letter = |(n, numbered): (usize, &Numbered)| {
        let (error, origin, deliveries) = match &numbered.record.fact {
            Fact::Failed(failed) if failed.error.is_dead_letter() && numbered.void.is_none() => {
                (&failed.error, Some(&failed.origin), failed.origin.delivery)
            }
            Fact::TaskUnreadable(unreadable) => (&unreadable.error, None, unreadable.delivery),
            _ => return None,
        };
        let task = folded.events.iter().find_map(|event| match (&event.record.fact, &numbered.record.fact) {
            (Fact::Scheduled(task), Fact::Failed(Failed { origin, .. })) => {
                let same = (&task.stage, task.attempt, task.resume)
                    == (&origin.stage, origin.attempt, origin.resume);
                same.then_some(task)
            }
            (Fact::Scheduled(task), Fact::TaskUnreadable(unreadable)) => {
                (event.record.position == unreadable.position).then_some(task)
            }
            _ => None,
        });
        Some(v1::DeadLetter {
            id: format!("{id}.{}", n + 1),
            state: v1::dead_letter::State::Open.into(),
            execution_id: id.to_string(),
            stage_id: task.map(|task| task.stage.to_string()).unwrap_or_default(),
            engine: task.map(|task| task.engine.to_string()).unwrap_or_default(),
            attempt: task.map(|task| task.attempt).unwrap_or_default(),
            error: Some(public::error(error)),
            deliveries,
            worker_id: origin.map(|origin| origin.worker.to_string()).unwrap_or_default(),
            create_time: Some(wire::timestamp(numbered.record.time)),
            redriven_as: String::new(),
            task: task.map(|task| json::to_struct(&task.task)),
        })
    };
    folded.events.iter().enumerate().filter_map(letter).collect()
}
