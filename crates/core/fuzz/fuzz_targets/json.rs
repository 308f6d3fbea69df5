//! JSON workflows: read, checked, planned.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::workflow::Parsed;
use mahavishnu_core::workflow::plan::plan;

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect", "custom"];

fuzz_target!(|bytes: &[u8]| {
    if let Ok(workflow) = Parsed::json(bytes).check(&ENGINES) {
        let plan = plan(&workflow, Default::default());
        let _ = (plan.to_text(), plan.to_mermaid());
    }
});
