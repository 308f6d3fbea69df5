//! Executions that go on from others.
//!
//! Invariant: an execution that has ended stays as it is. What goes on from it is another one, which holds the results
//! that it takes over, so it needs the first no more.

use std::sync::Arc;

use mahavishnu_bus::Trace;
use mahavishnu_bus::checkpoints::Entry;
use mahavishnu_core::execution::{End, Forked, Object, State, Variation};
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::{Stage, Workflow};
use mahavishnu_proto::{json, public};

use super::start::{continuation, execution_id};
use super::{App, Error, Result};
use crate::driver::History;

/// What is to be different.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The stage from which it is.
    pub from_stage: String,
    /// Members of the input that replace others or are new.
    pub input: Object,
    /// Another engine for the stage; empty for the same.
    pub engine: String,
    /// Another pool for the stage, empty for the workers without one; without it the same, unless the engine is another.
    pub pool: Option<String>,
    /// Another task for the stage.
    pub task: Option<Object>,
    /// The checkpoint of the stage that it goes on from; empty to begin anew.
    pub checkpoint: String,
    /// What is changed in the checkpoint's state.
    pub state: Option<Object>,
    /// The node that is taken to have written that; empty leaves it to the engine.
    pub as_node: String,
}

impl App {
    /// Continues an execution that did not complete; the same one for whoever asks again.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`] while it runs, or when it completed.
    pub async fn retry(&self, id: &str, trace: &Trace) -> Result<Arc<History>> {
        let source = self.find(id).await?;
        let next = continuation(&source.id)?;
        let (workflow, forked) = source.with_folded(|folded| continued(&source.id, &folded.state))?;
        if let Some(checkpoint) = &forked.checkpoint {
            let copied = self.needed(&source.id, &forked.stage, &checkpoint.id).await?;
            self.copy(&next, "", &forked.stage, &copied).await?;
        }
        // What is continued was asked for by whoever asked first, so that nobody comes by a right to approve it.
        let requester = source.with_folded(|folded| folded.state.requester().to_owned());
        self.accept(&next, "", workflow, Some(forked), &requester, trace).await
    }

    /// The execution that continues this one, if somebody asked for it.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn continued_by(&self, id: &ExecutionId) -> Result<Option<ExecutionId>> {
        let next = continuation(id)?;
        Ok(self.bus.exists(&next).await?.then_some(next))
    }

    /// Starts an execution that goes its own way from a stage on.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] with everything that is wrong with the changed workflow;
    /// [`Error::Precondition`] when it would come past people who approve; [`Error::RequestIdReused`].
    pub async fn fork(
        &self,
        id: &str,
        changes: Changes,
        requester: &str,
        request_id: &str,
        trace: &Trace,
    ) -> Result<Arc<History>> {
        let source = self.find(id).await?;
        let next = execution_id(request_id)?;
        let (before, mut results) =
            source.with_folded(|folded| (folded.state.workflow().map(Arc::clone), folded.state.ended()));
        let before = before.ok_or_else(|| Error::no_execution(id))?;
        let stage = stage(&before, &changes.from_stage, "from_stage")?;
        let anew = before.from(&stage);
        results.retain(|id, _| !anew.contains(id));
        let variation = variation(&before, &stage, &changes);
        before.check_variation(&stage, &results, variation).map_err(|bypass| Error::Precondition {
            reason: "APPROVAL_BYPASSED",
            message: bypass.to_string(),
        })?;
        let checkpoint = self.forked_checkpoint(&source.id, &before, &stage, &changes).await?;
        let workflow = self.changed(&before, &stage, changes)?;
        if let Some((_, copied)) = &checkpoint {
            self.copy(&next, request_id, &stage, copied).await?;
        }
        let checkpoint = checkpoint.map(|(checkpoint, _)| checkpoint);
        let forked = Forked { from: source.id.clone(), stage, results, checkpoint };
        self.accept(&next, request_id, workflow, Some(forked), requester, trace).await
    }

    /// Copies what a stage goes on from, unless the execution exists and so has it.
    async fn copy(
        &self,
        to: &ExecutionId,
        request_id: &str,
        stage: &StageId,
        copied: &[Entry],
    ) -> Result<()> {
        if self.bus.exists(to).await? {
            return Ok(());
        }
        self.bus.copy_checkpoints(to, stage, copied).await.map_err(|error| match error {
            mahavishnu_bus::Error::Conflict => Error::RequestIdReused(request_id.to_owned()),
            mahavishnu_bus::Error::NotFound => Error::Precondition {
                reason: "CHECKPOINT_EXPIRED",
                message: "the checkpoint is not kept any more; fork the stage without one".to_owned(),
            },
            error => error.into(),
        })
    }

    fn changed(&self, before: &Workflow, stage: &StageId, changes: Changes) -> Result<Workflow> {
        let mut wanted = public::workflow(before);
        let mut input = before.input.clone();
        input.extend(changes.input);
        wanted.input = Some(json::to_struct(&input));
        for wanted in wanted.stages.iter_mut().filter(|wanted| wanted.id == stage.as_str()) {
            if !changes.engine.is_empty() && changes.engine != wanted.r#type {
                wanted.r#type.clone_from(&changes.engine);
                // Pools of different engines have nothing to do with each other.
                wanted.pool.clear();
            }
            if let Some(pool) = &changes.pool {
                wanted.pool.clone_from(pool);
            }
            if let Some(task) = &changes.task {
                wanted.task = Some(json::to_struct(task));
            }
        }
        Ok(public::draft(Some(wanted))?.check(&*self.registry)?)
    }
}

/// What is really different.
fn variation(before: &Workflow, stage: &StageId, changes: &Changes) -> Variation {
    let differs = |stage: &Stage| {
        let engine = !changes.engine.is_empty() && changes.engine != stage.engine.as_str();
        let pool = stage.pool.as_ref().map_or("", |pool| pool.as_str());
        let another_pool = changes.pool.as_ref().is_some_and(|wanted| wanted != pool);
        engine || another_pool || changes.task.as_ref().is_some_and(|task| task != &stage.task)
    };
    Variation {
        input: changes.input.iter().any(|(key, value)| before.input.get(key) != Some(value)),
        stage: before.stage(stage).is_some_and(differs),
        state: changes.state.is_some() || !changes.as_node.is_empty(),
        checkpoint: !changes.checkpoint.is_empty(),
    }
}

fn continued(id: &ExecutionId, state: &State) -> Result<(Workflow, Forked)> {
    let refuse = |message: String| Err(Error::Precondition { reason: "NOTHING_TO_RETRY", message });
    let failed = match &state.end {
        None => return refuse(format!("{id} has not ended; cancel it first, or fork it")),
        Some((End::Completed, _)) => {
            return refuse(format!(
                "{id} completed; run a part of it anew with: mahavishnu executions fork {id} --from STAGE"
            ));
        }
        Some((End::Failed { stage, .. }, _)) => stage.clone(),
        Some((End::Cancelled { .. }, _)) => None,
    };
    let open = || state.iter().find(|(_, now)| !now.is_settled()).map(|(stage, _)| stage.id.clone());
    let (Some(workflow), Some(stage)) = (state.workflow(), failed.or_else(open)) else {
        return refuse(format!("every stage of {id} has ended"));
    };
    let mut forked = Forked { from: id.clone(), stage, results: state.ended(), checkpoint: None };
    // What began at a checkpoint and did not end begins there again.
    let before = state.accepted.as_ref().and_then(|accepted| accepted.forked.as_ref());
    if let Some(before) = before.filter(|before| !forked.results.contains_key(&before.stage)) {
        forked.checkpoint.clone_from(&before.checkpoint);
        if before.checkpoint.is_some() {
            forked.stage = before.stage.clone();
        }
    }
    Ok((Workflow::clone(workflow), forked))
}

pub(super) fn stage(workflow: &Workflow, name: &str, field: &str) -> Result<StageId> {
    if let Some(stage) = workflow.stages.iter().find(|stage| stage.id.as_str() == name) {
        return Ok(stage.id.clone());
    }
    let names: Vec<_> = workflow.stages.iter().map(|stage| stage.id.as_str()).collect();
    let mut violations = Violations::default();
    let message = format!("name one of the stages: {}", names.join(", "));
    violations.push(field, Reason::UnknownReference, message);
    Err(violations.into())
}
