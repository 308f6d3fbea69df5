//! Who decides when a stage waits for people, how many it takes, and what becomes of it when nobody does.
//!
//! The policy is the stage's, whatever its engine: each of the stage's pauses is under it. Without one, any one person
//! decides, and the pause waits for ever.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, Templates, quoted};
use super::limits::{MAX_APPROVERS, MAX_PERSON, MAX_TIMEOUT};
use super::{Stage, Workflow};
use crate::violation::{Reason, Violations, item, member};

const KEYS: &[&str] =
    &["approvers", "quorum", "exclude_requester", "require_reason", "timeout", "on_timeout"];

/// A policy as a client wrote it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ApprovalDraft {
    /// Who may decide; empty for anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many must approve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// Who asked for the execution may not decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_requester: bool,
    /// Nobody decides without saying why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_reason: bool,
    /// How long a pause waits, such as `"2h"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// `reject` or `approve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<String>,
}

/// A checked policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalPolicy {
    /// Who may decide; empty for anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvers: Vec<String>,
    /// How many must approve; at least 1.
    pub quorum: u32,
    /// Who asked for the execution may not decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_requester: bool,
    /// Nobody decides without saying why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_reason: bool,
    /// How long a pause waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
}

/// What happens when not enough people decide in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnTimeout {
    /// As if somebody had rejected.
    #[default]
    Reject,
    /// As if enough had approved.
    Approve,
}

/// Any one person decides, whenever they like: what holds for a stage without a policy.
pub static ANYBODY: ApprovalPolicy = ApprovalPolicy {
    approvers: Vec::new(),
    quorum: 1,
    exclude_requester: false,
    require_reason: false,
    timeout: None,
    on_timeout: OnTimeout::Reject,
};

impl ApprovalPolicy {
    /// What these votes on one question come to: one who rejects is enough to reject, and `quorum` who approve to
    /// approve. `None` while it is open.
    pub fn outcome(&self, votes: impl IntoIterator<Item = bool>) -> Option<bool> {
        let mut approvals = 0;
        for approved in votes {
            if !approved {
                return Some(false);
            }
            approvals += 1;
        }
        (approvals >= self.quorum).then_some(true)
    }

    /// Whether it matters who decides, so that nobody may do so without a name.
    pub fn asks_who(&self) -> bool {
        !self.approvers.is_empty() || self.quorum > 1 || self.exclude_requester
    }
}

/// In a few words, for people.
impl fmt::Display for ApprovalPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.approvers.as_slice(), self.quorum) {
            ([], 1) => f.write_str("anybody")?,
            ([], quorum) => write!(f, "any {quorum} people")?,
            ([one], _) => f.write_str(one)?,
            (several, quorum) => write!(f, "{quorum} of {}", several.join(", "))?,
        }
        if self.exclude_requester {
            f.write_str(", but not who asked for the execution")?;
        }
        if self.require_reason {
            f.write_str(", with a reason")?;
        }
        if let Some(timeout) = self.timeout {
            let then = if self.on_timeout == OnTimeout::Approve { "approved" } else { "rejected" };
            write!(f, ", within {}, then it is {then}", humantime::format_duration(timeout))?;
        }
        Ok(())
    }
}

impl Stage {
    /// Who decides when it waits for people.
    pub fn approval_policy(&self) -> &ApprovalPolicy {
        self.approval.as_ref().unwrap_or(&ANYBODY)
    }
}

impl Workflow {
    /// Checks that its approvals can be given although this person asks for it; nobody is an empty name.
    ///
    /// # Errors
    /// When a stage excludes who asks and that is nobody, or when too few are left.
    pub fn check_requester(&self, requester: &str) -> Result<(), Violations> {
        let mut violations = Violations::default();
        for (n, stage) in self.stages.iter().enumerate() {
            let Some(policy) = stage.approval.as_ref().filter(|policy| policy.exclude_requester) else {
                continue;
            };
            if requester.is_empty() && violations.0.is_empty() {
                let message =
                    format!("say who asks (--by NAME): {} must not be approved by the same person", stage.id);
                violations.push("requested_by", Reason::Required, message);
            }
            let others = policy.approvers.iter().filter(|name| *name != requester).count();
            if !policy.approvers.is_empty() && others < policy.quorum as usize {
                let field = member(&member(&item("stages", n), "approval"), "quorum");
                let message =
                    format!("without {}, who asks for the execution, {others} may decide", quoted(requester));
                violations.push(field, Reason::InvalidValue, message);
            }
        }
        violations.into_result(())
    }
}

/// Whether a text can be somebody's name.
pub fn is_person(name: &str) -> bool {
    !name.is_empty()
        && name.trim() == name
        && name.chars().count() <= MAX_PERSON
        && !name.chars().any(char::is_control)
}

pub(super) fn parse(members: &Map<String, Value>, path: &str, violations: &mut Violations) -> ApprovalDraft {
    let mut fields = Fields::new(members, path, KEYS, Templates::NONE, violations);
    let approvers = fields.texts("approvers").unwrap_or_default();
    ApprovalDraft {
        approvers: approvers.into_iter().map(|(_, name)| name.to_owned()).collect(),
        quorum: fields.whole("quorum", 1, MAX_APPROVERS as u64).and_then(|n| n.try_into().ok()),
        exclude_requester: fields.flag("exclude_requester"),
        require_reason: fields.flag("require_reason"),
        timeout: fields.text("timeout").map(str::to_owned),
        on_timeout: fields.text("on_timeout").map(str::to_owned),
    }
}

pub(super) fn check(draft: &ApprovalDraft, path: &str, violations: &mut Violations) -> ApprovalPolicy {
    let timeout =
        super::check::duration(draft.timeout.as_deref(), &member(path, "timeout"), MAX_TIMEOUT, violations);
    let mut refuse = |field: String, message: String| violations.push(field, Reason::InvalidValue, message);
    let approvers = member(path, "approvers");
    if draft.approvers.len() > MAX_APPROVERS {
        refuse(approvers.clone(), format!("there must not be more than {MAX_APPROVERS}"));
    }
    for (n, name) in draft.approvers.iter().enumerate() {
        if !is_person(name) {
            let message = format!("a name has 1 to {MAX_PERSON} characters, and no space around it");
            refuse(item(&approvers, n), message);
        } else if draft.approvers.iter().take(n).any(|other| other == name) {
            refuse(item(&approvers, n), format!("{} is named twice", quoted(name)));
        }
    }
    let quorum = draft.quorum.unwrap_or(1);
    let most = if draft.approvers.is_empty() { MAX_APPROVERS } else { draft.approvers.len() };
    if quorum == 0 || quorum as usize > most {
        refuse(member(path, "quorum"), format!("must be from 1 to {most}, as many as may decide"));
    }
    let on_timeout = match draft.on_timeout.as_deref() {
        None | Some("reject") => OnTimeout::Reject,
        Some("approve") => OnTimeout::Approve,
        Some(other) => {
            let message = format!("{} is neither \"reject\" nor \"approve\"", quoted(other));
            refuse(member(path, "on_timeout"), message);
            OnTimeout::Reject
        }
    };
    if draft.on_timeout.is_some() && draft.timeout.is_none() {
        refuse(member(path, "on_timeout"), "needs a \"timeout\"".to_owned());
    }
    let ApprovalDraft { approvers, exclude_requester, require_reason, .. } = draft.clone();
    ApprovalPolicy { approvers, quorum, exclude_requester, require_reason, timeout, on_timeout }
}
