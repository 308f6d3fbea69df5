//! A small model of everything around the core: a log with the condition of the real one, coordinators that lag,
//! crash and compete, workers that repeat themselves and come late, timers that fire as soon as they are set.

use std::collections::BTreeMap;

use super::*;

/// Who decides, where only some may.
pub const VOTERS: [&str; 3] = ["ada", "bob", "cy"];

/// A coordinator: what it has folded, the input that it acts on, and what it still has to store.
#[derive(Default)]
struct Coordinator {
    state: State,
    folded: usize,
    input: Option<u64>,
    plan: std::collections::VecDeque<Command>,
    after: u64,
}

/// How the engines of a run behave.
#[derive(Clone, Copy, Debug)]
pub struct Behaviour {
    /// Failures for good, cancellations and deadlines happen.
    pub hostile: bool,
}

pub struct World {
    workflow: Arc<Workflow>,
    behaviour: Behaviour,
    pub log: Vec<Record>,
    /// Position of the last decision: what the log compares conditions with.
    decided: u64,
    coordinators: [Coordinator; 2],
    /// Inputs that nobody has acknowledged.
    inputs: Vec<u64>,
    timers: BTreeMap<String, Timer>,
}

impl World {
    pub fn new(workflow: Arc<Workflow>, behaviour: Behaviour) -> Self {
        let coordinators = Default::default();
        let (log, inputs, timers) = Default::default();
        let mut world = Self { workflow, behaviour, log, decided: 0, coordinators, inputs, timers };
        world.input(accepted(&world.workflow));
        world
    }

    /// One step of somebody; `choice` says whose and which.
    pub fn step(&mut self, choice: u32) {
        let (who, rest) = (choice % 16, choice / 16);
        match who {
            0..8 => self.coordinate(who as usize % 2, rest),
            8 => self.coordinators[rest as usize % 2] = Coordinator::default(),
            9..12 => self.work(rest),
            12 => self.fire(rest),
            13 => self.person(rest),
            14 => self.stale(rest),
            _ if self.behaviour.hostile && rest.is_multiple_of(5) => self.interfere(rest / 5),
            _ => {}
        }
    }

    /// Goes on without further faults until nothing moves.
    pub fn come_to_rest(&mut self) {
        self.coordinators = Default::default();
        for round in 0..1_000 {
            if !self.inputs.is_empty() || self.coordinators[0].input.is_some() {
                self.coordinate(0, u32::MAX);
            } else if let Some((origin, attempts)) = self.outstanding() {
                let fact = self.result(origin, attempts, 0);
                self.input(fact);
            } else if self.whole().is_waiting() || !self.timers.is_empty() {
                self.person(round * 6);
                self.fire(0);
            } else {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// What the whole log folds to.
    pub fn whole(&self) -> State {
        fold(&self.log).0
    }

    /// What each coordinator has folded is what the log up to there folds to.
    pub fn coordinators_agree(&self) -> bool {
        self.coordinators
            .iter()
            .all(|coordinator| coordinator.state == fold(&self.log[..coordinator.folded]).0)
    }

    fn append(&mut self, fact: Fact) -> u64 {
        let n = self.log.len() as u64 + 1;
        self.log.push(Record { position: n * 2, time: second(n), fact });
        n * 2
    }

    fn input(&mut self, fact: Fact) {
        let position = self.append(fact);
        self.inputs.push(position);
    }

    /// Takes an input, or folds and decides, or stores one command, or acknowledges.
    fn coordinate(&mut self, who: usize, choice: u32) {
        let me = &mut self.coordinators[who];
        let Some(input) = me.input else {
            // Also one that the other has: its lease may be over.
            me.input = self.inputs.get(choice as usize % self.inputs.len().max(1)).copied();
            return;
        };
        match me.plan.pop_front() {
            Some(Command::SetTimer { timer, .. }) => drop(self.timers.insert(format!("{timer:?}"), timer)),
            Some(Command::Record(fact)) if me.after == self.decided => {
                let position = self.append(fact);
                self.decided = position;
                self.coordinators[who].after = position;
            }
            // Somebody else decided since.
            Some(Command::Record(_)) => {
                me.after = self.decided;
                me.plan.clear();
            }
            None => {
                // As far as it must, and as much further as the tail happens to have come.
                let must = self.log.partition_point(|record| record.position <= input.max(me.after));
                let until =
                    must.max(me.folded) + choice as usize % (self.log.len() - must.max(me.folded) + 1);
                for record in &self.log[me.folded..until] {
                    me.state.apply(record);
                }
                me.folded = until;
                let record = self.log.iter().find(|record| record.position == input);
                if let Some((timer, _)) = record.and_then(|record| me.state.timeout_after(&record.fact))
                    && (self.behaviour.hostile || matches!(timer, Timer::Approval { .. }))
                {
                    self.timers.insert(format!("{timer:?}"), timer);
                }
                me.plan = decide(&execution(), &me.state).into();
                me.after = me.state.decided;
                if me.plan.is_empty() {
                    me.input = None;
                    self.inputs.retain(|position| *position != input);
                }
            }
        }
    }

    /// A worker reports on any task that was ever scheduled: in time, late or again.
    fn work(&mut self, choice: u32) {
        let tasks: Vec<_> = self.tasks().collect();
        let Some(origin) = tasks.get(choice as usize % tasks.len().max(1)).cloned() else { return };
        let attempts = self.workflow.stage(&origin.stage).unwrap().retry.max_attempts;
        let fact = self.result(origin, attempts, choice / 16);
        self.input(fact);
    }

    fn tasks(&self) -> impl DoubleEndedIterator<Item = Origin> {
        self.log.iter().filter_map(|record| match &record.fact {
            Fact::Scheduled(task) => Some(origin(task.stage.as_str(), task.attempt, task.resume)),
            _ => None,
        })
    }

    /// A task that has no result since it was scheduled.
    fn outstanding(&self) -> Option<(Origin, u32)> {
        let mut open = Vec::new();
        for record in &self.log {
            match &record.fact {
                Fact::Scheduled(task) => open.push(origin(task.stage.as_str(), task.attempt, task.resume)),
                Fact::Completed(Completed { origin: has, .. })
                | Fact::Failed(Failed { origin: has, .. })
                | Fact::Paused(Paused { origin: has, .. }) => open.retain(|origin| origin != has),
                _ => {}
            }
        }
        let origin = open.into_iter().next()?;
        let attempts = self.workflow.stage(&origin.stage).unwrap().retry.max_attempts;
        Some((origin, attempts))
    }

    fn result(&self, origin: Origin, attempts: u32, choice: u32) -> Fact {
        match choice % 8 {
            1 | 2 if origin.attempt < attempts => Fact::Failed(Failed { origin, error: passing() }),
            3 if self.behaviour.hostile => {
                Fact::Failed(Failed { origin, error: Failure::terminal("BROKEN", "for good") })
            }
            4 if origin.resume < 2 => {
                paused(origin.stage.as_str(), origin.attempt, origin.resume, &["x", "y"])
            }
            5 => Fact::Progressed(Progressed {
                origin,
                kind: "node".into(),
                name: "n".into(),
                data: Object::new(),
            }),
            6 if self.workflow.stage(&origin.stage).unwrap().timeout.is_some() => Fact::Started(origin),
            _ => Fact::Completed(Completed { origin, output: Arc::new(object(json!({"n": choice % 3}))) }),
        }
    }

    fn fire(&mut self, choice: u32) {
        let keys: Vec<_> = self.timers.keys().cloned().collect();
        let Some(key) = keys.get(choice as usize % keys.len().max(1)) else { return };
        if let Some(timer) = self.timers.remove(key) {
            self.input(Fact::TimerFired(timer));
        }
    }

    /// Somebody decides a pause, which may have been decided before.
    fn person(&mut self, choice: u32) {
        let pauses = self.log.iter().rev().filter_map(|record| match &record.fact {
            Fact::Paused(paused) => Some(paused.origin.clone()),
            _ => None,
        });
        let all: Vec<_> = pauses.collect();
        let open = all.iter().find(|origin| {
            self.whole().stage(&origin.stage).is_some_and(|stage| {
                matches!(stage.phase, Phase::Paused(_))
                    && (stage.attempt, stage.resume) == (origin.attempt, origin.resume)
            })
        });
        let other = all.get(choice as usize % all.len().max(1));
        let chosen = if choice.is_multiple_of(3) { open } else { other };
        if let Some(Origin { stage, attempt, resume, .. }) = chosen.cloned() {
            let Fact::Decided(decided) = super::decided(stage.as_str(), attempt, resume, choice % 2) else {
                unreachable!()
            };
            let decided_by = VOTERS[choice as usize / 6 % VOTERS.len()].to_owned();
            self.input(Fact::Decided(Decided { decided_by, ..decided }));
        }
    }

    /// Messages of attempts that are not, not yet or never there.
    fn stale(&mut self, choice: u32) {
        let stages = &self.workflow.stages;
        let id = stages[choice as usize % stages.len()].id.clone();
        let (attempt, resume) = (choice / 16 % 4, choice / 64 % 2);
        let now = self.whole();
        if now.stage(&id).is_some_and(|stage| (stage.attempt, stage.resume) == (attempt, resume)) {
            return;
        }
        let fact = match choice / 128 % 4 {
            0 => Fact::Failed(Failed { origin: origin(id.as_str(), attempt, resume), error: passing() }),
            1 => completed("nobody", attempt, json!({})),
            2 => retry_timer(id.as_str(), attempt.min(now.stage(&id).map_or(0, |stage| stage.attempt))),
            _ => completed(id.as_str(), attempt, json!({"n": "stale"})),
        };
        self.input(fact);
    }

    fn interfere(&mut self, choice: u32) {
        match choice % 2 {
            0 => self.input(Fact::CancelRequested { reason: "enough".into(), requested_by: "me".into() }),
            _ if self.workflow.timeout.is_some() => self.input(Fact::TimerFired(Timer::Deadline)),
            _ => {}
        }
    }
}

/// The state, and why each record is void.
pub fn fold(records: &[Record]) -> (State, Vec<Option<Void>>) {
    let mut state = State::default();
    let voids = records.iter().map(|record| state.apply(record).1).collect();
    (state, voids)
}
