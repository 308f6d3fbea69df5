//! The bounds that hold for every text and value of a draft, whichever way it came: size, depth, NUL.

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations, item, member};

use super::Draft;
use super::limits::{MAX_BYTES, MAX_DEPTH};

/// Checks all texts and values of a draft.
pub(super) fn check(draft: &Draft, violations: &mut Violations) {
    let mut walk = Walk { bytes: 0, violations };
    walk.object(&draft.input, "input", 1);
    for (n, repo) in draft.repos.iter().enumerate() {
        walk.text(repo, &item("repos", n));
    }
    for (key, texts) in [("labels", &draft.labels), ("documents", &draft.documents)] {
        for (name, text) in texts {
            let field = member(key, name);
            walk.text(name, &field);
            walk.text(text, &field);
        }
    }
    walk.optional(&draft.timeout, "timeout");
    for (n, stage) in draft.stages.iter().enumerate() {
        let path = item("stages", n);
        if let Some(task) = &stage.task {
            walk.object(task, &member(&path, "task"), 1);
        }
        for (key, text) in [
            ("id", &stage.id),
            ("type", &stage.engine),
            ("pool", &stage.pool),
            ("when", &stage.when),
            ("timeout", &stage.timeout),
        ] {
            walk.optional(text, &member(&path, key));
        }
        for (at, need) in stage.needs.iter().flatten().enumerate() {
            walk.text(need, &item(&member(&path, "needs"), at));
        }
        if let Some(approval) = &stage.approval {
            let path = member(&path, "approval");
            walk.optional(&approval.timeout, &member(&path, "timeout"));
            walk.optional(&approval.on_timeout, &member(&path, "on_timeout"));
            for (at, name) in approval.approvers.iter().enumerate() {
                walk.text(name, &item(&member(&path, "approvers"), at));
            }
        }
        if let Some(retry) = &stage.retry {
            let path = member(&path, "retry");
            walk.optional(&retry.initial_backoff, &member(&path, "initial_backoff"));
            walk.optional(&retry.max_backoff, &member(&path, "max_backoff"));
            for (at, reason) in retry.non_retryable_reasons.iter().enumerate() {
                walk.text(reason, &item(&member(&path, "non_retryable_reasons"), at));
            }
        }
    }
    if walk.bytes > MAX_BYTES {
        violations.push(
            "",
            Reason::TooLarge,
            format!("a workflow must not be larger than {MAX_BYTES} bytes"),
        );
    }
}

struct Walk<'a> {
    bytes: usize,
    violations: &'a mut Violations,
}

impl Walk<'_> {
    fn optional(&mut self, text: &Option<String>, field: &str) {
        if let Some(text) = text {
            self.text(text, field);
        }
    }

    fn text(&mut self, text: &str, field: &str) {
        self.bytes = self.bytes.saturating_add(text.len());
        if text.contains('\0') {
            self.violations.push(field, Reason::Malformed, "a text must not hold a NUL character");
        }
    }

    fn object(&mut self, members: &Map<String, Value>, field: &str, depth: usize) {
        for (key, value) in members {
            let field = member(field, key);
            self.text(key, &field);
            self.value(value, &field, depth);
        }
    }

    fn value(&mut self, value: &Value, field: &str, depth: usize) {
        self.bytes = self.bytes.saturating_add(1);
        match value {
            Value::String(text) => self.text(text, field),
            Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => {
                self.violations.push(
                    field,
                    Reason::TooDeep,
                    format!("nested deeper than {MAX_DEPTH} levels"),
                );
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, value)| self.value(value, &item(field, n), depth + 1));
            }
            Value::Object(members) => self.object(members, field, depth + 1),
            _ => {}
        }
    }
}
