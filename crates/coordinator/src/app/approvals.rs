//! Human decisions.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_core::execution::{Decided, Fact, Object};
use mahavishnu_proto::public::ApprovalRef;
use mahavishnu_proto::v1;
use uuid::Uuid;

use super::start::request_uuid;
use super::{App, Error, Result};
use crate::driver::{History, approvals, decision_counted};

/// What a person decided.
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub decided_by: String,
    /// Values for the stage's state.
    pub values: Object,
    /// The caller's id of the request; empty for none.
    pub request_id: String,
}

impl App {
    /// One approval.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn approval(&self, id: &str) -> Result<v1::Approval> {
        self.locate(id).await.map(|(_, _, approval)| approval)
    }

    /// Decides a pending approval, once: of two decisions, the first that is stored counts.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when it is not pending any more.
    pub async fn decide(&self, id: &str, decision: Decision, trace: &Trace) -> Result<v1::Approval> {
        let (history, named, approval) = self.locate(id).await?;
        // The log may store a copy of one write twice, and the caller may ask twice: the request is one all the same.
        let request_id = match decision.request_id.as_str() {
            "" => Uuid::now_v7(),
            request_id => request_uuid(request_id)?,
        };
        let request_id = request_id.to_string();
        if history.with_folded(|folded| decision_counted(folded, &request_id)) {
            return repeated(approval, &request_id, decision.approved);
        }
        if approval.state() != v1::approval::State::Pending {
            return Err(not_pending(&approval));
        }
        let fact = Fact::Decided(Decided {
            stage: named.stage,
            attempt: named.attempt,
            resume: named.resume,
            question: named.question,
            approved: decision.approved,
            reason: decision.reason,
            decided_by: decision.decided_by,
            values: decision.values,
            request_id: request_id.clone(),
        });
        let position = self.bus.input(&history.id, &fact, trace).await?;
        history.folded_to(position).await;
        let (_, _, approval) = self.locate(id).await?;
        if history.with_folded(|folded| decision_counted(folded, &request_id)) {
            Ok(approval)
        } else {
            Err(not_pending(&approval))
        }
    }

    async fn locate(&self, id: &str) -> Result<(Arc<History>, ApprovalRef, v1::Approval)> {
        let missing = || Error::NotFound {
            what: "approval",
            name: id.to_owned(),
            hint: "list what waits: mahavishnu approvals list".to_owned(),
        };
        let named = ApprovalRef::parse(id).ok_or_else(missing)?;
        let history = self.histories.get(&named.execution).await.map_err(|error| match error {
            mahavishnu_bus::Error::NotFound => missing(),
            error => error.into(),
        })?;
        let folded = || {
            let all = history.with_folded(|folded| approvals(&history.id, folded));
            all.into_iter().find(|approval| approval.id == id)
        };
        let approval = match folded() {
            Some(approval) => approval,
            None => {
                // Asked for on a replica that is ahead of this one, or never.
                self.histories.catch_up(&history.id).await?;
                folded().ok_or_else(missing)?
            }
        };
        Ok((history, named, approval))
    }
}

/// The answer to a request that has decided before: about this approval and with this answer, it is the same request.
fn repeated(approval: v1::Approval, request_id: &str, approved: bool) -> Result<v1::Approval> {
    let decided = if approved { v1::approval::State::Approved } else { v1::approval::State::Rejected };
    if approval.state() == decided {
        Ok(approval)
    } else {
        Err(Error::RequestIdReused(request_id.to_owned()))
    }
}

fn not_pending(approval: &v1::Approval) -> Error {
    let state = match approval.state() {
        v1::approval::State::Approved => "was approved before",
        v1::approval::State::Rejected => "was rejected before",
        _ => "has expired: the stage went on, or the execution ended",
    };
    let by =
        if approval.decided_by.is_empty() { String::new() } else { format!(" by {}", approval.decided_by) };
    Error::Precondition { reason: "APPROVAL_NOT_PENDING", message: format!("the approval {state}{by}") }
}
