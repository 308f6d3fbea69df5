//! The names of stages and what each needs.

use std::collections::{HashMap, HashSet};

use crate::id::StageId;
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::StageDraft;
use super::fields::quoted;

/// The id of every stage: its own, or its engine's name, numbered from the second on. Ids that are given win.
pub(super) fn resolve(stages: &[StageDraft], violations: &mut Violations) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    for (n, stage) in stages.iter().enumerate() {
        let Some(id) = &stage.id else { continue };
        let field = || member(&item("stages", n), "id");
        if let Err(error) = StageId::parse(id) {
            violations.push(field(), Reason::InvalidValue, error.to_string());
        } else if !taken.insert(id.clone()) {
            violations.push(field(), Reason::Duplicate, format!("there are two stages {id:?}"));
        }
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    let mut ids = Vec::new();
    for stage in stages {
        ids.push(match &stage.id {
            Some(id) => id.clone(),
            None => {
                let base =
                    stage.engine.as_deref().filter(|name| StageId::parse(&format!("{name}9999")).is_ok());
                let base = base.unwrap_or("stage");
                let count = counts.entry(base).or_insert(0);
                loop {
                    *count += 1;
                    let id = if *count == 1 { base.to_owned() } else { format!("{base}{count}") };
                    if taken.insert(id.clone()) {
                        break id;
                    }
                }
            }
        });
    }
    ids
}

/// What each stage needs, by index: what it names, or the stage before it.
pub(super) fn needs(stages: &[StageDraft], ids: &[String], violations: &mut Violations) -> Vec<Vec<usize>> {
    let by_id = by_id(ids);
    let mut needs = Vec::new();
    for (n, stage) in stages.iter().enumerate() {
        let Some(names) = &stage.needs else {
            needs.push(n.checked_sub(1).into_iter().collect());
            continue;
        };
        let path = member(&item("stages", n), "needs");
        let mut indices = Vec::new();
        for (at, name) in names.iter().enumerate() {
            if violations.is_full() {
                break;
            }
            match by_id.get(name.as_str()) {
                Some(index) if indices.contains(index) => {
                    violations.push(item(&path, at), Reason::Duplicate, format!("{name:?} is named twice"));
                }
                Some(index) => indices.push(*index),
                None => {
                    let hint = suggestion(name, ids.iter().map(String::as_str).take(20));
                    violations.push(
                        item(&path, at),
                        Reason::UnknownReference,
                        format!("there is no stage {}, {hint}", quoted(name)),
                    );
                }
            }
        }
        needs.push(indices);
    }
    needs
}

/// The index of each id.
pub(super) fn by_id(ids: &[String]) -> HashMap<&str, usize> {
    ids.iter().enumerate().map(|(n, id)| (id.as_str(), n)).collect()
}
