//! Slots, heartbeats, cancellation, drain.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use mahavishnu_bus::tasks::{Arrival, Delivery, TaskQueue};
use mahavishnu_core::execution::Task;
use mahavishnu_core::id::{ExecutionId, StageId};
use mahavishnu_proto::worker::{Cancel, Heartbeat};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{self, Context, Signals};

/// Coordinators take a worker for gone after three of these.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Between tries while NATS is away or no coordinator has made the queue.
const RETRY: Duration = Duration::from_millis(500);

/// What runs, by execution.
#[derive(Clone, Default)]
struct Running {
    attempts: Arc<Mutex<HashMap<ExecutionId, Vec<Entered>>>>,
    busy: Arc<AtomicU32>,
    /// Told when an attempt has ended.
    left: Arc<Notify>,
}

/// One delivery that runs.
struct Entered {
    stage: StageId,
    number: (u32, u32),
    delivery: u32,
    cancel: CancellationToken,
}

impl Entered {
    fn is(&self, delivery: &Delivery) -> bool {
        let Task { stage, attempt, resume, .. } = &delivery.task;
        (&self.stage, self.number, self.delivery) == (stage, (*attempt, *resume), delivery.delivery)
    }

    fn is_meant(&self, cancel: &Cancel) -> bool {
        cancel.stage_id.is_empty()
            || (self.stage.as_str(), self.number)
                == (cancel.stage_id.as_str(), (cancel.attempt, cancel.resume))
    }
}

impl Running {
    /// Cancelled when the execution ends, or the attempt is over.
    fn enter(&self, delivery: &Delivery) -> CancellationToken {
        let cancel = CancellationToken::new();
        let Task { stage, attempt, resume, .. } = &delivery.task;
        let entered = Entered {
            stage: stage.clone(),
            number: (*attempt, *resume),
            delivery: delivery.delivery,
            cancel: cancel.clone(),
        };
        self.lock().entry(delivery.execution.clone()).or_default().push(entered);
        cancel
    }

    fn leave(&self, delivery: &Delivery) {
        let mut attempts = self.lock();
        if let Some(entered) = attempts.get_mut(&delivery.execution) {
            entered.retain(|entered| !entered.is(delivery));
            if entered.is_empty() {
                attempts.remove(&delivery.execution);
            }
        }
    }

    fn cancel(&self, id: &ExecutionId, cancel: &Cancel) {
        for entered in self.lock().get(id).into_iter().flatten().filter(|entered| entered.is_meant(cancel)) {
            entered.cancel.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ExecutionId, Vec<Entered>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes tasks until `stop`; then lets what runs go on for `drain`, and gives back the rest.
pub async fn run(
    context: Arc<Context>,
    slots: u32,
    drain: Duration,
    ready: impl FnOnce(),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let running = Running::default();
    let hand_back = CancellationToken::new();
    let queue = tokio::select! {
        queue = open_queue(&context, &running, slots) => queue,
        () = stop.cancelled() => return Ok(()),
    };
    let cancels = context.bus.cancelled_attempts().await.context("cancel signals")?;
    let attempts = TaskTracker::new();
    let filling = Slots {
        context: Arc::clone(&context),
        queue,
        count: slots,
        running: running.clone(),
        hand_back: hand_back.clone(),
        attempts: attempts.clone(),
    };
    tracing::info!(worker = %context.worker, slots, "worker ready");
    ready();

    let beating = heartbeats(&context, &running, slots, &stop);
    let cancelling = cancels.for_each(|(id, cancel)| {
        running.cancel(&id, &cancel);
        std::future::ready(())
    });
    let draining = async {
        filling.run(&stop).await;
        attempts.close();
        tracing::info!(busy = running.busy.load(Ordering::Relaxed), ?drain, "worker drains");
        if tokio::time::timeout(drain, attempts.wait()).await.is_err() {
            hand_back.cancel();
            attempts.wait().await;
        }
    };
    tokio::select! {
        () = draining => Ok(()),
        result = beating => result,
        () = cancelling => Err(anyhow::anyhow!("the cancel signals ended")),
    }
}

/// The queue, once a coordinator has made it: that of a pool when it hears of a worker that waits for it.
async fn open_queue(context: &Context, running: &Running, slots: u32) -> TaskQueue {
    let mut told = false;
    loop {
        match context.bus.task_queue(&context.queue).await {
            Ok(queue) => return queue,
            Err(error) => {
                if !told {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "waiting for a coordinator to make the task queue"
                    );
                    told = true;
                }
                let heartbeat = heartbeat(context, running, slots, HashMap::new(), false);
                context.bus.heartbeat(&context.queue.engine, &context.worker, &heartbeat).await;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// The slots: one task in each.
struct Slots {
    context: Arc<Context>,
    queue: TaskQueue,
    count: u32,
    running: Running,
    hand_back: CancellationToken,
    attempts: TaskTracker,
}

impl Slots {
    /// Fills them until `stop`.
    async fn run(&self, stop: &CancellationToken) {
        loop {
            let error = tokio::select! {
                () = stop.cancelled() => return,
                error = self.take() => error,
            };
            tracing::warn!(error = &error as &dyn std::error::Error, "no task can be taken");
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Takes tasks as long as that works.
    async fn take(&self) -> mahavishnu_bus::Error {
        let mut intake = match self.queue.intake().await {
            Ok(intake) => intake,
            Err(error) => return error,
        };
        loop {
            let room = self.count.saturating_sub(self.running.busy.load(Ordering::Relaxed));
            tokio::select! {
                arrival = intake.next(room) => match arrival {
                    Ok(arrival) => self.begin(arrival),
                    Err(error) => return error,
                },
                () = self.running.left.notified() => {}
            }
        }
    }

    fn begin(&self, arrival: Arrival) {
        let (context, running) = (Arc::clone(&self.context), self.running.clone());
        let hand_back = self.hand_back.clone();
        running.busy.fetch_add(1, Ordering::Relaxed);
        self.attempts.spawn(async move {
            match arrival.read().await {
                Ok(Some(delivery)) => {
                    let signals = Signals { cancel: running.enter(&delivery), hand_back };
                    attempt::run(context, &delivery, signals).await;
                    running.leave(&delivery);
                }
                Ok(None) => {}
                // It comes again when its lease is over.
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a task cannot be read");
                }
            }
            running.busy.fetch_sub(1, Ordering::Relaxed);
            running.left.notify_one();
        });
    }
}

async fn heartbeats(
    context: &Context,
    running: &Running,
    slots: u32,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let mut pings = context.bus.worker_pings().await.context("pings")?;
    let mut tick = tokio::time::interval(HEARTBEAT);
    let mut versions = HashMap::new();
    loop {
        let draining = stop.is_cancelled();
        if versions.is_empty() {
            versions.extend(context.host.iter().flat_map(crate::host::Host::versions));
            versions.insert("worker".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        }
        let heartbeat = heartbeat(context, running, slots, versions.clone(), draining);
        context.bus.heartbeat(&context.queue.engine, &context.worker, &heartbeat).await;
        tokio::select! {
            _ = tick.tick() => {}
            ping = pings.next() => if ping.is_none() { anyhow::bail!("the pings ended") },
            () = stop.cancelled(), if !draining => {}
        }
    }
}

fn heartbeat(
    context: &Context,
    running: &Running,
    slots: u32,
    versions: HashMap<String, String>,
    draining: bool,
) -> Heartbeat {
    Heartbeat {
        worker_id: context.worker.to_string(),
        engine: context.queue.engine.to_string(),
        pool: context.queue.pool.as_ref().map(ToString::to_string).unwrap_or_default(),
        versions,
        slots,
        busy: running.busy.load(Ordering::Relaxed),
        draining,
        isolation: context.host.as_ref().map(|host| host.isolation().as_str().to_owned()).unwrap_or_default(),
    }
}
