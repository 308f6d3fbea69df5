//! The no-op engine, which benchmarks and tests use, between real programs.

use std::path::{Path, PathBuf};

use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::system::{Home, Running, eventually, finished, programs};
use rustix::process::Signal;
use serde_json::Value;

use crate::ran::Ran;
use crate::support::{RUN, SHORT, SOON, START, mahavishnu, test};

/// Registers it.
fn engines() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/engines.yaml")
}

const WORKFLOW: &str = "
stages:
  - {id: first, type: noop, task: {progress: 2, sleep_ms: 5, output: {n: 1}}}
  - {id: again, type: noop, task: {fail: {reason: PASSING, retryable: true, attempts: 1}, size: 10},
     retry: {max_attempts: 2, initial_backoff: 1ms}}
  - {id: asks, type: noop, task: {approve: true, output: {n: '${{ stages.first.output.n + 1 }}'}}}
  - {id: slow, type: noop, task: {sleep_ms: 60000}, timeout: 50ms, retry: {max_attempts: 1}}
";

/// Server and coordinator.
struct Parts {
    home: Home,
    nats: TestNats,
    endpoint: String,
    _coordinator: Running,
}

impl Parts {
    async fn new() -> Self {
        let home = Home::temporary().unwrap();
        let nats = TestNats::start().await.unwrap();
        let mut command = programs().await.unwrap().command("mahavishnu-coordinator", &home).unwrap();
        command.args(["--listen", "127.0.0.1:0", "--nats", nats.url(), "--engines"]).arg(engines());
        let mut coordinator = Running::start(command, &home.path().join("coordinator.log")).unwrap();
        let said = coordinator.ready(START).await.unwrap();
        let endpoint = format!("http://{}", said["address"].as_str().unwrap());
        Self { home, nats, endpoint, _coordinator: coordinator }
    }

    async fn worker(&self, name: &str) -> Running {
        self.worker_with(name, &[]).await
    }

    async fn worker_with(&self, name: &str, more: &[&str]) -> Running {
        let mut command = mahavishnu(&self.home, &["worker", "noop", "--nats", self.nats.url()]).await;
        command.args(more);
        let mut worker = Running::start(command, &self.log(name)).unwrap();
        assert_eq!(worker.ready(START).await.unwrap()["engine"], "noop");
        worker
    }

    fn log(&self, worker: &str) -> PathBuf {
        self.home.path().join(worker).with_extension("log")
    }

    async fn run(&self, workflow: &str) -> Ran {
        let arguments = ["run", "--json", "--approve", "--endpoint", &self.endpoint, "-"];
        let command = mahavishnu(&self.home, &arguments).await;
        let said = finished(command, workflow.as_bytes(), RUN).await.unwrap();
        Ran::new(said.code, &said.out, said.err)
    }

    /// Has a stage begin; gives its client and its worker.
    async fn begin(&self, name: &str, task: &str) -> (Running, Value) {
        let file = self.home.path().join(name).with_extension("yaml");
        let workflow = format!("stages: [{{id: s, type: noop, retry: {{max_attempts: 1}}, task: {task}}}]");
        std::fs::write(&file, workflow).unwrap();
        let mut command = mahavishnu(&self.home, &["run", "--json", "--endpoint", &self.endpoint]).await;
        command.arg(file);
        let mut client = Running::start(command, &self.log(name)).unwrap();
        let started = self.until(&mut client, "stage_started").await;
        (client, started["stage_started"]["worker_id"].clone())
    }

    /// The next event of this kind.
    async fn until(&self, client: &mut Running, kind: &str) -> Value {
        loop {
            let event = client.json(START).await.unwrap().expect("no such event");
            if !event[kind].is_null() {
                return event;
            }
        }
    }

    /// The whole history as it is now, also what came after the end.
    async fn history(&self, id: &str) -> Ran {
        let watch = async |after: &str| {
            let arguments =
                ["executions", "watch", id, "--json", "--after", after, "--endpoint", &self.endpoint];
            finished(mahavishnu(&self.home, &arguments).await, b"", SHORT).await.unwrap()
        };
        let said = watch("0").await;
        let mut ran = Ran::new(said.code, &said.out, said.err);
        let end = ran.events.last().unwrap()["sequence"].to_string();
        ran.events.extend(Ran::new(None, &watch(&end).await.out, String::new()).events);
        ran
    }
}

#[test]
fn an_output_larger_than_its_limit_fails_its_attempt_for_good() {
    test(async {
        let parts = Parts::new().await;
        let _worker = parts.worker_with("worker", &["--max-artifact-bytes", "1048576"]).await;
        let workflow = "stages: [{id: s, type: noop, task: {size: 2000000}, retry: {max_attempts: 3}}]";
        let ran = parts.run(workflow).await;
        ran.ended_once("execution_failed");
        let failed: Vec<_> = ran.of("stage_failed").map(|event| &event["stage_failed"]["error"]).collect();
        assert_eq!((failed.len(), &failed[0]["reason"]), (1, &"OUTPUT_TOO_LARGE".into()), "{}", ran.story());
        assert!(failed[0]["message"].as_str().unwrap().contains("1048576 bytes"), "{}", failed[0]);
    });
}

#[test]
fn progress_keeps_its_order_and_a_flood_of_it_ends() {
    test(async {
        let parts = Parts::new().await;
        let _worker = parts.worker("worker").await;
        let ran = parts.run("stages: [{id: s, type: noop, task: {progress: 4000000000}}]").await;
        ran.ended_once("execution_completed");
        let names = ran.of("stage_progress").map(|event| event["stage_progress"]["name"].as_str().unwrap());
        let expected = (1..2_000).map(|n| n.to_string()).chain(["PROGRESS_LIMIT".to_owned()]);
        assert!(names.eq(expected), "{}", ran.story());
    });
}

#[test]
fn the_noop_engine_does_what_its_tasks_say() {
    test(async {
        let parts = Parts::new().await;
        let _worker = parts.worker("worker").await;
        let ran = parts.run(WORKFLOW).await;
        ran.ended_once("execution_failed");
        assert_eq!(ran.output("first")["n"], 1, "{}", ran.story());
        assert_eq!(ran.of("stage_progress").count(), 2);
        assert_eq!(ran.output("again")["padding"], "x".repeat(10));
        let failed: Vec<_> =
            ran.of("stage_failed").map(|event| &event["stage_failed"]["error"]["reason"]).collect();
        assert_eq!(failed, ["PASSING", "TIMEOUT"]);
        let asks = ran.output("asks");
        assert_eq!((asks["n"].as_i64(), asks["approved"].as_bool()), (Some(2), Some(true)), "{asks}");
    });
}

/// Three attempts of a worker that is stopped until others have them: one that was done meanwhile, one that had failed, one
/// that goes on.
#[test]
fn a_lost_lease_gives_a_void_result_or_none_and_never_a_failure() {
    test(async {
        let parts = Parts::new().await;
        let first = parts.worker("first").await;
        let (mut done, one) = parts.begin("done", "{sleep_ms: 4000}").await;
        let (mut failed, _) = parts.begin("failed", "{sleep_ms: 4000, fail: {reason: BROKEN}}").await;
        let (mut client, _) = parts.begin("going", "{sleep_ms: 600000}").await;
        first.signal(Signal::STOP).unwrap();
        let _second = parts.worker("second").await;
        let done = parts.until(&mut done, "execution_completed").await;
        let failed = parts.until(&mut failed, "execution_failed").await;
        let again = parts.until(&mut client, "stage_started").await;
        let [done, failed, going] =
            [&done, &failed, &again].map(|event| event["execution_id"].as_str().unwrap());
        assert_eq!(again["stage_started"]["delivery"], 2, "{again}");
        first.signal(Signal::CONT).unwrap();
        let lost = || {
            let log = std::fs::read_to_string(parts.log("first")).ok()?;
            (log.matches("the lease is lost").count() == 2).then_some(())
        };
        eventually("two attempts are given up", SOON, lost).await.unwrap();

        // What was done is told, though it came too late, and nobody sees it as a second result.
        let late = loop {
            let history = parts.history(done).await;
            let void =
                |event: &&Value| !event["void_reason"].is_null() && !event["stage_completed"].is_null();
            if let Some(late) = history.events.iter().find(void) {
                break late.clone();
            }
        };
        assert_eq!(late["stage_completed"]["worker_id"], one, "{late}");
        assert!(parts.history(done).await.output("s").is_object());
        // What had failed, and what went on, told nothing.
        let cancel = ["executions", "cancel", going, "--endpoint", &parts.endpoint];
        assert_eq!(finished(mahavishnu(&parts.home, &cancel).await, b"", SHORT).await.unwrap().code, Some(0));
        for id in [failed, going] {
            let history = parts.history(id).await;
            let told = |event: &&Value| {
                ["stage_completed", "stage_failed"].iter().any(|kind| event[kind]["worker_id"] == one)
            };
            assert!(!history.events.iter().any(|event| told(&event)), "{}", history.story());
        }
        let history = parts.history(failed).await;
        assert_eq!(history.of("stage_failed").count(), 1, "{}", history.story());
    });
}
