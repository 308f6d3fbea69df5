use std::sync::Arc;
use std::time::Duration;

use mahavishnu_bus::tasks::{Delivery, TaskQueue};
use mahavishnu_bus::{Bus, Options};
use mahavishnu_core::execution::{Completed, Fact, Failed, Failure, Origin, Paused, Progressed, Question};
use mahavishnu_core::id::{EngineName, PoolName, Queue, WorkerId};
use mahavishnu_proto::worker::Heartbeat;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// What the checkpoint of every pause holds.
pub const CHECKPOINT: &[u8] = b"where it stopped";

/// A worker played by the test.
#[derive(Clone)]
pub struct Worker {
    pub bus: Bus,
    queue: TaskQueue,
    id: WorkerId,
    pool: &'static str,
}

pub enum Outcome {
    Completed(Value),
    Failed(Failure),
    /// With these keys to decide.
    Paused(&'static [&'static str]),
}

impl Worker {
    pub async fn join(nats: &TestNats) -> Self {
        let bus = Bus::connect(Options::new(nats.url(), "worker")).await.unwrap();
        let queue = bus.task_queue(&EngineName::parse("custom").unwrap()).await.unwrap();
        Self { bus, queue, id: WorkerId::parse("w1").unwrap(), pool: "" }
    }

    /// One that takes the tasks of a pool, once a coordinator has heard of it and made the queue.
    pub async fn join_pool(nats: &TestNats, pool: &'static str) -> Self {
        let base = Self::join(nats).await;
        let (engine, name) = (EngineName::parse("custom").unwrap(), PoolName::parse(pool).unwrap());
        let wanted = Queue { engine, pool: Some(name) };
        let found = wait_for("the pool's queue", async || {
            Self { pool, id: WorkerId::parse(pool).unwrap(), ..base.clone() }.heartbeat().await;
            base.bus.task_queue(&wanted).await.ok()
        });
        let queue = found.await.unwrap();
        Self { pool, id: WorkerId::parse(pool).unwrap(), queue, ..base }
    }

    /// Says that it is there until the handle is dropped.
    pub fn beat(&self) -> AbortOnDropHandle<()> {
        let worker = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(500));
            loop {
                ticks.tick().await;
                worker.heartbeat().await;
            }
        }))
    }

    /// Says once that it is there.
    pub async fn heartbeat(&self) {
        let (worker_id, engine) = (self.id.to_string(), "custom".to_owned());
        let heartbeat = Heartbeat {
            worker_id,
            engine,
            pool: self.pool.into(),
            slots: 1,
            isolation: "process".into(),
            ..Heartbeat::default()
        };
        self.bus.heartbeat(&EngineName::parse("custom").unwrap(), &self.id, &heartbeat).await;
    }

    /// The next task, whenever it comes.
    pub async fn take(&self) -> Delivery {
        in_time("a task", self.next()).await.unwrap()
    }

    /// The same without a limit.
    pub async fn next(&self) -> Delivery {
        loop {
            match self.queue.next().await {
                Ok(Some(delivery)) => return delivery,
                Ok(None) => {}
                Err(error) => println!("no task: {error:?}"),
            }
        }
    }

    pub fn origin(&self, delivery: &Delivery) -> Origin {
        Origin {
            stage: delivery.task.stage.clone(),
            attempt: delivery.task.attempt,
            resume: delivery.task.resume,
            delivery: delivery.delivery,
            worker: self.id.clone(),
            started: chrono::Utc::now(),
        }
    }

    pub async fn input(&self, delivery: &Delivery, fact: &Fact) {
        self.bus.input(&delivery.execution, fact, &delivery.trace).await.unwrap();
    }

    pub async fn start(&self, delivery: &Delivery) {
        self.input(delivery, &Fact::Started(self.origin(delivery))).await;
    }

    pub async fn progress(&self, delivery: &Delivery, name: &str) {
        self.input(delivery, &Fact::Progressed(self.progressed(delivery, name))).await;
    }

    /// Completes the stage, with progress in the same message.
    pub async fn complete_after(&self, delivery: &Delivery, progress: &[&str]) {
        let before: Vec<_> = progress.iter().map(|name| self.progressed(delivery, name)).collect();
        let completed = Fact::Completed(Completed { origin: self.origin(delivery), output: Arc::default() });
        self.bus.input_after(&delivery.execution, &before, &completed, &delivery.trace).await.unwrap();
        delivery.ack().await;
    }

    fn progressed(&self, delivery: &Delivery, name: &str) -> Progressed {
        let (origin, data) = (self.origin(delivery), object(json!({"n": 1})));
        Progressed { origin, kind: "node".into(), name: name.into(), data }
    }

    /// Stores the outcome without acknowledging the task.
    pub async fn store(&self, delivery: &Delivery, outcome: Outcome) {
        let origin = self.origin(delivery);
        let fact = match outcome {
            Outcome::Completed(output) => {
                Fact::Completed(Completed { origin, output: Arc::new(object(output)) })
            }
            Outcome::Failed(error) => Fact::Failed(Failed { origin, error }),
            Outcome::Paused(keys) => {
                let payload = || object(json!({"draft": "text"}));
                let question = |key: &&str| Question {
                    key: (*key).into(),
                    title: format!("{key}?"),
                    payload: payload(),
                };
                let checkpoint = Some(self.bus.put_artifact(CHECKPOINT.into()).await.unwrap());
                Fact::Paused(Paused { origin, questions: keys.iter().map(question).collect(), checkpoint })
            }
        };
        self.input(delivery, &fact).await;
    }

    pub async fn report(&self, delivery: &Delivery, outcome: Outcome) {
        self.store(delivery, outcome).await;
        delivery.ack().await;
    }

    /// Takes the next task, which is of this stage, and completes it.
    pub async fn complete(&self, stage: &str, output: Value) {
        let delivery = self.take().await;
        assert_eq!(delivery.task.stage.as_str(), stage);
        self.report(&delivery, Outcome::Completed(output)).await;
    }

    /// Completes whatever comes, until the handle is dropped.
    pub fn serve(&self) -> AbortOnDropHandle<()> {
        let worker = self.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let Ok(Some(delivery)) = worker.queue.next().await else { continue };
                let output = json!({"stage": delivery.task.stage.as_str()});
                worker.report(&delivery, Outcome::Completed(output)).await;
            }
        }))
    }
}
