//! Recommend: any description gets an answer or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::recommendation::recommend;

fuzz_target!(|description: &str| {
    let _ = recommend(&Registry::builtin(), description);
});
