//! Answers to approvals: given beforehand, asked for on the terminal, or left to somebody else.

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::io::Write as _;

use mahavishnu_proto::json;
use mahavishnu_proto::v1::{Approval, ApprovalRequested, DecideApprovalRequest, PendingApproval, approval};
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Code;

use crate::client::Client;
use crate::output::{View, result, words};

/// How approvals are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// This was said beforehand.
    Always(bool),
    /// By whoever sits at the terminal.
    Ask,
    /// By somebody else; how to is said.
    Leave,
}

impl Mode {
    /// From the flags, or by what standard input and error are.
    pub fn choose(approve: bool, reject: bool) -> Self {
        if approve || reject {
            return Self::Always(approve);
        }
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if terminal { Self::Ask } else { Self::Leave }
    }
}

/// Answers the approvals of one execution.
pub struct Approver {
    mode: Mode,
    /// Who answers.
    by: String,
    client: Client,
    waiting: VecDeque<(String, PendingApproval)>,
    /// Lines of standard input, read by a thread of its own from the first question on.
    lines: Option<mpsc::UnboundedReceiver<String>>,
}

impl Approver {
    /// For the executions of this coordinator, in this person's name.
    pub fn new(mode: Mode, by: String, client: Client) -> Self {
        Self { mode, by, client, waiting: VecDeque::new(), lines: None }
    }

    /// A stage asks.
    pub async fn requested(&mut self, stage: &str, requested: &ApprovalRequested, view: &mut dyn View) {
        for approval in &requested.approvals {
            match self.mode {
                Mode::Always(approved) => self.decide(approval, approved, "", view).await,
                Mode::Leave => view.say(&how_to(stage, approval, &self.client.endpoint)),
                Mode::Ask => {
                    self.waiting.push_back((stage.to_owned(), approval.clone()));
                    if self.waiting.len() == 1 {
                        self.ask(view);
                    }
                }
            }
        }
    }

    /// The stage waits no more: it was decided, here or elsewhere, by people or by time. What else it asked with that it
    /// asks again.
    pub fn decided(&mut self, stage: &str, view: &mut dyn View) {
        let asked = self.waiting.front().is_some_and(|(front, _)| front == stage);
        self.waiting.retain(|(waiting, _)| waiting != stage);
        if asked {
            eprintln!("\nit was decided elsewhere");
            self.next(view);
        }
    }

    /// The execution ended: nothing waits any more.
    pub fn forget(&mut self, view: &mut dyn View) {
        if !self.waiting.is_empty() {
            self.waiting.clear();
            eprintln!();
            view.resume();
        }
    }

    /// The next line from standard input while a question stands; `None` at its end.
    pub async fn line(&mut self) -> Option<String> {
        match &mut self.lines {
            Some(lines) if !self.waiting.is_empty() => lines.recv().await,
            _ => std::future::pending().await,
        }
    }

    /// A line was typed.
    pub async fn answered(&mut self, line: Option<String>, view: &mut dyn View) {
        let Some((stage, approval)) = self.waiting.pop_front() else { return };
        match line {
            Some(line) => match answer(&line, wants_reason(&approval)) {
                Some((approved, reason)) => self.decide(&approval, approved, reason, view).await,
                None => self.waiting.push_front((stage, approval)),
            },
            // Standard input was closed: somebody else has to decide.
            None => {
                self.mode = Mode::Leave;
                eprintln!();
                view.say(&how_to(&stage, &approval, &self.client.endpoint));
                for (stage, approval) in std::mem::take(&mut self.waiting) {
                    view.say(&how_to(&stage, &approval, &self.client.endpoint));
                }
            }
        }
        self.next(view);
    }

    fn next(&mut self, view: &mut dyn View) {
        if self.waiting.is_empty() {
            view.resume();
        } else {
            self.ask(view);
        }
    }

    fn ask(&mut self, view: &mut dyn View) {
        view.pause();
        let lines = self.lines.get_or_insert_with(read_lines);
        // What was typed before the question was no answer to it.
        while lines.try_recv().is_ok() {}
        let Some((stage, approval)) = self.waiting.front() else { return };
        eprintln!("\n{stage} waits for a decision");
        for line in payload(approval) {
            eprintln!("  {line}");
        }
        let why = if wants_reason(approval) { " and why: " } else { " " };
        eprint!("approve {:?}? [y/N]{why}", words::short(&approval.title));
        let _ = std::io::stderr().flush();
    }

    async fn decide(&self, approval: &PendingApproval, approved: bool, reason: &str, view: &mut dyn View) {
        let request = DecideApprovalRequest {
            id: approval.approval_id.clone(),
            approved,
            reason: reason.to_owned(),
            decided_by: self.by.clone(),
            nonce: approval.nonce.clone(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..DecideApprovalRequest::default()
        };
        match self.client.approvals().decide_approval(request).await {
            Ok(response) => {
                if let Some(line) = response.into_inner().approval.as_ref().and_then(still_waits) {
                    view.say(&[line, format!("  {}", command(approval, &self.client.endpoint))]);
                }
            }
            // Somebody else was faster; the event of their decision comes.
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => view.say(&[
                format!("the decision was not taken: {}", status.message()),
                format!("  decide again: {}", command(approval, &self.client.endpoint)),
            ]),
        }
    }
}

/// What is left to do when one decision was not enough.
fn still_waits(approval: &Approval) -> Option<String> {
    let quorum = approval.policy.as_ref().map_or(1, |policy| policy.quorum);
    let waits = approval.state() == approval::State::Pending;
    waits.then(|| format!("{} of {quorum} have approved; somebody else decides with:", approval.votes.len()))
}

fn wants_reason(approval: &PendingApproval) -> bool {
    approval.policy.as_ref().is_some_and(|policy| policy.require_reason)
}

/// Yes or no, and why; nothing when the reason is missing that is wanted.
fn answer(line: &str, wants_reason: bool) -> Option<(bool, &str)> {
    if !wants_reason {
        return Some((is_yes(line), ""));
    }
    let (word, reason) = line.trim().split_once(char::is_whitespace)?;
    Some((is_yes(word), reason.trim()))
}

/// Who decides: the user's name.
pub fn user() -> String {
    ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

fn how_to(stage: &str, approval: &PendingApproval, endpoint: &str) -> Vec<String> {
    let by =
        approval.policy.as_ref().map(|policy| format!(" by {}", words::policy(policy))).unwrap_or_default();
    vec![
        format!("{stage} waits for the approval of {:?}{by}; decide with:", approval.title),
        format!("  {}", command(approval, endpoint)),
    ]
}

fn command(approval: &PendingApproval, endpoint: &str) -> String {
    format!(
        "mahavishnu approvals decide {} --approve{} --endpoint {endpoint}   (or --reject)",
        approval.approval_id,
        if wants_reason(approval) { " --reason TEXT" } else { "" }
    )
}

fn payload(approval: &PendingApproval) -> Vec<String> {
    let mut payload = approval.payload.clone().map(json::from_struct).unwrap_or_default();
    // The prompt says it.
    payload.retain(|_, value| value.as_str() != Some(&approval.title));
    result::value(&Value::Object(payload))
}

/// Lines of standard input. The thread blocks in its read and ends with the program.
fn read_lines() -> mpsc::UnboundedReceiver<String> {
    let (send, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        assert!(["y", "Y\n", " yes "].into_iter().all(is_yes));
        assert!(["", "n", "yep", "ja", "y y"].into_iter().all(|line| !is_yes(line)));
    }

    #[test]
    fn a_reason_follows_the_answer_where_one_is_wanted() {
        assert_eq!(answer("y", false), Some((true, "")));
        assert_eq!(answer(" yes  it is right \n", true), Some((true, "it is right")));
        assert_eq!(answer("n too late", true), Some((false, "too late")));
        assert_eq!(answer("y", true), None);
        assert_eq!(answer("", true), None);
    }

    #[test]
    fn how_to_decide_is_a_whole_command() {
        let approval = PendingApproval {
            approval_id: "x.review.1.0.0".into(),
            title: "approve".into(),
            ..PendingApproval::default()
        };
        let lines = how_to("review", &approval, "http://127.0.0.1:1");
        assert!(
            lines.last().unwrap().contains(
                "mahavishnu approvals decide x.review.1.0.0 --approve --endpoint http://127.0.0.1:1"
            ),
            "{lines:?}"
        );
    }
}
