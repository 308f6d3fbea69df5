//! From a [`Draft`] to a [`Workflow`]: everything that can be known to be wrong before anything runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::id::{EngineName, PoolName, StageId};
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::fields::{Templates, quoted};
use super::graph::Graph;
use super::limits::{
    MAX_ATTEMPTS, MAX_BACKOFF, MAX_DOCUMENTS, MAX_LABEL, MAX_LABELS, MAX_REASON, MAX_REASONS, MAX_REPOS,
    MAX_STAGES, MAX_TIMEOUT,
};
use super::path::{artifact, check_relative};
use super::reads::Reads;
use super::{
    Draft, Engines, RetryDraft, RetryPolicy, Stage, StageDraft, Workflow, approval, ids, outputs, secrets,
    task, texts,
};

impl Draft {
    /// Checks everything; the workflow, or all that is wrong with it by field path.
    pub fn check(self, engines: &dyn Engines) -> Result<Workflow, Violations> {
        let mut violations = Violations::default();
        texts::check(&self, &mut violations);
        if violations.0.iter().any(|violation| matches!(violation.reason, Reason::TooLarge | Reason::TooDeep))
        {
            // What is too large is not looked at any closer.
            return Err(violations);
        }
        if self.stages.is_empty() {
            violations.push("stages", Reason::Required, "a workflow needs at least one stage");
        }
        if self.stages.len() > MAX_STAGES {
            let message = format!("a workflow must not have more than {MAX_STAGES} stages");
            violations.push("stages", Reason::TooLarge, message);
            return Err(violations);
        }
        let documents = documents(&self.documents, &mut violations);
        repos(&self.repos, &mut violations);
        labels(&self.labels, &mut violations);
        let timeout = duration(self.timeout.as_deref(), "timeout", MAX_TIMEOUT, &mut violations);
        let stages = stages(&self, engines, &mut violations);
        if violations.0.is_empty() {
            let Self { input, repos, labels, .. } = self;
            return Ok(Workflow { stages, input, repos, labels, documents, timeout });
        }
        Err(violations)
    }
}

fn stages(draft: &Draft, engines: &dyn Engines, violations: &mut Violations) -> Vec<Stage> {
    let ids = ids::resolve(&draft.stages, violations);
    let needs = ids::needs(&draft.stages, &ids, violations);
    let graph = Graph::new(needs.clone());
    cycles(&graph, &ids, violations);
    let before = graph.before();
    let ordered = graph.ordered();
    let by_id = ids::by_id(&ids);
    let input = ("input".to_owned(), Value::Object(draft.input.clone()));
    let known: Map<_, _> =
        [input, ("repos".to_owned(), Value::from(draft.repos.clone()))].into_iter().collect();
    let yields = |(id, stage): (&String, &StageDraft)| {
        let output = outputs::output(stage.engine.as_deref()?, stage.task.as_ref()?);
        Some((id.clone(), output))
    };
    let mut types = outputs::variables(ids.iter().zip(&draft.stages).filter_map(yields), &known);
    types.insert(secrets::ROOT.to_owned(), secrets::variable());
    let mut stages = Vec::new();
    for (n, stage) in draft.stages.iter().enumerate() {
        let path = item("stages", n);
        let engine = engine(stage, &path, engines, violations);
        let pool = pool(stage, &path, violations);
        let reads = Reads {
            known: &known,
            types: &types,
            ids: &ids,
            by_id: &by_id,
            own: n,
            before: before.get(n),
            ordered: ordered.get(n).is_some_and(|ordered| *ordered),
        };
        if let Some(when) = &stage.when {
            reads.condition(when, &member(&path, "when"), violations);
        }
        let task_path = member(&path, "task");
        match &stage.task {
            Some(task) => {
                reads.templates(task, &task_path, violations);
                if let Some(engine) = &stage.engine {
                    let yielded = |text: &str| reads.yielded(text);
                    task::check(engine, task, &task_path, Templates::Yield(&yielded), violations);
                }
            }
            None => {
                violations.push(task_path, Reason::Required, "\"task\" is required: what the engine is to do")
            }
        }
        let retry = retry(stage.retry.as_ref(), &member(&path, "retry"), violations);
        let policy = stage.approval.as_ref();
        let approval = policy.map(|draft| approval::check(draft, &member(&path, "approval"), violations));
        let timeout = duration(stage.timeout.as_deref(), &member(&path, "timeout"), MAX_TIMEOUT, violations);
        let id = ids.get(n).and_then(|id| StageId::parse(id).ok());
        let (Some(id), Some(engine), Some(task)) = (id, engine, stage.task.clone()) else { continue };
        let needs = needs.get(n).into_iter().flatten();
        let needs = needs.filter_map(|need| ids.get(*need).and_then(|id| StageId::parse(id).ok())).collect();
        let when = stage.when.clone();
        stages.push(Stage { id, engine, pool, task, needs, when, retry, approval, timeout });
    }
    stages
}

fn engine(
    stage: &StageDraft,
    path: &str,
    engines: &dyn Engines,
    violations: &mut Violations,
) -> Option<EngineName> {
    let field = || member(path, "type");
    let Some(name) = &stage.engine else {
        let message = format!("\"type\" is required: the engine, one of {}", engines.names().join(", "));
        violations.push(field(), Reason::Required, message);
        return None;
    };
    if !engines.knows(name) {
        let hint = match engines.nearest(name) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => suggestion(name, engines.names().iter().map(String::as_str)),
        };
        violations.push(
            field(),
            Reason::UnknownEngine,
            format!("there is no engine {}, {hint}", quoted(name)),
        );
        return None;
    }
    EngineName::parse(name)
        .map_err(|error| violations.push(field(), Reason::InvalidValue, error.to_string()))
        .ok()
}

fn pool(stage: &StageDraft, path: &str, violations: &mut Violations) -> Option<PoolName> {
    let invalid = |error: crate::id::InvalidId| {
        violations.push(member(path, "pool"), Reason::InvalidValue, error.to_string());
    };
    PoolName::parse(stage.pool.as_ref()?).map_err(invalid).ok()
}

fn cycles(graph: &Graph, ids: &[String], violations: &mut Violations) {
    for cycle in graph.cycles() {
        let Some(first) = cycle.first() else { continue };
        let names: Vec<&str> =
            cycle.iter().chain([first]).filter_map(|n| ids.get(*n)).map(String::as_str).collect();
        let field = member(&item("stages", *first), "needs");
        violations.push(
            field,
            Reason::Cycle,
            format!("these stages need each other: {}", names.join(" -> ")),
        );
    }
}

fn retry(draft: Option<&RetryDraft>, path: &str, violations: &mut Violations) -> RetryPolicy {
    let default = RetryPolicy::default();
    let Some(draft) = draft else { return default };
    let max_attempts = draft.max_attempts.unwrap_or(default.max_attempts);
    if !(1..=MAX_ATTEMPTS).contains(&max_attempts) {
        let message = format!("attempts must be from 1 to {MAX_ATTEMPTS}, not {max_attempts}");
        violations.push(member(path, "max_attempts"), Reason::InvalidValue, message);
    }
    let mut wait = |text: Option<&str>, key| duration(text, &member(path, key), MAX_BACKOFF, violations);
    let initial = wait(draft.initial_backoff.as_deref(), "initial_backoff");
    let max = wait(draft.max_backoff.as_deref(), "max_backoff");
    let initial_backoff =
        initial.unwrap_or(max.map_or(default.initial_backoff, |max| max.min(default.initial_backoff)));
    let max_backoff = max.unwrap_or(default.max_backoff.max(initial_backoff));
    if initial_backoff > max_backoff {
        let message = "the longest wait must not be shorter than the first";
        violations.push(member(path, "max_backoff"), Reason::InvalidValue, message);
    }
    let non_retryable_reasons = draft.non_retryable_reasons.clone();
    reasons(&non_retryable_reasons, &member(path, "non_retryable_reasons"), violations);
    RetryPolicy { max_attempts, initial_backoff, max_backoff, non_retryable_reasons }
}

fn reasons(reasons: &[String], path: &str, violations: &mut Violations) {
    if reasons.len() > MAX_REASONS {
        violations.push(path, Reason::TooLarge, format!("there must not be more than {MAX_REASONS} reasons"));
        return;
    }
    for (n, reason) in reasons.iter().enumerate() {
        let code = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if reason.is_empty() || reason.len() > MAX_REASON || !reason.bytes().all(code) {
            let message = format!("{} is not a reason such as \"TIMEOUT\" or \"HOST_DIED\"", quoted(reason));
            violations.push(item(path, n), Reason::InvalidValue, message);
        }
    }
}

pub(super) fn duration(
    text: Option<&str>,
    field: &str,
    most: Duration,
    violations: &mut Violations,
) -> Option<Duration> {
    let text = text?;
    let mut refuse = |message: String| violations.push(field, Reason::InvalidValue, message);
    match humantime::parse_duration(text) {
        Ok(duration) if duration.is_zero() => refuse("a duration must be longer than nothing".into()),
        Ok(duration) if duration > most => {
            refuse(format!("must not be longer than {}", humantime::format_duration(most)));
        }
        Ok(duration) => return Some(duration),
        Err(_) => refuse(format!("{} is not a duration such as \"30s\", \"5m\" or \"1h 30m\"", quoted(text))),
    }
    None
}

fn documents(
    documents: &BTreeMap<String, String>,
    violations: &mut Violations,
) -> BTreeMap<String, crate::id::ArtifactId> {
    if documents.len() > MAX_DOCUMENTS {
        violations.push(
            "documents",
            Reason::TooLarge,
            format!("there must not be more than {MAX_DOCUMENTS} documents"),
        );
        return BTreeMap::new();
    }
    let mut checked = BTreeMap::new();
    for (name, reference) in documents {
        let field = member("documents", name);
        check_relative(name, &field, violations);
        match artifact(reference) {
            Some(id) => drop(checked.insert(name.clone(), id)),
            None => violations.push(
                field,
                Reason::InvalidValue,
                "must be \"artifact:\" and the SHA-256 of the document",
            ),
        }
    }
    checked
}

fn repos(repos: &[String], violations: &mut Violations) {
    if repos.len() > MAX_REPOS {
        violations.push(
            "repos",
            Reason::TooLarge,
            format!("there must not be more than {MAX_REPOS} directories"),
        );
        return;
    }
    for (n, repo) in repos.iter().enumerate() {
        check_relative(repo, &item("repos", n), violations);
    }
}

fn labels(labels: &BTreeMap<String, String>, violations: &mut Violations) {
    if labels.len() > MAX_LABELS {
        violations.push(
            "labels",
            Reason::TooLarge,
            format!("there must not be more than {MAX_LABELS} labels"),
        );
        return;
    }
    for (name, value) in labels {
        let field = member("labels", name);
        if name.is_empty() || name.chars().count() > MAX_LABEL || !crate::violation::is_label_name(name) {
            let message =
                format!("a label's name has 1 to {MAX_LABEL} letters, digits, '.', '_', '-' or '/'");
            violations.push(field.as_str(), Reason::InvalidValue, message);
        }
        if value.chars().count() > MAX_LABEL || value.chars().any(char::is_control) {
            let message =
                format!("a label's value has at most {MAX_LABEL} characters and none that controls");
            violations.push(field, Reason::InvalidValue, message);
        }
    }
}
