//! What goes wrong. Kinds are dealt like cards, so that each comes as often as the others; several last at once.
//!
//! Invariant: a part suffers one fault at a time, and is whole again after it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use mahavishnu_test_support::processes::{alive, below};
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::Options;
use crate::system::{Nats, Part, System, send};

/// Faults that last at the same time.
const LASTING: usize = 5;

/// Of one server, or for the parts.
const KINDS: &[Kind] = &[
    Kind::KillCoordinator,
    Kind::StopCoordinator,
    Kind::CutCoordinator,
    Kind::RestartCoordinator,
    Kind::KillWorker,
    Kind::StopWorker,
    Kind::CutWorker,
    Kind::RestartWorker,
    Kind::KillHost,
    Kind::KillNats,
    Kind::StopNats,
    Kind::KillLeader,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    KillCoordinator,
    StopCoordinator,
    CutCoordinator,
    RestartCoordinator,
    KillWorker,
    StopWorker,
    CutWorker,
    RestartWorker,
    KillHost,
    KillNats,
    StopNats,
    KillLeader,
}

/// How often each kind happened, also those that never did.
pub type Faults = BTreeMap<String, u64>;

/// Deals faults.
pub struct Dealer {
    rng: Rng,
    kinds: Vec<Kind>,
    deck: Vec<Kind>,
    every: Duration,
    counts: Arc<BTreeMap<Kind, AtomicU64>>,
    lasting: JoinSet<()>,
    /// Parts that were restarted in turn.
    rolled: usize,
}

impl Dealer {
    pub fn new(options: &Options) -> Self {
        let possible = |kind: &&Kind| match kind {
            Kind::RestartCoordinator | Kind::RestartWorker => true,
            _ if options.rolling => false,
            Kind::CutCoordinator | Kind::CutWorker => !options.cluster,
            Kind::KillLeader => options.cluster,
            Kind::KillHost => !options.noop_only,
            _ => true,
        };
        let kinds: Vec<Kind> = KINDS.iter().filter(possible).copied().collect();
        Self {
            rng: Rng::with_seed(options.seed),
            deck: Vec::new(),
            every: options.every,
            counts: Arc::new(kinds.iter().map(|kind| (*kind, AtomicU64::new(0))).collect()),
            kinds,
            lasting: JoinSet::new(),
            rolled: 0,
        }
    }

    /// The next fault, after a while.
    pub async fn deal(&mut self, system: &Arc<System>) {
        let wait = self.every.mul_f64(0.3 + 1.4 * self.rng.f64());
        tokio::time::sleep(wait).await;
        while self.lasting.try_join_next().is_some() {}
        // A slow machine would put them off until they all come one after the other at the end.
        while self.lasting.len() >= LASTING {
            self.lasting.join_next().await;
        }
        if self.deck.is_empty() {
            self.deck.clone_from(&self.kinds);
            self.rng.shuffle(&mut self.deck);
        }
        let Some(kind) = self.deck.pop() else { return };
        let (system, rng) = (Arc::clone(system), self.rng.fork());
        let counts = Arc::clone(&self.counts);
        self.lasting.spawn(async move {
            match inject(kind, &system, rng).await {
                Ok(Some(())) => {
                    counts[&kind].fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(error) => eprintln!("{kind:?}: {error:#}"),
            }
        });
    }

    /// Restarts the next part, and only that, after a while.
    pub async fn roll(&mut self, system: &System) {
        tokio::time::sleep(self.every).await;
        let parts: Vec<_> = system.parts().collect();
        let part = parts[self.rolled % parts.len()];
        let kind = match self.rolled % parts.len() < system.coordinators.len() {
            true => Kind::RestartCoordinator,
            false => Kind::RestartWorker,
        };
        self.rolled += 1;
        match restart(part).await {
            Ok(Some(())) => drop(self.counts[&kind].fetch_add(1, Ordering::Relaxed)),
            Ok(None) => {}
            Err(error) => eprintln!("{kind:?}: {error:#}"),
        }
    }

    /// Waits until all are over.
    pub async fn end(mut self) -> Faults {
        while self.lasting.join_next().await.is_some() {}
        let count = |(kind, count): (&Kind, &AtomicU64)| (format!("{kind:?}"), count.load(Ordering::Relaxed));
        self.counts.iter().map(count).collect()
    }
}

/// Does it and undoes it; nothing when its target was not there.
async fn inject(kind: Kind, system: &System, mut rng: Rng) -> Result<Option<()>> {
    let workers: Vec<_> = system.workers.iter().chain(&system.real).collect();
    let coordinator = &system.coordinators[rng.usize(..system.coordinators.len())];
    let worker = workers[rng.usize(..workers.len())];
    match kind {
        Kind::KillCoordinator => kill(coordinator, &mut rng).await,
        Kind::KillWorker => kill(worker, &mut rng).await,
        Kind::StopCoordinator => stop(coordinator, &mut rng).await,
        Kind::StopWorker => stop(worker, &mut rng).await,
        Kind::CutCoordinator => cut(coordinator, &mut rng).await,
        Kind::CutWorker => cut(worker, &mut rng).await,
        Kind::RestartCoordinator => restart(coordinator).await,
        Kind::RestartWorker => restart(worker).await,
        Kind::KillHost => match &system.real {
            Some(real) => Ok(kill_host(&mut *real.lock().await, &mut rng)),
            None => Ok(None),
        },
        Kind::KillNats => {
            let node = rng.usize(..3);
            kill_server(&mut *system.nats.lock().await, node, &mut rng).await
        }
        Kind::KillLeader => {
            let mut nats = system.nats.lock().await;
            let Nats::Three(cluster) = &*nats else { return Ok(None) };
            let Some(leader) = cluster.leader_of("MAHAVISHNU_HISTORY").await else { return Ok(None) };
            kill_server(&mut nats, leader, &mut rng).await
        }
        Kind::StopNats => {
            let node = rng.usize(..3);
            let mut nats = system.nats.lock().await;
            let Some(pid) = nats.node(node).pid() else { return Ok(None) };
            let stopped = send(pid, Signal::STOP);
            tokio::time::sleep(a_while(&mut rng)).await;
            send(pid, Signal::CONT);
            Ok(stopped)
        }
    }
}

/// Mostly short, sometimes longer than a lease.
fn a_while(rng: &mut Rng) -> Duration {
    let most = if rng.u32(..4) == 0 { 9_000 } else { 2_000 };
    Duration::from_millis(rng.u64(100..most))
}

async fn kill(part: &Mutex<Part>, rng: &mut Rng) -> Result<Option<()>> {
    let mut part = part.lock().await;
    let killed = part.signal(Signal::KILL);
    part.end().await?;
    tokio::time::sleep(Duration::from_millis(rng.u64(..1_000))).await;
    part.start().await?;
    Ok(killed)
}

async fn stop(part: &Mutex<Part>, rng: &mut Rng) -> Result<Option<()>> {
    let mut part = part.lock().await;
    let stopped = part.signal(Signal::STOP);
    tokio::time::sleep(a_while(rng)).await;
    part.signal(Signal::CONT);
    Ok(stopped)
}

async fn cut(part: &Mutex<Part>, rng: &mut Rng) -> Result<Option<()>> {
    let mut part = part.lock().await;
    let (there, hold) = (part.pid().is_some(), rng.bool());
    let Some(proxy) = part.proxy.as_ref().filter(|_| there) else { return Ok(None) };
    // Silence on the line, or its end.
    if hold {
        proxy.hold(true)
    } else {
        proxy.cut(true)
    }
    tokio::time::sleep(a_while(rng)).await;
    proxy.cut(false);
    Ok(Some(()))
}

async fn restart(part: &Mutex<Part>) -> Result<Option<()>> {
    let mut part = part.lock().await;
    let asked = part.signal(Signal::TERM);
    part.end().await?;
    part.start().await?;
    Ok(asked)
}

/// One of the processes below the worker: the fork server, or an attempt.
fn kill_host(part: &mut Part, rng: &mut Rng) -> Option<()> {
    let all = alive().ok()?;
    let hosts = below(&all, part.pid()?);
    let host = hosts.get(rng.usize(..hosts.len().max(1)))?;
    send(host.pid, Signal::KILL)
}

async fn kill_server(nats: &mut Nats, node: usize, rng: &mut Rng) -> Result<Option<()>> {
    let server = nats.node(node);
    let there = server.pid().map(drop);
    server.kill().await?;
    tokio::time::sleep(Duration::from_millis(rng.u64(..1_500))).await;
    server.restart().await?;
    Ok(there)
}
