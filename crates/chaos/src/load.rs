//! The clients: each starts one execution after the other, watches it to its end over any number of disconnections,
//! decides what it asks, and sometimes cancels it, asks twice or asks for something else under the same request id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use mahavishnu_core::id::ExecutionId;
use mahavishnu_proto::v1;
use mahavishnu_simulation::check::{Acknowledged, Seen, Watched};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;
use v1::event::Kind;

use crate::Options;
use crate::client::Client;
use crate::workflows;

/// After the faults, everything must have ended by then.
const REST: Duration = Duration::from_secs(90);
/// A watcher that hears nothing for so long comes back.
const SILENCE: Duration = Duration::from_secs(12);
/// Of a hundred workflows, those with a stage on the real engine.
const REAL: u32 = 4;

/// What happened to clients, counted.
pub type Counts = BTreeMap<&'static str, u64>;

/// What clients were told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub acknowledged: Vec<Acknowledged>,
    pub watched: Vec<Watched>,
    pub counts: Counts,
    /// Executions that are watched and have not ended.
    pub going: BTreeSet<String>,
    /// Answers that should not have been given.
    pub wrong: Vec<String>,
}

/// The load.
#[derive(Clone)]
pub struct Load {
    pub enough: Arc<AtomicBool>,
    channels: Vec<Channel>,
    next: Arc<AtomicU64>,
    told: Arc<Mutex<Told>>,
    seed: u64,
    clients: usize,
    real: u32,
}

impl Load {
    pub fn new(options: &Options, endpoints: Vec<String>) -> Self {
        Self {
            enough: Arc::default(),
            channels: Client::connect(&endpoints),
            next: Arc::default(),
            told: Arc::default(),
            seed: options.seed,
            clients: options.clients,
            real: if options.noop_only { 0 } else { REAL },
        }
    }

    /// Starts the clients.
    pub fn start(&self) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let load = self.clone();
            clients.spawn(async move {
                while !load.enough.load(Ordering::Relaxed) {
                    let n = load.next.fetch_add(1, Ordering::Relaxed);
                    load.one(n).await;
                }
            });
        }
        clients
    }

    /// What was told until now.
    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.told.lock().unwrap());
    }

    fn count(&self, what: &'static str) {
        self.tell(|told| *told.counts.entry(what).or_default() += 1);
    }

    /// One execution, from the request to the end.
    async fn one(&self, n: u64) {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(1_000_003) ^ n);
        let client = Client::new(&self.channels, &mut rng);
        let request_id = Uuid::from_u128(rng.u128(..)).to_string();
        let mut rival = rng.fork();
        let body = format!("{n}");
        let request = v1::StartExecutionRequest {
            workflow: Some(workflows::random(&mut rng, &body, self.real)),
            request_id: request_id.clone(),
            ..v1::StartExecutionRequest::default()
        };
        if rng.u32(..10) == 0 {
            // The same request id with another body, at the same time; one of them is refused.
            self.count("rivals");
            let other_body = format!("{n} other");
            let other = v1::StartExecutionRequest {
                workflow: Some(workflows::random(&mut rival, &other_body, self.real)),
                request_id: request_id.clone(),
                ..v1::StartExecutionRequest::default()
            };
            let (mut one, mut two) = (rng.fork(), rng.fork());
            let (ours, theirs) = tokio::join!(
                self.ask(&client, &mut one, &request, &body),
                self.ask(&client, &mut two, &other, &other_body)
            );
            for id in [ours, theirs].into_iter().flatten() {
                self.follow(&client, &mut rng, &id).await;
            }
            return;
        }
        let Some(id) = self.ask(&client, &mut rng, &request, &body).await else { return };
        if rng.u32(..10) == 0 {
            self.count("repeated requests");
            self.ask(&client, &mut rng, &request, &body).await;
        }
        self.follow(&client, &mut rng, &id).await;
    }

    /// Asks for an execution; its id, unless it is refused.
    async fn ask(
        &self,
        client: &Client,
        rng: &mut Rng,
        request: &v1::StartExecutionRequest,
        body: &str,
    ) -> Option<String> {
        match client.start(rng, request).await {
            Ok(execution) => {
                let id = ExecutionId::parse(&execution.id).ok()?;
                let request = Some(request.request_id.clone());
                let digest = body.as_bytes().to_vec();
                self.tell(|told| told.acknowledged.push(Acknowledged { request, execution: id, digest }));
                Some(execution.id)
            }
            Err(status) if status.code() == Code::AlreadyExists => {
                self.count("requests refused");
                None
            }
            Err(status) => {
                self.tell(|told| told.wrong.push(format!("StartExecution: {status}")));
                None
            }
        }
    }

    /// Watches to the end, sometimes with a second watcher.
    async fn follow(&self, client: &Client, rng: &mut Rng, id: &str) {
        let mut second = rng.fork();
        self.tell(|told| told.going.extend([id.to_owned()]));
        let watching = self.watch(client, rng, id, "first", true);
        if second.u32(..8) == 0 {
            tokio::join!(watching, self.watch(client, &mut second, id, "second", false));
        } else {
            watching.await;
        }
        self.tell(|told| told.going.retain(|going| going != id));
    }

    async fn watch(&self, client: &Client, rng: &mut Rng, id: &str, name: &str, acts: bool) {
        let Ok(execution) = ExecutionId::parse(id) else { return };
        let mut watched = Watched { execution, watcher: name.to_owned(), events: Vec::new(), whole: false };
        while !watched.whole {
            let after = watched.events.last().map_or(0, |event| event.sequence);
            match client.watch(rng, id, after.try_into().unwrap()).await {
                Ok(mut stream) => {
                    self.count("connections of watchers");
                    while let Ok(Ok(Some(response))) = tokio::time::timeout(SILENCE, stream.message()).await {
                        let Some(event) = response.event.filter(|event| !event.ephemeral) else { continue };
                        watched.events.push(seen(&event));
                        if acts {
                            self.act(client, rng, id, &event).await;
                        }
                        watched.whole |= event.void_reason.is_empty() && is_end(&event);
                        if watched.whole || rng.u32(..40) == 0 {
                            break;
                        }
                    }
                }
                Err(status) if crate::client::may_pass(&status) => {}
                Err(status) => {
                    // A cursor that this watcher got is refused, or its execution is not there.
                    self.tell(|told| told.wrong.push(format!("WatchExecution {id} after {after}: {status}")));
                    break;
                }
            }
            if !watched.whole {
                tokio::time::sleep(Duration::from_millis(rng.u64(10..200))).await;
            }
        }
        self.tell(|told| told.watched.push(watched));
    }

    /// Decides what is asked; cancels now and then.
    async fn act(&self, client: &Client, rng: &mut Rng, id: &str, event: &v1::Event) {
        if let Some(Kind::ApprovalRequested(asked)) = &event.kind
            && event.void_reason.is_empty()
        {
            for approval in &asked.approvals {
                self.count("approvals decided");
                match client.decide(rng, &approval.approval_id).await {
                    // Decided before, when the answer was lost; or the execution has ended.
                    Err(status) if status.code() != Code::FailedPrecondition => {
                        self.tell(|told| told.wrong.push(format!("DecideApproval: {status}")));
                    }
                    _ => {}
                }
            }
        }
        if rng.u32(..400) == 0 {
            self.count("cancellations");
            if let Err(status) = client.cancel(rng, id).await {
                self.tell(|told| told.wrong.push(format!("CancelExecution: {status}")));
            }
        }
    }
}

/// Waits for the clients, but not for ever.
pub async fn finished(mut clients: JoinSet<()>) {
    let all = async { while clients.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(REST, all).await;
}

fn is_end(event: &v1::Event) -> bool {
    matches!(
        event.kind,
        Some(Kind::ExecutionCompleted(_) | Kind::ExecutionFailed(_) | Kind::ExecutionCancelled(_))
    )
}

/// An event as the judge looks at it.
fn seen(event: &v1::Event) -> Seen {
    let kind = match &event.kind {
        Some(Kind::ExecutionAccepted(_)) => "execution_accepted",
        Some(Kind::StageScheduled(_)) => "stage_scheduled",
        Some(Kind::StageStarted(_)) => "stage_started",
        Some(Kind::StageProgress(_)) => "stage_progress",
        Some(Kind::ApprovalRequested(_)) => "approval_requested",
        Some(Kind::ApprovalDecided(_)) => "approval_decided",
        Some(Kind::StageCompleted(_)) => "stage_completed",
        Some(Kind::StageFailed(_)) => "stage_failed",
        Some(Kind::StageRetryScheduled(_)) => "stage_retry_scheduled",
        Some(Kind::StageSkipped(_)) => "stage_skipped",
        Some(Kind::TimerFired(_)) => "timer_fired",
        Some(Kind::CancellationRequested(_)) => "cancellation_requested",
        Some(Kind::ExecutionCompleted(_)) => "execution_completed",
        Some(Kind::ExecutionFailed(_)) => "execution_failed",
        Some(Kind::ExecutionCancelled(_)) => "execution_cancelled",
        Some(Kind::TokenDelta(_) | Kind::StageWaiting(_)) | None => "not a durable event",
    };
    Seen {
        sequence: event.sequence.try_into().unwrap_or_default(),
        kind,
        stage: event.stage_id.clone(),
        attempt: event.attempt,
        void: !event.void_reason.is_empty(),
    }
}
