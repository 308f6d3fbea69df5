//! What is ready before the host gets the task, and the frame that hands it over.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mahavishnu_core::execution::{Failure, Object};
use serde_json::Value;

use super::Attempt;
use crate::documents;
use crate::host::frame::{DecisionFrame, TaskFrame, ToHost, UpdateFrame};
use crate::host::{Connection, Host};
use crate::model::KeyedModel;
use crate::secrets::{Sealing, Values};

/// What is ready before the host gets the task.
pub(super) struct Prepared {
    /// The task, with its secrets.
    pub(super) task: Object,
    pub(super) sealing: Sealing,
    pub(super) staged: documents::Staged,
    pub(super) model: KeyedModel,
    pub(super) checkpoint: Option<String>,
}

impl Attempt<'_> {
    pub(super) async fn prepare(
        &self,
        host: &Host,
        filled: Object,
        secrets: Values,
    ) -> Result<(Connection, Prepared), Failure> {
        let task = &self.delivery.task;
        let sealing = Sealing::new(secrets);
        let model = self.choose(filled.get("model").and_then(Value::as_str))?;
        let staged = documents::stage(&self.context.bus, task, &self.context.project).await?;
        let checkpoint = match task.resolution.as_ref().and_then(|resolution| resolution.checkpoint.as_ref())
        {
            None => None,
            Some(checkpoint) => match self.context.bus.get_artifact(checkpoint).await {
                Ok(bytes) => {
                    let opened = sealing.open(bytes.into());
                    let opened =
                        opened.map_err(|error| Failure::terminal("SECRET_CHANGED", error.to_string()))?;
                    Some(BASE64_STANDARD.encode(opened))
                }
                Err(error) => {
                    return Err(Failure::retryable(
                        "CHECKPOINT_UNAVAILABLE",
                        format!("the checkpoint: {error}"),
                    ));
                }
            },
        };
        let connection = host
            .open()
            .await
            .map_err(|error| Failure::retryable("HOST_UNAVAILABLE", format!("{error:#}")))?;
        Ok((connection, Prepared { task: filled, sealing, staged, model, checkpoint }))
    }

    /// The model that this name means. Its key is a secret.
    pub(super) fn choose(&self, asked: Option<&str>) -> Result<KeyedModel, Failure> {
        let model = self.context.models.choose(asked)?;
        self.context.secrets.redactor.learn(&model.api_key);
        Ok(model)
    }

    pub(super) fn frame<'f>(&'f self, prepared: &'f Prepared, time_left: Option<Duration>) -> ToHost<'f> {
        let task = &self.delivery.task;
        ToHost::Task(Box::new(TaskFrame {
            execution: self.delivery.execution.as_str(),
            stage: task.stage.as_str(),
            attempt: task.attempt,
            resume: task.resume,
            delivery: self.delivery.delivery,
            deadline_ms: time_left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            task: &prepared.task,
            secrets: prepared.sealing.values().collect(),
            input: &task.input,
            dependencies: task.dependencies.iter().map(|(id, output)| (id.as_str(), &**output)).collect(),
            repos: &task.repos,
            documents: &prepared.staged.paths,
            project: &self.context.project,
            data: &self.context.data,
            model: &prepared.model,
            trace: &self.trace,
            decision: task.resolution.as_ref().map(|resolution| DecisionFrame {
                approval_key: &resolution.key,
                approved: resolution.approved,
                reason: &resolution.reason,
                decided_by: &resolution.decided_by,
                values: &resolution.values,
            }),
            checkpoint: prepared.checkpoint.clone(),
            update: task
                .update
                .as_ref()
                .map(|update| UpdateFrame { values: &update.values, as_node: &update.as_node }),
        }))
    }
}
