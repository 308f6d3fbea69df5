//! Reads the members of a JSON object and notes whatever is wrong with them.
//!
//! A member that is null counts as absent. A text that holds a template passes for every type that it may become; what
//! it really becomes is only known when the stage runs, and is checked again then.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::expression::{Kind, Template, Type};
use crate::violation::{Reason, Violation, Violations, item, member, suggestion};

static NO_TEXTS: BTreeSet<&str> = BTreeSet::new();

/// What is known of the templates in a task.
#[derive(Clone, Copy)]
pub(super) enum Templates<'t> {
    /// They have become values, and every text is what it says but these, in which the worker will put secrets.
    Resolved(&'t BTreeSet<&'t str>),
    /// What a text with templates yields.
    Yield(&'t dyn Fn(&str) -> Type),
}

impl Templates<'_> {
    /// There are none: every text is what it says.
    pub const NONE: Self = Self::Resolved(&NO_TEXTS);

    /// Whether a text still holds one.
    pub fn are_in(self, text: &str) -> bool {
        match self {
            Self::Resolved(secret) => secret.contains(text),
            Self::Yield(_) => Template::is_in(text),
        }
    }

    /// What a text yields, if it holds one.
    fn yielded(self, text: &str) -> Option<Type> {
        match self {
            Self::Yield(of) if Template::is_in(text) => Some(of(text)),
            Self::Resolved(secret) if secret.contains(text) => Some(Type::Text),
            _ => None,
        }
    }
}

/// The members of one object.
pub(super) struct Fields<'a, 'c> {
    members: &'a Map<String, Value>,
    path: &'c str,
    templates: Templates<'c>,
    pub violations: &'c mut Violations,
}

impl<'a, 'c> Fields<'a, 'c> {
    /// Reads an object that may only have the known keys.
    pub fn new(
        members: &'a Map<String, Value>,
        path: &'c str,
        known: &[&str],
        templates: Templates<'c>,
        violations: &'c mut Violations,
    ) -> Self {
        for key in members.keys().filter(|key| !known.contains(&key.as_str())) {
            if violations.is_full() {
                break;
            }
            let hint = suggestion(key, known.iter().copied());
            violations.push(member(path, key), Reason::UnknownKey, format!("unknown key, {hint}"));
        }
        Self { members, path, templates, violations }
    }

    /// The path of a member.
    pub fn at(&self, key: &str) -> String {
        member(self.path, key)
    }

    /// Whether a member is there.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Which of some members is there; exactly one must be. It gives a task its form.
    pub fn exactly_one<'f>(&mut self, forms: &[&'f str]) -> Option<&'f str> {
        let present: Vec<&str> = forms.iter().copied().filter(|form| self.has(form)).collect();
        match present.as_slice() {
            [form] => Some(form),
            [] => {
                let names = forms.iter().map(|form| format!("{form:?}")).collect::<Vec<_>>().join(" or ");
                let first = self.at(forms.first().copied().unwrap_or_default());
                self.violations.push(first, Reason::Required, format!("the task needs {names}"));
                None
            }
            [first, others @ ..] => {
                for other in others {
                    let message = format!("a task has either {first:?} or {other:?}, not both");
                    self.violations.push(self.at(other), Reason::InvalidValue, message);
                }
                None
            }
        }
    }

    /// Refuses known members that do not go with the form.
    pub fn only(&mut self, form: &str, known: &[&str], keys: &[&str]) {
        for key in known {
            if self.has(key) && !keys.contains(key) {
                self.violations.push(
                    self.at(key),
                    Reason::UnknownKey,
                    format!("{key:?} does not go with {form:?}"),
                );
            }
        }
    }

    /// A member of any type.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    /// Notes that a member must be there.
    pub fn require(&mut self, key: &str, what: &str) -> bool {
        let there = self.has(key);
        if !there {
            self.violations.push(self.at(key), Reason::Required, format!("{key:?} is required: {what}"));
        }
        there
    }

    /// A text.
    pub fn text(&mut self, key: &str) -> Option<&'a str> {
        self.typed(key, &[Kind::Text], Value::as_str)
    }

    /// A text that is not blank and not a template.
    pub fn fixed_text(&mut self, key: &str) -> Option<&'a str> {
        self.fixed_text_or(key, &[Kind::Text])
    }

    /// Like [`Self::fixed_text`], where a template may also yield something else that the caller takes.
    pub fn fixed_text_or(&mut self, key: &str, kinds: &[Kind]) -> Option<&'a str> {
        let text = self.typed(key, kinds, Value::as_str).filter(|text| !self.templates.are_in(text))?;
        if text.trim().is_empty() {
            self.violations.push(self.at(key), Reason::InvalidValue, format!("{key:?} must not be empty"));
            return None;
        }
        Some(text)
    }

    /// An object.
    pub fn object(&mut self, key: &str) -> Option<&'a Map<String, Value>> {
        self.typed(key, &[Kind::Object], Value::as_object)
    }

    /// A list.
    pub fn list(&mut self, key: &str) -> Option<&'a [Value]> {
        self.typed(key, &[Kind::List], Value::as_array).map(Vec::as_slice)
    }

    /// A list of at least one and not too many.
    pub fn bounded_list(&mut self, key: &str, most: usize) -> Option<&'a [Value]> {
        let list = self.list(key)?;
        if list.is_empty() {
            self.violations.push(self.at(key), Reason::Required, "name at least one");
        }
        if list.len() > most {
            self.violations.push(
                self.at(key),
                Reason::TooLarge,
                format!("there must not be more than {most}"),
            );
            return None;
        }
        Some(list)
    }

    /// An object of not too many members.
    pub fn bounded_object(&mut self, key: &str, most: usize) -> Option<&'a Map<String, Value>> {
        let object = self.object(key)?;
        if object.len() > most {
            self.violations.push(
                self.at(key),
                Reason::TooLarge,
                format!("there must not be more than {most}"),
            );
            return None;
        }
        Some(object)
    }

    /// The texts of a list that are not templates, with their paths.
    pub fn texts(&mut self, key: &str) -> Option<Vec<(String, &'a str)>> {
        let path = self.at(key);
        let mut texts = Vec::new();
        if let Some(Value::String(text)) = self.get(key)
            && let Some(found) = self.templates.yielded(text)
        {
            let message =
                |found| format!("every item must be a text, and each that this template yields is {found}");
            self.unless_fits(&path, &found.items(), &[Kind::Text], message);
        }
        for (n, value) in self.list(key)?.iter().enumerate() {
            match value {
                Value::String(text) => match self.templates.yielded(text) {
                    Some(found) => {
                        let message = |found| format!("must be a text, and this template yields {found}");
                        self.unless_fits(&item(&path, n), &found, &[Kind::Text], message);
                    }
                    None => texts.push((item(&path, n), text.as_str())),
                },
                other => self.wrong_type(item(&path, n), "a text", other),
            }
        }
        Some(texts)
    }

    /// One of a few words.
    pub fn one_of(&mut self, key: &str, known: &[&str]) -> Option<&'a str> {
        let text = self.fixed_text(key)?;
        if known.contains(&text) {
            return Some(text);
        }
        let hint = suggestion(text, known.iter().copied());
        self.violations.push(
            self.at(key),
            Reason::InvalidValue,
            format!("{} is not known, {hint}", quoted(text)),
        );
        None
    }

    /// True, or absent.
    pub fn flag(&mut self, key: &str) -> bool {
        self.typed_as(key, &[Kind::Boolean], "true or false", Value::as_bool).unwrap_or_default()
    }

    /// A whole number within a range.
    pub fn whole(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let number = self.typed_as(key, &[Kind::Number], "a whole number", whole)?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let message = format!("{key:?} must be from {least} to {most}, not {number}");
        self.violations.push(self.at(key), Reason::InvalidValue, message);
        None
    }

    /// Notes that a value has the wrong type.
    pub fn wrong_type(&mut self, path: String, wanted: &str, found: &Value) {
        wrong_type(path, wanted, found, self.violations);
    }

    fn typed<T>(&mut self, key: &str, kinds: &[Kind], read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let wanted: Vec<String> = kinds.iter().map(Kind::to_string).collect();
        self.typed_as(key, kinds, &wanted.join(" or "), read)
    }

    fn typed_as<T>(
        &mut self,
        key: &str,
        kinds: &[Kind],
        wanted: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let read = read(value);
        match value.as_str().and_then(|text| self.templates.yielded(text)) {
            Some(found) => {
                let message = |found| format!("must be {wanted}, and this template yields {found}");
                self.unless_fits(&self.at(key), &found, kinds, message);
            }
            None if read.is_none() => self.wrong_type(self.at(key), wanted, value),
            None => {}
        }
        read
    }

    /// Notes that what a template yields is of no kind that is wanted, if it is known.
    fn unless_fits(&mut self, path: &str, found: &Type, wanted: &[Kind], message: impl Fn(Kind) -> String) {
        if let Some(kind) = found.kind().filter(|kind| !wanted.contains(kind)) {
            let violation = Violation::new(path, Reason::WrongType, message(kind));
            // A member may be looked at twice.
            if !self.violations.0.contains(&violation) {
                self.violations.add(violation);
            }
        }
    }

    /// A member whose template, if it is one, must yield one of these. Tells whether it is one.
    pub fn is_template(&mut self, key: &str, kinds: &[Kind]) -> bool {
        let is = matches!(self.get(key), Some(Value::String(text)) if self.templates.are_in(text));
        if is {
            self.typed(key, kinds, Value::as_str);
        }
        is
    }
}

/// Some clients only have fractional numbers: `3.0` is a whole number too.
fn whole(value: &Value) -> Option<u64> {
    let fraction =
        || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n)).map(|n| n as u64);
    value.as_u64().or_else(fraction)
}

/// Notes that a value has the wrong type.
pub(super) fn wrong_type(path: impl Into<String>, wanted: &str, found: &Value, violations: &mut Violations) {
    let violation = Violation::new(path, Reason::WrongType, format!("must be {wanted}, not {}", kind(found)));
    // A member may be looked at twice.
    if !violations.0.contains(&violation) {
        violations.add(violation);
    }
}

/// What a JSON value is, for people.
fn kind(value: &Value) -> String {
    Kind::of(value).map_or_else(|| "null".to_owned(), |kind| kind.to_string())
}

/// A client's text within a message: quoted, control characters escaped, not too long.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("{short:?}")
}
