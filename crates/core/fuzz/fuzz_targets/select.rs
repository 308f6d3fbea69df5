//! Task types: what Select makes of them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::engine::Registry;
use mahavishnu_core::selection::{Request, select};

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);

fuzz_target!(|input: (&str, bool, bool, bool)| {
    let (text, requires_state, requires_routing, requires_scheduling) = input;
    let task_type = text.to_owned();
    let _ = select(&REGISTRY, &Request { task_type, requires_state, requires_routing, requires_scheduling });
});
