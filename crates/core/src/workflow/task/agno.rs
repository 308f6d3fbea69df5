//! Agno: one agent, or several as a team.
//!
//! * `agents`: names from the worker's catalogue, optionally the `task` in words, an `input` for it, a `model`,
//!   `instructions` beside the agents' own, whether file tools may change files (`writes`), and, for several, the
//!   `mode` in which they work together.
//! * `agent` or `team`: the user's own, with `task`, `input` and `model`.
//!
//! With a `session` the agents remember the earlier runs of that name.

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations};

use super::super::fields::{Fields, Templates};
use super::{Vocabulary, reference};

/// The keys of which a task has exactly one.
pub(super) const FORMS: &[&str] = &["agents", "agent", "team"];
const AGENTS: &[&str] = &["task", "input", "model", "session", "mode", "instructions", "writes"];
const OWN: &[&str] = &["task", "input", "model", "session"];
const MODES: &[&str] = &["coordinate", "route", "broadcast", "tasks"];
const WRITES: &[&str] = &["never", "ask", "allow"];
const MAX_AGENTS: usize = 50;
pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    keys: &[("agents", AGENTS), ("agent", OWN), ("team", OWN)],
    words: &[("mode", MODES), ("writes", WRITES)],
    bounds: &[("agents", MAX_AGENTS as u64)],
};

pub(super) fn check(
    task: &Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) {
    let mut fields = Fields::new(task, path, &[FORMS, AGENTS].concat(), templates, violations);
    fields.text("task");
    fields.text("model");
    fields.fixed_text("session");
    match fields.exactly_one(FORMS) {
        Some("agents") => {
            fields.one_of("mode", MODES);
            fields.one_of("writes", WRITES);
            if !fields.get("instructions").is_some_and(Value::is_string) {
                fields.texts("instructions");
            }
            agents(&mut fields);
        }
        Some(form) => {
            fields.only(form, AGENTS, OWN);
            reference(&mut fields, form);
        }
        None => {}
    }
}

fn agents(fields: &mut Fields<'_, '_>) {
    if fields.bounded_list("agents", MAX_AGENTS).is_none() {
        return;
    }
    let mut seen = Vec::new();
    for (field, name) in fields.texts("agents").unwrap_or_default() {
        if name.trim().is_empty() {
            fields.violations.push(field, Reason::InvalidValue, "an agent's name must not be empty");
        } else if seen.contains(&name) {
            fields.violations.push(field, Reason::Duplicate, format!("{name:?} is named twice"));
        } else {
            seen.push(name);
        }
    }
}
