//! A store that fills with finished executions: what each further one costs, and a coordinator's start.
//!
//! One real execution is run; its messages are then stored again, in their order, under as many other ids as are wanted, its tasks
//! taken off their queue, and the cursor saved that a coordinator would have saved. On a server of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use mahavishnu_proto::worker::InputCursor;
use prost::Message as _;

use super::Bench;
use crate::client::{Client, chain, channel, once};
use crate::report::Target;
use crate::samples::Samples;
use crate::system::{self, Nats, System};

const STREAM: &str = "MAHAVISHNU_HISTORY";
/// The store with which the fuller ones are compared, and how much fuller each next one is.
const FIRST: usize = 1_000;
const STEP: usize = 10;
/// Executions of each measurement.
const TIMES: usize = 500;
/// Executions that are copied at the same time.
const AT_ONCE: usize = 256;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    anyhow::ensure!(
        bench.parts.partitions == 1,
        "the row copies the messages of one stream; leave --partitions out"
    );
    let row = "history";
    let mut nats = Nats::start(bench.mode).await?;
    let url = nats.url();
    let js = jetstream::new(async_nats::connect(url.split(',').collect::<Vec<_>>()).await?);
    let system = System::start(&bench.parts, &url, bench.mode).await?;
    // One that lists show, to be stored again.
    once(&mut Client::new(channel(&system.endpoint).await?), &chain(1)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(system);
    let messages = last_execution(&js).await?;

    let mut measured = Vec::new();
    let (mut there, mut size) = (0, FIRST.min(bench.history));
    loop {
        fill(&js, &messages, there..size).await?;
        there = size;
        let system = System::start(&bench.parts, &url, bench.mode).await?;
        let p50 = latency(&system.endpoint).await?.p50();
        let start = system.coordinator.start.as_secs_f64();
        let name = format!("{there} finished: 3 stages end to end, p50");
        bench.report.tell(row, &name, p50, "ms");
        bench.report.tell(row, &format!("{there} finished: coordinator, start to serving"), start, "s");
        let name = format!("{there} finished: coordinator, memory");
        bench.report.tell(row, &name, system.coordinator.memory()?, "MB");
        measured.push((p50, start));
        if there == bench.history {
            break;
        }
        size = (there * STEP).min(bench.history);
    }
    let (Some((few, _)), Some((many, start))) = (measured.first(), measured.last()) else { return Ok(()) };
    let report = &mut bench.report;
    report.add(row, "3 stages, with all / with 1,000", many / few, "x", Some(Target::AtMost(1.2)));
    report.add(row, "coordinator, start to serving with all", *start, "s", Some(Target::AtMost(2.0)));
    let memory = nats.pids().into_iter().map(system::memory).sum::<Result<f64>>()?;
    report.tell(row, "nats-server, memory with all", memory, "MB");
    let took = nats.restart().await?.as_secs_f64();
    bench.report.tell(row, "nats-server, killed, start to ready with all", took, "s");
    Ok(())
}

async fn latency(endpoint: &str) -> Result<Samples> {
    let mut client = Client::new(channel(endpoint).await?);
    let three = chain(3);
    let mut times = Vec::new();
    for n in 0..TIMES + TIMES / 10 {
        let took = once(&mut client, &three).await?.whole;
        // The first ones warm it up.
        times.extend(Some(took).filter(|_| n >= TIMES / 10));
    }
    Ok(Samples::new(times))
}

/// A message of an execution: its subject before and after the execution's id, and its body.
struct Copied {
    before: &'static str,
    after: &'static str,
    body: Bytes,
}

/// Every message of the last execution, in the order in which they were stored.
async fn last_execution(js: &jetstream::Context) -> Result<Vec<Copied>> {
    let stream = js.get_stream(STREAM).await?;
    let last = stream.get_last_raw_message_by_subject("dec.*.h").await?;
    let id = last.subject.split('.').nth(1).context("no id")?.to_owned();
    let mut found = Vec::new();
    for (before, after) in [("in.", ""), ("dec.", ".task.noop"), ("dec.", ".h")] {
        let (filter, mut next) = (format!("{before}{id}{after}"), 1);
        while let Ok(message) = stream.get_first_raw_message_by_subject(&filter, next).await {
            next = message.sequence + 1;
            found.push((message.sequence, Copied { before, after, body: message.payload }));
        }
    }
    found.sort_by_key(|(sequence, _)| *sequence);
    let mut messages: Vec<_> = found.into_iter().map(|(_, message)| message).collect();
    let summaries = js.get_stream("MAHAVISHNU_SUMMARIES").await?;
    let summary = summaries.get_last_raw_message_by_subject(&format!("sum.execution.{id}")).await?;
    messages.push(Copied { before: "sum.execution.", after: "", body: summary.payload });
    ensure!(messages.len() == 5, "an execution of one stage has four messages and a summary");
    Ok(messages)
}

/// Stores these copies, and has no coordinator or worker find anything to do.
async fn fill(js: &jetstream::Context, messages: &[Copied], which: std::ops::Range<usize>) -> Result<()> {
    let count = which.len();
    let copy = async |n: usize| {
        // Ids as far apart as real ones: the server keeps subjects in a tree.
        let id = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for Copied { before, after, body } in messages {
            js.publish(format!("{before}{id:016x}-copy{after}"), body.clone()).await?.await?;
        }
        anyhow::Ok(())
    };
    let publish = futures::stream::iter(which).map(copy).buffer_unordered(AT_ONCE).try_collect::<()>();
    let acknowledge = async {
        let consumer: PullConsumer = js.get_consumer_from_stream("task-noop", STREAM).await?;
        let mut messages = consumer.stream().max_messages_per_batch(5_000).messages().await?;
        for _ in 0..count {
            let message = messages.next().await.context("no message")??;
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        Ok(())
    };
    tokio::try_join!(publish, acknowledge)?;
    let passed = js.get_stream(STREAM).await?.cached_info().state.last_sequence;
    let cursor = InputCursor { passed, waiting: Vec::new() };
    js.publish("sum.inputs.0", cursor.encode_to_vec().into()).await?.await?;
    Ok(())
}
