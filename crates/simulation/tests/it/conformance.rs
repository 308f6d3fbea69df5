//! The model of the bus against the real thing: the same operations on both, the same answers.
//!
//! The real side is the `bus` crate over a `nats-server` that is killed and started again on the way; what that crate
//! has no use for (message ids) goes over the client itself.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use mahavishnu_bus::tasks::Delivery;
use mahavishnu_bus::{Bus, Error, Options, Trace};
use mahavishnu_core::execution::{Accepted, Fact, Object, Task, Timer};
use mahavishnu_core::id::{EngineName, ExecutionId, StageId};
use mahavishnu_core::workflow::{Parsed, Workflow};
use mahavishnu_simulation::bus::{Conflict, ModelBus};
use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::wait::wait_for;

const LEASE: Duration = Duration::from_secs(1);

fn lease() -> TimeDelta {
    TimeDelta::from_std(LEASE).unwrap()
}

fn execution(name: &str) -> ExecutionId {
    ExecutionId::parse(name).unwrap()
}

fn engine() -> EngineName {
    EngineName::parse("alpha").unwrap()
}

fn workflow() -> Arc<Workflow> {
    let engines: &[&str] = &["alpha"];
    let text = r#"{"stages": [{"id": "s", "type": "alpha", "task": {}}]}"#;
    Arc::new(Parsed::json(text.as_bytes()).check(&engines).unwrap())
}

fn accepted() -> Fact {
    Fact::Accepted(Accepted {
        workflow: workflow(),
        digest: vec![1],
        notes: Vec::new(),
        requested_by: String::new(),
        forked: None,
        firing: None,
    })
}

fn cancel() -> Fact {
    Fact::CancelRequested { reason: "enough".to_owned(), requested_by: "ada".to_owned() }
}

fn scheduled(attempt: u32) -> Fact {
    Fact::Scheduled(Task {
        stage: StageId::parse("s").unwrap(),
        engine: engine(),
        pool: None,
        attempt,
        resume: 0,
        task: Object::new(),
        secret_fields: Vec::new(),
        input: Object::new(),
        dependencies: Default::default(),
        repos: Vec::new(),
        documents: Default::default(),
        timeout: None,
        deadline: None,
        resolution: None,
        update: None,
    })
}

/// Both sides; every method asserts that they answer alike.
struct Both {
    nats: TestNats,
    real: Bus,
    model: ModelBus,
    /// Receipts of the real side.
    tasks: Vec<Delivery>,
}

impl Both {
    async fn start() -> Self {
        let nats = TestNats::start().await.unwrap();
        let options = Options { lease: LEASE, ..Options::new(nats.url(), "conformance") };
        let real = Bus::connect(options).await.unwrap();
        real.ensure(&[engine()]).await.unwrap();
        let model = ModelBus::new(&[engine()], lease(), TimeDelta::milliseconds(100));
        Self { nats, real, model, tasks: Vec::new() }
    }

    async fn accept(&mut self, id: &str) -> Result<u64, Conflict> {
        let id = execution(id);
        let real = refusable(self.real.accept(&id, &accepted(), &Trace::new()).await);
        let model = self.model.accept(&id, &accepted(), "");
        assert_eq!(real, model, "accept {id}");
        model
    }

    async fn input(&mut self, id: &str) -> u64 {
        let real = self.real.input(&execution(id), &cancel(), &Trace::new()).await.unwrap();
        let model = self.model.input(&execution(id), &cancel(), "");
        assert_eq!(real, model, "input {id}");
        model
    }

    async fn decide(&mut self, id: &str, fact: Fact, after: u64) -> Result<u64, Conflict> {
        let id = execution(id);
        let real = refusable(self.real.decide(&id, &fact, after, &Trace::new()).await);
        let model = self.model.decide(&id, &fact, Some(after), "");
        assert_eq!(real, model, "decide {id} after {after}");
        model
    }

    async fn set_timer(&mut self, id: &str, timer: Timer, delay: TimeDelta) {
        let id = execution(id);
        self.real.set_timer(&id, &timer, Utc::now() + delay, &Trace::new()).await.unwrap();
        self.model.set_timer(&id, &timer, self.model.now() + delay, "");
    }

    /// Both tell the same history; waits until the real one has as many records.
    async fn history(&mut self, id: &str) -> Vec<u64> {
        let id = execution(id);
        let mut model =
            [self.model.read(&id, true, u64::MAX), self.model.read(&id, false, u64::MAX)].concat();
        model.sort_by_key(|logged| logged.record.position);
        let model: Vec<_> =
            model.into_iter().map(|logged| (logged.record.position, logged.record.fact)).collect();
        let real = wait_for("the history is as long as the model's", async || {
            let read = self.real.history(&id, 0).await.unwrap_or_default();
            (read.len() >= model.len()).then_some(read)
        });
        let real: Vec<_> = real
            .await
            .unwrap()
            .into_iter()
            .map(|stored| (stored.record.position, stored.record.fact))
            .collect();
        assert_eq!(real, model, "history of {id}");
        let last = self.real.last_position(&id).await.unwrap();
        assert_eq!(last, self.model.last_position(&id), "last position of {id}");
        model.into_iter().map(|(position, _)| position).collect()
    }

    /// The next tasks, by attempt and delivery; the same on both sides.
    async fn take_tasks(&mut self, count: usize) -> Vec<(u32, u32)> {
        let real = self.real_tasks(count).await;
        assert_eq!(real, self.model_tasks(count), "tasks");
        real
    }

    /// The next task after a restart. The server writes down now and then how often a message was delivered, so its last
    /// delivery may not count; the model then forgets it too.
    async fn restart_and_take_task(&mut self, expected: (u32, u32)) {
        self.restart_server().await;
        let real = self.real_tasks(1).await;
        let mut forgotten = real == [(expected.0, expected.1 - 1)];
        self.model.restart(|| std::mem::take(&mut forgotten));
        self.leases_end();
        assert_eq!(real, self.model_tasks(1), "tasks");
    }

    async fn real_tasks(&mut self, count: usize) -> Vec<(u32, u32)> {
        let queue = self.real.task_queue(&engine()).await.unwrap();
        let mut real = Vec::new();
        while real.len() < count {
            let Ok(Some(delivery)) = queue.next().await else { continue };
            real.push((delivery.task.attempt, delivery.delivery));
            self.tasks.push(delivery);
        }
        // Which of several that come again comes first is nobody's promise.
        real.sort_unstable();
        real
    }

    fn model_tasks(&mut self, count: usize) -> Vec<(u32, u32)> {
        let mut model: Vec<_> = (0..count)
            .map(|_| {
                let delivery = self.model.pull(&(&engine()).into()).unwrap();
                let Fact::Scheduled(task) = &delivery.fact else { panic!("{delivery:?}") };
                (task.attempt, delivery.delivery)
            })
            .collect();
        model.sort_unstable();
        model
    }

    /// The last receipt of the task of an attempt.
    fn receipt(&self, attempt: u32) -> usize {
        self.tasks.iter().rposition(|delivery| delivery.task.attempt == attempt).unwrap()
    }

    /// Acknowledges the nth receipt of a task, at this position.
    async fn ack_task(&mut self, receipt: usize, position: u64) {
        self.tasks[receipt].ack().await;
        self.model.ack(&(&engine()).into(), position);
    }

    /// The leases end. The real ones do so by themselves: whoever takes next waits for it.
    fn leases_end(&mut self) {
        self.model.pass(lease());
    }

    async fn restart(&mut self) {
        self.restart_server().await;
        self.model.restart(|| false);
    }

    async fn restart_server(&mut self) {
        self.nats.restart().await.unwrap();
        wait_for("the bus is connected again", async || {
            (self.real.is_connected() && self.real.last_position(&execution("e1")).await.is_ok())
                .then_some(())
        })
        .await
        .unwrap();
    }
}

fn refusable(answer: Result<u64, Error>) -> Result<u64, Conflict> {
    match answer {
        Ok(position) => Ok(position),
        Err(Error::Conflict) => Err(Conflict),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_positions() {
    let mut both = Both::start().await;
    let first = both.accept("e1").await.unwrap();
    assert_eq!(both.accept("e1").await, Err(Conflict));
    assert!(both.decide("e1", scheduled(1), 7).await.is_err());
    let task = both.decide("e1", scheduled(1), 0).await.unwrap();
    assert_eq!(both.decide("e1", scheduled(1), 0).await, Err(Conflict));
    // An input does not disturb the condition, and another execution has its own.
    let input = both.input("e1").await;
    both.accept("e2").await.unwrap();
    both.decide("e2", Fact::ExecutionCompleted, 0).await.unwrap();
    let end = both.decide("e1", Fact::ExecutionCompleted, task).await.unwrap();
    assert_eq!(both.decide("e1", scheduled(2), task).await, Err(Conflict));
    both.input("e3").await;
    assert_eq!(both.accept("e3").await, Err(Conflict));
    both.restart().await;
    assert_eq!(both.history("e1").await, [first, task, input, end]);
    assert_eq!(both.decide("e1", scheduled(2), task).await, Err(Conflict));
    assert_eq!(both.accept("e2").await, Err(Conflict));
    let late = both.input("e1").await;
    assert_eq!(both.history("e1").await, [first, task, input, end, late]);
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_fire_once_and_are_replaced() {
    let mut both = Both::start().await;
    let first = both.accept("e1").await.unwrap();
    let retry = Timer::Retry { stage: StageId::parse("s").unwrap(), attempt: 2 };
    both.set_timer("e1", retry.clone(), TimeDelta::hours(1)).await;
    both.set_timer("e1", Timer::Deadline, TimeDelta::hours(1)).await;
    // Set again: the first is gone.
    both.set_timer("e1", retry, TimeDelta::seconds(1)).await;
    both.restart().await;
    both.model.pass(TimeDelta::seconds(1));
    let all = both.history("e1").await;
    assert_eq!((all.len(), all[0]), (2, first));
    let after = both.input("e1").await;
    assert_eq!(after, all[1] + 1);
    // One that is late fires all the same.
    both.set_timer("e1", Timer::Deadline, TimeDelta::seconds(-60)).await;
    assert_eq!(both.history("e1").await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_acknowledged_comes_again() {
    let mut both = Both::start().await;
    both.accept("e1").await.unwrap();
    let first = both.decide("e1", scheduled(1), 0).await.unwrap();
    let second = both.decide("e1", scheduled(2), first).await.unwrap();
    assert_eq!(both.take_tasks(2).await, [(1, 1), (2, 1)]);
    both.ack_task(both.receipt(1), first).await;
    both.leases_end();
    assert_eq!(both.take_tasks(1).await, [(2, 2)]);
    both.restart_and_take_task((2, 3)).await;
    both.ack_task(both.receipt(2), second).await;
    both.decide("e1", scheduled(3), second).await.unwrap();
    assert_eq!(both.take_tasks(1).await, [(3, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_are_not_fenced() {
    let mut both = Both::start().await;
    both.accept("e1").await.unwrap();
    let task = both.decide("e1", scheduled(1), 0).await.unwrap();
    assert_eq!(both.take_tasks(1).await, [(1, 1)]);
    both.leases_end();
    assert_eq!(both.take_tasks(1).await, [(1, 2)]);
    // By the first receipt, whose lease is over.
    both.ack_task(0, task).await;
    both.leases_end();
    both.decide("e1", scheduled(2), task).await.unwrap();
    assert_eq!(both.take_tasks(1).await, [(2, 1)], "the first task does not come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_forgets() {
    let mut nats = TestNats::start().await.unwrap();
    for (name, window) in [("LONG", 120_000), ("SHORT", 100)] {
        let window = TimeDelta::milliseconds(window);
        let mut model = ModelBus::new(&[engine()], lease(), window);
        let client = async_nats::connect(nats.url()).await.unwrap();
        let js = async_nats::jetstream::new(client);
        let config = async_nats::jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![format!("{name}.*")],
            duplicate_window: window.to_std().unwrap(),
            ..Default::default()
        };
        let stream = js.create_stream(config).await.unwrap();
        let publish = async |model: &mut ModelBus, id: &str| {
            let message = async_nats::jetstream::message::PublishMessage::build().message_id(id);
            let ack = wait_for("the server answers", async || {
                js.send_publish(format!("{name}.x"), message.clone()).await.ok()?.await.ok()
            });
            let position = model.input_once(&execution("e1"), &cancel(), "", id);
            assert_eq!(ack.await.unwrap().sequence, position, "{name} {id}");
            position
        };
        let first = publish(&mut model, "a").await;
        publish(&mut model, "b").await;
        if name == "LONG" {
            assert_eq!(publish(&mut model, "a").await, first, "known");
            nats.restart().await.unwrap();
            model.restart(|| false);
            assert_eq!(publish(&mut model, "a").await, first, "still stored, so still known");
            wait_for("the message is deleted", async || stream.delete_message(first).await.ok())
                .await
                .unwrap();
            model.delete(first);
            nats.restart().await.unwrap();
            model.restart(|| false);
            assert_ne!(publish(&mut model, "a").await, first, "gone, so forgotten");
        } else {
            // Two windows, by the server's own clock.
            tokio::time::sleep(window.to_std().unwrap() * 2).await;
            model.pass(window * 2);
            assert_ne!(publish(&mut model, "a").await, first, "forgotten");
        }
    }
}
