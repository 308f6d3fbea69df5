//! The task queues, one per engine, and one per pool of its workers.
//!
//! Invariants:
//! - At most one [`Delivery`] per free slot: nothing is fetched to wait in the client.
//! - A task is acknowledged only after its own result is stored.
//! - A delivery without a sign of life for a lease's time goes to another worker.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, AckKind};
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt as _;
use mahavishnu_core::execution::{Fact, Failure, Task, TaskUnreadable};
use mahavishnu_core::id::{ExecutionId, Queue};

use crate::partition::{self, Partition};
use crate::slots::{Asked, share};
use crate::{Bus, Error, Result, Trace, log, streams, subjects};

/// A task that was delivered more often than this kills its workers, or cannot be read: it is given up.
pub const MAX_DELIVERIES: u32 = 5;
/// Between deliveries of a task that cannot be read.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// How long one request for a task waits before it is repeated.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the server says that it still knows of a request.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Two of them missed: the server restarted, or forgot the requests.
const SILENCE: Duration = Duration::from_secs(10);
const SILENT: &str = "no sign of life of the task queue";
/// How long a request waits where several partitions have the queue's tasks: what one of them has not is soon asked of another.
const TURN: Duration = Duration::from_millis(100);

/// Header in which the server tells how much of a request was left.
const LEFT: &str = "Nats-Pending-Messages";

/// The tasks of one engine, for the workers of one pool.
#[derive(Clone)]
pub struct TaskQueue {
    bus: Bus,
    /// One in each partition.
    consumers: Vec<PullConsumer>,
}

/// One receipt of a task.
pub struct Delivery {
    /// The execution.
    pub execution: ExecutionId,
    /// What to do.
    pub task: Task,
    /// Which receipt this is, from 1.
    pub delivery: u32,
    /// The trace context of whoever scheduled it.
    pub trace: Trace,
    acker: Acker,
}

impl Bus {
    /// The queue of an engine, or of one pool of it.
    ///
    /// # Errors
    /// While no coordinator has made it.
    pub async fn task_queue(&self, queue: impl Into<Queue>) -> Result<TaskQueue> {
        let name = streams::task_consumer(&queue.into());
        let open = |partition: Partition| self.js.get_consumer_from_stream(&name, partition.stream());
        // A worker need not be allowed to ask for streams, so its queue tells how many there are.
        let first: PullConsumer = open(Partition::FIRST).await.map_err(Error::new)?;
        let count = partition::told(&first.cached_info().config.metadata);
        self.learn_partitions(count);
        let mut consumers = vec![first];
        for partition in Partition::all(count).skip(1) {
            consumers.push(open(partition).await.map_err(Error::new)?);
        }
        Ok(TaskQueue { bus: self.clone(), consumers })
    }
}

/// How a task queue stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Tasks that were never delivered.
    pub queued: u64,
    /// Tasks that were delivered, and not acknowledged.
    pub in_flight: u64,
    /// The position up to which tasks of the partition that was asked about were delivered.
    pub delivered: u64,
}

impl Bus {
    /// How a queue stands, seen from an execution; `None` where there is none, because no worker of that pool was ever there.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn queue_depth(&self, queue: &Queue, id: &ExecutionId) -> Result<Option<Depth>> {
        let own = self.partition(id).await?;
        let mut depth = Depth::default();
        for partition in Partition::all(self.partitions().await?) {
            let stream = self.history_stream(partition).await?;
            let info = match stream.consumer_info(streams::task_consumer(queue)).await {
                Ok(info) => info,
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::new(error)),
            };
            depth.queued += info.num_pending;
            depth.in_flight += u64::try_from(info.num_ack_pending).unwrap_or_default();
            if partition == own {
                depth.delivered = info.delivered.stream_sequence;
            }
        }
        Ok(Some(depth))
    }
}

impl TaskQueue {
    /// Begins to take tasks.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn intake(&self) -> Result<Intake> {
        let inbox = self.bus.client.new_inbox();
        let answers = self.bus.client.subscribe(format!("{inbox}.*")).await.map_err(Error::new)?;
        let asked = vec![Asked::default(); self.consumers.len()];
        Ok(Intake { queue: self.clone(), inbox, answers, asked, turn: 0 })
    }

    /// Waits for one task, for a worker that takes one at a time; `None` when what came cannot be read.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn next(&self) -> Result<Option<Delivery>> {
        self.intake().await?.next(1).await?.read().await
    }
}

/// Takes tasks. By hand, because the batches of async-nats 0.51 are not woken again after a heartbeat: what comes
/// later stays unseen until the request expires, and its lease with it.
pub struct Intake {
    queue: TaskQueue,
    /// Answers of the nth partition come to its nth subject.
    inbox: String,
    answers: Subscriber,
    /// What was asked of each partition.
    asked: Vec<Asked>,
    /// Where the next round of requests begins.
    turn: usize,
}

/// A task that came and is not read yet.
pub struct Arrival {
    bus: Bus,
    message: jetstream::Message,
}

impl Intake {
    /// Waits for a task; `room` is the number of free slots. Nothing is lost when the future is dropped. After an
    /// error the intake is of no use any more.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn next(&mut self, room: u32) -> Result<Arrival> {
        loop {
            self.request(room).await?;
            if self.asked.iter().all(|asked| asked.requested == 0) {
                // Without a free slot there is nothing to wait for, until the caller comes again with one.
                return std::future::pending().await;
            }
            let answer = tokio::time::timeout(SILENCE, self.answers.next()).await;
            let Some(message) = answer.map_err(|_| Error::new(SILENT))? else {
                return Err(Error::new("the connection is closed"));
            };
            let several = self.asked.len() > 1;
            let status = message.status.unwrap_or(StatusCode::OK);
            let partition = match status {
                StatusCode::OK => subjects::partition(&message.subject),
                _ => message
                    .subject
                    .rsplit('.')
                    .next()
                    .and_then(|number| number.parse().ok())
                    .unwrap_or_default(),
            };
            let Some(asked) = self.asked.get_mut(partition) else { continue };
            asked.heard = Instant::now();
            match status {
                StatusCode::OK => {
                    asked.requested = asked.requested.saturating_sub(1);
                    let bus = self.queue.bus.clone();
                    let message = jetstream::Message { message, context: bus.js.clone() };
                    asked.more = several && message.info().map_err(Error::Nats)?.pending > 0;
                    return Ok(Arrival { bus, message });
                }
                StatusCode::IDLE_HEARTBEAT => {}
                // A request is over; says how much of it was left.
                StatusCode::TIMEOUT => {
                    let left = message.headers.as_ref().and_then(|headers| headers.get(LEFT));
                    let left = left.and_then(|left| left.as_str().parse().ok()).unwrap_or(asked.requested);
                    asked.requested = asked.requested.saturating_sub(left);
                    asked.more = false;
                }
                status => {
                    let said = message.description.unwrap_or_default();
                    asked.gone();
                    // Of the other partitions tasks may come all the same.
                    if self.asked.iter().all(Asked::is_away) {
                        return Err(Error::new(format!("the task queue says {status}: {said}")));
                    }
                }
            }
        }
    }

    /// Requests as many as there are free slots.
    async fn request(&mut self, room: u32) -> Result<()> {
        let several = self.asked.len() > 1;
        if several {
            let silent = |asked: &&mut Asked| asked.requested > 0 && asked.heard.elapsed() > SILENCE;
            self.asked.iter_mut().filter(silent).for_each(Asked::gone);
            if self.asked.iter().all(Asked::is_away) {
                return Err(Error::new(SILENT));
            }
        }
        let wanted = share(room, &self.asked, self.turn);
        if wanted.iter().any(|wanted| *wanted > 0) {
            self.turn = self.turn.wrapping_add(1);
        }
        for ((number, asked), wanted) in self.asked.iter_mut().enumerate().zip(wanted) {
            let Some(consumer) = self.queue.consumers.get(number).filter(|_| wanted > 0) else { continue };
            let batch = BatchConfig {
                batch: usize::try_from(wanted).unwrap_or(usize::MAX),
                expires: Some(if several { TURN } else { PATIENCE }),
                idle_heartbeat: if several { Duration::ZERO } else { HEARTBEAT },
                ..BatchConfig::default()
            };
            let inbox = Subject::from(format!("{}.{number}", self.inbox));
            consumer.request_batch(batch, inbox).await.map_err(Error::new)?;
            if asked.requested == 0 {
                asked.heard = Instant::now();
            }
            asked.requested += wanted;
        }
        Ok(())
    }
}

impl Arrival {
    /// Reads it; `None` when it cannot be read, which is then taken care of.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn read(self) -> Result<Option<Delivery>> {
        let (position, delivery) = log::place(&self.message)?;
        let (message, acker) = self.message.split();
        // A task's own time is of no use to a worker.
        let time = chrono::DateTime::UNIX_EPOCH;
        let headers = message.headers.as_ref();
        let read = self.bus.unwrap(&message.subject, headers, message.payload, position, time).await;
        let stored = match read {
            Err(Error::Unreadable(error)) => {
                unreadable(&self.bus, &message.subject, position, delivery, &error, &acker).await?;
                return Ok(None);
            }
            read => read?,
        };
        let Fact::Scheduled(task) = stored.record.fact else {
            return Err(Error::NotFound);
        };
        Ok(Some(Delivery { execution: stored.execution, task, delivery, trace: stored.trace, acker }))
    }
}

/// Gives back a message that cannot be read, for a newer worker; one that nobody can read is recorded as such.
async fn unreadable(
    bus: &Bus,
    subject: &str,
    position: u64,
    delivery: u32,
    error: &mahavishnu_proto::wire::Error,
    acker: &Acker,
) -> Result<()> {
    tracing::warn!(error = error as &dyn std::error::Error, subject, delivery, "unreadable task");
    if delivery <= MAX_DELIVERIES {
        return acker.ack_with(AckKind::Nak(Some(UNREADABLE_PAUSE))).await.map_err(Error::Nats);
    }
    if let Some(execution) = subjects::execution(subject) {
        let message = format!("no worker can read the task: {error}");
        let error = Failure::terminal(Failure::UNREADABLE, message);
        let fact = Fact::TaskUnreadable(TaskUnreadable { position, delivery, error });
        bus.input(&execution, &fact, &Trace::new()).await?;
    }
    acker.ack().await.map_err(Error::Nats)
}

impl Delivery {
    /// Extends the lease.
    pub async fn progress(&self) {
        self.send(AckKind::Progress).await;
    }

    /// The result is stored.
    pub async fn ack(&self) {
        self.send(AckKind::Ack).await;
    }

    /// Gives the task back, to be delivered again after `delay`.
    pub async fn give_back(&self, delay: Duration) {
        self.send(AckKind::Nak(Some(delay))).await;
    }

    async fn send(&self, kind: AckKind) {
        if let Err(error) = self.acker.ack_with(kind).await {
            // Lost: the task is delivered again, and the history decides which result counts.
            tracing::debug!(%error, execution = %self.execution, stage = %self.task.stage, "task not acknowledged");
        }
    }
}
