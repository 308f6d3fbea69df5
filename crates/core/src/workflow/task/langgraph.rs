//! LangGraph: a graph of nodes over a shared state.
//!
//! * `workflow`: `nodes`, optionally `conditional`, `edges` and `max_steps`, with an `input` that goes into the
//!   first state, and a `model`.
//! * `graph`: the user's own, with `input`. It has its own model.
//!
//! How a declared graph runs:
//!
//! * It begins at the first node listed. From a node it goes to the next one listed, and from the last to the end.
//! * `edges` puts other nodes in that place: `{node: to}`, or `{node: [to, to]}` to go on in parallel.
//! * `conditional` puts a choice in that place: the first rule that holds (`{when: CEL over state, to: node}`, or
//!   `{to: node}` for otherwise) or one CEL text that yields a node's name. When no rule holds, or the name is
//!   null, the graph ends.
//! * A target that is not listed is a node all the same, declared by being named, and the graph ends after it.
//!   `end` is the end. Going back to an earlier node makes a loop, which `max_steps` bounds.
//!
//! A node is a name, or `{name, kind, ...}`: `agent` (the default; `role`, `instructions`, `max_tokens`, `model`),
//! `approval` (the default for the name `approve`; `title`, `question`), `python` with a `ref` to a function of the state,
//! `tool` with a `ref` and `args` (CEL by name), `graph` with a `ref` to a graph of the user's own, and `set` with `values` (CEL by key of the state).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::expression::{Expression, Template, Type};
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::super::fields::{Fields, Templates, quoted, wrong_type};
use super::{Vocabulary, reference};

/// The keys of which a task has exactly one.
pub(super) const FORMS: &[&str] = &["workflow", "graph"];
const KEYS: &[&str] = &["input", "model"];
const OWN: &[&str] = &["input"];
const GRAPH: &[&str] = &["nodes", "conditional", "edges", "max_steps"];
const ROUTE: &[&str] = &["when", "to"];
const KINDS: &[&str] = &["agent", "approval", "graph", "python", "set", "tool"];
const AGENT: &[&str] = &["role", "instructions", "max_tokens", "model"];
const APPROVAL: &[&str] = &["title", "question"];
const REFERENCE: &[&str] = &["ref"];
const SET: &[&str] = &["values"];
const TOOL: &[&str] = &["ref", "args"];
/// Where a graph stops; no node may have this name.
pub const END: &str = "end";
/// Other spellings of it that LangGraph's users know.
const ENDS: &[&str] = &[END, "END", "__end__"];
const MAX_NAME: usize = 128;
/// Listed nodes of a graph.
const MAX_NODES: usize = 200;
/// Routes of a node.
const MAX_ROUTES: usize = 50;
const MAX_STEPS: u64 = 10_000;
const MAX_TOKENS: u64 = 1_000_000;
pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    keys: &[
        ("workflow", KEYS),
        ("graph", OWN),
        ("in workflow", GRAPH),
        ("in conditional", ROUTE),
        ("node agent", AGENT),
        ("node approval", APPROVAL),
        ("node graph", REFERENCE),
        ("node python", REFERENCE),
        ("node set", SET),
        ("node tool", TOOL),
    ],
    words: &[],
    bounds: &[
        ("nodes", MAX_NODES as u64),
        ("conditional", MAX_ROUTES as u64),
        ("edges", MAX_ROUTES as u64),
        ("max_steps", MAX_STEPS),
    ],
};

/// A declared graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The listed nodes, in order.
    pub nodes: Vec<String>,
    /// Where a node's choice may lead, by node.
    pub routes: BTreeMap<String, Routes>,
    /// Where a node leads instead of to the next one listed.
    pub edges: BTreeMap<String, Vec<String>>,
}

/// The choice after a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routes {
    /// The nodes that it names, `end` included.
    pub targets: Vec<String>,
    /// Those of them that it may lead to.
    pub open: Vec<String>,
    /// The rules, by position, that are never taken.
    pub closed: Vec<usize>,
    /// Whether these are all: a computed name may be any.
    pub complete: bool,
    /// Whether it always chooses: else the graph may end there.
    pub exhaustive: bool,
}

pub(super) fn check(
    task: &Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) {
    let mut fields = Fields::new(task, path, &[FORMS, KEYS].concat(), templates, violations);
    fields.text("model");
    match fields.exactly_one(FORMS) {
        Some("workflow") => {
            let path = fields.at("workflow");
            if let Some(workflow) = fields.object("workflow") {
                Graph::read(workflow, &path, templates, fields.violations);
            }
        }
        Some(form) => {
            fields.only(form, KEYS, OWN);
            reference(&mut fields, form);
        }
        None => {}
    }
}

/// The nodes of a declared graph that wait for a person.
pub fn approvals(engine: &str, task: &Map<String, Value>) -> Vec<String> {
    let nodes = task.get("workflow").and_then(|workflow| workflow.get("nodes")).and_then(Value::as_array);
    let waits = |node: &Value| {
        let (name, kind) = match node {
            Value::String(name) => (name.as_str(), None),
            other => (other.get("name")?.as_str()?, other.get("kind").and_then(Value::as_str)),
        };
        let approval = kind.map_or(name == "approve", |kind| kind == "approval");
        approval.then(|| name.to_owned())
    };
    if engine == "langgraph" { nodes.into_iter().flatten().filter_map(waits).collect() } else { Vec::new() }
}

impl Graph {
    /// The graph that a task declares, if it does.
    pub fn of(task: &Map<String, Value>) -> Option<Self> {
        let workflow = task.get("workflow")?.as_object()?;
        Some(Self::read(workflow, "", Templates::Yield(&|_| Type::Any), &mut Violations::default()))
    }

    /// The nodes that are only named as targets, with the node that names each first.
    pub fn implicit(&self) -> Vec<(&str, &str)> {
        let mut implicit: Vec<(&str, &str)> = Vec::new();
        let mut seen = BTreeSet::new();
        let routed = self.routes.iter().map(|(node, routes)| (node, &routes.targets));
        for (node, targets) in routed.chain(&self.edges) {
            for target in targets
                .iter()
                .filter(|target| !ENDS.contains(&target.as_str()) && !self.nodes.contains(target))
            {
                if seen.insert(target) {
                    implicit.push((target, node));
                }
            }
        }
        implicit
    }

    /// The nodes that a node may lead to.
    pub fn after(&self, node: &str) -> Vec<&str> {
        if let Some(routes) = self.routes.get(node) {
            let named = routes
                .open
                .iter()
                .filter(|_| routes.complete)
                .chain(self.nodes.iter().filter(|_| !routes.complete));
            return named.map(String::as_str).filter(|target| !ENDS.contains(target)).collect();
        }
        if let Some(targets) = self.edges.get(node) {
            return targets.iter().map(String::as_str).filter(|target| !ENDS.contains(target)).collect();
        }
        let at = self.nodes.iter().position(|known| known == node);
        at.and_then(|at| self.nodes.get(at + 1)).map(String::as_str).into_iter().collect()
    }

    /// The listed nodes that nothing leads to.
    pub fn unreachable(&self) -> Vec<&str> {
        let mut reached = BTreeSet::new();
        let mut next: Vec<&str> = self.nodes.first().map(String::as_str).into_iter().collect();
        while let Some(node) = next.pop() {
            if reached.insert(node) {
                next.extend(self.after(node));
            }
        }
        self.nodes.iter().map(String::as_str).filter(|node| !reached.contains(*node)).collect()
    }

    fn read(
        workflow: &Map<String, Value>,
        path: &str,
        templates: Templates<'_>,
        violations: &mut Violations,
    ) -> Self {
        let mut fields = Fields::new(workflow, path, GRAPH, templates, violations);
        fields.whole("max_steps", 1, MAX_STEPS);
        fields.require("nodes", "a list of names, or of objects with \"name\" and \"kind\"");
        let mut graph = Self::default();
        let at = fields.at("nodes");
        for (n, value) in fields.bounded_list("nodes", MAX_NODES).into_iter().flatten().enumerate() {
            graph.node(value, &item(&at, n), templates, fields.violations);
        }
        let at = fields.at("conditional");
        for (node, value) in fields.bounded_object("conditional", MAX_NODES).into_iter().flatten() {
            let at = member(&at, node);
            graph.known(node, &at, fields.violations);
            let routes = routes(value, &at, fields.violations);
            graph.routes.insert(node.clone(), routes);
        }
        let at = fields.at("edges");
        for (node, value) in fields.bounded_object("edges", MAX_NODES).into_iter().flatten() {
            let at = member(&at, node);
            graph.known(node, &at, fields.violations);
            if graph.routes.contains_key(node) {
                let message = format!("{node:?} already has a choice in \"conditional\"");
                fields.violations.push(at.as_str(), Reason::Duplicate, message);
            }
            let targets = edges(value, &at, fields.violations);
            graph.edges.insert(node.clone(), targets);
        }
        graph
    }

    fn node(&mut self, value: &Value, path: &str, templates: Templates<'_>, violations: &mut Violations) {
        let (name, at) = match value {
            Value::String(name) => (Some(name.as_str()), path.to_owned()),
            Value::Object(members) => (described(members, path, templates, violations), member(path, "name")),
            other => {
                wrong_type(path.to_owned(), "a name or an object", other, violations);
                (None, String::new())
            }
        };
        let Some(name) = name else { return };
        if let Err(message) = node_name(name) {
            violations.push(at, Reason::InvalidValue, message);
        } else if self.nodes.iter().any(|known| known == name) {
            violations.push(at, Reason::Duplicate, format!("there are two nodes {name:?}"));
        } else {
            self.nodes.push(name.to_owned());
        }
    }

    fn known(&self, node: &str, path: &str, violations: &mut Violations) {
        if !self.nodes.iter().any(|known| known == node) {
            let hint = suggestion(node, self.nodes.iter().map(String::as_str));
            violations.push(
                path,
                Reason::UnknownReference,
                format!("there is no node {}, {hint}", quoted(node)),
            );
        }
    }
}

/// Checks a node that is described, and yields its name.
fn described<'a>(
    members: &'a Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) -> Option<&'a str> {
    let text = |key| members.get(key).and_then(Value::as_str);
    let kind = text("kind").or_else(|| text("name").filter(|name| *name == "approve").map(|_| "approval"));
    let own: &[&str] = match kind {
        Some("approval") => APPROVAL,
        Some("graph" | "python") => REFERENCE,
        Some("tool") => TOOL,
        Some("set") => SET,
        _ => AGENT,
    };
    let known = [&["name", "kind"], own].concat();
    let mut fields = Fields::new(members, path, &known, templates, violations);
    fields.require("name", "the node's name");
    fields.one_of("kind", KINDS);
    for key in ["title", "question", "role", "instructions", "model"] {
        fields.text(key);
    }
    fields.whole("max_tokens", 1, MAX_TOKENS);
    if own.contains(&"ref") && fields.require("ref", "the function or graph, such as \"nodes.py:check\"") {
        reference(&mut fields, "ref");
    }
    if own.contains(&"values") {
        fields.require("values", "CEL by key of the state");
    }
    for key in ["args", "values"] {
        let at = fields.at(key);
        for (key, value) in fields.object(key).into_iter().flatten() {
            match value {
                Value::String(source) => drop(state_expression(source, &member(&at, key), fields.violations)),
                other => fields.wrong_type(member(&at, key), "a CEL text", other),
            }
        }
    }
    match fields.get("name") {
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            fields.wrong_type(member(path, "name"), "a text", other);
            None
        }
        None => None,
    }
}

fn routes(value: &Value, path: &str, violations: &mut Violations) -> Routes {
    match value {
        Value::String(source) => {
            let (targets, complete) = match state_expression(source, path, violations) {
                Some(expression) => expression.choices(),
                None => Default::default(),
            };
            for target in &targets {
                target_name(target, path, violations);
            }
            let targets: Vec<String> = targets.into_iter().collect();
            Routes { open: targets.clone(), targets, closed: Vec::new(), complete, exhaustive: complete }
        }
        Value::Array(rules) => {
            let mut routes = Routes { complete: true, ..Routes::default() };
            bounded(rules, path, violations);
            let mut otherwise = false;
            for (n, rule) in rules.iter().take(MAX_ROUTES).enumerate() {
                let path = item(path, n);
                if otherwise {
                    let message =
                        "this rule is never reached: the one without \"when\" before it always holds";
                    violations.push(path.as_str(), Reason::InvalidValue, message);
                }
                let Value::Object(members) = rule else {
                    wrong_type(path, "an object with \"to\" and \"when\"", rule, violations);
                    continue;
                };
                let mut fields = Fields::new(members, &path, ROUTE, Templates::NONE, violations);
                let mut holds = None;
                if let Some(source) = fields.text("when") {
                    let at = fields.at("when");
                    let condition = state_expression(source, &at, fields.violations);
                    holds = condition.and_then(|condition| condition.constant());
                }
                otherwise |= !fields.has("when");
                let taken = !routes.exhaustive && holds != Some(false);
                routes.exhaustive |= otherwise || holds == Some(true);
                if !taken {
                    routes.closed.push(n);
                }
                fields.require("to", "the node to go to, or \"end\"");
                if let Some(to) = fields.fixed_text("to") {
                    let at = fields.at("to");
                    target_name(to, &at, fields.violations);
                    routes.targets.push(to.to_owned());
                    routes.open.extend(taken.then(|| to.to_owned()));
                }
            }
            routes
        }
        other => {
            let wanted = "a list of rules or a CEL text that yields a node's name";
            wrong_type(path.to_owned(), wanted, other, violations);
            Routes::default()
        }
    }
}

fn edges(value: &Value, path: &str, violations: &mut Violations) -> Vec<String> {
    let one = std::slice::from_ref(value);
    let (values, listed) = value.as_array().map_or((one, false), |list| (list.as_slice(), true));
    bounded(values, path, violations);
    let mut targets = Vec::new();
    for (n, value) in values.iter().take(MAX_ROUTES).enumerate() {
        let path = if listed { item(path, n) } else { path.to_owned() };
        match value {
            Value::String(target) => {
                target_name(target, &path, violations);
                targets.push(target.clone());
            }
            other => wrong_type(path, "a node's name", other, violations),
        }
    }
    targets
}

/// Notes that a node has no route, or too many.
fn bounded(routes: &[Value], path: &str, violations: &mut Violations) {
    if routes.is_empty() {
        violations.push(path, Reason::Required, "name at least one node to go to, or \"end\"");
    } else if routes.len() > MAX_ROUTES {
        violations.push(path, Reason::TooLarge, format!("there must not be more than {MAX_ROUTES} routes"));
    }
}

/// CEL over `state`. Templates are not for expressions: what they yield could change the meaning.
fn state_expression(source: &str, path: &str, violations: &mut Violations) -> Option<Expression> {
    if Template::is_in(source) {
        let message =
            "an expression must not hold a template: put the value into `input` and read it as state.<key>";
        violations.push(path, Reason::InvalidExpression, message);
        return None;
    }
    match Expression::parse(source) {
        Ok(expression) => {
            for root in expression.references().roots.iter().filter(|root| *root != "state") {
                let message = format!("{} is not known here: the expression reads `state`", quoted(root));
                violations.push(path, Reason::UnknownReference, message);
            }
            Some(expression)
        }
        Err(error) => {
            violations.push(path, error.reason(), error.to_string());
            None
        }
    }
}

fn target_name(name: &str, path: &str, violations: &mut Violations) {
    if !ENDS.contains(&name)
        && let Err(message) = node_name(name)
    {
        violations.push(path, Reason::InvalidValue, message);
    }
}

fn node_name(name: &str) -> Result<(), String> {
    let reserved = ["end", "start"].contains(&name.to_lowercase().as_str())
        || (name.starts_with("__") && name.ends_with("__"));
    if name.trim().is_empty() || name.chars().count() > MAX_NAME {
        Err(format!("a node's name has 1 to {MAX_NAME} characters"))
    } else if name.contains([':', '|', '\0']) || name.chars().any(char::is_control) || Template::is_in(name) {
        Err(format!(
            "{} is not a node's name: it must not hold ':', '|', control characters or templates",
            quoted(name)
        ))
    } else if reserved {
        Err(format!("the name {name:?} is reserved"))
    } else {
        Ok(())
    }
}
