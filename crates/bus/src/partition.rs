//! The streams that share the histories. Each execution belongs to one of them, by its id.
//!
//! One stream takes one message after the other; where each is written to disk before the next, several streams take several at
//! once. How many there are is decided when the store is made, and stands in the first one's metadata: another number would look
//! for executions where they are not.
//!
//! The first has the names that a store with one stream has: `MAHAVISHNU_HISTORY`, `in.*`. The others have their number in
//! them: `MAHAVISHNU_HISTORY_1`, `1.in.*`.

use std::collections::HashMap;
use std::hash::Hasher as _;

use fnv::FnvHasher;
use mahavishnu_core::id::{ExecutionId, Queue};

use crate::{Bus, Error, Result, streams};

/// More would be more open files and consumers than any disk makes good.
pub const MAX_PARTITIONS: u32 = 64;
/// Where the metadata of streams and consumers tell how many there are; without it there is one.
const PARTITIONS: &str = "mahavishnu-partitions";

/// One of the streams that share the histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u32);

impl Partition {
    /// The one that is always there.
    pub(crate) const FIRST: Self = Self(0);

    /// The one of so many that an execution belongs to.
    pub fn of(id: &ExecutionId, count: u32) -> Self {
        if count <= 1 {
            return Self::FIRST;
        }
        let mut hasher = FnvHasher::default();
        hasher.write(id.as_str().as_bytes());
        Self(u32::try_from(hasher.finish() % u64::from(count)).unwrap_or_default())
    }

    /// Every one of so many.
    pub(crate) fn all(count: u32) -> impl DoubleEndedIterator<Item = Self> + use<> {
        (0..count).map(Self)
    }

    /// Counted from 0.
    pub fn number(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The stream's name.
    pub fn stream(self) -> String {
        match self.0 {
            0 => streams::HISTORY.to_owned(),
            number => format!("{}_{number}", streams::HISTORY),
        }
    }

    /// A subject of it.
    fn subject(self, subject: std::fmt::Arguments<'_>) -> String {
        match self.0 {
            0 => subject.to_string(),
            number => format!("{number}.{subject}"),
        }
    }

    /// Every input.
    pub fn inputs(self) -> String {
        self.subject(format_args!("in.*"))
    }

    /// Every decision.
    pub fn decisions(self) -> String {
        self.subject(format_args!("dec.*.>"))
    }

    /// Every timer.
    pub fn timers(self) -> String {
        self.subject(format_args!("timer.*.>"))
    }

    /// Every task of a queue.
    pub fn tasks_of(self, queue: &Queue) -> String {
        self.subject(format_args!("dec.*.task.{queue}"))
    }

    /// An execution's inputs.
    pub fn input(self, id: &ExecutionId) -> String {
        self.subject(format_args!("in.{id}"))
    }

    /// Its tasks for a queue.
    pub fn task(self, queue: &Queue, id: &ExecutionId) -> String {
        self.subject(format_args!("dec.{id}.task.{queue}"))
    }

    /// Every task of it.
    pub fn tasks(self, id: &ExecutionId) -> String {
        self.subject(format_args!("dec.{id}.task.*"))
    }

    /// Its other decisions.
    pub fn decision(self, id: &ExecutionId) -> String {
        self.subject(format_args!("dec.{id}.h"))
    }

    /// The one filter of every conditional write of an execution.
    pub fn decided(self, id: &ExecutionId) -> String {
        self.subject(format_args!("dec.{id}.>"))
    }

    /// A timer of it.
    pub fn timer(self, id: &ExecutionId, name: &str) -> String {
        // The prefix keeps a timer whose name is an execution id from looking like a decision.
        self.subject(format_args!("timer.{id}.t-{name}"))
    }

    /// Its timers.
    pub fn timers_of(self, id: &ExecutionId) -> String {
        self.subject(format_args!("timer.{id}.>"))
    }
}

impl Bus {
    /// The partition of an execution.
    ///
    /// # Errors
    /// When the store is not there, or NATS cannot be reached.
    pub async fn partition(&self, id: &ExecutionId) -> Result<Partition> {
        Ok(Partition::of(id, self.partitions().await?))
    }

    /// How many there are: the store tells once.
    ///
    /// # Errors
    /// When the store is not there, or NATS cannot be reached.
    pub async fn partitions(&self) -> Result<u32> {
        if let Some(count) = self.partitions.get() {
            return Ok(*count);
        }
        let learn = || async {
            let stream = self.js.get_stream(streams::HISTORY).await.map_err(Error::new)?;
            Ok(told(&stream.cached_info().config.metadata))
        };
        // Rare, and large as a future.
        Box::pin(self.partitions.get_or_try_init(learn)).await.copied()
    }

    /// What the store told in another way.
    pub(crate) fn learn_partitions(&self, count: u32) {
        let _ = self.partitions.set(count);
    }
}

/// What tells of so many: in a store with one stream, nothing does.
pub fn metadata(count: u32) -> HashMap<String, String> {
    let told = (count > 1).then(|| (PARTITIONS.to_owned(), count.to_string()));
    told.into_iter().collect()
}

/// How many are told of.
pub fn told(metadata: &HashMap<String, String>) -> u32 {
    let count = metadata.get(PARTITIONS).and_then(|count| count.parse().ok());
    count.filter(|count| (1..=MAX_PARTITIONS).contains(count)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_gets_its_share_and_an_execution_stays_in_its_own() {
        let ids: Vec<_> = (0..1_000).map(|n| ExecutionId::parse(&format!("e{n}")).unwrap()).collect();
        let count = |partition: Partition| ids.iter().filter(|id| Partition::of(id, 4) == partition).count();
        for partition in Partition::all(4) {
            assert!((200..300).contains(&count(partition)), "{partition:?}: {}", count(partition));
        }
        // Stores in use have their executions where they were put.
        let of = |id: &str, count| Partition::of(&ExecutionId::parse(id).unwrap(), count).number();
        let ids = ["e1", "e2", "e3", "0198c0de-7a11-7000-8000-00000000beef"];
        assert_eq!(ids.map(|id| of(id, 4)), [3, 2, 1, 0]);
        assert_eq!(ids.map(|id| of(id, 64)), [3, 54, 41, 20]);
        assert_eq!(of("e1", 1), 0);
    }
}
