//! Who refers to which artifact, read from the raw histories and schedules.
//!
//! Two questions, two ways to read. What may be removed is asked carelessly in favour of keeping: wherever the id of an
//! artifact stands in a message, or in a body that a message names, it is referred to ([`References`]). What must be there is
//! asked by what messages mean ([`Bus::audit_artifacts`]).
//!
//! Histories only grow, until an execution is removed whole, which its tombstone tells. So whoever asks again and again keeps
//! what was read, and reads on from there.
//!
//! Invariant: a sweep reads every message from the first to the last, or is an error; one that was disturbed by removals is
//! read again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use backon::BackoffBuilder as _;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use mahavishnu_core::id::{ArtifactId, ExecutionId, ScheduleId};
use mahavishnu_core::schedule::State;

use crate::artifacts::Artifact;
use crate::envelope::body_of;
use crate::partition::Partition;
use crate::{Bus, Error, Result, log, streams, subjects};

/// Messages that are asked for at once; each may have half a megabyte.
const BATCH: usize = 100;
/// The server forgets a sweep that was broken off after this time.
const ABANDONED: Duration = Duration::from_secs(30);
/// Of those who refer to an artifact, so many are told.
const TOLD: usize = 100;
/// Characters of an artifact's id.
const ID: usize = 64;
/// Bytes of a field's tag and length.
const TAG: usize = 7;

/// Who refers to an artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Referrer {
    /// Its history does.
    Execution(ExecutionId),
    /// Its workflow does.
    Schedule(ScheduleId),
}

/// Who refers to what, as far as it was read. An id is known by its first 64 bits, which in a hash are as good as all: two ids
/// that shared them would keep each other.
#[derive(Debug, Default)]
pub struct References {
    /// How far histories were read, in each partition.
    positions: BTreeMap<Partition, u64>,
    of: HashMap<Referrer, BTreeSet<u64>>,
}

impl References {
    /// Some of those who refer to an artifact, at most a hundred.
    pub fn referrers(&self, id: &ArtifactId) -> BTreeSet<Referrer> {
        let Some(id) = short(id.as_str()) else { return BTreeSet::new() };
        let referring = self.of.iter().filter(|(_, ids)| ids.contains(&id));
        referring.map(|(referrer, _)| referrer.clone()).take(TOLD).collect()
    }

    /// Those that nothing refers to.
    pub fn unused(&self, mut artifacts: Vec<Artifact>) -> Vec<Artifact> {
        let referred: HashSet<u64> = self.of.values().flatten().copied().collect();
        // What cannot be known stays.
        artifacts.retain(|artifact| short(artifact.id.as_str()).is_some_and(|id| !referred.contains(&id)));
        artifacts
    }

    fn add(&mut self, referrer: &Referrer, bytes: &[u8]) {
        for id in ids_in(bytes).filter_map(short) {
            self.of.entry(referrer.clone()).or_default().insert(id);
        }
    }
}

/// Histories and artifacts compared, in both directions.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Artifacts that are stored.
    pub stored: usize,
    /// Different artifacts that histories and schedules refer to.
    pub referred: usize,
    /// Referred to, and not there.
    pub missing: Vec<(ArtifactId, Referrer)>,
    /// There for longer than allowed, although nothing refers to them.
    pub left: Vec<ArtifactId>,
}

impl Bus {
    /// Reads what was stored since `known` was last read; all of it, the first time.
    ///
    /// # Errors
    /// When not everything could be read. What was read until then is known.
    pub async fn read_references(&self, known: &mut References) -> Result<()> {
        let mut pauses = log::patience().build();
        loop {
            let read = self.try_references(known).await;
            match pauses.next().filter(|_| matches!(read, Err(Error::Behind))) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return read,
            }
        }
    }

    async fn try_references(&self, known: &mut References) -> Result<()> {
        // They are few and change: they are read anew. They come first: what one of them starts meanwhile is found in its history.
        let mut schedules = pin!(self.sweep(streams::SCHEDULES, all(subjects::SCHEDULE_STATES)));
        known.of.retain(|referrer, _| matches!(referrer, Referrer::Execution(_)));
        while let Some(message) = schedules.try_next().await? {
            if let Some(id) = subjects::schedule(&message.subject) {
                known.add(&Referrer::Schedule(id), &message.payload);
            }
        }
        for partition in Partition::all(self.partitions().await?) {
            let stream = self.js.get_stream(partition.stream()).await.map_err(Error::new)?;
            let position = known.positions.get(&partition).copied().unwrap_or_default();
            // A store that lost its end, as in a power cut, gives those places to other messages.
            let position = if stream.cached_info().state.last_sequence < position { 0 } else { position };
            let mut histories = pin!(self.sweep(partition.stream(), after(position)));
            while let Some(message) = histories.try_next().await? {
                self.add_message(known, &message).await?;
                known.positions.insert(partition, message.info().map_err(Error::Nats)?.stream_sequence);
            }
        }
        Ok(())
    }

    async fn add_message(&self, known: &mut References, message: &Message) -> Result<()> {
        let Some(referrer) = referrer(&message.subject) else { return Ok(()) };
        let body = body_of(message.headers.as_ref());
        if message.payload.is_empty() && body.is_none() {
            // Its tombstone.
            known.of.remove(&referrer);
        }
        known.add(&referrer, &message.payload);
        let Some(body) = body else { return Ok(()) };
        known.add(&referrer, body.as_str().as_bytes());
        // A task names nothing that the first message of its execution does not, and is removed before that one.
        if subjects::is_task(&message.subject) {
            return Ok(());
        }
        match self.get_body(&body).await {
            Ok(content) => known.add(&referrer, &content),
            // Its message was removed meanwhile, or it never can be read: then it names nothing.
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Compares histories and schedules with the artifacts that are stored. Writes that are under way may show as missing
    /// or left; a system at rest shows none. `grace` is how long nothing need refer to an artifact.
    ///
    /// # Errors
    /// When not everything could be read.
    pub async fn audit_artifacts(&self, grace: Duration) -> Result<Audit> {
        let mut needed: BTreeMap<ArtifactId, Referrer> = BTreeMap::new();
        let mut referring = pin!(self.referring(self.partitions().await?));
        while let Some((referrer, message)) = referring.try_next().await? {
            for id in self.needed_by(&referrer, &message).await? {
                needed.entry(id).or_insert_with(|| referrer.clone());
            }
        }
        let stored = self.artifacts().await?;
        let ids: BTreeSet<_> = stored.iter().map(|artifact| &artifact.id).collect();
        let missing = needed.iter().filter(|(id, _)| !ids.contains(id));
        let missing = missing.map(|(id, referrer)| (id.clone(), referrer.clone())).collect();
        let mut references = References::default();
        self.read_references(&mut references).await?;
        let left =
            references.unused(older_than(stored.clone(), grace)).into_iter().map(|artifact| artifact.id);
        Ok(Audit { stored: stored.len(), referred: needed.len(), missing, left: left.collect() })
    }

    /// What a message means to be there.
    async fn needed_by(&self, referrer: &Referrer, message: &Message) -> Result<Vec<ArtifactId>> {
        if let Referrer::Schedule(_) = referrer {
            let state = serde_json::from_slice::<State>(&message.payload);
            return Ok(state.map_or_else(
                |_| Vec::new(),
                |state| state.definition.workflow.documents.values().cloned().collect(),
            ));
        }
        let headers = message.headers.as_ref();
        let mut needed: Vec<_> = body_of(headers).into_iter().collect();
        let (position, time) = {
            let info = message.info().map_err(Error::Nats)?;
            (info.stream_sequence, log::time(info.published))
        };
        match self.unwrap_settled(&message.subject, headers, message.payload.clone(), position, time).await {
            Ok(stored) => needed.extend(stored.record.fact.artifacts().into_iter().cloned()),
            // What it names is not known, or is missing already.
            Err(Error::Unreadable(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(needed)
    }

    /// Every message of schedules and histories, with whom it belongs to. The schedules come first: what one of them
    /// starts meanwhile is found in one of the two.
    fn referring(&self, partitions: u32) -> impl Stream<Item = Result<(Referrer, Message)>> + Send + use<> {
        let schedules = self.sweep(streams::SCHEDULES, all(subjects::SCHEDULE_STATES));
        let histories: Vec<_> =
            Partition::all(partitions).map(|partition| self.sweep(partition.stream(), all(""))).collect();
        let histories = stream::iter(histories).flatten();
        let named = |message: Message| {
            let referrer = referrer(&message.subject);
            std::future::ready(Ok(referrer.map(|referrer| (referrer, message))))
        };
        schedules.chain(histories).try_filter_map(named)
    }

    /// Reads what `what` leaves of a stream to its end.
    pub(crate) fn sweep<S: Into<String>>(
        &self,
        stream: S,
        what: pull::Config,
    ) -> impl Stream<Item = Result<Message>> + Send + use<S> {
        let (js, stream) = (self.js.clone(), stream.into());
        async_stream::try_stream! {
            let stream = js.get_stream_no_info(stream).await.map_err(Error::new)?;
            let config = pull::Config {
                ack_policy: AckPolicy::None,
                memory_storage: true,
                num_replicas: 1,
                inactive_threshold: ABANDONED,
                ..what
            };
            let consumer = stream.create_consumer(config).await.map_err(Error::new)?;
            let name = consumer.cached_info().name.clone();
            let (mut left, mut read) = (consumer.cached_info().num_pending, 0);
            while left > 0 {
                let before = read;
                let mut batch = consumer.fetch().max_messages(BATCH).messages().await.map_err(Error::new)?;
                while let Some(message) = batch.next().await {
                    let message = message.map_err(Error::Nats)?;
                    read += 1;
                    left = left_after(&message, read)?;
                    yield message;
                }
                if read == before {
                    // What was left may have been removed meanwhile.
                    left = consumer.get_info().await.map_err(Error::new)?.num_pending;
                    if left > 0 {
                        Err(Error::Behind)?;
                    }
                }
            }
            // It would go away by itself.
            let _ = stream.delete_consumer(&name).await;
        }
    }
}

/// How many come after the nth message of a sweep.
fn left_after(message: &Message, n: u64) -> Result<u64> {
    let info = message.info().map_err(Error::Nats)?;
    if info.consumer_sequence == n { Ok(info.pending) } else { Err(Error::Behind) }
}

/// Whom a message belongs to.
fn referrer(subject: &str) -> Option<Referrer> {
    if subject.starts_with("schedule.") {
        return subjects::schedule(subject).map(Referrer::Schedule);
    }
    if subjects::is_timer(subject) {
        return None;
    }
    subjects::execution(subject).map(Referrer::Execution)
}

impl fmt::Display for Referrer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execution(id) => write!(f, "execution {id}"),
            Self::Schedule(id) => write!(f, "schedule {id}"),
        }
    }
}

/// All messages that a filter leaves.
fn all(filter: &str) -> pull::Config {
    let filter_subject = filter.to_owned();
    pull::Config { deliver_policy: DeliverPolicy::All, filter_subject, ..pull::Config::default() }
}

/// All messages after a position.
fn after(position: u64) -> pull::Config {
    let deliver_policy = DeliverPolicy::ByStartSequence { start_sequence: position + 1 };
    pull::Config { deliver_policy, ..pull::Config::default() }
}

/// The last message of each subject that a filter leaves.
pub(crate) fn last_of_each(filter: &str) -> pull::Config {
    pull::Config { deliver_policy: DeliverPolicy::LastPerSubject, ..all(filter) }
}

/// Those that nobody kept for this long.
pub fn older_than(mut artifacts: Vec<Artifact>, age: Duration) -> Vec<Artifact> {
    let limit = before(age);
    artifacts.retain(|artifact| artifact.kept < limit);
    artifacts
}

/// This long ago.
pub fn before(age: Duration) -> DateTime<Utc> {
    let age = chrono::Duration::from_std(age).unwrap_or(chrono::Duration::MAX);
    Utc::now().checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Whatever can be the id of an artifact: 64 hexadecimal digits, whatever comes after them; before them, what looks like more
/// of them can be a field's tag and length and no more. So a long text of digits is not one id for each place in it.
fn ids_in(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let runs = bytes.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    runs.flat_map(|run| run.windows(ID).take(1 + TAG)).filter_map(|id| std::str::from_utf8(id).ok())
}

/// The first 64 bits of an id.
fn short(id: &str) -> Option<u64> {
    u64::from_str_radix(id.get(..16)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_wherever_they_stand() {
        let (a, b) = ("a".repeat(ID - 1) + "0", "0123456789abcdef".repeat(4));
        let text = format!("{{\"x\": \"artifact:{a}\"}}2{b}b {}", "c".repeat(ID - 1));
        let found: Vec<&str> = ids_in(text.as_bytes()).collect();
        assert!(found.contains(&a.as_str()) && found.contains(&b.as_str()), "{found:?}");
        // A field's tag may look like a digit.
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(ids_in("F".repeat(ID).as_bytes()).count(), 0);
        assert_eq!(ids_in("f".repeat(1_000_000).as_bytes()).count(), 1 + TAG);
    }
}
