//! The limit: JetStream and tonic with nothing around them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use futures::StreamExt as _;
use futures::future::try_join_all;

use super::Bench;
use crate::floor::payload;
use crate::samples::Samples;

const STREAM: &str = "RAW";
/// Sequential measurements.
const TIMES: usize = 1_000;
/// Messages of the throughputs.
const MANY: usize = 100_000;

/// Sends and takes messages of the size that ours have.
pub struct Raw {
    js: jetstream::Context,
    messages: pull::Stream,
}

impl Raw {
    /// On a stream of its own, made when it is not there.
    pub async fn open(nats: &str, replicas: usize) -> Result<Self> {
        let servers: Vec<_> = nats.split(',').collect();
        // Sender and receiver are different processes in the real thing.
        let js = jetstream::new(async_nats::connect(&servers).await?);
        let receiver = jetstream::new(async_nats::connect(&servers).await?);
        let config = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec!["raw.>".to_owned()],
            num_replicas: replicas,
            ..stream::Config::default()
        };
        js.get_or_create_stream(config).await?;
        let config = pull::Config {
            durable_name: Some("raw".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: -1,
            ..pull::Config::default()
        };
        let consumer: PullConsumer = receiver.create_consumer_on_stream(config, STREAM).await?;
        let messages = consumer.stream().max_messages_per_batch(1_000).messages().await?;
        Ok(Self { js, messages })
    }

    /// From the publish until the message is delivered to another connection; its two acknowledgements overlap.
    pub async fn deliver(&mut self) -> Result<Duration> {
        let began = Instant::now();
        let stored = self.js.publish("raw.one", payload()).await?;
        let message = self.messages.next().await.context("no message")??;
        let took = began.elapsed();
        message.ack().await.map_err(anyhow::Error::from_boxed)?;
        stored.await?;
        Ok(took)
    }

    /// How many messages were ever stored in other streams than this one.
    pub async fn stored(&self) -> Result<u64> {
        let mut streams = self.js.streams();
        let mut stored = 0;
        while let Some(stream) = streams.next().await {
            let stream = stream?;
            stored += if stream.config.name == STREAM { 0 } else { stream.state.last_sequence };
        }
        Ok(stored)
    }

    /// From the publish until its acknowledgement.
    pub async fn publish(&self) -> Result<Duration> {
        let began = Instant::now();
        self.js.publish("raw.one", payload()).await?.await?;
        Ok(began.elapsed())
    }

    /// Messages a second of 64 publishers, which use these subjects by turns.
    pub async fn publishers(&self, many: usize, subjects: &[String]) -> Result<f64> {
        let began = Instant::now();
        let sending = try_join_all((0..64).zip(subjects.iter().cycle()).map(async |(_, subject)| {
            for _ in 0..many / 64 {
                self.js.publish(subject.clone(), payload()).await?.await?;
            }
            anyhow::Ok(())
        }));
        sending.await?;
        Ok((many / 64 * 64) as f64 / began.elapsed().as_secs_f64())
    }

    /// So many streams, made when they are not there, and the subject of each.
    pub async fn partitions(&self, replicas: usize, count: u32) -> Result<Vec<String>> {
        let mut subjects = Vec::new();
        for n in 0..count {
            let subject = format!("partition.{n}");
            let config = stream::Config {
                name: format!("{STREAM}_{n}"),
                subjects: vec![subject.clone()],
                num_replicas: replicas,
                ..stream::Config::default()
            };
            self.js.get_or_create_stream(config).await?;
            subjects.push(subject);
        }
        Ok(subjects)
    }

    /// Takes and acknowledges so many.
    pub async fn take(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let message = self.messages.next().await.context("no message")??;
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        Ok(())
    }
}

/// The row.
pub async fn measure(bench: &mut Bench) -> Result<()> {
    let (url, replicas) = (bench.nats.url(), bench.mode.replicas());
    let mut raw = Raw::open(&url, replicas).await?;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(raw.publish().await?);
    }
    raw.take(TIMES).await?;
    let publish = Samples::new(times);
    bench.report.tell("raw", "JetStream publish and its acknowledgement, p50", publish.p50(), "ms");
    bench.report.tell("raw", "the same, p99", publish.at(0.99), "ms");
    let mut times = Vec::new();
    for _ in 0..TIMES {
        times.push(raw.deliver().await?);
    }
    let deliver = Samples::new(times);
    bench.report.tell("raw", "JetStream publish until delivered, p50", deliver.p50(), "ms");
    bench.report.tell("raw", "the same, p99", deliver.at(0.99), "ms");

    let many = if bench.mode == crate::system::Mode::Default { MANY } else { MANY / 20 };
    let rate = raw.publishers(many, &["raw.many".to_owned()]).await?;
    bench.report.tell("raw", "64 publishers, each awaiting its acknowledgements", rate, "/s");
    if bench.mode == crate::system::Mode::SyncAlways {
        // Each is written to the disk by itself: how far one stream is the limit.
        let subjects = raw.partitions(replicas, 4).await?;
        let rate = raw.publishers(many, &subjects).await?;
        bench.report.tell("raw", "the same on four streams", rate, "/s");
    }
    let began = Instant::now();
    raw.take(many / 64 * 64).await?;
    let rate = (many / 64 * 64) as f64 / began.elapsed().as_secs_f64();
    bench.report.tell("raw", "one receiver that acknowledges each message", rate, "/s");
    Ok(())
}
