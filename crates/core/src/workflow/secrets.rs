//! Secrets by reference: `${{ secrets.NAME }}` in a text of a task. Everywhere but in the worker that runs the attempt it
//! stays what it is, a reference: in histories, plans, logs and spans.
//!
//! Invariants: only what the workflow's author wrote is a reference, and the task says where ([`fields`]): what an input or
//! a stage yields is text, whatever it looks like. A secret is put in as it is and nothing is computed from it, so that
//! its value can be recognised wherever it turns up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::expression::{Error, Expression, Members, Template, Type};
use crate::id::SecretName;
use crate::violation::{Reason, Violations};

/// The variable that stands for all secrets.
pub(super) const ROOT: &str = "secrets";

/// The type of the variable: any name, and a text for each.
pub(super) fn variable() -> Type {
    Type::Object(Members { known: [].into(), others: Some(Type::Text) }.into())
}

fn reads(expression: &Expression) -> bool {
    expression.references().roots.contains(ROOT)
}

/// The template of a text that refers to secrets.
fn template(text: &str) -> Option<Template> {
    if !Template::is_in(text) || !text.contains(ROOT) {
        return None;
    }
    Template::parse(text).ok().filter(|template| template.expressions().any(reads))
}

/// Checks a template that refers to secrets; whether it does.
pub(super) fn check(template: &Template, field: &str, violations: &mut Violations) -> bool {
    if !template.expressions().any(reads) {
        return false;
    }
    for expression in template.expressions() {
        let problem = match expression.only_member(ROOT) {
            Some(name) => match SecretName::parse(name) {
                Ok(_) => continue,
                Err(error) => (Reason::InvalidValue, format!("a secret's name: {error}")),
            },
            None if reads(expression) => {
                let message = "a secret is put in as it is: write ${{ secrets.NAME }}, or ${{ secrets[\"NAME\"] }} for a name \
                               with a '-', and compute nothing from it";
                (Reason::InvalidExpression, message.to_owned())
            }
            None => {
                let message = "a text that holds a secret holds no other templates: the coordinator fills those in, and \
                               the secret is only known to the worker";
                (Reason::InvalidExpression, message.to_owned())
            }
        };
        violations.push(field, problem.0, problem.1);
    }
    true
}

/// Where a task refers to secrets: JSON pointers of the texts that do, in order.
pub fn fields(task: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    members(task, "", &mut |pointer, text| {
        if template(text).is_some() {
            found.push(pointer.to_owned());
        }
    });
    found
}

/// The texts of a task that refer to secrets.
pub(super) fn texts(task: &Map<String, Value>) -> BTreeSet<&str> {
    fn gather<'t>(value: &'t Value, found: &mut BTreeSet<&'t str>) {
        match value {
            Value::String(text) if template(text).is_some() => drop(found.insert(text)),
            Value::Array(items) => items.iter().for_each(|value| gather(value, found)),
            Value::Object(members) => members.values().for_each(|value| gather(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    task.values().for_each(|value| gather(value, &mut found));
    found
}

/// The secrets that a task needs.
pub fn names(task: &Map<String, Value>) -> BTreeSet<SecretName> {
    texts(task).into_iter().flat_map(names_in).collect()
}

/// The secrets that a text refers to.
pub fn names_in(text: &str) -> BTreeSet<SecretName> {
    let template = template(text);
    let expressions = template.iter().flat_map(Template::expressions);
    let names = expressions.filter_map(|expression| expression.only_member(ROOT));
    names.filter_map(|name| SecretName::parse(name).ok()).collect()
}

/// A text that refers to secrets, with their values. Nothing else in it is a template.
///
/// # Errors
/// When it refers to another one, or to anything else.
pub fn fill(text: &str, values: &BTreeMap<SecretName, String>) -> Result<String, Error> {
    let values = values.iter().map(|(name, value)| (name.to_string(), Value::from(value.as_str())));
    let variables = Map::from_iter([(ROOT.to_owned(), Value::Object(values.collect()))]);
    match Template::parse(text)?.render(&variables)? {
        Value::String(filled) => Ok(filled),
        other => Ok(other.to_string()),
    }
}

fn members(members: &Map<String, Value>, pointer: &str, found: &mut impl FnMut(&str, &str)) {
    for (key, value) in members {
        let key = key.replace('~', "~0").replace('/', "~1");
        walk(value, &format!("{pointer}/{key}"), found);
    }
}

fn walk(value: &Value, pointer: &str, found: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => found(pointer, text),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, value)| walk(value, &format!("{pointer}/{n}"), found));
        }
        Value::Object(inner) => members(inner, pointer, found),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
