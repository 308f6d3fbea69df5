//! The small parsers: identifiers, durations, paths of documents, references.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::id::EngineName;
use mahavishnu_core::workflow::{Draft, StageDraft, artifact};
use serde_json::json;

const ENGINES: &[&str] = &["llamaindex"];

fuzz_target!(|text: &str| {
    let _ = (EngineName::parse(text), artifact(text));
    let stage = |task: serde_json::Value| StageDraft {
        engine: Some("llamaindex".into()),
        task: task.as_object().cloned(),
        timeout: Some(text.into()),
        ..StageDraft::default()
    };
    let documents = stage(json!({"type": "document_analysis", "docs": [text]}));
    let reference = stage(json!({"query_engine": text, "input": "why?"}));
    let draft = Draft { stages: vec![documents, reference], timeout: Some(text.into()), ..Draft::default() };
    if let Ok(workflow) = draft.check(&ENGINES) {
        assert!(workflow.timeout.is_some_and(|timeout| !timeout.is_zero()));
    }
});
