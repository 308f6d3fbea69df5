//! A run: first a storm, in which the seed says who acts and what goes wrong; then a calm, in which everybody gets
//! their turns until nothing moves; and the judge's look at both.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use fastrand::Rng;
use mahavishnu_core::execution::{Fact, Timer};
use mahavishnu_core::id::{EngineName, ExecutionId};

use crate::bus::ModelBus;
use crate::check::{Acknowledged, Evidence, Logged, Seen, View, Violation, check, seen, verdicts};
use crate::client::{self, Request};
use crate::coordinator::Coordinator;
use crate::environment::{Environment, Faults};
use crate::mutation::Mutation;
use crate::watcher::Watcher;
use crate::worker::Worker;
use crate::workflows::{self, ENGINES};

/// Requests in all.
const CONTINUED: usize = 12;
const LEASE: TimeDelta = TimeDelta::seconds(5);
const WINDOW: TimeDelta = TimeDelta::milliseconds(100);
/// Rounds of the calm in which nothing happens but the passing of time, before it is taken for rest.
const IDLE: u32 = 30;
/// More rounds than any calm needs.
const ROUNDS: u32 = 3_000;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The faults, by kind.
    pub faults: Faults,
    /// The histories, as a client would see them.
    pub histories: BTreeMap<ExecutionId, Vec<Seen>>,
    /// What became of approvals, and how often.
    pub ballots: BTreeMap<&'static str, u64>,
    /// Events that watchers got.
    pub events: usize,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

struct World {
    env: Environment,
    coordinators: Vec<Coordinator>,
    workers: Vec<Worker>,
    requests: Vec<Request>,
    watchers: Vec<Watcher>,
    acknowledged: Vec<Acknowledged>,
    violations: Vec<Violation>,
    never_rests: bool,
}

/// Plays a seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
    let mut world = World::new(seed, mutation);
    let steps = world.env.rng.u32(200..2_000);
    for step in 0..steps {
        world.step();
        if step % 97 == 0 {
            world.judge(false);
        }
    }
    world.calm();
    world.judge(true);
    world.outcome()
}

impl World {
    fn new(seed: u64, mutation: Option<Mutation>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let engines: Vec<_> = ENGINES.iter().map(|name| EngineName::parse(name).unwrap()).collect();
        let hostile = rng.u32(..3) == 0;
        let coordinators = (0..rng.usize(1..4)).map(|n| Coordinator::new(format!("c{n}"))).collect();
        let workers =
            (0..rng.usize(2..5)).map(|n| Worker::new(&format!("w{n}"), engines[n % engines.len()].clone()));
        let workers = workers.collect();
        let mut requests = Vec::new();
        let mut watchers = Vec::new();
        for n in 0..rng.usize(1..5) {
            let name = format!("e{n}");
            requests.push(Request::new(&name, 1, workflows::random(&mut rng)));
            if rng.u32(..3) == 0 {
                // The same request id with another body.
                requests.push(Request::new(&name, 2, workflows::random(&mut rng)));
            }
            for m in 0..rng.usize(..3) {
                watchers.push(Watcher::new(ExecutionId::parse(&name).unwrap(), format!("v{n}.{m}")));
            }
        }
        let bus = ModelBus::new(&engines, LEASE, WINDOW);
        let env = Environment::new(bus, rng, mutation, hostile);
        let (acknowledged, violations) = Default::default();
        let never_rests = false;
        Self { env, coordinators, workers, requests, watchers, acknowledged, violations, never_rests }
    }

    /// One act of somebody, or one fault.
    fn step(&mut self) {
        let (c, w) =
            (self.env.rng.usize(..self.coordinators.len()), self.env.rng.usize(..self.workers.len()));
        match self.env.rng.u32(..100) {
            0..22 => self.coordinate(c, 0),
            22..27 => self.coordinate(c, 1),
            27..29 => self.coordinate(c, 2),
            29 => self.coordinate(c, 3),
            30..52 => self.coordinate(c, 4),
            52..58 => self.work(w, true),
            58..74 => self.work(w, false),
            74..80 => self.watch(),
            80..84 => self.ask(),
            84..87 => client::decide(&self.coordinators[c], &mut self.env),
            87..92 => self.env.pass_time(),
            92..94 => self.env.deliver_one(),
            94 if self.env.hostile && self.env.rng.u32(..20) == 0 => {
                client::cancel(&self.coordinators[c], &mut self.env);
            }
            // What ended is continued, and that too, but not without end.
            94 if self.requests.len() < CONTINUED => {
                let request = Request::continuing(&self.coordinators[c], &mut self.env);
                self.requests.extend(request);
            }
            95.. => self.fault(c, w),
            _ => {}
        }
    }

    fn fault(&mut self, c: usize, w: usize) {
        let env = &mut self.env;
        match env.rng.u32(..8) {
            0 if env.fault("coordinator killed", 500) => self.coordinators[c].restart(env),
            1 if env.fault("worker killed", 500) => self.workers[w].restart(),
            2 if env.fault("coordinator stopped", 500) => self.coordinators[c].stopped = true,
            3 if env.fault("worker stopped", 500) => self.workers[w].stopped = true,
            4 => self.coordinators[c].stopped = false,
            5 => self.workers[w].stopped = false,
            6 if env.fault("server killed", 200) => {
                let mut rng = env.rng.fork();
                env.bus.restart(|| rng.u32(..4) == 0);
            }
            7 if env.fault("memory dropped", 500) => {
                let ids: Vec<_> = self.coordinators[c].memory.keys().cloned().collect();
                ids.iter().for_each(|id| self.coordinators[c].forget(id));
            }
            _ => {}
        }
    }

    fn coordinate(&mut self, c: usize, what: u32) {
        let coordinator = &mut self.coordinators[c];
        match what {
            _ if coordinator.stopped => {}
            0 => coordinator.follow(&self.env),
            1 => coordinator.take(&mut self.env),
            2 => coordinator.hear(&mut self.env),
            3 => coordinator.save(&mut self.env),
            _ => coordinator.handle(&mut self.env),
        }
    }

    fn work(&mut self, w: usize, take: bool) {
        let worker = &mut self.workers[w];
        match take {
            _ if worker.stopped => {}
            true => worker.take(&mut self.env),
            false => worker.work(&mut self.env),
        }
    }

    fn watch(&mut self) {
        if !self.watchers.is_empty() {
            let index = self.env.rng.usize(..self.watchers.len());
            self.watchers[index].watch(&mut self.coordinators, &mut self.env);
        }
    }

    fn ask(&mut self) {
        let index = self.env.rng.usize(..self.requests.len());
        let request = &mut self.requests[index];
        if !request.answered {
            self.acknowledged.extend(request.ask(&mut self.env));
        }
    }

    /// No more faults: everybody goes on until nothing moves.
    fn calm(&mut self) {
        self.env.stormy = false;
        for _ in 0..100 {
            self.env.deliver_one();
        }
        self.coordinators.iter_mut().for_each(|coordinator| coordinator.stopped = false);
        self.workers.iter_mut().for_each(|worker| worker.stopped = false);
        let mut idle = 0;
        for round in 0..ROUNDS {
            let before = self.env.bus.last();
            for c in 0..self.coordinators.len() {
                (0..24).for_each(|what| self.coordinate(c, what % 6));
                // People find what waits in lists, whoever has it in memory.
                for request in &self.requests {
                    self.coordinators[c].load(&request.execution(), &mut self.env);
                }
                // More slowly than coordinators decide, or void decisions would pile up.
                if round % 8 == 0 {
                    client::decide(&self.coordinators[c], &mut self.env);
                }
            }
            for w in 0..self.workers.len() {
                (0..6).for_each(|what| self.work(w, what == 0));
            }
            for _ in 0..2 * self.watchers.len() {
                self.watch();
            }
            self.ask();
            self.env.bus.pass(TimeDelta::milliseconds(100));
            let env = &self.env;
            let busy = self.coordinators.iter().any(|coordinator| !coordinator.is_idle(env))
                || self.workers.iter().any(|worker| !worker.is_idle())
                || self.env.bus.last() != before;
            idle = if busy { 0 } else { idle + 1 };
            if idle > IDLE {
                return;
            }
            if !busy && let Some(due) = self.env.bus.next_due() {
                let wait = due - self.env.bus.now();
                // What is due does not count as rest.
                if wait > TimeDelta::zero() {
                    self.env.bus.pass(wait);
                    idle = idle.saturating_sub(1);
                }
            }
        }
        self.never_rests = true;
    }

    fn judge(&mut self, at_rest: bool) {
        let histories = self.env.bus.histories();
        let views = self.coordinators.iter().flat_map(|coordinator| {
            let loaded = coordinator.memory.iter().filter(|(_, memory)| memory.is_loaded());
            loaded.map(|(id, memory)| View {
                execution: id.clone(),
                coordinator: coordinator.name.clone(),
                state: memory.state.clone(),
            })
        });
        let given = &self.env.given;
        let evidence = Evidence {
            histories,
            acknowledged: self.acknowledged.clone(),
            watched: self.watchers.iter().map(|watcher| watcher.watched.clone()).collect(),
            views: views.collect(),
            live: self.env.bus.live(),
            schedules: Vec::new(),
            truth: &|id, task, done| {
                let origin = &done.origin;
                let number = (origin.attempt, origin.resume, origin.delivery);
                let key = (id.clone(), task.stage.to_string(), number.0, number.1, number.2);
                given.get(&key).is_some_and(|outputs| outputs.contains(&format!("{:?}", done.output)))
            },
            at_rest,
            one_stream: true,
        };
        self.violations.extend(check(&evidence));
        if at_rest {
            if self.never_rests {
                let (about, what) =
                    (self.requests[0].execution().to_string(), "or another never comes to rest");
                self.violations.push(Violation { invariant: "I1", about, what: what.to_owned() });
            }
            let ended = |watcher: &&Watcher| {
                evidence.histories.contains_key(&watcher.watched.execution) && !watcher.watched.whole
            };
            for watcher in self.watchers.iter().filter(ended) {
                let what = format!("{} was never told of the end", watcher.watched.watcher);
                let about = watcher.watched.execution.to_string();
                self.violations.push(Violation { invariant: "I5", about, what });
            }
        }
    }

    fn outcome(mut self) -> Outcome {
        self.violations.sort();
        self.violations.dedup();
        let story = |history: &Vec<Logged>| {
            let told = (1..).zip(history).zip(verdicts(history));
            told.map(|((n, logged), counts)| seen(&logged.record.fact, n, !counts)).collect()
        };
        let mut ballots = BTreeMap::new();
        for history in self.env.bus.histories().values() {
            for (logged, counts) in history.iter().zip(verdicts(history)) {
                let met = match (&logged.record.fact, counts) {
                    (Fact::Decided(_), true) => "votes",
                    (Fact::Decided(_), false) => "votes in vain",
                    (Fact::TimerFired(Timer::Approval { .. }), true) => "ends of time",
                    (Fact::TimerFired(Timer::Approval { .. }), false) => "ends of time in vain",
                    _ => continue,
                };
                *ballots.entry(met).or_default() += 1;
            }
        }
        Outcome {
            ballots,
            faults: self.env.faults,
            histories: self.env.bus.histories().iter().map(|(id, all)| (id.clone(), story(all))).collect(),
            events: self.watchers.iter().map(|watcher| watcher.watched.events.len()).sum(),
            violations: self.violations,
        }
    }
}
