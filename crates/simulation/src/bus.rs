//! A model of the bus: one stream with optimistic concurrency, message schedules, a deduplication window, and pull
//! consumers with leases.
//!
//! What it models is what was measured of the real server, also the unpleasant parts: acknowledgements are not fenced,
//! a restart may bring back what was acknowledged just before and count a delivery twice, the window forgets. `tests/it/conformance.rs` plays the
//! same operations against it and a real `nats-server` and compares.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use mahavishnu_core::execution::{Fact, Record, Timer};
use mahavishnu_core::id::{EngineName, ExecutionId, Queue};
use mahavishnu_core::inputs::Cursor;

use crate::check::{Live, Logged};

/// Refused: the condition does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// Where a message is stored, by the execution.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Input,
    Task(Queue),
    Decision,
    Timer(String),
}

#[derive(Clone, Debug)]
struct Entry {
    execution: ExecutionId,
    subject: Subject,
    time: DateTime<Utc>,
    fact: Fact,
    trace: String,
    /// Set for a message schedule.
    due: Option<DateTime<Utc>>,
    /// Under which id it was published, if under one.
    message_id: Option<String>,
}

/// One receipt of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its position in the stream.
    pub position: u64,
    /// Which receipt, from 1.
    pub delivery: u32,
    /// The execution.
    pub execution: ExecutionId,
    /// What it says.
    pub fact: Fact,
    /// Its trace.
    pub trace: String,
}

#[derive(Clone, Debug, Default)]
struct Consumer {
    cursor: u64,
    /// Delivered and not acknowledged: how often, and when the lease ends.
    pending: BTreeMap<u64, (u32, DateTime<Utc>)>,
    /// What a kill of the server may bring back.
    acknowledged: Vec<(u64, u32)>,
}

/// The stream with its consumers.
#[derive(Debug)]
pub struct ModelBus {
    entries: BTreeMap<u64, Entry>,
    last: u64,
    now: DateTime<Utc>,
    lease: TimeDelta,
    window: TimeDelta,
    seen: BTreeMap<String, (u64, DateTime<Utc>)>,
    consumers: BTreeMap<Queue, Consumer>,
    /// Where a coordinator would start.
    pub cursor: Cursor,
}

impl ModelBus {
    /// An empty one. `window` is how long a message id is remembered.
    pub fn new(engines: &[EngineName], lease: TimeDelta, window: TimeDelta) -> Self {
        Self {
            entries: BTreeMap::new(),
            last: 0,
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            lease,
            window,
            seen: BTreeMap::new(),
            consumers: engines.iter().map(|engine| (engine.into(), Consumer::default())).collect(),
            cursor: Cursor::default(),
        }
    }

    /// The server's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// Lets time pass, also backwards; what is due fires.
    pub fn pass(&mut self, time: TimeDelta) {
        self.now += time;
        let due: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.due.is_some_and(|due| due <= self.now))
            .map(|(position, _)| *position)
            .collect();
        for position in due {
            if let Some(entry) = self.entries.remove(&position) {
                self.append(&entry.execution, Subject::Input, &entry.fact, &entry.trace);
            }
        }
    }

    /// The position of the last message of all.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Stores the first record of an execution, if it has none.
    pub fn accept(&mut self, id: &ExecutionId, fact: &Fact, trace: &str) -> Result<u64, Conflict> {
        let exists = self.of(id).any(|(_, entry)| entry.subject == Subject::Input);
        if exists { Err(Conflict) } else { Ok(self.append(id, Subject::Input, fact, trace)) }
    }

    /// Stores an input.
    pub fn input(&mut self, id: &ExecutionId, fact: &Fact, trace: &str) -> u64 {
        self.append(id, Subject::Input, fact, trace)
    }

    /// Stores an input under a message id, unless the window knows the id: then gives the position it has.
    pub fn input_once(&mut self, id: &ExecutionId, fact: &Fact, trace: &str, message_id: &str) -> u64 {
        self.seen.retain(|_, (_, time)| *time + self.window > self.now);
        if let Some((position, _)) = self.seen.get(message_id) {
            return *position;
        }
        let position = self.append(id, Subject::Input, fact, trace);
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.message_id = Some(message_id.to_owned());
        }
        self.seen.insert(message_id.to_owned(), (position, self.now));
        position
    }

    /// Stores a decision if the last one of the execution is at `after`; without a condition when there is none.
    pub fn decide(
        &mut self,
        id: &ExecutionId,
        fact: &Fact,
        after: Option<u64>,
        trace: &str,
    ) -> Result<u64, Conflict> {
        let decided = |subject: &Subject| matches!(subject, Subject::Task(_) | Subject::Decision);
        let last =
            self.of(id).filter(|(_, entry)| decided(&entry.subject)).map(|(position, _)| *position).max();
        if after.is_some_and(|after| after != last.unwrap_or(0)) {
            return Err(Conflict);
        }
        let subject = match fact {
            Fact::Scheduled(task) => Subject::Task(task.queue()),
            _ => Subject::Decision,
        };
        Ok(self.append(id, subject, fact, trace))
    }

    /// Has a timer fire into the inputs; setting it again replaces it.
    pub fn set_timer(&mut self, id: &ExecutionId, timer: &Timer, at: DateTime<Utc>, trace: &str) -> u64 {
        let subject = Subject::Timer(format!("{timer:?}"));
        self.entries.retain(|_, entry| &entry.execution != id || entry.subject != subject);
        let position = self.append(id, subject, &Fact::TimerFired(timer.clone()), trace);
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.due = Some(at);
        }
        // One that is late fires at once.
        self.pass(TimeDelta::zero());
        position
    }

    /// Deletes the timers of an execution.
    pub fn drop_timers(&mut self, id: &ExecutionId) {
        self.entries.retain(|_, entry| entry.due.is_none() || &entry.execution != id);
    }

    /// The inputs of an execution, or its decisions: a reader asks for one subject after the other. `up_to` is how far the
    /// server that answers has got.
    pub fn read(&self, id: &ExecutionId, inputs: bool, up_to: u64) -> Vec<Logged> {
        self.of(id)
            .take_while(|(position, _)| **position <= up_to)
            .filter(|(_, entry)| entry.due.is_none() && (entry.subject == Subject::Input) == inputs)
            .map(|(position, entry)| logged(*position, entry))
            .collect()
    }

    /// The position of the execution's last record; 0 without one.
    pub fn last_position(&self, id: &ExecutionId) -> u64 {
        self.of(id).filter(|(_, entry)| entry.due.is_none()).map(|(position, _)| *position).max().unwrap_or(0)
    }

    /// The first record after a position, of any execution.
    pub fn following(&self, position: u64) -> Option<(ExecutionId, Logged)> {
        let (position, entry) = self.entries.range(position + 1..).find(|(_, entry)| entry.due.is_none())?;
        Some((entry.execution.clone(), logged(*position, entry)))
    }

    /// Delivers a message that is new, or whose lease is over.
    pub fn pull(&mut self, queue: &Queue) -> Option<Delivery> {
        let now = self.now;
        let consumer = self.consumers.get_mut(queue)?;
        let over =
            consumer.pending.iter().find(|(_, (_, until))| *until <= now).map(|(position, _)| *position);
        let position = match over {
            Some(position) => position,
            None => {
                let wanted = Subject::Task(queue.clone());
                let new =
                    self.entries.range(consumer.cursor + 1..).find(|(_, entry)| entry.subject == wanted);
                consumer.cursor = *new?.0;
                consumer.cursor
            }
        };
        let (delivery, until) = consumer.pending.entry(position).or_insert((0, now));
        *delivery += 1;
        *until = now + self.lease;
        let delivery = *delivery;
        let entry = self.entries.get(&position)?;
        let (execution, fact, trace) = (entry.execution.clone(), entry.fact.clone(), entry.trace.clone());
        Some(Delivery { position, delivery, execution, fact, trace })
    }

    /// Takes a message off its queue, whoever has it now.
    pub fn ack(&mut self, queue: &Queue, position: u64) {
        if let Some(consumer) = self.consumers.get_mut(queue)
            && let Some((delivery, _)) = consumer.pending.remove(&position)
        {
            consumer.acknowledged.push((position, delivery));
        }
    }

    /// Extends the lease of whoever has it now.
    pub fn progress(&mut self, queue: &Queue, position: u64) {
        self.give_back(queue, position, self.lease);
    }

    /// Has it delivered again after some time.
    pub fn give_back(&mut self, queue: &Queue, position: u64, after: TimeDelta) {
        if let Some((_, until)) =
            self.consumers.get_mut(queue).and_then(|consumer| consumer.pending.get_mut(&position))
        {
            *until = self.now + after;
        }
    }

    /// Kills the server and starts it again. What was stored is kept, and so is the window, as far as the messages
    /// are still stored; of the latest deliveries and acknowledgements, those that `lost` says were not yet written.
    pub fn restart(&mut self, mut lost: impl FnMut() -> bool) {
        for consumer in self.consumers.values_mut() {
            for (delivery, _) in consumer.pending.values_mut() {
                if lost() {
                    *delivery = delivery.saturating_sub(1);
                }
            }
            for (position, delivery) in std::mem::take(&mut consumer.acknowledged) {
                if lost() {
                    consumer.pending.insert(position, (delivery, self.now));
                }
            }
        }
        self.seen = self
            .entries
            .iter()
            .filter_map(|(position, entry)| Some((entry.message_id.clone()?, (*position, entry.time))))
            .collect();
    }

    /// Deletes a message, as an acknowledgement does in a work queue.
    pub fn delete(&mut self, position: u64) {
        self.entries.remove(&position);
    }

    /// When the next timer or lease is due.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let timers = self.entries.values().filter_map(|entry| entry.due);
        let leases =
            self.consumers.values().flat_map(|consumer| consumer.pending.values().map(|(_, until)| *until));
        timers.chain(leases).min()
    }

    /// Every history.
    pub fn histories(&self) -> BTreeMap<ExecutionId, Vec<Logged>> {
        let mut all: BTreeMap<ExecutionId, Vec<Logged>> = BTreeMap::new();
        for (position, entry) in self.entries.iter().filter(|(_, entry)| entry.due.is_none()) {
            all.entry(entry.execution.clone()).or_default().push(logged(*position, entry));
        }
        all
    }

    /// What can still move executions.
    pub fn live(&self) -> Live {
        let mut live = Live::default();
        let Cursor { passed, waiting } = &self.cursor;
        let waits_here =
            |position: u64| position > *passed || waiting.iter().any(|(waits, _)| *waits == position);
        for (position, entry) in &self.entries {
            let waits = |queue: &Queue| {
                self.consumers.get(queue).is_some_and(|consumer| {
                    *position > consumer.cursor || consumer.pending.contains_key(position)
                })
            };
            match (&entry.subject, &entry.fact) {
                (Subject::Input, fact) if fact.is_acted_on() && waits_here(*position) => {
                    live.inputs.insert(entry.execution.clone());
                }
                (Subject::Task(engine), Fact::Scheduled(task)) if waits(engine) => {
                    let number = (entry.execution.clone(), task.stage.clone(), task.attempt, task.resume);
                    live.tasks.insert(number);
                }
                (Subject::Timer(_), Fact::TimerFired(timer)) => {
                    live.timers.push((entry.execution.clone(), timer.clone()));
                }
                _ => {}
            }
        }
        live
    }

    fn of(&self, id: &ExecutionId) -> impl Iterator<Item = (&u64, &Entry)> {
        self.entries.iter().filter(move |(_, entry)| &entry.execution == id)
    }

    fn append(&mut self, id: &ExecutionId, subject: Subject, fact: &Fact, trace: &str) -> u64 {
        self.last += 1;
        let entry = Entry {
            execution: id.clone(),
            subject,
            time: self.now,
            fact: fact.clone(),
            trace: trace.to_owned(),
            due: None,
            message_id: None,
        };
        self.entries.insert(self.last, entry);
        self.last
    }
}

fn logged(position: u64, entry: &Entry) -> Logged {
    let record = Record { position, time: entry.time, fact: entry.fact.clone() };
    Logged { record, trace: entry.trace.clone() }
}
