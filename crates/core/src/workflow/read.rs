//! From bytes to JSON values, JSON or YAML, without trusting them.
//!
//! Invariants: nesting beyond the limit is skipped, not followed, so no input overflows the stack; a key that
//! stands twice is a violation, not a silent choice; aliases in YAML cannot multiply a small text into a large one.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::violation::{Reason, Violations, item, member};

use super::limits::{MAX_BYTES, MAX_DEPTH};

/// Deepest nesting of the whole text: that of a task, within a stage, within the list, within the workflow.
const WHOLE_DEPTH: usize = MAX_DEPTH + 3;
/// Deepest nesting that the YAML parser itself follows.
const YAML_DEPTH: usize = 40;
/// What the aliases of a YAML text may stand for together, in values.
const MAX_REPLAYED: usize = 100_000;

/// Reads JSON. What could be read is returned with what is wrong.
pub(super) fn json(bytes: &[u8]) -> (Value, Violations) {
    read(bytes, |text, reader| {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = reader.root().deserialize(&mut deserializer).map_err(|error| error.to_string())?;
        deserializer.end().map_err(|error| error.to_string())?;
        Ok(value)
    })
}

/// Reads YAML: the same, with YAML 1.2's rules for what is a number or a boolean.
pub(super) fn yaml(bytes: &[u8]) -> (Value, Violations) {
    read(bytes, |text, reader| {
        let options = serde_saphyr::options! {
            strict_booleans: true,
            duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
            with_snippet: false,
            alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED },
            budget: serde_saphyr::budget! { max_depth: YAML_DEPTH, flow_nesting_limit: YAML_DEPTH, max_documents: 1 },
        };
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
            reader.root().deserialize(deserializer)
        })
        .map_err(|error| error.to_string())
    })
}

fn read(bytes: &[u8], parse: impl FnOnce(&str, &Reader) -> Result<Value, String>) -> (Value, Violations) {
    let mut violations = Violations::default();
    if bytes.len() > MAX_BYTES {
        violations.push(
            "",
            Reason::TooLarge,
            format!("a workflow must not be larger than {MAX_BYTES} bytes"),
        );
        return (Value::Null, violations);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        violations.push("", Reason::Malformed, "a workflow must be UTF-8 text");
        return (Value::Null, violations);
    };
    let reader = Reader::default();
    let parsed = parse(text.trim_start_matches('\u{feff}'), &reader);
    violations = reader.violations.into_inner();
    let value = parsed.unwrap_or_else(|message| {
        let message: String = message.lines().next().unwrap_or_default().chars().take(200).collect();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        // The parsers only tell in words which of their limits was passed.
        let reason = match () {
            () if says(&["recursion limit", "depth", "nesting"]) => Reason::TooDeep,
            () if says(&["budget", "limit exceeded", "aliases stand for"]) => Reason::TooLarge,
            () => Reason::Malformed,
        };
        violations.push("", reason, message);
        Value::Null
    });
    (value, violations)
}

/// Collects what is wrong while the tree is built.
#[derive(Default)]
struct Reader {
    violations: RefCell<Violations>,
    /// Bytes of text so far: an alias in YAML copies what it stands for.
    text: Cell<usize>,
}

impl Reader {
    fn root(&self) -> Node<'_> {
        Node { reader: self, place: Place::Root, depth: 0 }
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        self.text.set(self.text.get().saturating_add(text.len()));
        if self.text.get() > MAX_BYTES { Err(E::custom("aliases stand for too much text")) } else { Ok(()) }
    }
}

/// Where in the text; only written out when something is wrong there.
#[derive(Clone, Copy)]
enum Place<'a> {
    Root,
    Member(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, key) => f.write_str(&member(&parent.to_string(), key)),
            Self::Item(parent, n) => f.write_str(&item(&parent.to_string(), *n)),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'a> {
    reader: &'a Reader,
    place: Place<'a>,
    depth: usize,
}

impl Node<'_> {
    fn wrong(&self, reason: Reason, message: impl Into<String>) {
        self.reader.violations.borrow_mut().push(self.place.to_string(), reason, message);
    }

    fn too_deep(&self) -> bool {
        let too_deep = self.depth >= WHOLE_DEPTH;
        if too_deep {
            self.wrong(Reason::TooDeep, format!("nested deeper than {MAX_DEPTH} levels"));
        }
        too_deep
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or_else(
            || {
                self.wrong(Reason::InvalidValue, "must be a finite number");
                Value::Null
            },
            Value::Number,
        ))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.reader.text(value)?;
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.reader.text(&value)?;
        Ok(Value::from(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut list = Vec::new();
        loop {
            let place = Place::Item(&self.place, list.len());
            match items.next_element_seed(Node { reader: self.reader, place, depth: self.depth + 1 })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        if self.too_deep() {
            while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Value::Null);
        }
        let mut members = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.reader.text(&key)?;
            let node =
                Node { reader: self.reader, place: Place::Member(&self.place, &key), depth: self.depth + 1 };
            let value = entries.next_value_seed(node)?;
            if members.contains_key(&key) {
                node.wrong(Reason::Duplicate, "the key stands here twice");
            } else {
                members.insert(key, value);
            }
        }
        Ok(Value::Object(members))
    }
}
