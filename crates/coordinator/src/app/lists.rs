//! Lists, from the summaries.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mahavishnu_bus::summaries::Kind;
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::{v1, wire};
use prost::Message;
use prost::bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{App, Result};

const DEFAULT_SIZE: i32 = 50;
const MAX_SIZE: i32 = 1_000;

/// Which part of a list.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// At most this many; 0 for the default.
    pub size: i32,
    /// Where the page before ended; empty for the first.
    pub token: String,
}

/// Which executions; every part that is set must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionFilter {
    /// In one of these states.
    pub states: Vec<v1::execution::State>,
    /// With a stage on this engine.
    pub engine: String,
    /// Accepted at or after.
    pub created_after: Option<DateTime<Utc>>,
    /// Accepted before.
    pub created_before: Option<DateTime<Utc>>,
    /// Started by this schedule.
    pub schedule: String,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
}

/// Which approvals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApprovalFilter {
    /// In one of these states; empty means pending.
    pub states: Vec<v1::approval::State>,
    /// Of this execution.
    pub execution: String,
}

impl App {
    /// Executions, the most recently changed first, and the token of the next page.
    ///
    /// # Errors
    /// When the page is not one.
    pub async fn list_executions(
        &self,
        page: &Page,
        filter: &ExecutionFilter,
    ) -> Result<(Vec<v1::Execution>, String)> {
        self.list(Kind::Execution, page, &format!("{filter:?}"), |execution| filter.admits(execution)).await
    }

    /// Approvals, the most recently changed first, and the token of the next page.
    ///
    /// # Errors
    /// When the page is not one.
    pub async fn list_approvals(
        &self,
        page: &Page,
        filter: &ApprovalFilter,
    ) -> Result<(Vec<v1::Approval>, String)> {
        self.list(Kind::Approval, page, &format!("{filter:?}"), |approval| filter.admits(approval)).await
    }

    pub(super) async fn list<M: Message + Default>(
        &self,
        kind: Kind,
        page: &Page,
        filter: &str,
        admits: impl Fn(&M) -> bool,
    ) -> Result<(Vec<M>, String)> {
        let seal = Seal::of(&format!("{kind:?}"), filter);
        let (size, before) = page.check(&seal)?;
        let read = |body: Bytes| M::decode(body).ok().filter(|item| admits(item));
        let (found, next) = self.bus.list_summaries(kind, before, size, read).await?;
        Ok((found, next.map(|position| seal.token(position)).unwrap_or_default()))
    }
}

impl Page {
    /// How many a page holds at most.
    pub(super) fn size(&self, violations: &mut Violations) -> usize {
        if self.size < 0 {
            let message = format!("use 1 to {MAX_SIZE}, or 0 for {DEFAULT_SIZE}");
            violations.push("page_size", Reason::InvalidValue, message);
        }
        let size = if self.size == 0 { DEFAULT_SIZE } else { self.size.min(MAX_SIZE) };
        usize::try_from(size).unwrap_or_default()
    }

    pub(super) fn check(&self, seal: &Seal) -> Result<(usize, Option<u64>)> {
        let mut violations = Violations::default();
        let size = self.size(&mut violations);
        let before = match self.token.as_str() {
            "" => None,
            token => {
                let position = seal.position(token);
                if position.is_none() {
                    violations.push(
                        "page_token",
                        Reason::InvalidValue,
                        "not a token of a list with these arguments; start again without one",
                    );
                }
                position
            }
        };
        Ok(violations.into_result((size, before))?)
    }
}

/// Ties a token to the arguments of its list.
pub(super) struct Seal(String);

impl Seal {
    pub(super) fn of(kind: &str, filter: &str) -> Self {
        let digest = Sha256::digest(format!("{kind}{filter}"));
        Self(digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn token(&self, position: u64) -> String {
        format!("{}-{position}", self.0)
    }

    fn position(&self, token: &str) -> Option<u64> {
        token.strip_prefix(&self.0)?.strip_prefix('-')?.parse().ok()
    }
}

impl ExecutionFilter {
    fn admits(&self, execution: &v1::Execution) -> bool {
        let created = wire::time(execution.create_time, "create_time").unwrap_or_default();
        (self.states.is_empty() || self.states.contains(&execution.state()))
            && (self.engine.is_empty() || execution.engines.contains(&self.engine))
            && (self.schedule.is_empty() || execution.schedule_id == self.schedule)
            && self.created_after.is_none_or(|after| created >= after)
            && self.created_before.is_none_or(|before| created < before)
            && self.labels.iter().all(|(key, value)| execution.labels.get(key) == Some(value))
    }
}

impl ApprovalFilter {
    fn admits(&self, approval: &v1::Approval) -> bool {
        let state = match self.states.as_slice() {
            [] => approval.state() == v1::approval::State::Pending,
            states => states.contains(&approval.state()),
        };
        state && (self.execution.is_empty() || approval.execution_id == self.execution)
    }
}
