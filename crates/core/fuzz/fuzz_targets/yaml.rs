//! YAML workflows: read and checked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::workflow::Parsed;

const ENGINES: &[&str] = &["agno", "langgraph", "llamaindex", "prefect", "custom"];

fuzz_target!(|bytes: &[u8]| {
    let _ = Parsed::yaml(bytes).check(&ENGINES);
});
