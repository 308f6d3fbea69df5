//! Slots, heartbeats, cancellation, drain.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use mahavishnu_bus::tasks::{Delivery, TaskQueue};
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::worker::Heartbeat;
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
    attempts: Arc<Mutex<HashMap<ExecutionId, (CancellationToken, usize)>>>,
    busy: Arc<AtomicU32>,
}

impl Running {
    /// Cancelled when the execution ends.
    fn enter(&self, id: &ExecutionId) -> CancellationToken {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, count) = attempts.entry(id.clone()).or_default();
        *count += 1;
        token.clone()
    }

    fn leave(&self, id: &ExecutionId) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = attempts.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                attempts.remove(id);
            }
        }
    }

    fn cancel(&self, id: &ExecutionId) {
        if let Some((token, _)) = self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            token.cancel();
        }
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
        queue = open_queue(&context) => queue,
        () = stop.cancelled() => return Ok(()),
    };
    let cancels = context.bus.cancelled_attempts().await.context("cancel signals")?;
    let workers = TaskTracker::new();
    for _ in 0..slots {
        let slot = Slot {
            context: Arc::clone(&context),
            queue: queue.clone(),
            running: running.clone(),
            hand_back: hand_back.clone(),
        };
        workers.spawn(slot.run(stop.clone()));
    }
    workers.close();
    tracing::info!(worker = %context.worker, slots, "worker ready");
    ready();

    let beating = heartbeats(&context, &running, slots, &stop);
    let cancelling = cancels.for_each(|(id, _)| {
        running.cancel(&id);
        std::future::ready(())
    });
    let draining = async {
        stop.cancelled().await;
        tracing::info!(busy = running.busy.load(Ordering::Relaxed), ?drain, "worker drains");
        if tokio::time::timeout(drain, workers.wait()).await.is_err() {
            hand_back.cancel();
            workers.wait().await;
        }
    };
    tokio::select! {
        () = draining => Ok(()),
        result = beating => result,
        () = cancelling => Err(anyhow::anyhow!("the cancel signals ended")),
    }
}

async fn open_queue(context: &Context) -> TaskQueue {
    let mut told = false;
    loop {
        match context.bus.task_queue(&context.engine).await {
            Ok(queue) => return queue,
            Err(error) => {
                if !told {
                    tracing::info!(
                        error = &error as &dyn std::error::Error,
                        "waiting for a coordinator to make the task queue"
                    );
                    told = true;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// One slot: one task at a time.
struct Slot {
    context: Arc<Context>,
    queue: TaskQueue,
    running: Running,
    hand_back: CancellationToken,
}

impl Slot {
    async fn run(self, stop: CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = self.queue.next() => next,
            };
            match next {
                Ok(Some(delivery)) => self.attempt(delivery).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "no task can be taken");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        }
    }

    async fn attempt(&self, delivery: Delivery) {
        let id = delivery.execution.clone();
        let signals = Signals { cancel: self.running.enter(&id), hand_back: self.hand_back.clone() };
        attempt::run(Arc::clone(&self.context), delivery, signals).await;
        self.running.leave(&id);
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
    let mut versions = std::collections::HashMap::new();
    loop {
        let draining = stop.is_cancelled();
        if versions.is_empty() {
            versions.extend(context.host.iter().flat_map(crate::host::Host::versions));
            versions.insert("worker".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        }
        let heartbeat = Heartbeat {
            worker_id: context.worker.to_string(),
            engine: context.engine.to_string(),
            versions: versions.clone(),
            slots,
            busy: running.busy.load(Ordering::Relaxed),
            draining,
        };
        context.bus.heartbeat(&context.engine, &context.worker, &heartbeat).await;
        tokio::select! {
            _ = tick.tick() => {}
            ping = pings.next() => if ping.is_none() { anyhow::bail!("the pings ended") },
            () = stop.cancelled(), if !draining => {}
        }
    }
}
