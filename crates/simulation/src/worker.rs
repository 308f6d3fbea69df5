//! A worker: takes tasks of one engine, runs them, stores the result, then acknowledges; dies or is stopped anywhere.

use std::sync::Arc;

use chrono::TimeDelta;
use mahavishnu_core::execution::{
    Completed, Fact, Failed, Failure, Object, Origin, Paused, Progressed, Question, Task,
};
use mahavishnu_core::id::{ArtifactId, EngineName, Queue, WorkerId};
use serde_json::json;

use crate::bus::Delivery;
use crate::environment::{Environment, Reply, Write};
use crate::mutation::Mutation;

/// Attempts at the same time.
const SLOTS: usize = 3;
/// Tries of one write before the delivery is left to come again.
const TRIES: u32 = 3;
/// A task that was delivered more often fails.
const MAX_DELIVERIES: u32 = 5;

enum Doing {
    Starting,
    Working,
    Storing(Fact, u32),
    Acknowledging,
}

struct Attempt {
    delivery: Delivery,
    task: Task,
    trace: String,
    doing: Doing,
}

/// A worker process.
pub struct Worker {
    id: WorkerId,
    queue: Queue,
    attempts: Vec<Attempt>,
    /// Stopped, and to be continued: what it does then may be long stale.
    pub stopped: bool,
}

impl Worker {
    pub fn new(name: &str, engine: EngineName) -> Self {
        let id = WorkerId::parse(name).unwrap();
        Self { id, queue: (&engine).into(), attempts: Vec::new(), stopped: false }
    }

    /// Killed and started again.
    pub fn restart(&mut self) {
        self.attempts.clear();
        self.stopped = false;
    }

    pub fn is_idle(&self) -> bool {
        self.attempts.is_empty()
    }

    /// Takes a task, if there is a free slot.
    pub fn take(&mut self, env: &mut Environment) {
        if self.attempts.len() >= SLOTS {
            return;
        }
        let Some(delivery) = env.bus.pull(&self.queue) else { return };
        if env.fault("task lost on its way", 10) {
            return;
        }
        let Fact::Scheduled(task) = delivery.fact.clone() else { panic!("not a task: {delivery:?}") };
        let mut trace = delivery.trace.clone();
        if env.makes(Mutation::TraceLost) && delivery.delivery > 1 {
            trace = format!("{trace} again");
        }
        self.attempts.push(Attempt { delivery, task, trace, doing: Doing::Starting });
    }

    /// Goes on with one of the attempts.
    pub fn work(&mut self, env: &mut Environment) {
        if self.attempts.is_empty() {
            return;
        }
        let index = env.rng.usize(..self.attempts.len());
        let mut attempt = self.attempts.swap_remove(index);
        // The lease is known to be lost: nothing is said, somebody else has the task.
        if env.fault("lease lost", 5) {
            return;
        }
        if self.go_on(&mut attempt, env) {
            self.attempts.push(attempt);
        }
    }

    fn go_on(&self, attempt: &mut Attempt, env: &mut Environment) -> bool {
        let (id, position) = (attempt.delivery.execution.clone(), attempt.delivery.position);
        match &mut attempt.doing {
            Doing::Starting => {
                // Only an attempt with a limit says so durably.
                let started = Write::Input(Fact::Started(self.origin(attempt)));
                let limited = attempt.task.timeout.is_some();
                if !limited || env.write(&id, &started, &attempt.trace) != Reply::Silence {
                    attempt.doing = Doing::Working;
                }
            }
            Doing::Working => match env.rng.u32(..10) {
                0..3 => env.bus.progress(&self.queue, position),
                3 => drop(env.write(&id, &Write::Input(self.progress(attempt)), &attempt.trace)),
                4 if env.fault("task given back", 30) => {
                    env.bus.give_back(&self.queue, position, TimeDelta::zero());
                    return false;
                }
                4..7 => {}
                _ => {
                    let fact = self.result(attempt, env);
                    if env.makes(Mutation::TaskAckedFirst) {
                        env.bus.ack(&self.queue, position);
                    }
                    attempt.doing = Doing::Storing(fact, 0);
                }
            },
            Doing::Storing(fact, tries) => {
                let write = Write::Input(fact.clone());
                match env.write(&id, &write, &attempt.trace) {
                    Reply::Stored(_) => attempt.doing = Doing::Acknowledging,
                    _ if *tries >= TRIES => return false,
                    _ => *tries += 1,
                }
            }
            Doing::Acknowledging => {
                if !env.fault("acknowledgement lost", 30) {
                    env.bus.ack(&self.queue, position);
                }
                return false;
            }
        }
        true
    }

    fn origin(&self, attempt: &Attempt) -> Origin {
        let Task { stage, attempt: number, resume, .. } = &attempt.task;
        Origin {
            stage: stage.clone(),
            attempt: *number,
            resume: *resume,
            delivery: attempt.delivery.delivery,
            worker: self.id.clone(),
            started: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn progress(&self, attempt: &Attempt) -> Fact {
        let (kind, name) = ("node".to_owned(), "n".to_owned());
        Fact::Progressed(Progressed { origin: self.origin(attempt), kind, name, data: Object::new() })
    }

    /// What the engine does, by the seed; another delivery of the same task may see something else.
    fn result(&self, attempt: &Attempt, env: &mut Environment) -> Fact {
        let origin = self.origin(attempt);
        if origin.delivery > MAX_DELIVERIES {
            let error = Failure::terminal("DELIVERIES_EXHAUSTED", "no worker survived it");
            return Fact::Failed(Failed { origin, error });
        }
        let choice = env.rng.u32(..20);
        if choice < 4 && origin.resume < 2 {
            let question =
                |n: u32| Question { key: n.to_string(), title: String::new(), payload: Object::new() };
            let questions = (0..env.rng.u32(1..3)).map(question).collect();
            let checkpoint = ArtifactId::parse(&"c".repeat(64)).unwrap();
            return Fact::Paused(Paused { origin, questions, checkpoint: Some(checkpoint) });
        }
        let broken = env.hostile && choice == 4;
        if broken || (4..8).contains(&choice) {
            if env.makes(Mutation::FailureAsSuccess) {
                return Fact::Completed(Completed { origin, output: Arc::new(Object::new()) });
            }
            let error = match broken {
                true => Failure::terminal("BROKEN", "for good"),
                false => Failure::retryable("PASSING", "try again"),
            };
            return Fact::Failed(Failed { origin, error });
        }
        let output = json!({"n": env.rng.u32(..3), "by": format!("{}.{}", self.id, origin.delivery)});
        let output = Arc::new(output.as_object().unwrap().clone());
        let stage = origin.stage.to_string();
        let number = (origin.attempt, origin.resume, origin.delivery);
        env.gave((attempt.delivery.execution.clone(), stage, number.0, number.1, number.2), &output);
        Fact::Completed(Completed { origin, output })
    }
}
