//! Types: what is known of a value before there is one.
//!
//! Invariant: what is not known is [`Type::Any`], of which everything is allowed. A type never promises more than the
//! value will keep.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::violation::{item, member, suggestion};

use super::rewrite::Step;

/// What is known of a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Type {
    /// Nothing.
    #[default]
    Any,
    /// True or false.
    Boolean,
    /// Whole or fractional.
    Number,
    /// A text.
    Text,
    /// A list of such.
    List(Arc<Type>),
    /// An object.
    Object(Arc<Members>),
    /// Null, or such.
    Nullable(Arc<Type>),
}

/// What is known of the members of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// The known ones.
    pub known: BTreeMap<String, Member>,
    /// What others there may be; without it, none.
    pub others: Option<Type>,
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its type.
    pub of: Type,
    /// Whether it is always there.
    pub always: bool,
}

/// The types of JSON, without null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// Whole or fractional.
    Number,
    /// A text.
    Text,
    /// A list.
    List,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

impl Kind {
    /// The kind of a value; null has none.
    pub const fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Array(_) => Some(Self::List),
            Value::Object(_) => Some(Self::Object),
        }
    }
}

impl Type {
    /// An object with these members, each always there, and perhaps others.
    pub fn open(known: impl IntoIterator<Item = (String, Self)>) -> Self {
        let known = known.into_iter().map(|(name, of)| (name, Member { of, always: true })).collect();
        Self::Object(Arc::new(Members { known, others: Some(Self::Any) }))
    }

    /// The type of a value that others may take the place of: its objects may have more members.
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Any,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(items) => Self::List(Arc::new(Self::common(items.iter().map(Self::of)))),
            Value::Object(members) => {
                Self::open(members.iter().map(|(name, value)| (name.clone(), Self::of(value))))
            }
        }
    }

    /// The one type that all of these are, or nothing is known.
    pub fn common(mut types: impl Iterator<Item = Self>) -> Self {
        let first = types.next().unwrap_or_default();
        if types.all(|other| other == first) { first } else { Self::Any }
    }

    /// The kind of its values that are not null, if that is known.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Any => None,
            Self::Boolean => Some(Kind::Boolean),
            Self::Number => Some(Kind::Number),
            Self::Text => Some(Kind::Text),
            Self::List(_) => Some(Kind::List),
            Self::Object(_) => Some(Kind::Object),
            Self::Nullable(inner) => inner.kind(),
        }
    }

    /// What its items are.
    pub fn items(&self) -> Self {
        match self {
            Self::List(items) => Self::clone(items),
            Self::Nullable(inner) => inner.items(),
            _ => Self::Any,
        }
    }

    /// What a step leads to, or why it leads nowhere.
    pub(super) fn step(&self, step: &Step) -> Result<Self, String> {
        match (self, step) {
            (Self::Any, _) => Ok(Self::Any),
            (Self::Nullable(inner), _) => inner.step(step),
            (Self::List(items), Step::Index(_)) => Ok(Self::clone(items)),
            (Self::Object(members), Step::Key(name)) => members.get(name),
            (_, Step::Key(name)) => Err(format!("is {}, which has no {name:?}", self.shown())),
            (_, Step::Index(index)) => Err(format!("is {}, which has no [{index}]", self.shown())),
        }
    }

    /// Compares a value with this; what is wrong with it, by path.
    pub fn compare(&self, value: &Value) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        self.walk(value, "", &mut wrong);
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn walk(&self, value: &Value, path: &str, wrong: &mut Vec<String>) {
        match (self, value) {
            (Self::Any, _) | (Self::Nullable(_), Value::Null) => {}
            (Self::Nullable(inner), value) => inner.walk(value, path, wrong),
            (Self::List(items), Value::Array(values)) => {
                values.iter().enumerate().for_each(|(n, value)| items.walk(value, &item(path, n), wrong));
            }
            (Self::Object(members), Value::Object(values)) => {
                for (name, known) in members.known.iter().filter(|(_, known)| known.always) {
                    if !values.contains_key(name) {
                        wrong.push(format!("{}: {} is missing", member(path, name), known.of.shown()));
                    }
                }
                for (name, value) in values {
                    match members.get(name) {
                        Ok(known) => known.walk(value, &member(path, name), wrong),
                        Err(problem) => wrong.push(format!("{path} {problem}")),
                    }
                }
            }
            (known, value) if known.kind() == Kind::of(value) => {}
            (known, value) => wrong.push(format!("{path}: {value} is not {}", known.shown())),
        }
    }

    fn shown(&self) -> String {
        self.kind().map_or_else(|| "a value".to_owned(), |kind| kind.to_string())
    }
}

impl Members {
    /// The type of a member, or that there is none of this name.
    fn get(&self, name: &str) -> Result<Type, String> {
        match (self.known.get(name), &self.others) {
            (Some(member), _) => Ok(member.of.clone()),
            (None, Some(others)) => Ok(others.clone()),
            (None, None) => {
                let hint = suggestion(name, self.known.keys().map(String::as_str));
                Err(format!("has no {name:?}, {hint}"))
            }
        }
    }
}
