//! Long and wide workflows: what a stage costs among a thousand.

use anyhow::Result;
use mahavishnu_proto::v1;
use serde_json::json;

use super::Bench;
use crate::client::{Client, chain, channel, once, stage, workflow};
use crate::report::Target;
use crate::samples::Samples;
use crate::system::System;

/// As many as a workflow may have.
const MOST: usize = 1_000;
const TIMES: usize = 5;
const SHORT: usize = 100;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let system = System::start(&bench.parts, &bench.nats.url(), bench.mode).await?;
    let mut client = Client::new(channel(&system.endpoint).await?);
    let (three, long) = (chain(3), chain(MOST));
    let at_once = |n: usize| v1::Stage { at_once: true, ..stage(&format!("s{n}"), json!({})) };
    let wide = workflow((0..MOST).map(at_once));
    let (mut short, mut long_times, mut wide_times) = (vec![], vec![], vec![]);
    once(&mut client, &three).await?;
    for _ in 0..TIMES {
        for _ in 0..SHORT / TIMES {
            short.push(once(&mut client, &three).await?.whole);
        }
        long_times.push(once(&mut client, &long).await?.whole);
        wide_times.push(once(&mut client, &wide).await?.whole);
    }
    let three = Samples::new(short).p50() / 3.0;
    let long = Samples::new(long_times).p50() / MOST as f64;
    let wide = Samples::new(wide_times).p50() / MOST as f64;
    let report = &mut bench.report;
    report.tell("shapes", "3 stages in a row, by stage", three, "ms");
    report.tell("shapes", "1,000 stages in a row, by stage", long, "ms");
    report.add("shapes", "1,000 in a row / 3 in a row", long / three, "x", Some(Target::AtMost(1.5)));
    report.tell("shapes", "1,000 stages side by side, by stage", wide, "ms");
    report.add("shapes", "1,000 side by side / 3 in a row", wide / three, "x", Some(Target::AtMost(1.5)));
    Ok(())
}
