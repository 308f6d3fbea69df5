//! Strikes the values of secrets out of whatever leaves the worker.
//!
//! Found are a value itself, each line of one that has several, and a value as JSON (also with `\u` for what is not ASCII)
//! or an address writes it. Not found is what was made from a value: a digest, an encoding as base64, a part, a reversal.
//!
//! Invariant: nothing is forgotten while the process lives. A late line of a log is struck out as well.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};

use super::MIN_LENGTH;

/// What stands where a secret was.
pub const STRUCK_OUT: &str = "***";

/// Knows the values. Clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Redactor(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    finder: Option<AhoCorasick>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} forms", self.forms.len())
    }
}

impl Redactor {
    /// From now on this value is struck out. One that is too short is not: it would be found everywhere.
    pub fn learn(&self, value: &str) {
        let lines = value.lines().map(str::trim).chain([value]);
        let forms: BTreeSet<String> = lines
            .flat_map(|text| [vec![text.to_owned()], escaped(text), percent_encoded(text)].concat())
            .filter(|form| form.chars().count() >= MIN_LENGTH)
            .collect();
        if forms.is_subset(&self.0.read().unwrap_or_else(PoisonError::into_inner).forms) {
            return;
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.forms.extend(forms);
        match AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&known.forms) {
            Ok(finder) => known.finder = Some(finder),
            // Only what is far beyond any number of secrets.
            Err(error) => tracing::error!(%error, "secrets are not struck out"),
        }
    }

    /// The text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &known.finder {
            Some(finder) if finder.is_match(text) => {
                let mut struck = String::with_capacity(text.len());
                finder.replace_all_with(text, &mut struck, |_, _, struck| {
                    struck.push_str(STRUCK_OUT);
                    true
                });
                Cow::Owned(struck)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Strikes secrets out of a text.
    pub fn string(&self, text: &mut String) {
        if let Cow::Owned(struck) = self.text(text) {
            *text = struck;
        }
    }

    /// Strikes secrets out of every text of an object, keys too.
    pub fn object(&self, object: &mut Map<String, Value>) {
        if self.0.read().unwrap_or_else(PoisonError::into_inner).finder.is_none() {
            return;
        }
        if object.keys().any(|key| matches!(self.text(key), Cow::Owned(_))) {
            let members = std::mem::take(object).into_iter();
            *object = members.map(|(key, value)| (self.text(&key).into_owned(), value)).collect();
        }
        object.values_mut().for_each(|value| self.value(value));
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => self.object(members),
            // A secret of digits may have become a number.
            Value::Number(number) => {
                if let Cow::Owned(struck) = self.text(&number.to_string()) {
                    *value = Value::String(struck);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Overwrites secrets in a message of any kind; its length stays.
    pub fn overwrite(&self, message: &mut [u8]) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(finder) = &known.finder else { return };
        let found: Vec<_> = finder.find_iter(&*message).map(|found| found.range()).collect();
        for range in found {
            message.get_mut(range).into_iter().for_each(|bytes| bytes.fill(b'*'));
        }
    }

    /// The next piece of a text that comes in pieces, as far as no secret can begin at its end; the rest stays in `held`
    /// until the piece after it.
    pub fn piece(&self, held: &mut String, piece: &str) -> String {
        held.push_str(piece);
        self.string(held);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let begun = |form: &String| {
            let prefixes = form.char_indices().rev().map(|(end, _)| form.get(..end).unwrap_or_default());
            prefixes.into_iter().find(|prefix| held.ends_with(prefix)).map_or(0, str::len)
        };
        let kept = known.forms.iter().map(begun).max().unwrap_or(0);
        let rest = held.split_off(held.len() - kept);
        std::mem::replace(held, rest)
    }
}

/// As it stands in JSON, within the quotes.
pub(super) fn escaped(text: &str) -> Vec<String> {
    let quoted = Value::from(text).to_string();
    let plain = quoted.get(1..quoted.len() - 1).unwrap_or_default().to_owned();
    let mut ascii = String::new();
    for c in plain.chars() {
        match c.is_ascii() {
            true => ascii.push(c),
            false => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii.push_str(&format!("\\u{unit:04x}")))
            }
        }
    }
    vec![plain, ascii]
}

/// As it stands in an address: with and without a bare slash, which some leave as it is, and with a plus for a blank.
fn percent_encoded(text: &str) -> Vec<String> {
    let encoded = |kept: &[u8]| {
        let one = |byte: u8| match byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || kept.contains(&byte)
        {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        };
        text.bytes().map(one).collect::<String>()
    };
    vec![encoded(b""), encoded(b"/"), encoded(b"").replace("%20", "+")]
}
