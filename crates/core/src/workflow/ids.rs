//! The names of stages and what each needs.

use crate::id::StageId;
use crate::violation::{Reason, Violations, item, member, suggestion};

use super::StageDraft;
use super::fields::quoted;

/// The id of every stage: its own, or its engine's name, numbered from the second on. Ids that are given win.
pub(super) fn resolve(stages: &[StageDraft], violations: &mut Violations) -> Vec<String> {
    let mut given: Vec<&str> = Vec::new();
    for (n, stage) in stages.iter().enumerate() {
        let Some(id) = &stage.id else { continue };
        let field = member(&item("stages", n), "id");
        if let Err(error) = StageId::parse(id) {
            violations.push(field, Reason::InvalidValue, error.to_string());
        } else if given.contains(&id.as_str()) {
            violations.push(field, Reason::Duplicate, format!("there are two stages {id:?}"));
        }
        given.push(id);
    }
    let mut ids: Vec<String> = Vec::new();
    for stage in stages {
        let id = match &stage.id {
            Some(id) => id.clone(),
            None => {
                let base = stage.engine.as_deref().filter(|name| StageId::parse(&format!("{name}9999")).is_ok());
                default_id(base.unwrap_or("stage"), &ids, &given)
            }
        };
        ids.push(id);
    }
    ids
}

fn default_id(base: &str, ids: &[String], given: &[&str]) -> String {
    let free = |id: &String| !ids.contains(id) && !given.contains(&id.as_str());
    let numbered = (2..).map(|n: usize| format!("{base}{n}"));
    std::iter::once(base.to_owned()).chain(numbered).find(free).unwrap_or_else(|| base.to_owned())
}

/// What each stage needs, by index: what it names, or the stage before it.
pub(super) fn needs(stages: &[StageDraft], ids: &[String], violations: &mut Violations) -> Vec<Vec<usize>> {
    let by_id: std::collections::HashMap<&str, usize> = ids.iter().enumerate().map(|(n, id)| (id.as_str(), n)).collect();
    let mut needs = Vec::new();
    for (n, stage) in stages.iter().enumerate() {
        let Some(names) = &stage.needs else {
            needs.push(n.checked_sub(1).into_iter().collect());
            continue;
        };
        let path = member(&item("stages", n), "needs");
        let mut indices = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match by_id.get(name.as_str()) {
                Some(index) if indices.contains(index) => {
                    violations.push(item(&path, at), Reason::Duplicate, format!("{name:?} is named twice"));
                }
                Some(index) => indices.push(*index),
                None => {
                    let hint = suggestion(name, ids.iter().map(String::as_str).take(20));
                    violations.push(item(&path, at), Reason::UnknownReference, format!("there is no stage {}, {hint}", quoted(name)));
                }
            }
        }
        needs.push(indices);
    }
    needs
}
