//! What the expressions of a stage read: only what is there, only stages that are before it, and only in ways that
//! what these yield allows.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::expression::{Expression, Kind, Template, Type, Variables};
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::fields::quoted;
use super::graph::Set;
use super::secrets;

/// The variables of expressions in stages.
const ROOTS: &[&str] = &["stages", "input", "repos"];
/// What can be read of a stage.
const STAGE_MEMBERS: &[&str] = &["output", "state"];

/// What one stage may read.
pub(super) struct Reads<'a> {
    /// The variables that are known before anything runs.
    pub known: &'a Map<String, Value>,
    /// The types of all variables, as far as they are known.
    pub types: &'a Variables,
    /// The stages in order, for hints, and by id.
    pub ids: &'a [String],
    pub by_id: &'a HashMap<&'a str, usize>,
    pub own: usize,
    pub before: Option<&'a Set>,
    /// Whether it has a place in the order: in a cycle there is nothing to say about what is before.
    pub ordered: bool,
}

impl Reads<'_> {
    /// Checks a condition.
    pub fn condition(&self, source: &str, field: &str, violations: &mut Violations) {
        if Template::is_in(source) {
            let message = "a condition is an expression itself: leave out the ${{ and }}";
            violations.push(field, Reason::InvalidExpression, message);
            return;
        }
        match Expression::parse(source) {
            Ok(expression) => {
                let found = self.expression(&expression, false, field, violations);
                // What the workflow itself gives may be meant as it stands: `when: input.release`.
                let given = expression.only_reads().is_some_and(|root| root != "stages");
                if let Some(kind) = found.kind().filter(|kind| *kind != Kind::Boolean && !given) {
                    violations.push(field, Reason::WrongType, not_boolean(source, kind));
                }
            }
            Err(error) => violations.push(field, error.reason(), error.to_string()),
        }
    }

    /// What a text with templates yields.
    pub fn yielded(&self, text: &str) -> Type {
        Template::parse(text).map_or(Type::Any, |template| template.infer(self.types))
    }

    /// Checks every template in a task.
    pub fn templates(&self, task: &Map<String, Value>, field: &str, violations: &mut Violations) {
        for (key, value) in task {
            self.value(value, &member(field, key), violations);
        }
    }

    fn value(&self, value: &Value, field: &str, violations: &mut Violations) {
        if violations.is_full() {
            return;
        }
        match value {
            Value::String(text) if Template::is_in(text) => match Template::parse(text) {
                Ok(template) if secrets::check(&template, field, violations) => {}
                Ok(template) => {
                    for expression in template.expressions() {
                        self.expression(expression, true, field, violations);
                        self.known_now(expression, field, violations);
                    }
                }
                Err(error) => violations.push(field, error.reason(), error.to_string()),
            },
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(n, value)| self.value(value, &item(field, n), violations));
            }
            Value::Object(members) => self.templates(members, field, violations),
            _ => {}
        }
    }

    /// Checks an expression; its type. `strict` tells that it stands in a template.
    fn expression(
        &self,
        expression: &Expression,
        strict: bool,
        field: &str,
        violations: &mut Violations,
    ) -> Type {
        let references = expression.references();
        for root in references.roots.iter().filter(|root| !ROOTS.contains(&root.as_str())) {
            let message = match root.as_str() {
                secrets::ROOT => {
                    "secrets are known to workers only, in tasks: a condition cannot read them".to_owned()
                }
                _ => {
                    format!("{} is not known here, {}", quoted(root), suggestion(root, ROOTS.iter().copied()))
                }
            };
            violations.push(field, Reason::UnknownReference, message);
        }
        if references.all_stages {
            let message = "name the stage whose output is read: stages.<id>.output";
            violations.push(field, Reason::InvalidExpression, message);
        }
        for name in references.stage_members.iter().filter(|name| !STAGE_MEMBERS.contains(&name.as_str())) {
            let hint = suggestion(name, STAGE_MEMBERS.iter().copied());
            violations.push(
                field,
                Reason::UnknownReference,
                format!("a stage has no {}, {hint}", quoted(name)),
            );
        }
        for id in &references.stages {
            match self.by_id.get(id.as_str()).copied() {
                None => {
                    let hint = suggestion(id, self.ids.iter().map(String::as_str).take(20));
                    let message = format!("there is no stage {}, {hint}", quoted(id));
                    violations.push(field, Reason::UnknownReference, message);
                }
                Some(n) if n == self.own => {
                    violations.push(field, Reason::NotBefore, format!("{id:?} is this stage itself"));
                }
                Some(n) if self.ordered && !self.before.is_some_and(|before| before.contains(n)) => {
                    let message = format!("stage {id:?} is not before this one: add it to \"needs\"");
                    violations.push(field, Reason::NotBefore, message);
                }
                Some(_) => {}
            }
        }
        let (found, problems) = expression.infer(self.types, strict);
        for problem in problems {
            violations.push(field, problem.reason, problem.message);
        }
        found
    }

    /// A template that only names a member of the input can be looked up at once.
    fn known_now(&self, expression: &Expression, field: &str, violations: &mut Violations) {
        let roots = expression.references().roots;
        if roots.len() == 1
            && (roots.contains("input") || roots.contains("repos"))
            && let Some(path) = expression.missing_path(self.known)
        {
            violations.push(field, Reason::UnknownReference, format!("{path} is not there"));
        }
    }
}

fn not_boolean(source: &str, kind: Kind) -> String {
    let source: String = source.trim().chars().take(64).collect();
    let instead = match kind {
        Kind::Text => format!("{source} != \"\""),
        Kind::Number => format!("{source} > 0"),
        Kind::List | Kind::Object => format!("size({source}) > 0"),
        Kind::Boolean => source,
    };
    format!("a condition yields true or false, and this one yields {kind}: compare it, as in {instead}")
}
