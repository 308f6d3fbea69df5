//! From JSON values to a [`Draft`]: types and keys, everything that is wrong at once.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations, item, member};

use super::fields::{Fields, Templates, wrong_type};
use super::limits::MAX_STAGES;
use super::{Draft, Engines, RetryDraft, StageDraft, Workflow, approval, read};

const WORKFLOW_KEYS: &[&str] = &["stages", "input", "repos", "labels", "documents", "timeout"];
const STAGE_KEYS: &[&str] = &["id", "type", "pool", "task", "needs", "when", "retry", "approval", "timeout"];
const RETRY_KEYS: &[&str] = &["max_attempts", "initial_backoff", "max_backoff", "non_retryable_reasons"];

impl Draft {
    /// Reads the JSON text of a workflow.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Violations> {
        Parsed::json(bytes).into_draft()
    }

    /// Reads the YAML text of a workflow; the keys are those of JSON.
    pub fn from_yaml(bytes: &[u8]) -> Result<Self, Violations> {
        Parsed::yaml(bytes).into_draft()
    }

    /// Reads a JSON value.
    pub fn from_value(value: &Value) -> Result<Self, Violations> {
        Parsed::value(value, Violations::default()).into_draft()
    }
}

/// What could be read of a workflow, with what is wrong in it. Checking it as well gives all violations at once,
/// not those of the form first and those of the meaning later.
pub struct Parsed {
    draft: Draft,
    violations: Violations,
}

impl Parsed {
    /// Reads JSON.
    pub fn json(bytes: &[u8]) -> Self {
        let (value, violations) = read::json(bytes);
        Self::value(&value, violations)
    }

    /// Reads YAML.
    pub fn yaml(bytes: &[u8]) -> Self {
        let (value, violations) = read::yaml(bytes);
        Self::value(&value, violations)
    }

    /// The draft, if its form is right.
    pub fn into_draft(self) -> Result<Draft, Violations> {
        self.violations.into_result(self.draft)
    }

    /// The checked workflow, or everything that is wrong with its form and its meaning.
    pub fn check(self, engines: &dyn Engines) -> Result<Workflow, Violations> {
        let unreadable = self.violations.0.iter().any(|violation| violation.field.is_empty());
        if unreadable {
            return Err(self.violations);
        }
        match self.draft.check(engines) {
            Ok(workflow) => self.violations.into_result(workflow),
            Err(found) => {
                let mut all = self.violations;
                let already = |field: &str| all.0.iter().any(|known| covers(&known.field, field));
                let new: Vec<_> =
                    found.0.into_iter().filter(|violation| !already(&violation.field)).collect();
                new.into_iter().for_each(|violation| all.add(violation));
                Err(all)
            }
        }
    }

    fn value(value: &Value, mut violations: Violations) -> Self {
        let draft = match value {
            Value::Object(members) => workflow(members, &mut violations),
            _ => {
                if violations.0.is_empty() {
                    violations.push("", Reason::WrongType, "a workflow must be an object with \"stages\"");
                }
                Draft::default()
            }
        };
        Self { draft, violations }
    }
}

/// Whether a violation at `outer` makes one at `inner` noise.
fn covers(outer: &str, inner: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn workflow(members: &Map<String, Value>, violations: &mut Violations) -> Draft {
    let mut fields = Fields::new(members, "", WORKFLOW_KEYS, Templates::NONE, violations);
    let input = fields.object("input").cloned().unwrap_or_default();
    let repos = fields.texts("repos").map(owned).unwrap_or_default();
    let timeout = fields.text("timeout").map(str::to_owned);
    let labels = texts_by_name(&mut fields, "labels");
    let documents = texts_by_name(&mut fields, "documents");
    // The check says that there are too many; none beyond is read.
    let values = fields.list("stages").unwrap_or_default().iter().take(MAX_STAGES + 1);
    let mut stages = Vec::new();
    for (n, value) in values.enumerate() {
        let path = item("stages", n);
        match value {
            Value::Object(members) => stages.push(stage(members, &path, violations)),
            other => {
                wrong_type(path, "an object", other, violations);
                stages.push(StageDraft::default());
            }
        }
    }
    Draft { stages, input, repos, labels, documents, timeout }
}

fn stage(members: &Map<String, Value>, path: &str, violations: &mut Violations) -> StageDraft {
    let mut fields = Fields::new(members, path, STAGE_KEYS, Templates::NONE, violations);
    let mut draft = StageDraft {
        id: fields.text("id").map(str::to_owned),
        engine: fields.text("type").map(str::to_owned),
        pool: fields.text("pool").map(str::to_owned),
        task: fields.object("task").cloned(),
        needs: fields.texts("needs").map(owned),
        when: fields.text("when").map(str::to_owned),
        timeout: fields.text("timeout").map(str::to_owned),
        retry: None,
        approval: None,
    };
    let policy = fields.object("retry");
    let people = fields.object("approval");
    draft.retry = policy.map(|members| retry(members, &member(path, "retry"), violations));
    draft.approval = people.map(|members| approval::parse(members, &member(path, "approval"), violations));
    draft
}

fn retry(members: &Map<String, Value>, path: &str, violations: &mut Violations) -> RetryDraft {
    let mut fields = Fields::new(members, path, RETRY_KEYS, Templates::NONE, violations);
    RetryDraft {
        max_attempts: fields
            .whole("max_attempts", 1, super::limits::MAX_ATTEMPTS.into())
            .and_then(|n| n.try_into().ok()),
        initial_backoff: fields.text("initial_backoff").map(str::to_owned),
        max_backoff: fields.text("max_backoff").map(str::to_owned),
        non_retryable_reasons: fields.texts("non_retryable_reasons").map(owned).unwrap_or_default(),
    }
}

fn owned(texts: Vec<(String, &str)>) -> Vec<String> {
    texts.into_iter().map(|(_, text)| text.to_owned()).collect()
}

fn texts_by_name(fields: &mut Fields<'_, '_>, key: &str) -> BTreeMap<String, String> {
    let path = fields.at(key);
    let mut texts = BTreeMap::new();
    for (name, value) in fields.object(key).into_iter().flatten() {
        match value {
            Value::String(text) => {
                texts.insert(name.clone(), text.clone());
            }
            other => fields.wrong_type(member(&path, name), "a text", other),
        }
    }
    texts
}
