//! What people do with an execution on its way and after its end: they decide, cancel, retry, fork.

use fastrand::Rng;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::v1;
use mahavishnu_simulation::check::Acknowledged;
use tonic::{Code, Status};
use uuid::Uuid;
use v1::event::Kind;

use crate::client::Client;
use crate::load::Load;
use crate::workflows::{PEOPLE, REQUESTER};

/// What a vote may be answered with that does not count.
const REFUSALS: &[(Code, &str)] = &[
    (Code::FailedPrecondition, "votes refused: not pending any more"),
    (Code::PermissionDenied, "votes refused: not eligible"),
    (Code::AlreadyExists, "votes refused: voted before"),
    (Code::InvalidArgument, "votes refused: no name or no reason"),
];

/// An execution that is being followed.
pub struct Followed<'a> {
    pub load: &'a Load,
    pub client: &'a Client,
    pub id: &'a str,
    /// The label that its body has.
    pub body: &'a str,
}

impl Followed<'_> {
    /// Decides what is asked; cancels now and then.
    pub async fn act(&self, rng: &mut Rng, event: &v1::Event) {
        if let Some(Kind::ApprovalRequested(asked)) = &event.kind
            && event.void_reason.is_empty()
        {
            for approval in &asked.approvals {
                self.vote(rng, approval).await;
            }
        }
        if rng.u32(..400) == 0 {
            self.load.count("cancellations");
            let request = v1::CancelExecutionRequest { id: self.id.to_owned(), reason: "chaos".to_owned() };
            if let Err(status) = self.client.cancel_execution(rng, &request).await {
                self.load.wrong(format!("CancelExecution: {status}"));
            }
        }
    }

    /// People vote: at first whoever comes by, then everybody in turn, until it is decided.
    async fn vote(&self, rng: &mut Rng, approval: &v1::PendingApproval) {
        if approval.expire_time.is_some() && rng.bool() {
            return self.load.count("approvals left to their time");
        }
        let passers_by = rng.usize(..3);
        let mut voters: Vec<&str> = (0..passers_by).map(|_| PEOPLE[rng.usize(..PEOPLE.len())]).collect();
        voters.extend(PEOPLE);
        for (n, voter) in voters.into_iter().enumerate() {
            let reason = if n < passers_by && rng.bool() { "" } else { "chaos" };
            let request = v1::DecideApprovalRequest {
                id: approval.approval_id.clone(),
                approved: rng.u32(..4) > 0,
                reason: reason.to_owned(),
                decided_by: voter.to_owned(),
                request_id: Uuid::from_u128(rng.u128(..)).to_string(),
                nonce: if rng.bool() { approval.nonce.clone() } else { String::new() },
                ..v1::DecideApprovalRequest::default()
            };
            match self.client.decide_approval(rng, &request).await {
                Ok(answer) => {
                    self.load.count("votes taken");
                    let state = answer.approval.unwrap_or_default().state();
                    if state != v1::approval::State::Pending {
                        return;
                    }
                }
                Err(status) => {
                    if self.refused(&status) {
                        return;
                    }
                }
            }
        }
    }

    /// Whether nobody needs to vote any more.
    fn refused(&self, status: &Status) -> bool {
        match REFUSALS.iter().find(|(code, _)| *code == status.code()) {
            Some((_, what)) => self.load.count(what),
            None => self.load.wrong(format!("DecideApproval: {status}")),
        }
        status.code() == Code::FailedPrecondition
    }

    /// What becomes of an execution after its end: another that goes on from it, sometimes.
    pub async fn next(&self, rng: &mut Rng) -> Option<String> {
        match rng.u32(..10) {
            0..4 => self.retry(rng).await,
            4 => self.fork(rng).await,
            _ => None,
        }
    }

    /// Twice, now and then: it is one execution.
    async fn retry(&self, rng: &mut Rng) -> Option<String> {
        let request = v1::RetryExecutionRequest { id: self.id.to_owned() };
        let mut next = None;
        for _ in 0..rng.u32(1..3) {
            match self.client.retry_execution(rng, &request).await {
                Ok(answer) => {
                    self.load.count("retries of executions");
                    next = self.acknowledged(format!("retry {}", self.id), answer.execution);
                }
                // It completed, or nothing is left to run.
                Err(status) if status.code() == Code::FailedPrecondition => return None,
                Err(status) => self.load.wrong(format!("RetryExecution {}: {status}", self.id)),
            }
        }
        next
    }

    async fn fork(&self, rng: &mut Rng) -> Option<String> {
        let request = v1::ForkExecutionRequest {
            id: self.id.to_owned(),
            from_stage: "s0".to_owned(),
            request_id: Uuid::from_u128(rng.u128(..)).to_string(),
            requested_by: REQUESTER.to_owned(),
            ..v1::ForkExecutionRequest::default()
        };
        match self.client.fork_execution(rng, &request).await {
            Ok(answer) => {
                self.load.count("forks");
                self.acknowledged(request.request_id, answer.execution)
            }
            Err(status) => {
                self.load.wrong(format!("ForkExecution {}: {status}", self.id));
                None
            }
        }
    }

    fn acknowledged(&self, request: String, execution: Option<v1::Execution>) -> Option<String> {
        let id = execution.unwrap_or_default().id;
        let execution = ExecutionId::parse(&id).ok()?;
        let digest = self.body.as_bytes().to_vec();
        self.load.acknowledged(Acknowledged { request: Some(request), execution, digest });
        Some(id)
    }
}
