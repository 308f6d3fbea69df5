//! The votes on one pause, by the words of its stage's policy: only who may decide does, each question once, with a
//! reason where one is asked for, and about the pause that they saw; one who rejects is enough, and so are as many who
//! approve as the quorum says.

use mahavishnu_core::execution::Decided;
use mahavishnu_core::workflow::{ApprovalPolicy, OnTimeout, Stage};

/// What a pause came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Yes or no.
    pub approved: bool,
    /// Whose answer it is; nobody's when time was up.
    pub by: String,
}

/// The votes on a pause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ballot {
    nonce: u64,
    questions: usize,
    /// Who approved which question.
    approvals: Vec<(u32, String)>,
}

impl Ballot {
    /// Of the pause that the log holds at `nonce`.
    pub fn new(nonce: u64, questions: usize) -> Self {
        Self { nonce, questions, approvals: Vec::new() }
    }

    /// Whether a vote counts.
    pub fn admits(&self, vote: &Decided, stage: &Stage, requester: &str) -> bool {
        let asked = (vote.question as usize) < self.questions;
        let seen = vote.nonce.is_none_or(|nonce| nonce == self.nonce);
        let Some(policy) = &stage.approval else { return asked && seen };
        let who = vote.decided_by.as_str();
        let named = !who.is_empty()
            || (policy.approvers.is_empty() && policy.quorum == 1 && !policy.exclude_requester);
        let listed = policy.approvers.is_empty() || policy.approvers.iter().any(|name| name == who);
        let excluded = policy.exclude_requester && who == requester;
        let reasoned = !policy.require_reason || !vote.reason.trim().is_empty();
        let again = self.approvals.iter().any(|(question, name)| *question == vote.question && name == who);
        asked && seen && named && listed && !excluded && reasoned && !again
    }

    /// Takes a vote that counts; what the pause comes to, if that is decided now.
    pub fn take(&mut self, vote: &Decided, stage: &Stage) -> Option<Answer> {
        if !vote.approved {
            return Some(Answer { approved: false, by: vote.decided_by.clone() });
        }
        self.approvals.push((vote.question, vote.decided_by.clone()));
        let all = self.approvals.iter().filter(|(question, _)| *question == vote.question);
        let names: Vec<&str> = all.map(|(_, name)| name.as_str()).collect();
        let quorum = stage.approval.as_ref().map_or(1, |policy| policy.quorum as usize);
        (names.len() == quorum).then(|| Answer { approved: true, by: names.join(", ") })
    }
}

/// What a pause comes to when its time is up.
pub fn timed_out(policy: Option<&ApprovalPolicy>) -> Answer {
    let approved = policy.is_some_and(|policy| policy.on_timeout == OnTimeout::Approve);
    Answer { approved, by: String::new() }
}
