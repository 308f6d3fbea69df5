//! The task queues, one per engine, and one per pool of its workers.
//!
//! Invariants:
//! - At most one [`Delivery`] per free slot: nothing is fetched to wait in the client.
//! - A task is acknowledged only after its own result is stored.
//! - A delivery without a sign of life for a lease's time goes to another worker.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{self, AckKind};
use async_nats::{StatusCode, Subject, Subscriber};
use futures::StreamExt as _;
use mahavishnu_core::execution::{Fact, Failure, Task, TaskUnreadable};
use mahavishnu_core::id::{ExecutionId, Queue};

use crate::{Bus, Error, Result, Trace, log, streams, subjects};

/// A task that was delivered more often than this kills its workers, or cannot be read: it is given up.
pub const MAX_DELIVERIES: u32 = 5;
/// Between deliveries of a task that cannot be read.
const UNREADABLE_PAUSE: Duration = Duration::from_millis(500);
/// How long one request for a task waits before it is repeated.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the server says that it still knows of a request.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Header in which the server tells how much of a request was left.
const LEFT: &str = "Nats-Pending-Messages";

/// The tasks of one engine, for the workers of one pool.
#[derive(Clone)]
pub struct TaskQueue {
    bus: Bus,
    consumer: PullConsumer,
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
        let consumer = self
            .js
            .get_consumer_from_stream(streams::task_consumer(&queue.into()), streams::HISTORY)
            .await
            .map_err(Error::new)?;
        Ok(TaskQueue { bus: self.clone(), consumer })
    }
}

/// How a task queue stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Tasks that were never delivered.
    pub queued: u64,
    /// Tasks that were delivered, and not acknowledged.
    pub in_flight: u64,
    /// The position up to which tasks were delivered.
    pub delivered: u64,
}

impl Bus {
    /// How a queue stands; `None` where there is none, because no worker of that pool was ever there.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn queue_depth(&self, queue: &Queue) -> Result<Option<Depth>> {
        let stream = self.history_stream().await?;
        let info = match stream.consumer_info(streams::task_consumer(queue)).await {
            Ok(info) => info,
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::new(error)),
        };
        Ok(Some(Depth {
            queued: info.num_pending,
            in_flight: u64::try_from(info.num_ack_pending).unwrap_or_default(),
            delivered: info.delivered.stream_sequence,
        }))
    }
}

impl TaskQueue {
    /// Begins to take tasks.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn intake(&self) -> Result<Intake> {
        let inbox = Subject::from(self.bus.client.new_inbox());
        let answers = self.bus.client.subscribe(inbox.clone()).await.map_err(Error::new)?;
        Ok(Intake { queue: self.clone(), inbox, answers, requested: 0 })
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
    inbox: Subject,
    answers: Subscriber,
    /// Tasks that were requested and have not come.
    requested: u32,
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
            if self.requested == 0 {
                // Without a free slot there is nothing to wait for, until the caller comes again with one.
                return std::future::pending().await;
            }
            // Two heartbeats missed: the server restarted, or forgot the requests.
            let answer = tokio::time::timeout(HEARTBEAT * 2, self.answers.next()).await;
            let Some(message) = answer.map_err(|_| Error::new("no sign of life of the task queue"))? else {
                return Err(Error::new("the connection is closed"));
            };
            match message.status.unwrap_or(StatusCode::OK) {
                StatusCode::OK => {
                    self.requested = self.requested.saturating_sub(1);
                    let bus = self.queue.bus.clone();
                    let message = jetstream::Message { message, context: bus.js.clone() };
                    return Ok(Arrival { bus, message });
                }
                StatusCode::IDLE_HEARTBEAT => {}
                // A request is over; says how much of it was left.
                StatusCode::TIMEOUT => {
                    let left = message.headers.as_ref().and_then(|headers| headers.get(LEFT));
                    let left = left.and_then(|left| left.as_str().parse().ok()).unwrap_or(self.requested);
                    self.requested = self.requested.saturating_sub(left);
                }
                status => {
                    let said = message.description.unwrap_or_default();
                    return Err(Error::new(format!("the task queue says {status}: {said}")));
                }
            }
        }
    }

    /// Requests as many as there are free slots, once half of them are not covered: so a busy worker sends few
    /// requests, and no task waits while a slot is free.
    async fn request(&mut self, room: u32) -> Result<()> {
        if room == 0 || self.requested > room / 2 {
            return Ok(());
        }
        let batch = BatchConfig {
            batch: usize::try_from(room - self.requested).unwrap_or(usize::MAX),
            expires: Some(PATIENCE),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        self.queue.consumer.request_batch(batch, self.inbox.clone()).await.map_err(Error::new)?;
        self.requested = room;
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
