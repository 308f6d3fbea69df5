//! What expressions see while a workflow runs, and the task that a stage is really given.
//!
//! `stages.<id>.output` and `stages.<id>.state` (`completed`, `failed`, `skipped`) of the stages that have ended,
//! `input` and `repos`. A check has made sure that an expression names its stages and that they are before it, so
//! what it yields does not depend on how far others have come.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::{self, Expression};
use crate::id::StageId;
use crate::violation::{Violation, Violations};

use super::fields::Templates;
use super::{Stage, Workflow, secrets, task};

/// How a stage ended, for expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageOutcome {
    /// With its output.
    Completed,
    /// With an error.
    Failed,
    /// Without having run.
    Skipped,
}

impl StageOutcome {
    /// The text that `stages.<id>.state` yields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What expressions see of a stage that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct StageView {
    /// How it ended.
    pub state: StageOutcome,
    /// Its output, if it has one.
    pub output: Option<Arc<Map<String, Value>>>,
}

/// The variables of expressions, from what has ended.
pub fn variables(workflow: &Workflow, ended: &BTreeMap<StageId, StageView>) -> Map<String, Value> {
    let mut stages = Map::new();
    for (id, view) in ended {
        let mut stage = Map::new();
        stage.insert("state".to_owned(), Value::from(view.state.as_str()));
        if let Some(output) = &view.output {
            stage.insert("output".to_owned(), Value::Object(Map::clone(output)));
        }
        stages.insert(id.to_string(), Value::Object(stage));
    }
    let mut variables = Map::new();
    variables.insert("stages".to_owned(), Value::Object(stages));
    variables.insert("input".to_owned(), Value::Object(workflow.input.clone()));
    variables.insert("repos".to_owned(), Value::from(workflow.repos.clone()));
    variables
}

/// Whether a stage is to run: its condition holds, or it has none.
pub fn condition_holds(stage: &Stage, variables: &Map<String, Value>) -> Result<bool, Violations> {
    let Some(when) = &stage.when else { return Ok(true) };
    Expression::parse(when)
        .and_then(|condition| condition.evaluate_condition(variables))
        .map_err(|error| Violations(vec![Violation::new("when", error.reason(), error.to_string())]))
}

/// Whether the stage's task reads variables.
pub fn has_templates(stage: &Stage) -> bool {
    stage.task.values().any(expression::has_templates)
}

/// The stage's task with every template replaced by what it stands for, checked once more as such. Texts that refer to
/// secrets stay as they are.
pub fn resolve_task(stage: &Stage, variables: &Map<String, Value>) -> Result<Map<String, Value>, Violations> {
    let mut violations = Violations::default();
    let mut resolved = Map::new();
    let secret = secrets::texts(&stage.task);
    for (key, value) in &stage.task {
        match expression::render(value, variables, &secret) {
            Ok(value) => drop(resolved.insert(key.clone(), value)),
            Err(found) => found.0.into_iter().for_each(|violation| violations.add(under(key, violation))),
        }
    }
    if violations.0.is_empty() {
        let templates = Templates::Resolved(&secret);
        task::check(stage.engine.as_str(), &resolved, "task", templates, &mut violations);
    }
    violations.into_result(resolved)
}

fn under(key: &str, mut violation: Violation) -> Violation {
    let parent = crate::violation::member("task", key);
    let separator = if violation.field.is_empty() || violation.field.starts_with('[') { "" } else { "." };
    violation.field = format!("{parent}{separator}{}", violation.field);
    violation
}
