//! A store full of finished executions: what each further one costs, and a coordinator's start.
//!
//! One real execution is run; its messages are then stored again under as many other ids as are wanted, and
//! acknowledged. On a server of its own.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::{self, consumer::PullConsumer};
use bytes::Bytes;
use futures::StreamExt as _;

use super::Bench;
use crate::client::{Client, chain, channel, once};
use crate::report::Target;
use crate::samples::Samples;
use crate::system::{Nats, System};

const STREAM: &str = "MAHAVISHNU_HISTORY";
/// Executions of each measurement.
const TIMES: usize = 1_000;

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let row = "history";
    let nats = Nats::start(bench.mode).await?;
    let url = nats.url();
    let client = async_nats::connect(url.split(',').collect::<Vec<_>>()).await?;
    let system = System::start(&bench.parts, &url, bench.mode).await?;
    let few = latency(&system.endpoint).await?;
    // One that lists show, to be stored again.
    once(&mut Client::new(channel(&system.endpoint).await?), &chain(1)).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(system);
    let messages = last_execution(&client).await?;
    fill(&client, &messages, bench.history).await?;

    let system = System::start(&bench.parts, &url, bench.mode).await?;
    let many = latency(&system.endpoint).await?;
    let report = &mut bench.report;
    report.tell(row, "finished executions in the store", bench.history as f64, "");
    report.tell(row, "3 stages end to end with 1,000 in the store, p50", few.p50(), "ms");
    report.tell(row, "3 stages end to end with all in the store, p50", many.p50(), "ms");
    report.add(row, "all / 1,000", many.p50() / few.p50(), "x", Some(Target::AtMost(1.2)));
    let start = system.coordinator.start.as_secs_f64();
    report.add(row, "coordinator, start to serving", start, "s", Some(Target::AtMost(2.0)));
    report.tell(row, "coordinator, memory", system.coordinator.memory()?, "MB");
    Ok(())
}

async fn latency(endpoint: &str) -> Result<Samples> {
    let mut client = Client::new(channel(endpoint).await?);
    let three = chain(3);
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(once(&mut client, &three).await?.whole);
    }
    Ok(Samples::new(times))
}

/// A message of an execution: its subject before and after the execution's id, and its body.
struct Copied {
    before: &'static str,
    after: &'static str,
    body: Bytes,
}

/// Every message of the last execution.
async fn last_execution(client: &async_nats::Client) -> Result<Vec<Copied>> {
    let js = jetstream::new(client.clone());
    let mut messages = Vec::new();
    let stream = js.get_stream(STREAM).await?;
    let last = stream.get_last_raw_message_by_subject("dec.*.h").await?;
    let id = last.subject.split('.').nth(1).context("no id")?.to_owned();
    for (before, after) in [("in.", ""), ("dec.", ".task.noop"), ("dec.", ".h")] {
        let (filter, mut next) = (format!("{before}{id}{after}"), 1);
        while let Ok(found) = stream.get_first_raw_message_by_subject(&filter, next).await {
            next = found.sequence + 1;
            messages.push(Copied { before, after, body: found.payload });
        }
    }
    let summaries = js.get_stream("MAHAVISHNU_SUMMARIES").await?;
    let summary = summaries.get_last_raw_message_by_subject(&format!("sum.execution.{id}")).await?;
    messages.push(Copied { before: "sum.execution.", after: "", body: summary.payload });
    ensure!(messages.len() == 5, "an execution of one stage has four messages and a summary");
    Ok(messages)
}

/// Stores copies and takes them off the consumers.
async fn fill(client: &async_nats::Client, messages: &[Copied], count: usize) -> Result<()> {
    let js = jetstream::new(client.clone());
    let publish = async {
        for n in 0..count {
            // Ids as far apart as real ones: the server keeps subjects in a tree.
            let id = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for Copied { before, after, body } in messages {
                // Not awaited one by one: the servers' state tells in the end whether all are stored.
                client.publish(format!("{before}{id:016x}-copy{after}"), body.clone()).await?;
            }
            if n % 10_000 == 0 {
                client.flush().await?;
            }
        }
        client.flush().await?;
        anyhow::Ok(())
    };
    let acknowledge = async |name: &str, count: usize| -> Result<()> {
        let consumer: PullConsumer = js.get_consumer_from_stream(name, STREAM).await?;
        let mut messages = consumer.stream().max_messages_per_batch(5_000).messages().await?;
        for _ in 0..count {
            let message = messages.next().await.context("no message")??;
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        Ok(())
    };
    let inputs = acknowledge("coordinators", 2 * count);
    let tasks = acknowledge("task-noop", count);
    tokio::try_join!(publish, inputs, tasks)?;
    Ok(())
}
