//! LlamaIndex: documents and questions.
//!
//! * `type: document_analysis`: `docs`, optionally `questions` and `model`.
//! * `type: rag_workflow`: `query`, optionally `docs`, a named `index`, `top_k` passages (1 to 50), `filters` and
//!   `model`.
//!   Without `docs` and `index` the project's default index answers.
//! * `query_engine` or `workflow`: the user's own, with any `input`.

use serde_json::{Map, Value};

use crate::violation::{Reason, Violations, suggestion};

use super::super::fields::{Fields, Templates, quoted};
use super::super::limits::MAX_DOCUMENTS;
use super::{Vocabulary, documents, reference};

/// The keys of which a task has exactly one.
pub(super) const FORMS: &[&str] = &["type", "query_engine", "workflow"];
const TYPES: &[&str] = &["document_analysis", "rag_workflow"];
const KEYS: &[&str] = &["docs", "questions", "query", "index", "top_k", "filters", "model", "input"];
const ANALYSIS: &[&str] = &["docs", "questions", "model"];
const RAG: &[&str] = &["query", "docs", "index", "top_k", "filters", "model"];
const OWN: &[&str] = &["input", "model"];
const FILTERS: &[&str] = &["file", "pages"];
const MAX_QUESTIONS: usize = 20;
const MAX_TOP_K: u64 = 50;
pub(super) const VOCABULARY: Vocabulary = Vocabulary {
    keys: &[
        ("document_analysis", ANALYSIS),
        ("rag_workflow", RAG),
        ("query_engine", OWN),
        ("workflow", OWN),
        ("in filters", FILTERS),
    ],
    words: &[],
    bounds: &[("docs", MAX_DOCUMENTS as u64), ("questions", MAX_QUESTIONS as u64), ("top_k", MAX_TOP_K)],
};

pub(super) fn check(
    task: &Map<String, Value>,
    path: &str,
    templates: Templates<'_>,
    violations: &mut Violations,
) {
    let mut fields = Fields::new(task, path, &[FORMS, KEYS].concat(), templates, violations);
    fields.text("model");
    match fields.exactly_one(FORMS) {
        Some("type") => match fields.text("type") {
            Some("document_analysis") => analysis(&mut fields),
            Some("rag_workflow") => rag(&mut fields, templates),
            Some(other) => {
                let message =
                    format!("{} is not known, {}", quoted(other), suggestion(other, TYPES.iter().copied()));
                fields.violations.push(fields.at("type"), Reason::UnknownTaskType, message);
            }
            None => {}
        },
        Some(form) => {
            fields.only(form, KEYS, OWN);
            reference(&mut fields, form);
        }
        None => {}
    }
}

fn analysis(fields: &mut Fields<'_, '_>) {
    fields.only("document_analysis", KEYS, ANALYSIS);
    fields.require("docs", "a list of the documents to analyse");
    if fields.bounded_list("docs", MAX_DOCUMENTS).is_some() {
        documents(fields, "docs");
    }
    let questions = fields.texts("questions").unwrap_or_default();
    if questions.len() > MAX_QUESTIONS {
        let message = format!("there must not be more than {MAX_QUESTIONS} questions");
        fields.violations.push(fields.at("questions"), Reason::InvalidValue, message);
    }
    for (field, _) in questions.into_iter().filter(|(_, question)| question.trim().is_empty()) {
        fields.violations.push(field, Reason::InvalidValue, "a question must not be empty");
    }
}

fn rag(fields: &mut Fields<'_, '_>, templates: Templates<'_>) {
    fields.only("rag_workflow", KEYS, RAG);
    fields.require("query", "the question");
    fields.fixed_text("query");
    documents(fields, "docs");
    fields.fixed_text("index");
    fields.whole("top_k", 1, MAX_TOP_K);
    let path = fields.at("filters");
    if let Some(members) = fields.object("filters") {
        let mut filters = Fields::new(members, &path, FILTERS, templates, fields.violations);
        if !filters.get("file").is_some_and(Value::is_string) {
            filters.texts("file");
        }
        filters.list("pages");
    }
}
