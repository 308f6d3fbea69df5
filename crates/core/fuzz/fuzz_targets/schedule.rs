//! Schedules: read, and asked for their next instants.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mahavishnu_core::schedule::Schedule;

fuzz_target!(|input: (&str, &str)| {
    if let Ok(schedule) = Schedule::parse(input.0, Some(input.1).filter(|zone| !zone.is_empty())) {
        let _ = (schedule.next(Default::default(), 3), schedule.clock_change(Default::default()));
    }
});
