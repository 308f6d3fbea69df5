//! Reads the members of an object one by one and notes every violation on the way.

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations};

/// An object of a file, with the path that leads to it.
pub(super) struct Reader<'a, 'v> {
    path: String,
    object: &'a Map<String, Value>,
    violations: &'v mut Violations,
}

impl<'a, 'v> Reader<'a, 'v> {
    /// The object at `path`, or a violation when the value is none, has a key outside `known`, or more.
    pub fn open(
        path: &str,
        value: &'a Value,
        known: &[&str],
        violations: &'v mut Violations,
    ) -> Option<Self> {
        let Some(object) = value.as_object() else {
            violations.push(path, Reason::WrongType, "must be an object");
            return None;
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let nearest = known.iter().max_by(|a, b| strsim::jaro(key, a).total_cmp(&strsim::jaro(key, b)));
            let hint =
                nearest.map_or_else(String::new, |near| format!("; the nearest known key is {near:?}"));
            violations.push(join(path, key), Reason::UnknownKey, format!("is not known{hint}"));
        }
        Some(Self { path: path.to_owned(), object, violations })
    }

    /// The path of a member.
    pub fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Where to note what is wrong.
    pub fn violations(&mut self) -> &mut Violations {
        self.violations
    }

    /// A member as it is; null counts as absent.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// A text that is not blank.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let text = self.read(key, "a text", |value| value.as_str().map(str::to_owned))?;
        if text.trim().is_empty() {
            self.violations.push(self.at(key), Reason::InvalidValue, "must not be blank");
            return None;
        }
        Some(text)
    }

    /// True or false.
    pub fn flag(&mut self, key: &str) -> Option<bool> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A whole number that fits.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &str) -> Option<T> {
        self.read(key, "a whole number in range", |value| {
            value.as_i64().and_then(|number| T::try_from(number).ok())
        })
    }

    /// A list of texts that are not blank.
    pub fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let items = self.read(key, "a list of texts", Value::as_array)?;
        let mut texts = Vec::with_capacity(items.len());
        for (n, item) in items.iter().enumerate() {
            match item.as_str().map(str::trim).filter(|text| !text.is_empty()) {
                Some(text) => texts.push(text.to_owned()),
                None => self.violations.push(
                    format!("{}[{n}]", self.at(key)),
                    Reason::WrongType,
                    "must be a text",
                ),
            }
        }
        Some(texts)
    }

    /// Notes that a member is missing, unless it is there in whatever form.
    pub fn require(&mut self, key: &str) {
        if self.get(key).is_none() {
            self.violations.push(self.at(key), Reason::Required, "is missing");
        }
    }

    fn read<T>(&mut self, key: &str, form: &str, take: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(key)?;
        let taken = take(value);
        if taken.is_none() {
            self.violations.push(self.at(key), Reason::WrongType, format!("must be {form}"));
        }
        taken
    }
}

fn join(path: &str, key: &str) -> String {
    let key: String = key.chars().take(64).collect();
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
