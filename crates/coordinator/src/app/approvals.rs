//! Human decisions.
//!
//! Invariant: a decision counts because the log took it in its place; what is said beforehand only spares the caller a
//! record without effect.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_core::execution::{Decided, Fact, Object, Void};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::public::ApprovalRef;
use mahavishnu_proto::v1;
use uuid::Uuid;

use super::start::{person, request_uuid};
use super::{App, Error, Result};
use crate::driver::{History, approvals, decision_of};

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
    /// The nonce of the approval that was looked at; empty for that of the approval now.
    pub nonce: String,
}

impl App {
    /// One approval.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn approval(&self, id: &str) -> Result<v1::Approval> {
        self.locate(id).await.map(|(_, _, approval)| approval)
    }

    /// Decides a pending approval, as far as one person can: the order in which the log stores decisions is theirs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] when it is not pending any more; [`Error::Denied`] and
    /// [`Error::Done`] as its policy says.
    pub async fn decide(&self, id: &str, decision: Decision, trace: &Trace) -> Result<v1::Approval> {
        let (history, named, approval) = self.locate(id).await?;
        // The log may store a copy of one write twice, and the caller may ask twice: the request is one all the same.
        let request_id = match decision.request_id.as_str() {
            "" => Uuid::now_v7(),
            request_id => request_uuid(request_id)?,
        };
        let request_id = request_id.to_string();
        let decided = Decided {
            stage: named.stage,
            attempt: named.attempt,
            resume: named.resume,
            question: named.question,
            nonce: approval.nonce.parse().ok(),
            approved: decision.approved,
            reason: decision.reason,
            decided_by: person("decided_by", &decision.decided_by)?,
            values: decision.values,
            request_id: request_id.clone(),
        };
        // The same decision, whether or not it named the nonce.
        let same = |before: &Decided| Decided { nonce: decided.nonce, ..before.clone() } == decided;
        if let Some(same) = history.with_folded(|folded| decision_of(folded, &request_id).map(same)) {
            return if same { Ok(approval) } else { Err(Error::RequestIdReused(request_id)) };
        }
        let stale = !decision.nonce.is_empty() && decision.nonce != approval.nonce;
        let may = match history.with_folded(|folded| folded.state.may_decide(&decided)) {
            Ok(()) if stale => Err(Void::StaleNonce),
            may => may,
        };
        may.map_err(|void| refusal(void, &decided, &approval))?;
        let fact = Fact::Decided(decided.clone());
        let position = self.bus.input(&history.id, &fact, trace).await?;
        history.folded_to(position).await;
        let (_, _, approval) = self.locate(id).await?;
        let void = history.with_folded(|folded| match decision_of(folded, &request_id) {
            Some(_) => None,
            None => Some(folded.at(position).and_then(|stored| stored.void).unwrap_or(Void::NotPending)),
        });
        void.map_or(Ok(approval.clone()), |void| Err(refusal(void, &decided, &approval)))
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

/// Why a decision does not count, and what to do about it.
fn refusal(void: Void, decided: &Decided, approval: &v1::Approval) -> Error {
    let who = &decided.decided_by;
    let required = |field: &str, message: &str| {
        let mut violations = Violations::default();
        violations.push(field, Reason::Required, message);
        Error::Invalid(violations)
    };
    match void {
        Void::NoReason => required("reason", "this stage takes no decision without a reason (--reason TEXT)"),
        Void::NotEligible if who.is_empty() => {
            required("decided_by", "it matters here who decides; say who you are (--by NAME)")
        }
        Void::NotEligible => Error::Denied {
            reason: "APPROVER_NOT_ELIGIBLE",
            message: format!("{who} may not decide this; ask {}", others(approval, who)),
        },
        Void::Requester => Error::Denied {
            reason: "REQUESTER_MAY_NOT_DECIDE",
            message: format!(
                "{who} asked for the execution, and may not decide this therefore; ask {}",
                others(approval, who)
            ),
        },
        Void::AlreadyDecided => Error::Done {
            reason: "ALREADY_DECIDED",
            message: format!(
                "{who} has decided this before, and nobody takes a decision back; it waits for {}",
                others(approval, who)
            ),
        },
        Void::StaleNonce => Error::Precondition {
            reason: "APPROVAL_NONCE_STALE",
            message: format!(
                "the nonce is that of another pause; look at what is asked now: mahavishnu approvals get {}",
                approval.id
            ),
        },
        _ => not_pending(approval),
    }
}

/// Who is left to decide.
fn others(approval: &v1::Approval, who: &str) -> String {
    let policy = approval.policy.clone().unwrap_or_default();
    let excluded = |name: &&String| {
        name.as_str() == who
            || (policy.exclude_requester && **name == approval.requested_by)
            || approval.votes.iter().any(|vote| vote.decided_by == **name)
    };
    let left: Vec<_> = policy.approvers.iter().filter(|name| !excluded(name)).map(String::as_str).collect();
    if left.is_empty() { "somebody else".to_owned() } else { left.join(" or ") }
}

fn not_pending(approval: &v1::Approval) -> Error {
    let state = match approval.state() {
        v1::approval::State::Approved => "was approved before",
        v1::approval::State::Rejected => "was rejected before",
        _ => "has expired: the stage went on, or the execution ended",
    };
    let by = match (approval.decided_by.as_str(), approval.reason.as_str()) {
        ("", "") => String::new(),
        ("", reason) => format!(": {reason}"),
        (by, _) => format!(" by {by}"),
    };
    let message = format!(
        "the approval {state}{by}; see what else waits: mahavishnu approvals list --execution {}",
        approval.execution_id
    );
    Error::Precondition { reason: "APPROVAL_NOT_PENDING", message }
}
