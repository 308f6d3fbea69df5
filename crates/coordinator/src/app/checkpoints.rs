//! Checkpoints of stages: looking at them, and what a fork takes over of them.
//!
//! Invariant: what an execution goes on from is its own: it is copied before the execution is accepted.

use std::collections::BTreeSet;

use mahavishnu_bus::checkpoints::Entry;
use mahavishnu_core::execution::{Checkpoint, Object, StateUpdate};
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_core::workflow::Workflow;
use mahavishnu_proto::{json, v1, wire};
use serde_json::Value;

use super::lists::Seal;
use super::{App, Changes, Error, Page, Result};

/// Whose checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The execution.
    pub execution: String,
    /// The stage.
    pub stage: String,
    /// Empty for the stage's graph; else the place of a graph inside it.
    pub namespace: String,
}

/// A page of checkpoints, the token of the next one, and the graphs inside that have their own.
pub type Listed = (Vec<v1::Checkpoint>, String, Vec<String>);

impl App {
    /// The checkpoints of a stage, the newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when the stage or the page is none.
    pub async fn list_checkpoints(&self, place: &Place, page: &Page) -> Result<Listed> {
        let seal = Seal::of("checkpoints", &format!("{place:?}"));
        let (size, before) = page.check(&seal)?;
        let entries = self.entries(place).await?;
        let inner: BTreeSet<_> =
            entries.iter().map(|entry| entry.key.namespace.clone()).filter(|name| !name.is_empty()).collect();
        let mut newer = entries.iter().rev().filter(|entry| is_in(entry, &place.namespace));
        let mut page: Vec<_> = newer
            .by_ref()
            .filter(|entry| before.is_none_or(|before| entry.position < before))
            .take(size)
            .collect();
        let next = newer.next().and(page.last()).map(|last| seal.token(last.position)).unwrap_or_default();
        let checkpoints = page.drain(..).map(|entry| described(entry, false)).collect();
        Ok((checkpoints, next, inner.into_iter().collect()))
    }

    /// One checkpoint with its values; without an id the newest.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] when there is no such stage.
    pub async fn checkpoint(&self, place: &Place, id: &str) -> Result<v1::Checkpoint> {
        let entries = self.entries(place).await?;
        let mut newest = entries.iter().rev().filter(|entry| is_in(entry, &place.namespace));
        let found = newest.find(|entry| id.is_empty() || entry.key.checkpoint_id == id);
        found.map(|entry| described(entry, true)).ok_or_else(|| no_checkpoint(place, id))
    }

    async fn entries(&self, place: &Place) -> Result<Vec<Entry>> {
        let history = self.find(&place.execution).await?;
        let workflow = history.with_folded(|folded| folded.state.workflow().cloned());
        let workflow = workflow.ok_or_else(|| Error::no_execution(&place.execution))?;
        let stage = super::fork::stage(&workflow, &place.stage, "stage_id")?;
        Ok(self.bus.list_checkpoints(&history.id, &stage).await?)
    }

    /// The checkpoint that a fork names, with what is copied for it.
    pub(super) async fn forked_checkpoint(
        &self,
        from: &ExecutionId,
        before: &Workflow,
        stage: &StageId,
        changes: &Changes,
    ) -> Result<Option<(Checkpoint, Vec<Entry>)>> {
        let mut violations = Violations::default();
        let changes_state = changes.state.is_some() || !changes.as_node.is_empty();
        if changes.checkpoint.is_empty() {
            if changes_state {
                let message = "only the state of a checkpoint can be changed; name one in checkpoint_id";
                violations.push("state", Reason::InvalidValue, message);
            }
            return Ok(violations.into_result(None)?);
        }
        let engine = before.stage(stage).map_or("", |stage| stage.engine.as_str());
        if !changes.engine.is_empty() && changes.engine != engine {
            let message = format!("a checkpoint of {engine} is of no use to another engine");
            violations.push("engine", Reason::InvalidValue, message);
        }
        violations.into_result(())?;
        let update = changes_state.then(|| StateUpdate {
            values: changes.state.clone().unwrap_or_default(),
            as_node: changes.as_node.clone(),
        });
        let checkpoint = Checkpoint { id: changes.checkpoint.clone(), update };
        let copied = self.needed(from, stage, &checkpoint.id).await?;
        Ok(Some((checkpoint, copied)))
    }

    /// What a stage needs to go on from a checkpoint.
    pub(super) async fn needed(&self, from: &ExecutionId, stage: &StageId, id: &str) -> Result<Vec<Entry>> {
        let entries = self.bus.list_checkpoints(from, stage).await?;
        let place =
            || Place { execution: from.to_string(), stage: stage.to_string(), namespace: String::new() };
        up_to(&entries, id).ok_or_else(|| no_checkpoint(&place(), id))
    }
}

/// A checkpoint with those before it, whatever their tasks wrote, and what graphs inside kept across their runs. What
/// tasks wrote after it is left out: all nodes after it run again.
fn up_to(entries: &[Entry], id: &str) -> Option<Vec<Entry>> {
    let own = |wanted: &str| {
        entries.iter().rev().find(|entry| is_in(entry, "") && entry.key.checkpoint_id == wanted)
    };
    let chosen = own(id)?;
    let mut before = BTreeSet::new();
    let mut parent = own(&chosen.key.parent_id);
    while let Some(entry) = parent {
        if !before.insert(entry.key.checkpoint_id.as_str()) {
            break;
        }
        parent = own(&entry.key.parent_id);
    }
    let is_needed = |entry: &&Entry| {
        let key = &entry.key;
        if !key.thread.is_empty() || entry.position > chosen.position {
            return false;
        }
        match key.namespace.as_str() {
            "" => before.contains(key.checkpoint_id.as_str()) || entry.position == chosen.position,
            // A graph inside that lives for one task has the task's id in its name.
            inner => !inner.contains(':'),
        }
    };
    Some(entries.iter().filter(is_needed).cloned().collect())
}

fn is_in(entry: &Entry, namespace: &str) -> bool {
    entry.key.thread.is_empty() && entry.key.task_id.is_empty() && entry.key.namespace == namespace
}

fn described(entry: &Entry, whole: bool) -> v1::Checkpoint {
    let mut view: Object = serde_json::from_slice(&entry.view).unwrap_or_default();
    let mut take = |key: &str| view.remove(key).unwrap_or_default();
    let (source, step, next, short) = (take("source"), take("step"), take("next"), take("values"));
    view.remove("delta");
    let values: Option<Object> = serde_json::from_slice(&entry.values).ok().filter(|_| whole);
    let shortened = values.is_none();
    let values = values.or(match short {
        Value::Object(values) => Some(values),
        _ => None,
    });
    v1::Checkpoint {
        id: entry.key.checkpoint_id.clone(),
        parent_id: entry.key.parent_id.clone(),
        namespace: entry.key.namespace.clone(),
        source: source.as_str().unwrap_or_default().to_owned(),
        step: step.as_i64().and_then(|step| step.try_into().ok()).unwrap_or_default(),
        next: next.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        values: values.as_ref().map(json::to_struct),
        shortened,
        progress: Some(json::to_struct(&view)),
        attempt: entry.turn.attempt,
        create_time: Some(wire::timestamp(entry.time)),
    }
}

fn no_checkpoint(place: &Place, id: &str) -> Error {
    let Place { execution, stage, .. } = place;
    let name = if id.is_empty() { format!("of {stage}") } else { id.to_owned() };
    let hint = format!("list what there is: mahavishnu checkpoints list {execution} {stage}");
    Error::NotFound { what: "checkpoint", name, hint }
}
