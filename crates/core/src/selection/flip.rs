//! The smallest change of a request that gives another engine.

use std::cell::OnceCell;

use serde::Serialize;

use super::words::TaskType;
use super::{Case, Request, Worded, worded};
use crate::engine::{Registry, Requirement};
use crate::id::EngineName;

/// One change of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Require this as well.
    Require(Requirement),
    /// Do not require this.
    DoNotRequire(Requirement),
    /// Another task type.
    TaskType(String),
}

/// Changes, all of them together, and the engine that they give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The changes; no smaller set gives another engine.
    pub changes: Vec<Change>,
    /// The same in a sentence.
    pub text: String,
    /// The engine that the changed request gives.
    pub engine: EngineName,
}

/// Tries the fewest changes first: each set of requirements, with the task type as it is, without the words that an
/// engine asks for, and with a word of another engine. Of equally few, taking a requirement away comes before adding
/// one, because it is the requirement that people set by mistake, and requirements come before words.
pub(super) fn smallest(
    registry: &Registry,
    request: &Request,
    case: &Case<'_, '_>,
    engine: &EngineName,
) -> Option<Flip> {
    let toggled = |set: u8| {
        let toggled = Requirement::ALL.into_iter().enumerate().filter(move |(bit, _)| set & (1 << bit) != 0);
        toggled.map(|(_, requirement)| requirement)
    };
    let types = TaskTypes::new(registry, request);
    let mut tries: Vec<(u8, usize)> =
        (0..8).flat_map(|set| (0..=types.others.len()).map(move |other| (set, other))).collect();
    tries.sort_by_key(|(set, other)| {
        let added = toggled(*set).filter(|requirement| !request.requires(*requirement)).count();
        let (other, weight) = if *other > 0 { (1, 2) } else { (0, 0) };
        (toggled(*set).count() + other, added + weight)
    });
    tries.into_iter().find_map(|(set, other)| {
        let other = match other.checked_sub(1) {
            None => None,
            Some(other) => Some(types.other(other)?),
        };
        let required = Requirement::ALL
            .into_iter()
            .enumerate()
            .filter(|(bit, requirement)| request.requires(*requirement) != (set & (1 << bit) != 0));
        let changed = Case {
            required: required.map(|(_, requirement)| requirement).collect(),
            engines: other.map_or(case.engines, |(_, engines)| engines),
        };
        let (profile, _) = changed.choose().filter(|(profile, _)| profile.name != *engine)?;
        let toggle = |requirement| match request.requires(requirement) {
            true => Change::DoNotRequire(requirement),
            false => Change::Require(requirement),
        };
        let mut changes: Vec<Change> = toggled(set).map(toggle).collect();
        changes.extend(other.map(|(text, _)| Change::TaskType(text.clone())));
        let text = sentence(&changes, &profile.display_name);
        Some(Flip { changes, text, engine: profile.name.clone() })
    })
}

/// Task types to try instead: without words that an engine asks for, then the first word of each engine. Most answers
/// are found before any of them is looked at, and looking at one is what takes time.
struct TaskTypes<'a> {
    registry: &'a Registry,
    request: &'a Request,
    others: Vec<OnceCell<Option<(String, Worded<'a>)>>>,
}

impl<'a> TaskTypes<'a> {
    fn new(registry: &'a Registry, request: &'a Request) -> Self {
        let count = 1 + registry.profiles().count();
        Self { registry, request, others: (0..count).map(|_| OnceCell::new()).collect() }
    }

    /// The nth, with its words; none where it is the task type as it is.
    fn other(&self, n: usize) -> Option<&(String, Worded<'a>)> {
        let look = || {
            let text = match n.checked_sub(1) {
                None => self.rest(),
                Some(engine) => self.registry.profiles().nth(engine)?.words.first()?.clone(),
            };
            let engines = worded(self.registry, &text);
            (text != self.request.task_type).then_some((text, engines))
        };
        self.others.get(n)?.get_or_init(look).as_ref()
    }

    /// The words that no engine asks for, alone or together.
    fn rest(&self) -> String {
        let asks = |text: &str| worded(self.registry, text).iter().any(|(_, words)| !words.is_empty());
        let words = TaskType::words(&self.request.task_type);
        let rest: Vec<String> = words.into_iter().filter(|word| !asks(word)).collect();
        if rest.is_empty() || asks(&rest.join(" ")) { "task".to_owned() } else { rest.join(" ") }
    }
}

fn sentence(changes: &[Change], engine: &str) -> String {
    let part = |change: &Change| match change {
        Change::Require(requirement) => format!("with {requirement}"),
        Change::DoNotRequire(requirement) => format!("without {requirement}"),
        Change::TaskType(text) => format!("with the task type {text:?}"),
    };
    format!("{} it would be {engine}", changes.iter().map(part).collect::<Vec<_>>().join(" and "))
}
