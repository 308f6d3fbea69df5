//! Accepting a workflow.

use std::sync::Arc;

use chrono::Utc;
use mahavishnu_bus::Trace;
use mahavishnu_core::execution::{Accepted, Checkpoint, Fact, Forked};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::{Draft, Workflow, is_person, limits, plan};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{App, Error, Result};
use crate::driver::History;

/// Namespace of the execution ids that come from request ids; any constant will do, this one is ours.
const REQUESTS: Uuid = Uuid::from_u128(0x6d61_6861_7669_7368_6e75_2e76_312e_7271);

/// Namespace of the ids of executions that continue others.
const CONTINUATIONS: Uuid = Uuid::from_u128(0x6d61_6861_7669_7368_6e75_2e76_312e_6374);

impl App {
    /// Accepts a workflow; the execution exists when this returns. The same request id with the same
    /// workflow gives the same execution.
    ///
    /// # Errors
    /// [`Error::Invalid`] with every violation; [`Error::RequestIdReused`].
    pub async fn start(
        &self,
        draft: Draft,
        requester: &str,
        request_id: &str,
        trace: &Trace,
    ) -> Result<Arc<History>> {
        let workflow = draft.check(&*self.registry)?;
        let id = execution_id(request_id)?;
        self.accept(&id, request_id, workflow, None, requester, trace).await
    }

    /// Accepts a checked workflow under this id, which follows from the request.
    pub(super) async fn accept(
        &self,
        id: &ExecutionId,
        request_id: &str,
        workflow: Workflow,
        forked: Option<Forked>,
        requester: &str,
        trace: &Trace,
    ) -> Result<Arc<History>> {
        let requested_by = person("requested_by", requester)?;
        workflow.check_requester(&requested_by)?;
        self.documents_exist(&workflow).await?;
        let digest = digest(&workflow, forked.as_ref());
        let notes = plan(&workflow, Utc::now()).notes.into_iter().map(|note| note.message).collect();
        let accepted = Accepted {
            workflow: Arc::new(workflow),
            digest: digest.clone(),
            notes,
            requested_by,
            forked,
            firing: None,
        };
        match self.bus.accept(id, &Fact::Accepted(accepted), trace).await {
            Ok(position) => {
                self.histories.passed(id, position).await;
                Ok(self.histories.get(id).await?)
            }
            Err(mahavishnu_bus::Error::Conflict) => {
                let history = self.histories.get(id).await.map_err(|error| match error {
                    mahavishnu_bus::Error::NotFound => Error::Precondition {
                        reason: "EXECUTION_DELETED",
                        message: format!(
                            "execution {id} of this request was deleted; choose a new request id"
                        ),
                    },
                    error => error.into(),
                })?;
                let same = history.with_folded(|folded| {
                    folded.state.accepted.as_ref().is_some_and(|accepted| accepted.digest == digest)
                });
                if same { Ok(history) } else { Err(Error::RequestIdReused(request_id.to_owned())) }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Documents that came with the workflow must be there before anything runs. They are kept from now on, until what
    /// refers to them is stored.
    pub(super) async fn documents_exist(&self, workflow: &Workflow) -> Result<()> {
        let mut violations = Violations::default();
        for (name, id) in &workflow.documents {
            if !self.bus.keep_artifact(id).await? {
                violations.push(
                    format!("documents[{name:?}]"),
                    Reason::UnknownReference,
                    format!("no artifact {id}; upload it first (at most {} bytes)", self.bus.max_artifact()),
                );
            }
        }
        Ok(violations.into_result(())?)
    }
}

/// A new id, ordered by time; or one that follows from the request id, so that the log itself refuses a
/// second execution.
pub(super) fn execution_id(request_id: &str) -> Result<ExecutionId> {
    let uuid = if request_id.is_empty() {
        Uuid::now_v7()
    } else {
        Uuid::new_v5(&REQUESTS, request_uuid(request_id)?.as_bytes())
    };
    of_uuid(uuid)
}

/// The execution that continues another one.
pub(super) fn continuation(id: &ExecutionId) -> Result<ExecutionId> {
    of_uuid(Uuid::new_v5(&CONTINUATIONS, id.as_str().as_bytes()))
}

fn of_uuid(uuid: Uuid) -> Result<ExecutionId> {
    ExecutionId::parse(&uuid.to_string())
        .map_err(|error| Error::Unavailable(mahavishnu_bus::Error::Unreadable(error.into())))
}

/// A request id as a client wrote it.
pub(super) fn request_uuid(request_id: &str) -> Result<Uuid> {
    Uuid::parse_str(request_id).map_err(|_| {
        let mut violations = Violations::default();
        let message = "not a UUID; leave it out, or send a fresh UUID";
        violations.push("request_id", Reason::InvalidValue, message);
        violations.into()
    })
}

/// A person's name as a client or a proxy gave it; empty for none.
pub(super) fn person(field: &str, name: &str) -> Result<String> {
    let name = name.trim();
    if !name.is_empty() && !is_person(name) {
        let mut violations = Violations::default();
        let message = format!("a name has at most {} characters, and none that controls", limits::MAX_PERSON);
        violations.push(field, Reason::InvalidValue, message);
        return Err(violations.into());
    }
    Ok(name.to_owned())
}

/// Results that are taken over are left out: they may grow between two copies of a request.
fn digest(workflow: &Workflow, forked: Option<&Forked>) -> Vec<u8> {
    let mut digest = Sha256::new_with_prefix(serde_json::to_vec(workflow).unwrap_or_default());
    if let Some(forked) = forked {
        digest.update(format!("\0{}\0{}", forked.from, forked.stage));
        if let Some(Checkpoint { id, update }) = &forked.checkpoint {
            let update = update.as_ref().map(|update| (serde_json::to_vec(&update.values), &update.as_node));
            digest.update(format!("\0{id}\0{update:?}"));
        }
    }
    digest.finalize().to_vec()
}
