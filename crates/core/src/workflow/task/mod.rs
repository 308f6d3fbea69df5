//! The engines' own tasks: what each of the four takes in its declarative form and as a reference.
//!
//! A reference names an object in the user's project, `path.py:attribute` or `package.module:attribute`. Engines
//! that a deployment adds take any object: their workers know their tasks, we do not.
//!
//! A task is checked twice: as written, where a template passes for every type that it may become, and when its
//! templates have become values, right before it is sent. So what a template yields cannot slip past a check.

mod agno;
pub mod langgraph;
mod llamaindex;
mod prefect;

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations};

use super::fields::{Fields, Templates, quoted};
use super::path::{check_document, check_relative};

/// What the tasks of an engine may say. The checks go by these lists, and the pages of the engines have tables of them.
#[derive(Debug)]
pub struct Vocabulary {
    /// Keys, by the form that takes them beside its own; `in KEY`: of the objects under this key.
    pub keys: &'static [(&'static str, &'static [&'static str])],
    /// The words that a key takes.
    pub words: &'static [(&'static str, &'static [&'static str])],
    /// The largest number that a key takes, or of items.
    pub bounds: &'static [(&'static str, u64)],
}

/// What the tasks of a built-in engine may say.
pub fn vocabulary(engine: &str) -> Option<&'static Vocabulary> {
    Some(match engine {
        "agno" => &agno::VOCABULARY,
        "langgraph" => &langgraph::VOCABULARY,
        "llamaindex" => &llamaindex::VOCABULARY,
        "prefect" => &prefect::VOCABULARY,
        _ => return None,
    })
}

/// Checks a task. `templates` tells what those in it yield, if they still are.
pub(super) fn check(
    engine: &str,
    task: &Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) {
    match engine {
        "agno" => agno::check(task, path, templates, violations),
        "langgraph" => langgraph::check(task, path, templates, violations),
        "llamaindex" => llamaindex::check(task, path, templates, violations),
        "prefect" => prefect::check(task, path, templates, violations),
        _ => {}
    }
}

/// What kind of task it is, in a word: its `type`, or the key that gives it its form.
pub(super) fn kind(engine: &str, task: &Map<String, Value>) -> Option<String> {
    let forms: &[&str] = match engine {
        "agno" => agno::FORMS,
        "langgraph" => langgraph::FORMS,
        "llamaindex" => llamaindex::FORMS,
        "prefect" => prefect::FORMS,
        _ => &["type"],
    };
    let form = forms.iter().find(|form| task.get(**form).is_some_and(|value| !value.is_null()))?;
    match (*form, task.get(*form)) {
        ("type", Some(Value::String(text))) => Some(text.clone()),
        (form, _) => Some(form.to_owned()),
    }
}

/// The schedule that a Prefect task names, and its zone.
pub(super) fn schedule<'a>(engine: &str, task: &'a Map<String, Value>) -> Option<(&'a str, Option<&'a str>)> {
    let text = |key: &str| task.get(key).and_then(Value::as_str);
    if engine == "prefect" { text("schedule").map(|cron| (cron, text("timezone"))) } else { None }
}

/// A list of documents.
fn documents(fields: &mut Fields<'_, '_>, key: &str) {
    for (field, text) in fields.texts(key).unwrap_or_default() {
        check_document(text, &field, fields.violations);
    }
}

/// `path.py:attribute` or `package.module:attribute`.
fn reference(fields: &mut Fields<'_, '_>, key: &str) {
    let Some(text) = fields.fixed_text(key) else { return };
    let field = fields.at(key);
    let Some((place, attribute)) = text.rsplit_once(':') else {
        let message =
            format!("{} must be \"path.py:attribute\" or \"package.module:attribute\"", quoted(text));
        fields.violations.push(field, Reason::InvalidValue, message);
        return;
    };
    if !is_dotted_name(attribute) {
        let message = format!("{} is not the name of a Python object", quoted(attribute));
        fields.violations.push(&field, Reason::InvalidValue, message);
    }
    if place.ends_with(".py") {
        check_relative(place, &field, fields.violations);
    } else if !is_dotted_name(place) {
        let reason = if place.contains(['/', '\\']) { Reason::UnsafePath } else { Reason::InvalidValue };
        let message =
            format!("{} is neither a relative path that ends with .py nor a Python module", quoted(place));
        fields.violations.push(field, reason, message);
    }
}

fn is_dotted_name(text: &str) -> bool {
    text.split('.').all(|part| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    })
}
