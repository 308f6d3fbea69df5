//! Many executions at once, ours and the bare prototype's.

use std::time::Duration;

use anyhow::Result;

use super::{Bench, raw::Raw};
use crate::client::{chain, load, load_bare};
use crate::processor::Meter;
use crate::report::Target;
use crate::system::{Mode, System, memory};

/// Of each measurement; the first quarter does not count.
const TIME: Duration = Duration::from_secs(8);

/// Raw publishes of the limit.
const PUBLISHES: usize = 10_000;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    bench.floor_stream().await?;
    let system = System::start(&bench.parts, &nats, bench.mode).await?;
    let bare = bench.parts.floor(&nats, "floor-coordinator").await?;
    let bare_worker = bench.parts.floor(&nats, "floor-worker").await?;
    let parts =
        [("coordinator", bare.pid()?), ("worker", bare_worker.pid()?), ("client", std::process::id())];
    let servers = bench.nats.pids().into_iter().map(|pid| ("nats-server", pid));
    let meter = Meter::start(parts.into_iter().chain(servers).collect())?;
    let floor = load_bare(&bare.endpoint()?, 3, 64, TIME).await?;
    meter.tell(
        &mut bench.report,
        "throughput",
        "bare prototype, 64 clients",
        floor.stages * TIME.as_secs_f64(),
    )?;
    let meter = Meter::start(system.processes(&bench.nats)?)?;
    let raw = Raw::open(&nats, bench.mode.replicas()).await?;
    let before = raw.stored().await?;
    let ours = load(&system.endpoint, chain(3), 64, TIME).await?;
    let stored = (raw.stored().await? - before) as f64 / (ours.stages * TIME.as_secs_f64());
    meter.tell(&mut bench.report, "throughput", "64 clients", ours.stages * TIME.as_secs_f64())?;
    drop((bare, bare_worker));
    let more = load(&system.endpoint, chain(3), 512, TIME).await?;
    let subjects = raw.partitions(bench.mode.replicas(), bench.parts.partitions).await?;
    let published = raw.publishers(PUBLISHES, &subjects).await?;

    let row = "throughput";
    let report = &mut bench.report;
    let least = match (bench.mode, bench.parts.partitions) {
        (Mode::Default, _) => Some(Target::AtLeast(10_000.0)),
        (Mode::SyncAlways, 1) => Some(Target::AtLeast(1_400.0)),
        (Mode::SyncAlways, _) => Some(Target::AtLeast(3_000.0)),
        (Mode::Cluster, _) => None,
    };
    report.add(row, "64 clients, stages", ours.stages, "/s", least);
    report.tell(row, "64 clients, 3 stages, p50", ours.whole.p50(), "ms");
    report.tell(row, "64 clients, 3 stages, p99", ours.whole.at(0.99), "ms");
    report.tell(row, "bare prototype, 64 clients, stages", floor.stages, "/s");
    let share = ours.stages / floor.stages;
    report.add(row, "ours / bare prototype", share, "x", Some(Target::AtLeast(0.8)));
    report.tell(row, "messages that JetStream stores for a stage", stored, "");
    report.tell(row, "as many messages from 64 raw publishers, stages", published / stored, "/s");
    report.tell(row, "512 clients, stages", more.stages, "/s");
    report.tell(row, "512 clients, 3 stages, p50", more.whole.p50(), "ms");
    report.tell(row, "512 clients, 3 stages, p99", more.whole.at(0.99), "ms");
    report.tell(row, "coordinator, loaded", system.coordinator.memory()?, "MB");
    report.tell(row, "worker, loaded", system.worker.memory()?, "MB");
    let servers = bench.nats.pids().into_iter().map(memory).sum::<Result<f64>>()?;
    report.tell(row, "nats-server, loaded", servers, "MB");
    Ok(())
}
