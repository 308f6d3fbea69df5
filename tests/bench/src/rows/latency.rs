//! Executions one after the other: ours, the bare prototype and raw JetStream by turns, so that the machine's moods hit
//! all alike.

use anyhow::Result;

use super::{Bench, raw::Raw};
use crate::client::{Client, chain, channel, once, once_bare};
use crate::floor::pb::floor_client::FloorClient;
use crate::report::{Curve, Target};
use crate::samples::Samples;
use crate::system::{Mode, System};

/// Turns, and executions of each kind in a turn.
const TURNS: usize = 20;
const EACH: usize = 25;
/// Stages of the longer chain: what it takes more, by stage, is what a stage costs.
const LONGER: usize = 23;

/// Messages that three stages store one after the other: the workflow, each task and each result, the end.
const WRITES: f64 = 8.0;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    bench.floor_stream().await?;
    let system = System::start(&bench.parts, &nats, bench.mode).await?;
    let bare = bench.parts.floor(&nats, "floor-coordinator").await?;
    let _bare_worker = bench.parts.floor(&nats, "floor-worker").await?;
    let mut client = Client::new(channel(&system.endpoint).await?);
    let mut floor = FloorClient::new(channel(&bare.endpoint()?).await?);
    let mut raw = Raw::open(&nats, bench.mode.replicas()).await?;

    let (three, longer) = (chain(3), chain(LONGER));
    let (mut ours, mut long, mut theirs, mut streams, mut delivers, mut publishes) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for turn in 0..=TURNS {
        let warm = turn > 0;
        for _ in 0..EACH {
            ours.extend(Some(once(&mut client, &three).await?).filter(|_| warm));
        }
        for _ in 0..EACH {
            theirs.extend(Some(once_bare(&mut floor, 3).await?).filter(|_| warm));
        }
        for _ in 0..EACH / 5 {
            long.extend(Some(once(&mut client, &longer).await?).filter(|_| warm));
        }
        for _ in 0..EACH {
            streams.extend(Some(once_bare(&mut floor, 0).await?).filter(|_| warm));
            delivers.extend(Some(raw.deliver().await?).filter(|_| warm));
            publishes.extend(Some(raw.publish().await?).filter(|_| warm));
            raw.take(1).await?;
        }
    }
    let whole = Samples::new(ours.iter().map(|took| took.whole));
    let first = Samples::new(ours.iter().map(|took| took.first));
    let long = Samples::new(long.iter().map(|took| took.whole));
    let bare = Samples::new(theirs.iter().map(|took| took.whole));
    let bare_first = Samples::new(theirs.iter().map(|took| took.first));
    let stream = Samples::new(streams.iter().map(|took| took.first));
    let deliver = Samples::new(delivers);
    let publish = Samples::new(publishes);
    let stage = (long.p50() - whole.p50()) / (LONGER - 3) as f64;

    let report = &mut bench.report;
    let row = "latency";
    let most = |default: f64, always: f64| match bench.mode {
        Mode::Default => Some(Target::AtMost(default)),
        Mode::SyncAlways => Some(Target::AtMost(always)),
        Mode::Cluster => None,
    };
    report.add(row, "3 stages end to end, p50", whole.p50(), "ms", most(2.3, 5.0));
    report.tell(row, "3 stages end to end, p95", whole.at(0.95), "ms");
    let tail = (bench.mode == Mode::Default).then_some(Target::AtMost(6.0));
    report.add(row, "3 stages end to end, p99", whole.at(0.99), "ms", tail);
    report.tell(row, "bare prototype, 3 stages, p50", bare.p50(), "ms");
    report.tell(row, "bare prototype, 3 stages, p99", bare.at(0.99), "ms");
    report.add(row, "ours / bare prototype, p50", whole.p50() / bare.p50(), "x", Some(Target::AtMost(1.3)));
    report.tell(row, "raw JetStream, publish until delivered, p50", deliver.p50(), "ms");
    let writes = WRITES * publish.p50();
    report.tell(row, "as many raw publishes as 3 stages make one after the other", writes, "ms");
    report.tell(row, "one stage more, p50", stage, "ms");
    let ratio = stage / (2.0 * deliver.p50());
    report.add(row, "one stage more / its two raw deliveries", ratio, "x", Some(Target::AtMost(1.5)));
    let soon = (bench.mode == Mode::Default).then_some(Target::AtMost(0.7));
    report.add(row, "first event at the client, p50", first.p50(), "ms", soon);
    report.tell(row, "bare prototype, first event, p50", bare_first.p50(), "ms");
    report.tell(row, "raw tonic, first event of a stream, p50", stream.p50(), "ms");
    let curve = |name: &str, of: &Samples| Curve { name: name.to_owned(), percentiles: of.distribution() };
    report.curves.push(curve("Mahavishnu, 3 stages", &whole));
    report.curves.push(curve("bare prototype, 3 stages", &bare));
    report.curves.push(curve("Mahavishnu, first event", &first));
    report.curves.push(curve("JetStream, publish until delivered", &deliver));
    Ok(())
}
