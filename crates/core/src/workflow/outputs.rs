//! What stages yield, as far as it is known before they run: `data/outputs.yaml`, read once.
//!
//! Invariant: a form of a task that the file does not know may yield anything.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use crate::expression::{Member, Members, Type};

use super::task;

/// The file as it stands: shapes by name, and by engine and form.
#[derive(Debug, Default)]
struct Shapes {
    types: Map<String, Value>,
    outputs: Map<String, Value>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    let file: Value = serde_saphyr::from_str(include_str!("../../data/outputs.yaml")).unwrap_or_default();
    let part = |name: &str| file.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    Shapes { types: part("types"), outputs: part("outputs") }
});

/// What a stage with this task yields.
pub fn output(engine: &str, task: &Map<String, Value>) -> Type {
    let shape = || SHAPES.outputs.get(engine)?.get(task::kind(engine, task)?);
    shape().map_or(Type::Any, |shape| read(shape, task))
}

/// The type that a shape describes, for a stage with this task.
fn read(shape: &Value, task: &Map<String, Value>) -> Type {
    match shape {
        Value::String(name) => match name.strip_suffix('?') {
            Some(name) => Type::Nullable(Arc::new(named(name, task))),
            None => named(name, task),
        },
        Value::Array(items) => Type::List(Arc::new(items.first().map_or(Type::Any, |item| read(item, task)))),
        Value::Object(members) => object(members, task),
        _ => Type::Any,
    }
}

fn named(name: &str, task: &Map<String, Value>) -> Type {
    match name {
        "boolean" => Type::Boolean,
        "number" => Type::Number,
        "text" => Type::Text,
        _ => SHAPES.types.get(name).map_or(Type::Any, |shape| read(shape, task)),
    }
}

fn object(shape: &Map<String, Value>, task: &Map<String, Value>) -> Type {
    let mut members = Members::default();
    for (key, shape) in shape {
        let of = read(shape, task);
        if let Some(list) = key.strip_prefix('*') {
            match names(task.get(list)) {
                Some(names) => {
                    let one = |name| (name, Member { of: of.clone(), always: true });
                    members.known.extend(names.into_iter().map(one));
                }
                None => members.others = Some(of),
            }
        } else if let Some((name, condition)) = key.split_once(" if ") {
            if task.get(condition).is_some_and(|value| !value.is_null()) {
                members.known.insert(name.to_owned(), Member { of, always: true });
            }
        } else {
            let name = key.strip_suffix('?');
            let member = Member { of, always: name.is_none() };
            members.known.insert(name.unwrap_or(key).to_owned(), member);
        }
    }
    Type::Object(Arc::new(members))
}

/// The names that a member of a task gives, when they stand there: the keys of an object, the texts of a list, or
/// the names of a list's objects.
fn names(value: Option<&Value>) -> Option<Vec<String>> {
    let fixed = |text: &str| (!crate::expression::Template::is_in(text)).then(|| text.to_owned());
    match value? {
        Value::Object(members) => Some(members.keys().cloned().collect()),
        Value::Array(items) => {
            items.iter().map(|item| fixed(item.get("name").unwrap_or(item).as_str()?)).collect()
        }
        _ => None,
    }
}

/// The types of what expressions read, from what the stages yield, by id.
pub(super) fn variables(
    outputs: impl IntoIterator<Item = (String, Type)>,
    known: &Map<String, Value>,
) -> BTreeMap<String, Type> {
    let stage = |output| Type::open([("output".to_owned(), output), ("state".to_owned(), Type::Text)]);
    let stages = Type::open(outputs.into_iter().map(|(id, output)| (id, stage(output))));
    let known = known.iter().map(|(name, value)| (name.clone(), Type::of(value)));
    known.chain([("stages".to_owned(), stages)]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(engine: &str, task: Value) -> Type {
        output(engine, task.as_object().unwrap())
    }

    /// A name that is misspelt would silently be anything.
    fn every_name_is_known(shape: &Value) {
        match shape {
            Value::String(name) => {
                let name = name.trim_end_matches('?');
                let known =
                    ["any", "boolean", "number", "text"].contains(&name) || SHAPES.types.contains_key(name);
                assert!(known, "{name:?} is no type");
            }
            Value::Array(items) => {
                assert_eq!(items.len(), 1, "a list has one type: {shape}");
                items.iter().for_each(every_name_is_known);
            }
            Value::Object(members) => members.values().for_each(every_name_is_known),
            other => panic!("{other} is no shape"),
        }
    }

    #[test]
    fn the_file_knows_every_form_of_every_engine_and_every_name_in_it() {
        for engine in ["agno", "langgraph", "llamaindex", "prefect"] {
            assert!(SHAPES.outputs[engine].is_object(), "{engine}");
        }
        for shape in SHAPES
            .types
            .values()
            .chain(SHAPES.outputs.values().flat_map(|forms| forms.as_object().unwrap().values()))
        {
            every_name_is_known(shape);
        }
        for (engine, form) in [
            ("agno", json!({"agents": ["a"]})),
            ("agno", json!({"team": "a.py:b"})),
            ("langgraph", json!({"workflow": {}})),
            ("llamaindex", json!({"type": "document_analysis"})),
            ("llamaindex", json!({"query_engine": "a.py:b"})),
            ("prefect", json!({"type": "scheduled_etl"})),
            ("prefect", json!({"flow": "a.py:b"})),
        ] {
            assert_ne!(of(engine, form.clone()), Type::Any, "{engine} {form}");
        }
        assert_eq!(of("llamaindex", json!({"workflow": "a.py:b"})), Type::Any);
        assert_eq!(of("custom", json!({"type": "x"})), Type::Any);
    }

    #[test]
    fn what_a_task_says_is_in_its_shape() {
        let flow_run = json!({"id": "1", "name": "n", "url": null});
        let dag = of("prefect", json!({"type": "dag", "tasks": {"a": {}, "b": {}}}));
        let output = json!({"tasks": {"a": 1, "b": []}, "order": ["a", "b"], "flow_run": flow_run});
        assert_eq!(dag.compare(&output), Ok(()));
        let wrong =
            json!({"tasks": {"a": 1, "c": 2}, "order": ["a", 3], "flow_run": {}, "next_fire_times": []});
        assert_eq!(
            dag.compare(&wrong).unwrap_err(),
            [
                "flow_run.id: a text is missing",
                "flow_run.name: a text is missing",
                "flow_run.url: a text is missing",
                " has no \"next_fire_times\", known are flow_run, order, tasks",
                "order[1]: 3 is not a text",
                "tasks.b: a value is missing",
                "tasks has no \"c\", known are a, b",
            ]
        );
    }
}
