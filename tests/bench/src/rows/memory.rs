//! Resident memory: of fresh processes, and what finished executions leave behind.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use crate::client::{chain, load};
use crate::report::Target;
use crate::system::System;

const TIME: Duration = Duration::from_secs(8);
/// After this time a coordinator has dropped what has ended.
const REST: Duration = Duration::from_secs(6);

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    // The rows before this one end as by a crash; what they did last is looked at again, and that is not idle.
    let follower = bench.parts.coordinator(&nats, bench.mode, "127.0.0.1:0").await?;
    tokio::time::sleep(REST).await;
    let followed = follower.memory()?;
    follower.stop().await?;
    let system = System::start(&bench.parts, &nats, bench.mode).await?;
    let (coordinator, worker) = (system.coordinator.memory()?, system.worker.memory()?);
    load(&system.endpoint, chain(3), 64, TIME).await?;
    tokio::time::sleep(REST).await;
    let before = system.coordinator.memory()?;
    let mut executions = 0.0;
    for _ in 0..2 {
        let load = load(&system.endpoint, chain(3), 64, TIME).await?;
        executions += load.stages / 3.0 * TIME.as_secs_f64();
    }
    tokio::time::sleep(REST).await;
    let after = system.coordinator.memory()?;
    let report = &mut bench.report;
    report.add("memory", "coordinator, idle", coordinator, "MB", Some(Target::AtMost(40.0)));
    report.add("memory", "worker without its host, idle", worker, "MB", Some(Target::AtMost(25.0)));
    report.tell("memory", "coordinator, after one that crashed in the row before", followed, "MB");
    report.tell("memory", "coordinator, after a load", before, "MB");
    report.tell("memory", "coordinator, after two more", after, "MB");
    report.tell("memory", "worker, after a load", system.worker.memory()?, "MB");
    let growth = (after - before).max(0.0) * 1024.0 * 1024.0 / executions;
    report.add("memory", "growth by finished execution", growth, "B", Some(Target::AtMost(200.0)));
    Ok(())
}
