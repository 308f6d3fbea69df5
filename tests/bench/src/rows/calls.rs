//! Calls that need no log: Select and Recommend, against a call that does nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use mahavishnu_proto::v1::{RecommendRequest, SelectRequest};

use super::Bench;
use crate::client::{Client, channel, together};
use crate::floor::pb::RunRequest;
use crate::floor::pb::floor_client::FloorClient;
use crate::report::Target;
use crate::samples::Samples;

/// Turns, and calls of each kind in a turn.
const TURNS: usize = 20;
const EACH: usize = 50;
const CLIENTS: usize = 64;
const TIME: Duration = Duration::from_secs(4);

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let nats = bench.nats.url();
    bench.floor_stream().await?;
    let coordinator = bench.parts.coordinator(&nats, bench.mode, "127.0.0.1:0").await?;
    let bare = bench.parts.floor(&nats, "floor-coordinator").await?;
    let channel_of_ours = channel(&coordinator.endpoint()?).await?;
    let mut client = Client::new(channel_of_ours.clone());
    let mut floor = FloorClient::new(channel(&bare.endpoint()?).await?);
    let select =
        || SelectRequest { task_type: "workflow".to_owned(), requires_state: true, ..Default::default() };
    let recommend = || RecommendRequest {
        description: "Review a pull request and ask somebody to approve it".to_owned(),
    };
    let (mut empty, mut selects, mut recommends) = (vec![], vec![], vec![]);
    for turn in 0..=TURNS {
        let warm = turn > 0;
        for _ in 0..EACH {
            let began = Instant::now();
            floor.ping(RunRequest::default()).await?;
            empty.extend(Some(began.elapsed()).filter(|_| warm));
            let began = Instant::now();
            client.select(select()).await?;
            selects.extend(Some(began.elapsed()).filter(|_| warm));
            let began = Instant::now();
            client.recommend(recommend()).await?;
            recommends.extend(Some(began.elapsed()).filter(|_| warm));
        }
    }
    let one = |_| {
        let mut client = Client::new(channel_of_ours.clone());
        async move {
            let began = Instant::now();
            client.select(select()).await?;
            Ok(began.elapsed())
        }
    };
    let many = together(one, 1, CLIENTS, TIME).await?;

    let (empty, selects, recommends) = (Samples::new(empty), Samples::new(selects), Samples::new(recommends));
    let report = &mut bench.report;
    report.tell("calls", "empty unary call, p50", empty.p50(), "ms");
    report.tell("calls", "Select, p50", selects.p50(), "ms");
    report.add("calls", "Select / empty", selects.p50() / empty.p50(), "x", Some(Target::AtMost(1.3)));
    report.tell("calls", "Recommend, p50", recommends.p50(), "ms");
    let ratio = recommends.p50() / empty.p50();
    report.add("calls", "Recommend / empty", ratio, "x", Some(Target::AtMost(2.0)));
    report.add("calls", "64 clients, Select", many.stages, "/s", Some(Target::AtLeast(20_000.0)));
    Ok(())
}
