//! Templates: text in which `${{ CEL }}` stands for a value.
//!
//! A text that is one template and nothing else yields the value with its type. Within other text the value is
//! written out: a text as it is, anything else as compact JSON. `$${{` stands for a literal `${{`.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Error, Expression};
use crate::violation::{Violations, item, member};

/// Longest result of rendering one value, in bytes of its texts.
pub const MAX_RENDERED: usize = 16 << 20;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Parses a text; one without `${{` is a template too.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${{") {
            let (before, opened) = rest.split_at(start);
            let inner = opened.get(3..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${{");
                rest = inner;
                continue;
            }
            literal.push_str(before);
            let end = end_of_expression(inner).ok_or_else(unclosed)?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Expression(Expression::parse(inner.get(..end).unwrap_or_default().trim())?));
            rest = inner.get(end + 2..).unwrap_or_default();
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// Whether a text holds a template.
    pub fn is_in(text: &str) -> bool {
        text.contains("${{")
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Expression(expression) => Some(expression),
            Part::Text(_) => None,
        })
    }

    /// The expression, when there is nothing else: its value is the whole.
    pub(super) fn only_expression(&self) -> Option<&Expression> {
        match self.parts.as_slice() {
            [Part::Expression(expression)] => Some(expression),
            _ => None,
        }
    }

    /// The text or value with every expression evaluated.
    pub fn render(&self, variables: &Map<String, Value>) -> Result<Value, Error> {
        if let Some(expression) = self.only_expression() {
            return expression.evaluate_strictly(variables);
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Expression(expression) => match expression.evaluate_strictly(variables)? {
                    Value::String(value) => text.push_str(&value),
                    value => text.push_str(&value.to_string()),
                },
            }
            if text.len() > MAX_RENDERED {
                return Err(Error::TooExpensive);
            }
        }
        Ok(Value::String(text))
    }
}

/// Whether a text within a JSON value holds a template.
pub fn has_templates(value: &Value) -> bool {
    match value {
        Value::String(text) => Template::is_in(text),
        Value::Array(items) => items.iter().any(has_templates),
        Value::Object(members) => members.values().any(has_templates),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Renders every text within a JSON value but those in `kept`. Violations carry the path within the value.
pub fn render(
    value: &Value,
    variables: &Map<String, Value>,
    kept: &BTreeSet<&str>,
) -> Result<Value, Violations> {
    let mut renderer = Renderer { variables, kept, left: MAX_RENDERED, violations: Violations::default() };
    let rendered = renderer.value(value, "");
    renderer.violations.into_result(rendered)
}

struct Renderer<'a> {
    variables: &'a Map<String, Value>,
    kept: &'a BTreeSet<&'a str>,
    left: usize,
    violations: Violations,
}

impl Renderer<'_> {
    fn value(&mut self, value: &Value, path: &str) -> Value {
        match value {
            Value::String(text) if Template::is_in(text) && !self.kept.contains(text.as_str()) => {
                self.text(text, path)
            }
            Value::Array(items) => {
                items.iter().enumerate().map(|(n, value)| self.value(value, &item(path, n))).collect()
            }
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), self.value(value, &member(path, key))))
                .collect(),
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str, path: &str) -> Value {
        let rendered = Template::parse(text).and_then(|template| template.render(self.variables));
        let rendered = rendered.and_then(|value| {
            self.left = self.left.checked_sub(size(&value)).ok_or(Error::TooExpensive)?;
            Ok(value)
        });
        rendered.unwrap_or_else(|error| {
            self.violations.push(path, error.reason(), error.to_string());
            Value::Null
        })
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum::<usize>() + items.len(),
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 8,
    }
}

/// Where the `}}` is that ends an expression: outside of texts and of maps.
fn end_of_expression(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut braces = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' | b'\'' => {
                let raw =
                    at.checked_sub(1).and_then(|before| bytes.get(before)).is_some_and(|b| b"rR".contains(b));
                at = end_of_text(bytes, at, raw)?;
            }
            b'{' => braces += 1,
            b'}' if braces > 0 => braces -= 1,
            b'}' if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The last byte of the CEL text that begins at `start`.
fn end_of_text(bytes: &[u8], start: usize, raw: bool) -> Option<usize> {
    let quote = *bytes.get(start)?;
    let long = bytes.get(start..start + 3) == Some(&[quote; 3]);
    let mut at = start + if long { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        if *byte == b'\\' && !raw {
            at += 2;
            continue;
        }
        match long {
            true if bytes.get(at..at + 3) == Some(&[quote; 3]) => return Some(at + 2),
            false if *byte == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unclosed() -> Error {
    Error::Syntax { line: 1, column: 1, message: "${{ without }}".into() }
}
