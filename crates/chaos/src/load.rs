//! The clients: each starts one execution after the other, watches it to its end over any number of disconnections, and
//! sometimes asks twice or asks for something else under the same request id. What [people](crate::people) do on the way
//! and afterwards may make another execution, which is watched too.

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
use crate::people::Followed;
use crate::workflows::{self, REQUESTER};

/// After the faults, everything must have ended by then.
const REST: Duration = Duration::from_secs(90);
/// A watcher that hears nothing for so long comes back.
const SILENCE: Duration = Duration::from_secs(12);
/// Of a hundred workflows, those with a stage on the real engine.
const REAL: u32 = 4;
/// Executions that go on from one another.
const GENERATIONS: u32 = 3;

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
    enough: Arc<AtomicBool>,
    pub channels: Vec<Channel>,
    pub seed: u64,
    next: Arc<AtomicU64>,
    told: Arc<Mutex<Told>>,
    clients: usize,
    real: u32,
    /// Every begin of an attempt is to be in the log.
    begins: bool,
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
            begins: options.rolling,
            real: if options.noop_only { 0 } else { REAL },
        }
    }

    /// Nothing new is asked for from now on.
    pub fn end(&self) {
        self.enough.store(true, Ordering::Relaxed);
    }

    /// Starts the clients.
    pub fn start(&self) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let load = self.clone();
            clients.spawn(async move {
                while !load.is_enough() {
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

    /// Whether nothing new is to be asked for.
    pub fn is_enough(&self) -> bool {
        self.enough.load(Ordering::Relaxed)
    }

    /// A workflow as this load asks for it.
    pub fn made(&self, workflow: v1::Workflow) -> v1::Workflow {
        if self.begins { workflows::limited(workflow) } else { workflow }
    }

    /// Something happened.
    pub fn count(&self, what: &'static str) {
        self.tell(|told| *told.counts.entry(what).or_default() += 1);
    }

    /// An answer that should not have been given.
    pub fn wrong(&self, what: String) {
        self.tell(|told| told.wrong.push(what));
    }

    /// A client was told that an execution exists.
    pub fn acknowledged(&self, acknowledged: Acknowledged) {
        self.tell(|told| told.acknowledged.push(acknowledged));
    }

    /// One execution, from the request to the end.
    async fn one(&self, n: u64) {
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(1_000_003) ^ n);
        let client = Client::new(&self.channels, &mut rng);
        let request_id = Uuid::from_u128(rng.u128(..)).to_string();
        let mut rival = rng.fork();
        let body = format!("{n}");
        let request = v1::StartExecutionRequest {
            workflow: Some(self.made(workflows::random(&mut rng, &body, self.real))),
            request_id: request_id.clone(),
            requested_by: REQUESTER.to_owned(),
        };
        if rng.u32(..10) == 0 {
            // The same request id with another body, at the same time; one of them is refused.
            self.count("rivals");
            let other_body = format!("{n} other");
            let other = v1::StartExecutionRequest {
                workflow: Some(self.made(workflows::random(&mut rival, &other_body, self.real))),
                request_id: request_id.clone(),
                requested_by: REQUESTER.to_owned(),
            };
            let (mut one, mut two) = (rng.fork(), rng.fork());
            let (ours, theirs) = tokio::join!(
                self.ask(&client, &mut one, &request, &body),
                self.ask(&client, &mut two, &other, &other_body)
            );
            for (id, body) in [(ours, body), (theirs, other_body)] {
                if let Some(id) = id {
                    self.follow(&client, &mut rng, &id, &body).await;
                }
            }
            return;
        }
        let Some(mut id) = self.ask(&client, &mut rng, &request, &body).await else { return };
        if rng.u32(..10) == 0 {
            self.count("repeated requests");
            self.ask(&client, &mut rng, &request, &body).await;
        }
        for _ in 0..GENERATIONS {
            self.follow(&client, &mut rng, &id, &body).await;
            let followed = Followed { load: self, client: &client, id: &id, body: &body };
            let Some(next) = followed.next(&mut rng).await else { return };
            id = next;
        }
        self.follow(&client, &mut rng, &id, &body).await;
    }

    /// Asks for an execution; its id, unless it is refused.
    async fn ask(
        &self,
        client: &Client,
        rng: &mut Rng,
        request: &v1::StartExecutionRequest,
        body: &str,
    ) -> Option<String> {
        match client.start_execution(rng, request).await {
            Ok(answer) => {
                let id = answer.execution.unwrap_or_default().id;
                let execution = ExecutionId::parse(&id).ok()?;
                let request = Some(request.request_id.clone());
                self.acknowledged(Acknowledged { request, execution, digest: body.as_bytes().to_vec() });
                Some(id)
            }
            Err(status) if status.code() == Code::AlreadyExists => {
                self.count("requests refused");
                None
            }
            Err(status) => {
                self.wrong(format!("StartExecution: {status}"));
                None
            }
        }
    }

    /// Watches to the end, sometimes with a second watcher.
    pub async fn follow(&self, client: &Client, rng: &mut Rng, id: &str, body: &str) {
        let mut second = rng.fork();
        self.tell(|told| told.going.extend([id.to_owned()]));
        let followed = Followed { load: self, client, id, body };
        let watching = self.watch(client, rng, id, Some(&followed));
        if second.u32(..8) == 0 {
            tokio::join!(watching, self.watch(client, &mut second, id, None));
        } else {
            watching.await;
        }
        self.tell(|told| told.going.retain(|going| going != id));
    }

    /// Watches to the end; whoever is named acts on what happens.
    pub async fn watch(&self, client: &Client, rng: &mut Rng, id: &str, acts: Option<&Followed<'_>>) {
        let Ok(execution) = ExecutionId::parse(id) else { return };
        let watcher = if acts.is_some() { "first" } else { "second" }.to_owned();
        let mut watched = Watched { execution, watcher, events: Vec::new(), whole: false };
        while !watched.whole {
            let after = watched.events.last().map_or(0, |event| event.sequence);
            match client.watch(rng, id, after.try_into().unwrap()).await {
                Ok(mut stream) => {
                    self.count("connections of watchers");
                    while let Ok(Ok(Some(response))) = tokio::time::timeout(SILENCE, stream.message()).await {
                        let Some(event) = response.event.filter(|event| !event.ephemeral) else { continue };
                        watched.events.push(seen(&event));
                        if let Some(followed) = acts {
                            followed.act(rng, &event).await;
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
                    self.wrong(format!("WatchExecution {id} after {after}: {status}"));
                    break;
                }
            }
            if !watched.whole {
                tokio::time::sleep(Duration::from_millis(rng.u64(10..200))).await;
            }
        }
        self.tell(|told| told.watched.push(watched));
    }
}

/// Waits for the clients, but not for ever. Who ends with a panic is a bug of the run.
pub async fn finished(clients: JoinSet<()>) {
    let _ = tokio::time::timeout(REST, clients.join_all()).await;
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
