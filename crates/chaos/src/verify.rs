//! Reads the raw stream from its first message, and asks the judge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use backon::{ConstantBuilder, Retryable as _};
use fastrand::Rng;
use futures::StreamExt as _;
use mahavishnu_bus::log::{Stored, TailItem};
use mahavishnu_bus::{Bus, Options as BusOptions};
use mahavishnu_core::execution::{Completed, Fact, Record, State, Timer};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_core::schedule;
use mahavishnu_proto::{public, v1};
use mahavishnu_simulation::check::schedules::Standing;
use mahavishnu_simulation::check::{Evidence, Live, Logged, Truth, check, verdicts};
use serde_json::Value;

use crate::client::Client;
use crate::load::Told;
use crate::report::Report;
use crate::system::System;
use crate::{Options, replicas, workflows};

/// Calls at the same time.
const CALLS: usize = 8;
/// The stream is there, so it is read without long breaks, also on a busy machine.
const SILENCE: Duration = Duration::from_secs(60);

/// So long executions may take to end that nobody watched.
const REST: Duration = Duration::from_secs(60);
/// Between two looks for them.
const LOOK: Duration = Duration::from_secs(1);

/// Judges a run.
pub async fn verify(options: &Options, system: &System, told: &Told) -> Result<Report> {
    let bus = Bus::connect(BusOptions::new(system.nats_urls(), "chaos")).await?;
    let (histories, unreadable) = at_rest(&bus).await?;
    let mut report = Report { executions: histories.len(), ..Report::default() };
    report.wrong.extend(told.wrong.iter().cloned());
    report.wrong.extend(unreadable);
    for history in histories.values() {
        tally(history, &mut report.records);
    }
    report.wrong.extend(views(options, system, &bus, &histories).await);
    if options.rolling {
        report.violations.extend(histories.iter().flat_map(|(id, history)| disturbed(id, history)));
    }
    report.replicas = replicas::compare(system, &histories).await?;
    let schedules = schedules(&bus).await?;
    for standing in &schedules {
        *report.records.entry("schedules' slots skipped").or_default() += standing.state.skipped;
    }
    // What nothing refers to is younger than its grace.
    let audit = || bus.audit_artifacts(Duration::MAX);
    // On a busy machine servers that were killed just now are not all back.
    let patience = ConstantBuilder::default().with_delay(LOOK).with_max_times(30);
    match audit.retry(patience).await {
        Ok(audit) => {
            *report.records.entry("artifacts that something refers to").or_default() += audit.referred as u64;
            let missing = audit.missing.iter();
            let told = missing.map(|(id, who)| format!("{who} refers to artifact {id}, which is not there"));
            report.violations.extend(told);
        }
        // The rest is judged all the same.
        Err(error) => {
            report.wrong.push(format!("the artifacts cannot be compared: {:#}", anyhow::Error::new(error)))
        }
    }
    report.records.retain(|_, count| *count > 0);
    let truth: Truth<'_> = &|_, task, done| workflows::is_true(task, done);
    let evidence = Evidence {
        histories,
        acknowledged: told.acknowledged.clone(),
        watched: told.watched.clone(),
        views: Vec::new(),
        // Nothing may be left, so what has not ended is an orphan.
        live: Live::default(),
        schedules,
        truth,
        at_rest: true,
        one_stream: options.partitions == 1,
    };
    report.watched = told.watched.iter().map(|watched| watched.events.len()).sum();
    report.violations.extend(check(&evidence).iter().map(ToString::to_string));
    Ok(report)
}

type Histories = BTreeMap<ExecutionId, Vec<Logged>>;

/// The same as [`read`], once every execution has ended, also those that nobody watched, or after a time that is enough for all
/// that goes on. Who has not ended by then never will.
async fn at_rest(bus: &Bus) -> Result<(Histories, Vec<String>)> {
    let deadline = Instant::now() + REST;
    loop {
        let read = read(bus).await?;
        let goes_on = |history: &Vec<Logged>| !history.iter().any(|logged| logged.record.fact.is_terminal());
        if Instant::now() > deadline || !read.0.values().any(goes_on) {
            return Ok(read);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Every history, in stream order, and what could not be read.
async fn read(bus: &Bus) -> Result<(Histories, Vec<String>)> {
    let last = bus.last_records().await.context("the streams' ends")?;
    let mut items = bus.tail(&[]).await.context("the streams' begin")?.items;
    let mut histories = Histories::new();
    let mut unreadable = Vec::new();
    let mut positions = vec![0; last.len()];
    while positions.iter().zip(&last).any(|(position, last)| position < last) {
        let item = tokio::time::timeout(SILENCE, items.next()).await;
        let item = item.with_context(|| format!("the streams are silent after {positions:?} of {last:?}"))?;
        let (partition, item) = item.context("the streams ended")?;
        let position = positions.get_mut(partition.number()).context("another partition")?;
        match item {
            TailItem::Record(stored) => {
                *position = stored.record.position;
                let parent = stored.trace.get("traceparent").map(String::as_str).unwrap_or_default();
                let trace = parent.split('-').nth(1).unwrap_or_default().to_owned();
                let history = histories.entry(stored.execution.clone()).or_default();
                for mut record in stored.records() {
                    if let Fact::Accepted(accepted) = &mut record.fact {
                        // The label tells bodies apart, as clients cannot know the digest.
                        let body = accepted.workflow.labels.get(workflows::BODY);
                        accepted.digest = body.map(|body| body.clone().into_bytes()).unwrap_or_default();
                    }
                    history.push(Logged { record, trace: trace.clone() });
                }
            }
            TailItem::Unreadable { position: at, error, .. } => {
                *position = at;
                unreadable.push(format!("message {at} cannot be read: {error}"));
            }
            TailItem::Disturbed(error) => eprintln!("disturbed while reading: {error}"),
        }
    }
    Ok((histories, unreadable))
}

/// Every schedule as it is stored.
async fn schedules(bus: &Bus) -> Result<Vec<Standing>> {
    let all = bus.schedules().await.context("the schedules")?.into_iter().map(|kept| {
        let state: schedule::State = serde_json::from_slice(&kept.body).context("a schedule's state")?;
        Ok(Standing { id: kept.id, state, wakes: None })
    });
    all.collect()
}

/// **I4**, of live coordinators: what each says of an execution is what the raw stream folds to.
async fn views(options: &Options, system: &System, bus: &Bus, histories: &Histories) -> Vec<String> {
    let endpoints = system.endpoints().await;
    let channels = Client::connect(&endpoints);
    let client = Client::new(&channels, &mut Rng::with_seed(options.seed));
    let asked = histories.iter().map(|(id, history)| {
        let client = &client;
        async move {
            let read: Vec<&Record> = history.iter().map(|logged| &logged.record).collect();
            let expected = folded(id, &read);
            let mut wrong = Vec::new();
            for coordinator in 0..2 {
                match client.get(coordinator, id.as_str()).await {
                    // What has no effect is no part of the state; watchers are told of it, and that is checked.
                    Ok(told) => {
                        let told = v1::Execution { voids: Vec::new(), ..told };
                        if told != expected && !has_grown(bus, id, &read, &told).await {
                            let (told, expected) = (told.last_sequence, expected.last_sequence);
                            wrong.push(format!(
                                "I4 {id}: a coordinator says {told} events, or differs; the log has {expected}"
                            ));
                        }
                    }
                    Err(status) => wrong.push(format!("GetExecution {id}: {status}")),
                }
            }
            wrong
        }
    });
    futures::stream::iter(asked).buffer_unordered(CALLS).concat().await
}

fn folded(id: &ExecutionId, records: &[&Record]) -> v1::Execution {
    let mut state = State::default();
    for record in records {
        state.apply(record);
    }
    public::execution(id, &state, true)
}

/// Whether the log has only grown since it was `read`, and what a coordinator said fits what it held in between: the late word of a
/// worker has no effect, but a number.
async fn has_grown(bus: &Bus, id: &ExecutionId, read: &[&Record], told: &v1::Execution) -> bool {
    let Ok(last) = bus.last_position(id).await else { return false };
    let Ok(now) = bus.history(id, last).await else { return false };
    let now: Vec<Record> = now.into_iter().flat_map(Stored::records).collect();
    let now: Vec<&Record> = now.iter().collect();
    let told_of = usize::try_from(told.last_sequence).unwrap_or_default();
    let kept =
        read.iter().map(|record| record.position).eq(now.iter().take(read.len()).map(|now| now.position));
    kept && told_of > read.len() && now.get(..told_of).is_some_and(|now| folded(id, now) == *told)
}

/// What a process that drains must not do to an execution: have an attempt begin twice, or fail in a way that its
/// workflow does not. Every stage has a limit here, so that each begin is in the log.
fn disturbed(id: &ExecutionId, history: &[Logged]) -> Vec<String> {
    let mut begun = BTreeSet::new();
    let judged = history.iter().zip(verdicts(history));
    let disturbed = judged.filter_map(|(logged, counts)| match &logged.record.fact {
        Fact::Started(origin) if !begun.insert((&origin.stage, origin.attempt, origin.resume)) => {
            Some(format!("rolling {id}: attempt {} of {} began twice", origin.attempt, origin.stage))
        }
        Fact::Failed(failed) if counts && !workflows::FAILURES.contains(&failed.error.reason.as_str()) => {
            Some(format!("rolling {id}: {} failed: {}", failed.origin.stage, failed.error))
        }
        _ => None,
    });
    disturbed.collect()
}

/// It came as an artifact.
fn is_large(done: &Completed) -> bool {
    let padding = done.output.get("padding").and_then(Value::as_str);
    padding.is_some_and(|padding| padding.len() > workflows::ARTIFACT)
}

/// Counts what the histories hold.
fn tally(history: &[Logged], records: &mut BTreeMap<&'static str, u64>) {
    let counts = verdicts(history);
    for (logged, counts) in history.iter().zip(counts) {
        let mut add = |what| *records.entry(what).or_default() += 1;
        add("records");
        if !counts {
            add("void events");
            add(match &logged.record.fact {
                Fact::TimerFired(_) => "void events of timers",
                Fact::Decided(_) | Fact::CancelRequested { .. } => "void events of people",
                _ => "void events of workers",
            });
        }
        match &logged.record.fact {
            Fact::Accepted(accepted) if accepted.forked.is_some() => add("executions that go on from others"),
            Fact::Accepted(accepted) if accepted.firing.is_some() => add("schedules' firings"),
            Fact::Completed(done) if is_large(done) => add("messages larger than fit the bus"),
            Fact::Decided(_) if counts => add("votes"),
            Fact::TimerFired(Timer::Approval { .. }) if counts => add("pauses decided by time"),
            Fact::Completed(done) if done.origin.delivery > 1 => add("results of a redelivery"),
            Fact::Failed(failed) if failed.error.reason == "HOST_DIED" => add("engine hosts that died"),
            Fact::RetryScheduled { .. } => add("retries"),
            Fact::TimerFired(Timer::Timeout { .. }) => add("time limits by timer"),
            Fact::Paused(_) => add("pauses"),
            Fact::ExecutionCompleted => add("executions completed"),
            Fact::ExecutionFailed { .. } => add("executions failed"),
            Fact::ExecutionCancelled { .. } => add("executions cancelled"),
            _ => {}
        }
    }
}
