//! Prefect: pipelines, task graphs, flows.
//!
//! * `type: etl`: `sources` by name, optionally a `transform` and a `target`, with their `parameters`.
//!   `type: scheduled_etl` is the same with a `schedule`: five cron fields, and optionally an IANA `timezone`.
//! * `type: dag`: `tasks` by name, each with one of `python` (a reference), `sql`, `http` or `shell`, optionally
//!   `needs` and `parameters`. What needs nothing starts at once; the rest runs in parallel as far as it can.
//! * `flow`: the user's own, with `parameters`.

use serde_json::{Map, Value};

use crate::schedule::Schedule;
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::super::fields::{Fields, quoted};
use super::super::graph::Graph;
use super::reference;

/// The keys of which a task has exactly one.
pub(super) const FORMS: &[&str] = &["type", "flow"];
const TYPES: &[&str] = &["etl", "scheduled_etl", "dag"];
const KEYS: &[&str] =
    &["schedule", "timezone", "sources", "transform", "target", "tasks", "parameters", "input", "model"];
const ETL: &[&str] = &["schedule", "timezone", "sources", "transform", "target", "parameters", "input"];
const KINDS: &[&str] = &["python", "sql", "http", "shell"];

pub(super) fn check(task: &Map<String, Value>, path: &str, templates: bool, violations: &mut Violations) {
    let mut fields = Fields::new(task, path, &[FORMS, KEYS].concat(), templates, violations);
    fields.text("model");
    fields.object("parameters");
    schedule(&mut fields);
    match fields.exactly_one(FORMS) {
        Some("type") => match fields.text("type") {
            Some("etl") => etl("etl", &mut fields),
            Some("scheduled_etl") => {
                fields.require("schedule", "five cron fields, such as \"0 2 * * *\"");
                etl("scheduled_etl", &mut fields);
            }
            Some("dag") => dag(&mut fields, templates),
            Some(other) => {
                let message = format!("{} is not known, {}", quoted(other), suggestion(other, TYPES.iter().copied()));
                fields.violations.push(fields.at("type"), Reason::UnknownTaskType, message);
            }
            None => {}
        },
        Some(form) => {
            fields.only(form, KEYS, &["schedule", "timezone", "parameters", "input", "model"]);
            reference(&mut fields, form);
        }
        None => {}
    }
}

fn schedule(fields: &mut Fields<'_, '_>) {
    let zone = fields.text("timezone");
    match fields.text("schedule") {
        Some(cron) if !(crate::expression::Template::is_in(cron) || zone.is_some_and(crate::expression::Template::is_in)) => {
            for mut violation in Schedule::parse(cron, zone).err().into_iter().flat_map(|violations| violations.0) {
                violation.field = fields.at(&violation.field);
                fields.violations.add(violation);
            }
        }
        None if zone.is_some() && !fields.has("schedule") => {
            fields.violations.push(fields.at("timezone"), Reason::UnknownKey, "a time zone needs a \"schedule\"");
        }
        _ => {}
    }
}

fn etl(form: &str, fields: &mut Fields<'_, '_>) {
    fields.only(form, KEYS, ETL);
    let path = fields.at("sources");
    for (n, source) in fields.list("sources").unwrap_or_default().iter().enumerate() {
        match source {
            Value::String(name) if !name.trim().is_empty() => {}
            Value::Object(_) => {}
            Value::String(_) => {
                fields.violations.push(item(&path, n), Reason::InvalidValue, "a source's name must not be empty");
            }
            other => fields.wrong_type(item(&path, n), "the name of a source or an object", other),
        }
    }
}

fn dag(fields: &mut Fields<'_, '_>, templates: bool) {
    fields.only("dag", KEYS, &["tasks", "parameters", "schedule", "timezone", "input"]);
    fields.require("tasks", "the tasks by name");
    let path = fields.at("tasks");
    let Some(tasks) = fields.object("tasks") else { return };
    if tasks.is_empty() {
        fields.violations.push(path, Reason::Required, "name at least one task");
        return;
    }
    let names: Vec<&str> = tasks.keys().map(String::as_str).collect();
    let mut needs = Vec::new();
    for (name, value) in tasks {
        let path = member(&path, name);
        let mut indices = Vec::new();
        match value {
            Value::Object(members) => {
                let known = [KINDS, &["needs", "parameters"]].concat();
                let mut task = Fields::new(members, &path, &known, templates, fields.violations);
                match task.exactly_one(KINDS) {
                    Some("python") => reference(&mut task, "python"),
                    Some("http") => drop(task.get("http")),
                    Some(kind) => drop(task.fixed_text(kind)),
                    None => {}
                }
                task.object("parameters");
                for (field, need) in task.texts("needs").unwrap_or_default() {
                    match names.iter().position(|name| *name == need) {
                        Some(index) => indices.push(index),
                        None => {
                            let message = format!("there is no task {}, {}", quoted(need), suggestion(need, names.iter().copied()));
                            task.violations.push(field, Reason::UnknownReference, message);
                        }
                    }
                }
            }
            other => fields.wrong_type(path, "an object", other),
        }
        needs.push(indices);
    }
    for cycle in Graph::new(needs).cycles() {
        let members: Vec<&str> = cycle.iter().chain(cycle.first()).filter_map(|n| names.get(*n).copied()).collect();
        let first = members.first().copied().unwrap_or_default();
        let field = member(&member(&path, first), "needs");
        fields.violations.push(field, Reason::Cycle, format!("these tasks need each other: {}", members.join(" -> ")));
    }
}
