//! The smallest change of a request that gives another engine.

use serde::Serialize;

use super::words::TaskType;
use super::{Case, Request};
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
pub(super) fn smallest(registry: &Registry, request: &Request, engine: &EngineName) -> Option<Flip> {
    let types = task_types(registry, request);
    let mut tries: Vec<(Vec<Change>, Request)> = Vec::new();
    for set in 0..8_u8 {
        for task_type in &types {
            let mut other = request.clone();
            let mut changes = Vec::new();
            for (bit, requirement) in Requirement::ALL.into_iter().enumerate() {
                if set & (1 << bit) != 0 {
                    changes.push(toggle(&mut other, requirement));
                }
            }
            if *task_type != request.task_type {
                other.task_type.clone_from(task_type);
                changes.push(Change::TaskType(task_type.clone()));
            }
            tries.push((changes, other));
        }
    }
    let weight = |change: &Change| match change {
        Change::DoNotRequire(_) => 0,
        Change::Require(_) => 1,
        Change::TaskType(_) => 2,
    };
    tries.sort_by_key(|(changes, _)| (changes.len(), changes.iter().map(weight).sum::<i32>()));
    tries.into_iter().find_map(|(changes, other)| {
        let (profile, _) = Case::new(registry, &other).decide()?;
        let text = sentence(&changes, &profile.display_name);
        (profile.name != *engine).then(|| Flip { changes, text, engine: profile.name.clone() })
    })
}

/// The task type as it is, then without words that an engine asks for, then with the first word of each engine.
fn task_types(registry: &Registry, request: &Request) -> Vec<String> {
    let mut types = vec![request.task_type.clone()];
    let words = TaskType::words(&request.task_type);
    let asks = |text: &str| {
        let text = TaskType::new(text);
        registry.profiles().any(|profile| !text.matches(&profile.words, &profile.stems).is_empty())
    };
    let rest: Vec<String> = words.iter().filter(|word| !asks(word)).cloned().collect();
    let rest = if rest.is_empty() || asks(&rest.join(" ")) { "task".to_owned() } else { rest.join(" ") };
    let named = registry.profiles().filter_map(|profile| profile.words.first()).cloned();
    types.extend(
        std::iter::once(rest).chain(named).filter(|text| *text != request.task_type).collect::<Vec<_>>(),
    );
    types
}

fn toggle(request: &mut Request, requirement: Requirement) -> Change {
    let flag = match requirement {
        Requirement::Scheduling => &mut request.requires_scheduling,
        Requirement::State => &mut request.requires_state,
        Requirement::Routing => &mut request.requires_routing,
    };
    *flag = !*flag;
    if *flag { Change::Require(requirement) } else { Change::DoNotRequire(requirement) }
}

fn sentence(changes: &[Change], engine: &str) -> String {
    let part = |change: &Change| match change {
        Change::Require(requirement) => format!("with {requirement}"),
        Change::DoNotRequire(requirement) => format!("without {requirement}"),
        Change::TaskType(text) => format!("with the task type {text:?}"),
    };
    format!("{} it would be {engine}", changes.iter().map(part).collect::<Vec<_>>().join(" and "))
}
