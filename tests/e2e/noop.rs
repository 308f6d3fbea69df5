//! The no-op engine, which benchmarks and tests use, between real programs.

use std::path::{Path, PathBuf};

use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::system::{Home, Running, finished, programs};

use crate::ran::Ran;
use crate::support::{START, mahavishnu, test};

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

#[test]
fn the_noop_engine_does_what_its_tasks_say() {
    test(async {
        let home = Home::temporary().unwrap();
        let nats = TestNats::start().await.unwrap();
        let mut command = programs().await.unwrap().command("mahavishnu-coordinator", &home).unwrap();
        command.args(["--listen", "127.0.0.1:0", "--nats", nats.url(), "--engines"]).arg(engines());
        let mut coordinator = Running::start(command, &home.path().join("coordinator.log")).unwrap();
        let said = coordinator.ready(START).await.unwrap();
        let endpoint = format!("http://{}", said["address"].as_str().unwrap());
        let command = mahavishnu(&home, &["worker", "noop", "--nats", nats.url()]).await;
        let mut worker = Running::start(command, &home.path().join("worker.log")).unwrap();
        assert_eq!(worker.ready(START).await.unwrap()["engine"], "noop");

        let file = home.path().join("workflow.yaml");
        std::fs::write(&file, WORKFLOW).unwrap();
        let mut command = mahavishnu(&home, &["run", "--json", "--approve", "--endpoint", &endpoint]).await;
        command.arg(file);
        let said = finished(command, b"", START).await.unwrap();
        let ran = Ran::new(said.code, &said.out, said.err);
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
