//! Files that register engines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::engine::{Registry, guide};

fuzz_target!(|text: &str| {
    if let Ok(registry) = Registry::builtin().with_file(text) {
        assert!(guide(&registry).iter().all(|(_, engine)| registry.get(engine).is_some()));
    }
});
