//! Prefect: pipelines, task graphs, flows.
//!
//! * `type: etl`: `sources` by name from the worker's catalogue (all of them when it is left out), optionally a
//!   `transform` (SQL, or SQL by table), what to `expect` of the tables before they are loaded, and a `target` (a kind,
//!   or `{kind, path or name, table}`). `type: scheduled_etl` is the same with a `schedule`: five cron fields, and
//!   optionally an IANA `timezone`.
//! * `type: dag`: `tasks` by name or as a list with names, each with one of `python` (a reference), `sql`, `http` or
//!   `shell`, optionally `needs` and `parameters`; and `sources` for their SQL. What needs nothing starts at once.
//! * `flow`: the user's own, with `parameters`.

use serde_json::{Map, Value};

use crate::expression::{Kind, Template};
use crate::schedule::Schedule;
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::super::fields::{Fields, Templates, quoted};
use super::super::graph::Graph;
use super::super::path::check_relative;
use super::{Vocabulary, reference};

/// The keys of which a task has exactly one.
pub(super) const FORMS: &[&str] = &["type", "flow"];
const TYPES: &[&str] = &["etl", "scheduled_etl", "dag"];
const KEYS: &[&str] =
    &["schedule", "timezone", "sources", "transform", "expect", "target", "tasks", "parameters"];
const ETL: &[&str] = &["schedule", "timezone", "sources", "transform", "expect", "target"];
const DAG: &[&str] = &["schedule", "timezone", "sources", "tasks"];
const FLOW: &[&str] = &["schedule", "timezone", "parameters"];
const KINDS: &[&str] = &["python", "sql", "http", "shell"];
const TARGET_KINDS: &[&str] = &["sqlite", "duckdb", "csv", "parquet", "postgres", "s3"];
/// Those that the worker's catalogue knows by name.
const TARGET_PLACES: &[&str] = &["postgres", "s3"];
/// What may be expected of a table.
const EXPECTATIONS: &[&str] = &["columns", "not_null", "unique", "min_rows", "max_rows"];
const TARGET: &[&str] = &["kind", "path", "name", "table"];
/// Of a task, beside its kind.
const STEP: &[&str] = &["needs", "parameters"];
const MAX_TASKS: usize = 100;
pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    keys: &[
        ("etl", ETL),
        ("scheduled_etl", ETL),
        ("dag", DAG),
        ("flow", FLOW),
        ("in target", TARGET),
        ("in expect", EXPECTATIONS),
        ("in tasks", STEP),
    ],
    words: &[("target", TARGET_KINDS), ("tasks", KINDS)],
    bounds: &[("tasks", MAX_TASKS as u64)],
};

pub(super) fn check(
    task: &Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) {
    let mut fields = Fields::new(task, path, &[FORMS, KEYS].concat(), templates, violations);
    schedule(&mut fields);
    match fields.exactly_one(FORMS) {
        Some("type") => match fields.text("type") {
            Some("etl") => etl("etl", &mut fields, templates),
            Some("scheduled_etl") => {
                fields.require("schedule", "five cron fields, such as \"0 2 * * *\"");
                etl("scheduled_etl", &mut fields, templates);
            }
            Some("dag") => dag(&mut fields, templates),
            Some(other) => {
                let message =
                    format!("{} is not known, {}", quoted(other), suggestion(other, TYPES.iter().copied()));
                fields.violations.push(fields.at("type"), Reason::UnknownTaskType, message);
            }
            None => {}
        },
        Some(form) => {
            fields.only(form, KEYS, FLOW);
            fields.object("parameters");
            reference(&mut fields, form);
        }
        None => {}
    }
}

fn schedule(fields: &mut Fields<'_, '_>) {
    let zone = fields.text("timezone");
    match fields.text("schedule") {
        Some(cron) if !(Template::is_in(cron) || zone.is_some_and(Template::is_in)) => {
            for mut violation in
                Schedule::parse(cron, zone).err().into_iter().flat_map(|violations| violations.0)
            {
                violation.field = fields.at(&violation.field);
                fields.violations.add(violation);
            }
        }
        None if zone.is_some() && !fields.has("schedule") => {
            fields.violations.push(
                fields.at("timezone"),
                Reason::UnknownKey,
                "a time zone needs a \"schedule\"",
            );
        }
        _ => {}
    }
}

fn etl(form: &str, fields: &mut Fields<'_, '_>, templates: Templates<'_>) {
    fields.only(form, KEYS, ETL);
    sources(fields);
    if let Some(Value::Object(statements)) = fields.get("transform") {
        let path = fields.at("transform");
        for (table, sql) in statements {
            let path = member(&path, table);
            name(table, &path, fields.violations);
            if !sql.is_string() {
                fields.wrong_type(path, "SQL", sql);
            }
        }
    } else {
        fields.fixed_text_or("transform", &[Kind::Text, Kind::Object]);
    }
    expect(fields, templates);
    if let Some(Value::Object(members)) = fields.get("target") {
        let path = fields.at("target");
        let mut target = Fields::new(members, &path, TARGET, templates, fields.violations);
        let kind = if target.has("kind") { target.one_of("kind", TARGET_KINDS) } else { Some("sqlite") };
        match kind {
            Some(kind) if TARGET_PLACES.contains(&kind) => {
                target.require("name", "one of `targets` in sources.yaml of the worker's project");
            }
            Some(kind) if target.has("name") => {
                let message = format!("{kind:?} has no name but a \"path\"");
                target.violations.push(target.at("name"), Reason::UnknownKey, message);
            }
            _ => {}
        }
        target.fixed_text("table");
        target.fixed_text("name");
        if let Some(text) = target.fixed_text("path") {
            let path = target.at("path");
            check_relative(text, &path, target.violations);
        }
    } else if !fields.is_template("target", &[Kind::Text, Kind::Object])
        && let Some(kind) = fields.one_of("target", TARGET_KINDS).filter(|kind| TARGET_PLACES.contains(kind))
    {
        let message = format!("say which one: {{\"kind\": {kind:?}, \"name\": ...}}");
        fields.violations.push(fields.at("target"), Reason::Required, message);
    }
}

/// What must hold of the tables, by table.
fn expect(fields: &mut Fields<'_, '_>, templates: Templates<'_>) {
    let path = fields.at("expect");
    for (table, value) in fields.object("expect").into_iter().flatten() {
        let path = member(&path, table);
        let Value::Object(members) = value else {
            fields.wrong_type(path, "an object", value);
            continue;
        };
        let mut table = Fields::new(members, &path, EXPECTATIONS, templates, fields.violations);
        table.object("columns");
        table.texts("not_null");
        table.texts("unique");
        table.whole("min_rows", 0, u64::MAX);
        table.whole("max_rows", 0, u64::MAX);
    }
}

fn sources(fields: &mut Fields<'_, '_>) {
    for (field, name) in fields.texts("sources").unwrap_or_default() {
        if name.trim().is_empty() {
            fields.violations.push(field, Reason::InvalidValue, "a source's name must not be empty");
        }
    }
}

fn dag(fields: &mut Fields<'_, '_>, templates: Templates<'_>) {
    fields.only("dag", KEYS, DAG);
    sources(fields);
    fields.require("tasks", "the tasks by name");
    let path = fields.at("tasks");
    let tasks: Vec<(String, Option<&str>, &Value)> = match fields.get("tasks") {
        Some(Value::Object(tasks)) => {
            tasks.iter().map(|(name, task)| (member(&path, name), Some(name.as_str()), task)).collect()
        }
        Some(Value::Array(tasks)) => tasks
            .iter()
            .enumerate()
            .map(|(n, task)| (item(&path, n), task.get("name").and_then(Value::as_str), task))
            .collect(),
        Some(_) if fields.is_template("tasks", &[Kind::Object, Kind::List]) => return,
        Some(other) => return fields.wrong_type(path, "an object of tasks by name, or a list", other),
        None => return,
    };
    if !(1..=MAX_TASKS).contains(&tasks.len()) {
        fields.violations.push(path, Reason::InvalidValue, format!("there must be 1 to {MAX_TASKS} tasks"));
        return;
    }
    let listed = matches!(fields.get("tasks"), Some(Value::Array(_)));
    let names: Vec<&str> = tasks.iter().map(|(_, name, _)| name.unwrap_or_default()).collect();
    let mut needs = Vec::new();
    for (n, (path, _, value)) in tasks.iter().enumerate() {
        let before = names.get(..n).unwrap_or_default();
        let Value::Object(members) = value else {
            fields.wrong_type(path.clone(), "an object", value);
            needs.push(Vec::new());
            continue;
        };
        let given: &[&str] = if listed { &["name"] } else { &[] };
        let known = [given, KINDS, STEP].concat();
        let mut task = Fields::new(members, path, &known, templates, fields.violations);
        let own = names.get(n).copied().unwrap_or_default();
        let place = if listed { task.at("name") } else { path.clone() };
        if !listed || (task.require("name", "the task's name") && task.text("name").is_some()) {
            name(own, &place, task.violations);
        }
        if before.contains(&own) && !own.is_empty() {
            task.violations.push(place, Reason::Duplicate, format!("there are two tasks {own:?}"));
        }
        needs.push(step(&mut task, &names));
    }
    for cycle in Graph::new(needs).cycles() {
        let members: Vec<&str> =
            cycle.iter().chain(cycle.first()).filter_map(|n| names.get(*n).copied()).collect();
        let first = cycle.first().and_then(|n| tasks.get(*n)).map_or(path.as_str(), |(path, _, _)| path);
        let message = format!("these tasks need each other: {}", members.join(" -> "));
        fields.violations.push(member(first, "needs"), Reason::Cycle, message);
    }
}

/// Checks one task of a graph, and yields the indices of what it needs.
fn step(task: &mut Fields<'_, '_>, names: &[&str]) -> Vec<usize> {
    match task.exactly_one(KINDS) {
        Some("python") => reference(task, "python"),
        Some("http") => {
            if let Some(address) =
                task.fixed_text("http").filter(|a| !a.starts_with("http://") && !a.starts_with("https://"))
            {
                let message = format!("{} is not an http address", quoted(address));
                task.violations.push(task.at("http"), Reason::InvalidValue, message);
            }
        }
        Some(kind) => drop(task.fixed_text(kind)),
        None => {}
    }
    task.object("parameters");
    let mut needs = Vec::new();
    if task.list("needs").is_some_and(|needs| needs.len() > MAX_TASKS) {
        task.violations.push(
            task.at("needs"),
            Reason::TooLarge,
            format!("there must not be more than {MAX_TASKS}"),
        );
        return needs;
    }
    for (field, need) in task.texts("needs").unwrap_or_default() {
        match names.iter().position(|name| *name == need) {
            Some(index) => needs.push(index),
            None => {
                let hint = suggestion(need, names.iter().copied());
                task.violations.push(
                    field,
                    Reason::UnknownReference,
                    format!("there is no task {}, {hint}", quoted(need)),
                );
            }
        }
    }
    needs
}

/// Tables and tasks have names that SQL takes without quotes.
fn name(name: &str, path: &str, violations: &mut Violations) {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || name.len() > 64 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message = format!("{} is not a name: use a letter, then letters, digits and '_'", quoted(name));
        violations.push(path, Reason::InvalidValue, message);
    }
}
