//! Schedules under faults: coordinators that look at them and die between any two steps, clocks that jump and differ,
//! writes and answers that are lost, people who ask for more; judged by [`check`] as everything else.
//!
//! The executions that schedules start do nothing here but end: what they are made of is the other simulation's subject.

mod coordinator;
mod people;
pub mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use fastrand::Rng;
use mahavishnu_core::execution::Fact;
use mahavishnu_core::id::{ExecutionId, ScheduleId};
use mahavishnu_core::schedule::{CatchUp, Definition, Outcome as Fate, Overlap, Schedule, State};

use crate::bus::ModelBus;
use crate::check::schedules::Standing;
use crate::check::{Acknowledged, Evidence, Violation, check};
use crate::environment::{Environment, Faults};
use crate::mutation::Mutation;
use crate::workflows;
use coordinator::Coordinator;
use people::{Call, What};
use store::Store;

const LEASE: TimeDelta = TimeDelta::seconds(30);
const WINDOW: TimeDelta = TimeDelta::milliseconds(100);
const OVERLAPS: [Overlap; 4] = [Overlap::Skip, Overlap::Queue, Overlap::Allow, Overlap::CancelPrevious];
const CATCH_UPS: [CatchUp; 3] = [CatchUp::Skip, CatchUp::Latest, CatchUp::All];
/// Rounds of the calm with time passing, and then without: longer than any lease, and than any queue.
const PASSING: u32 = 200;
const STANDING: u32 = 10_000;

/// How a run went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The faults, by kind.
    pub faults: Faults,
    /// What became of slots, and how often.
    pub slots: BTreeMap<&'static str, u64>,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

struct World {
    env: Environment,
    store: Store,
    coordinators: Vec<Coordinator>,
    calls: Vec<(usize, Call)>,
    /// Executions that ended, and whose schedule nobody has told of it.
    untold: Vec<ScheduleId>,
    asked: u32,
    acknowledged: Vec<Acknowledged>,
    violations: Vec<Violation>,
}

/// Plays a seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Outcome {
    let mut world = World::new(seed, mutation);
    let steps = world.env.rng.u32(300..2_000);
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
        let bus = ModelBus::new(&[], LEASE, WINDOW);
        let mut store = Store::new(LEASE);
        for n in 0..rng.usize(1..4) {
            let id = ScheduleId::parse(&format!("schedule{n}")).unwrap();
            let cron = ["* * * * *", "*/3 * * * *"][rng.usize(..2)];
            let definition = Definition {
                rule: Schedule::parse(cron, None).unwrap(),
                workflow: (*workflows::random(&mut rng)).clone(),
                overlap: OVERLAPS[rng.usize(..4)],
                catch_up: CATCH_UPS[rng.usize(..3)],
                window: Duration::from_secs(rng.u64(60..1_800)),
            };
            let made = store.put(&id, State::new(definition, bus.now(), false, "ann"), Some(0), bus.now());
            assert!(made.is_ok());
        }
        let coordinators = (0..rng.usize(1..4)).map(|_| Coordinator::default()).collect();
        Self {
            env: Environment::new(bus, rng, mutation, false),
            store,
            coordinators,
            calls: Vec::new(),
            untold: Vec::new(),
            asked: 0,
            acknowledged: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// One act of somebody, or one fault.
    fn step(&mut self) {
        let c = self.env.rng.usize(..self.coordinators.len());
        let env = &mut self.env;
        match env.rng.u32(..100) {
            0..10 => self.coordinators[c].follow(env),
            10..20 => self.coordinators[c].take(&mut self.store, env),
            20..60 => self.coordinators[c].work(&mut self.store, env),
            60..68 => self.pass_time(),
            68..76 => self.end(),
            76..84 => self.tell(),
            84..86 => self.ask(c),
            86..94 => self.call(),
            94..96 => self.env.deliver_one(),
            _ => self.fault(c),
        }
    }

    fn fault(&mut self, c: usize) {
        let env = &mut self.env;
        if env.fault("coordinator killed", 500) {
            self.coordinators[c].restart(env);
            // Who asked it asks again, or does not care any more.
            let patient = env.rng.bool();
            self.calls.retain(|(with, _)| *with != c || patient);
            self.calls.iter_mut().filter(|(with, _)| *with == c).for_each(|(_, call)| call.ask_again());
        } else if env.fault("clock differs", 200) {
            self.coordinators[c].skew = TimeDelta::seconds(env.rng.i64(-90..90));
        }
    }

    /// Mostly less than a slot; sometimes as if everything had been down.
    fn pass_time(&mut self) {
        let env = &mut self.env;
        let mut seconds = env.rng.i64(0..40);
        if env.fault("clock jumps ahead", 40) {
            seconds = env.rng.i64(60..4_000);
        } else if env.fault("clock jumps back", 20) {
            seconds = -env.rng.i64(0..60);
        }
        env.bus.pass(TimeDelta::seconds(seconds));
        self.store.pass(env.bus.now());
    }

    /// One execution ends.
    fn end(&mut self) {
        let ids: Vec<ExecutionId> = self.env.bus.histories().into_keys().collect();
        if !ids.is_empty() {
            let id = &ids[self.env.rng.usize(..ids.len())];
            self.end_one(id);
        }
    }

    fn end_one(&mut self, id: &ExecutionId) {
        if people::end(id, &mut self.env)
            && let Some(Fact::Accepted(accepted)) =
                self.env.bus.read(id, true, u64::MAX).into_iter().next().map(|logged| logged.record.fact)
        {
            self.untold.extend(accepted.firing.map(|firing| firing.schedule));
        }
    }

    /// A schedule is told of an end: whoever stored the end, or comes after, does so before the input is done with.
    fn tell(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let schedule = self.untold.swap_remove(self.env.rng.usize(..self.untold.len()));
        if !self.env.makes(Mutation::EndNotTold) {
            self.store.wake(&schedule, self.env.bus.now());
        }
    }

    fn ask(&mut self, c: usize) {
        let ids: Vec<_> = self.store.all().map(|(id, _)| id.clone()).collect();
        let id = ids[self.env.rng.usize(..ids.len())].clone();
        let what = [What::Trigger, What::Pause, What::Resume, What::Resume][self.env.rng.usize(..4)];
        self.asked += 1;
        // Fewer than a schedule remembers, so that its counts can be checked.
        if (self.asked as usize) < State::REQUESTS {
            self.calls.push((c, Call::new(id, what, format!("request{}", self.asked))));
        }
    }

    fn call(&mut self) {
        let Self { calls, coordinators, store, env, .. } = self;
        if !calls.is_empty() {
            let index = env.rng.usize(..calls.len());
            let (c, call) = &mut calls[index];
            self.acknowledged.extend(call.go_on(&coordinators[*c], store, env));
        }
        calls.retain(|(_, call)| !call.is_answered());
    }

    /// No more faults: everybody goes on, at first while time passes, then until nothing moves.
    fn calm(&mut self) {
        self.env.stormy = false;
        for _ in 0..100 {
            self.env.deliver_one();
        }
        self.coordinators.iter_mut().for_each(|coordinator| coordinator.skew = TimeDelta::zero());
        for round in 0..PASSING + STANDING {
            for coordinator in &mut self.coordinators {
                coordinator.follow(&mut self.env);
                coordinator.take(&mut self.store, &mut self.env);
                (0..12).for_each(|_| coordinator.work(&mut self.store, &mut self.env));
            }
            // Later than their schedule has last looked at them.
            if round % 6 == 0 {
                let ids: Vec<ExecutionId> = self.env.bus.histories().into_keys().collect();
                ids.iter().for_each(|id| self.end_one(id));
            }
            (0..8).for_each(|_| self.tell());
            (0..8).for_each(|_| self.call());
            if round < PASSING {
                self.env.bus.pass(TimeDelta::seconds(1));
                self.store.pass(self.env.bus.now());
            } else if self.is_idle() {
                return;
            }
        }
        let about = "schedules".to_owned();
        self.violations.push(Violation {
            invariant: "S4",
            about,
            what: "they never come to rest".to_owned(),
        });
    }

    fn is_idle(&self) -> bool {
        self.store.is_idle()
            && self.calls.is_empty()
            && self.untold.is_empty()
            && self.coordinators.iter().all(Coordinator::is_idle)
            && self
                .env
                .bus
                .histories()
                .values()
                .all(|history| history.iter().any(|logged| logged.record.fact.is_terminal()))
    }

    fn judge(&mut self, at_rest: bool) {
        let standing = |(id, state): (&ScheduleId, &State)| Standing {
            id: id.clone(),
            state: state.clone(),
            wakes: Some(self.store.wakes_of(id)),
        };
        let evidence = Evidence {
            histories: self.env.bus.histories(),
            acknowledged: self.acknowledged.clone(),
            watched: Vec::new(),
            views: Vec::new(),
            live: self.env.bus.live(),
            schedules: self.store.all().map(standing).collect(),
            truth: &|_, _, _| false,
            at_rest,
            one_stream: true,
        };
        self.violations.extend(check(&evidence));
    }

    fn outcome(mut self) -> Outcome {
        self.violations.sort();
        self.violations.dedup();
        let mut slots = BTreeMap::new();
        for (_, state) in self.store.all() {
            for past in &state.past {
                let fate = match past.outcome {
                    Fate::Fired { triggered: true } => "triggered",
                    Fate::Fired { triggered: false } => "fired",
                    Fate::Skipped(why) => why.code(),
                };
                *slots.entry(fate).or_default() += past.count;
            }
        }
        Outcome { faults: self.env.faults, slots, violations: self.violations }
    }
}
