//! User code that does what a worker must survive, on every engine:
//!
//! | | Agno | LangGraph | LlamaIndex | Prefect |
//! |---|---|---|---|---|
//! | hangs | `TIMEOUT` | `TIMEOUT` | `TIMEOUT` | `TIMEOUT` |
//! | does not obey a cancellation | gone within a second | the same | the same | the same |
//! | floods | progress ends with a word, the result is whole | the same | the same | the result is whole |
//! | prints | in the worker's log | the same | the same | the same |
//! | leaks | `MEMORY_EXCEEDED` | the same | the same | the same |
//! | is killed | tried again from its beginning | where it stood | from its beginning | what had finished is not repeated |
//! | holds the event loop of a `shared` host | interrupted within a second of a cancellation; the others beside it go on | the same | the same | the same |
//! | and cannot be interrupted | the host is replaced within six seconds | the same | the same | the same |
//! | makes a `shared` host outgrow its ceiling | | what runs ends in it, the next attempts are in another one | | |
//! | leaks in a `shared` host | | `MEMORY_EXCEEDED`, and what ran beside it is tried again | | |
//!
//! Against the plain library, and cancelled in both isolations: the engine hosts' own tests (`test_unruly.py`), which use the
//! same objects.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mahavishnu_proto::v1::execution::State;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use mahavishnu_proto::v1::{CancelExecutionRequest, ExecutionFilter, ListExecutionsRequest};
use mahavishnu_test_support::system::{Home, Running, eventually};
use mahavishnu_test_support::wait::wait_for;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::site::Site;
use crate::support::{SOON, START, test};

/// The ceiling of an attempt's process, in MiB.
const MEMORY: &str = "512";
/// From the call to the end of what does not obey.
const LIMIT: Duration = Duration::from_secs(1);
/// The same for what holds the event loop of a `shared` host and cannot be interrupted: the loop may only be busy.
const SHARED_LIMIT: Duration = Duration::from_secs(6);

/// An engine whose object misbehaves.
struct Engine {
    name: &'static str,
    /// The reference form, with a placeholder for the object, the place and the case.
    task: fn(&str, &str, &str) -> Value,
    /// Where the second part's result is in the output.
    result: &'static str,
    /// The object that floods, and whether more is told on the way than is kept.
    flood: (&'static str, bool),
    /// The object whose second part is on the event loop.
    on_the_loop: &'static str,
    /// How often the first part has run when its process was killed in the second one.
    first: usize,
}

static ENGINES: [Engine; 4] = [
    Engine {
        name: "agno",
        task: |name, place, case| json!({"agent": format!("steps.py:{name}"), "task": format!("{case} {place}")}),
        result: "/content",
        flood: ("flood", true),
        on_the_loop: "unruly",
        first: 2,
    },
    Engine {
        name: "langgraph",
        task: |name, place, case| json!({"graph": format!("graph.py:{name}"), "input": {"place": place, "case": case}}),
        result: "/state/result",
        flood: ("unruly", true),
        on_the_loop: "stuck",
        first: 1,
    },
    Engine {
        name: "llamaindex",
        task: |name, place, case| json!({"workflow": format!("events.py:{name}"), "input": {"place": place, "case": case}}),
        result: "/result",
        flood: ("unruly", true),
        on_the_loop: "unruly",
        first: 2,
    },
    Engine {
        name: "prefect",
        task: |name, place, case| json!({"flow": format!("pipes.py:{name}"), "parameters": {"place": place, "case": case}}),
        result: "/result",
        flood: ("unruly", false),
        on_the_loop: "stuck",
        first: 1,
    },
];

/// One engine with its worker, and a directory in which its cases tell of themselves.
struct Bench<'a> {
    site: &'a Site,
    engine: &'a Engine,
    place: &'a Path,
    log: &'a Path,
}

impl Bench<'_> {
    fn workflow(&self, object: &str, case: &str, attempts: u32) -> Value {
        let Engine { name, task, .. } = self.engine;
        let task = task(object, self.place.to_str().unwrap(), case);
        let retry = json!({"max_attempts": attempts, "initial_backoff": "10ms"});
        let stage = json!({"id": "s", "type": name, "retry": retry, "task": task});
        json!({"stages": [stage], "labels": {"case": format!("{name}-{case}")}})
    }

    async fn run(&self, case: &str) -> Ran {
        self.site.run(self.workflow("unruly", case, 1)).await
    }

    fn result<'r>(&self, ran: &'r Ran) -> &'r Value {
        ran.output("s").pointer(self.engine.result).unwrap_or_else(|| panic!("{}", ran.story()))
    }

    /// The process that a case is in.
    async fn process(&self, case: &str) -> Pid {
        let said = || std::fs::read_to_string(self.place.join(case)).ok()?.parse().ok();
        Pid::from_raw(eventually("the case runs", START, said).await.unwrap()).unwrap()
    }

    async fn hangs(&self) {
        let mut workflow = self.workflow("unruly", "hang", 1);
        workflow["stages"][0]["timeout"] = "8s".into();
        let (ran, process) = tokio::join!(self.site.run(workflow), self.process("hang"));
        assert_eq!(failure(&ran)["reason"], "TIMEOUT", "{}", ran.story());
        gone(process).await;
    }

    async fn floods(&self) {
        let (object, told) = self.engine.flood;
        let ran = self.site.run(self.workflow(object, "flood", 1)).await;
        assert_eq!(self.result(&ran).as_str().unwrap().len(), 3_000_000);
        let progress: Vec<&Value> = ran.of("stage_progress").collect();
        assert!((1..=2_000).contains(&progress.len()), "{} events of progress", progress.len());
        let ended = progress.last().unwrap()["stage_progress"]["name"] == "PROGRESS_LIMIT";
        assert_eq!(ended, told, "{}: {}", self.engine.name, progress.last().unwrap());
    }

    async fn prints(&self) {
        let ran = self.run("print").await;
        assert_eq!(self.result(&ran), "printed");
        let log = std::fs::read_to_string(self.log).unwrap();
        assert!(log.contains("a line on standard output 19999") && log.contains("a child"));
        let longest = log.lines().map(str::len).max().unwrap();
        assert!(longest < 70_000, "a line of {longest} bytes");
    }

    async fn leaks(&self) {
        let (ran, process) = tokio::join!(self.run("leak"), self.process("leak"));
        assert_eq!(failure(&ran)["reason"], "MEMORY_EXCEEDED", "{}", ran.story());
        let message = failure(&ran)["message"].as_str().unwrap();
        assert!(message.contains("512 MiB") && message.contains("--memory-mib"), "{message}");
        gone(process).await;
    }

    async fn is_killed(&self) {
        let kill = async { kill_process(self.process("held").await, Signal::KILL).unwrap() };
        let (ran, ()) = tokio::join!(self.site.run(self.workflow("unruly", "held", 2)), kill);
        assert_eq!(self.result(&ran), "passed");
        assert_eq!(failure(&ran)["reason"], "HOST_DIED", "{}", ran.story());
        let first = std::fs::read_to_string(self.place.join("held.first")).unwrap().len();
        assert_eq!(first, self.engine.first, "{}: runs of what had finished", self.engine.name);
    }

    /// Cancels what does not obey, once it runs; in which process, and how long it takes from the call until it has `stopped`.
    async fn cancelled(&self, case: &str, stopped: impl Fn(&Self, Pid) -> bool) -> (Pid, Duration) {
        let pid = self.process(case).await;
        let mut client = ExecutionServiceClient::connect(self.site.endpoint().to_owned()).await.unwrap();
        let labels = [("case".to_owned(), format!("{}-{case}", self.engine.name))].into();
        let filter =
            ExecutionFilter { states: vec![State::Running.into()], labels, ..ExecutionFilter::default() };
        let request = ListExecutionsRequest { filter: Some(filter), ..ListExecutionsRequest::default() };
        // Lists lag a little.
        let listed = wait_for("the execution is listed", async || {
            let answer = client.list_executions(request.clone()).await.unwrap();
            answer.into_inner().executions.pop()
        });
        let id = listed.await.unwrap().id;
        let began = Instant::now();
        client.cancel_execution(CancelExecutionRequest { id, reason: "enough".into() }).await.unwrap();
        eventually("it stops", SOON, || stopped(self, pid).then_some(())).await.unwrap();
        (pid, began.elapsed())
    }

    /// Within a second of the request. With nothing else to do for the machine, or at a later try.
    async fn does_not_obey(
        &self,
        object: &str,
        case: &str,
        limit: Duration,
        stopped: fn(&Self, Pid) -> bool,
    ) -> Pid {
        let (mut took, mut process) = (Vec::new(), None);
        while took.last().is_none_or(|last| *last >= limit) {
            assert!(took.len() < 5, "{}: cancelled after {took:?}", self.engine.name);
            let run = self.site.run(self.workflow(object, case, 1));
            let (ran, (pid, elapsed)) = tokio::join!(run, self.cancelled(case, stopped));
            ran.ended_once("execution_cancelled");
            std::fs::remove_file(self.place.join(case)).unwrap();
            let _ = std::fs::remove_file(self.ended(case));
            took.push(elapsed);
            process = Some(pid);
        }
        assert_eq!(self.result(&self.run("fine").await), "fine");
        process.unwrap()
    }

    /// Where a case tells that it was interrupted.
    fn ended(&self, case: &str) -> PathBuf {
        self.place.join(case).with_extension("ended")
    }
}

fn failure(ran: &Ran) -> &Value {
    let failed = ran.of("stage_failed").next();
    &failed.unwrap_or_else(|| panic!("{}", ran.story()))["stage_failed"]["error"]
}

async fn gone(process: Pid) {
    eventually("the process is gone", SOON, || is_gone(process).then_some(())).await.unwrap();
}

fn is_gone(process: Pid) -> bool {
    test_kill_process(process).is_err()
}

/// The objects of all engines.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/worker/python/tests/unruly")
}

#[test]
fn unruly_code_harms_its_own_attempt_only() {
    test(async {
        let (project, places) = (project(), tempfile::tempdir().unwrap());
        let site = Site::new(&project).await;
        // Prefect's database takes long to make.
        let kept = Home::kept(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("unruly")).unwrap();
        let every = ENGINES.iter().map(|engine| {
            let (site, project) = (&site, project.to_str().unwrap());
            let (place, log) =
                (places.path().join(engine.name), kept.path().join(engine.name).with_extension("log"));
            std::fs::create_dir(&place).unwrap();
            let kept = &kept;
            async move {
                let arguments = ["--slots", "6", "--memory-mib", MEMORY, "--project", project];
                let worker = site.start(engine.name, kept, &log, &arguments, &[]).await;
                let bench = Bench { site, engine, place: &place, log: &log };
                tokio::join!(bench.hangs(), bench.floods(), bench.prints(), bench.leaks(), bench.is_killed());
                (worker, place, log)
            }
        });
        let workers: Vec<(Running, PathBuf, PathBuf)> = futures::future::join_all(every).await;
        for (engine, (_, place, log)) in ENGINES.iter().zip(&workers) {
            let bench = Bench { site: &site, engine, place, log };
            bench.does_not_obey("unruly", "deaf", LIMIT, |_, process| is_gone(process)).await;
        }
    });
}

#[test]
fn what_holds_the_event_loop_of_a_shared_host_is_interrupted_or_the_host_replaced() {
    test(async {
        let (project, places) = (project(), tempfile::tempdir().unwrap());
        let site = Site::new(&project).await;
        let kept = Home::kept(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("unruly")).unwrap();
        let every = ENGINES.iter().map(|engine| {
            let (site, kept, project) = (&site, &kept, project.to_str().unwrap());
            let place = places.path().join(engine.name);
            std::fs::create_dir(&place).unwrap();
            async move {
                let log = site.log(engine.name);
                let arguments = ["--slots", "2", "--isolation", "shared", "--project", project];
                let _worker = site.start(engine.name, kept, &log, &arguments, &[]).await;
                let bench = Bench { site, engine, place: &place, log: &log };
                let object = engine.on_the_loop;
                let host =
                    bench.does_not_obey(object, "deaf", LIMIT, |bench, _| bench.ended("deaf").exists()).await;
                let after = bench.run("who").await;
                assert_eq!(
                    bench.result(&after),
                    host.as_raw_nonzero().get(),
                    "the host that was interrupted goes on"
                );
                bench.does_not_obey(object, "defiant", SHARED_LIMIT, |_, process| is_gone(process)).await;
            }
        });
        futures::future::join_all(every).await;
    });
}

/// Of two attempts in a host that stands still one has a connection that was ready, the other waits for one.
#[test]
fn an_attempt_whose_host_is_not_ready_in_time_says_so_itself() {
    test(async {
        let (project, place) = (project(), tempfile::tempdir().unwrap());
        let site = Site::new(&project).await;
        let _worker = site.worker("one", &["--slots", "2", "--isolation", "shared"]).await;
        let [_, engine, ..] = &ENGINES;
        let bench = Bench { site: &site, engine, place: place.path(), log: &site.log("one") };
        let host = bench.result(&bench.run("who").await).as_i64().unwrap();
        kill_process(Pid::from_raw(i32::try_from(host).unwrap()).unwrap(), Signal::STOP).unwrap();
        let mut workflow = bench.workflow("unruly", "fine", 1);
        workflow["stages"][0]["timeout"] = "2s".into();
        let (one, other) = tokio::join!(site.run(workflow.clone()), site.run(workflow));
        for ran in [one, other] {
            assert_eq!(failure(&ran)["reason"], "TIMEOUT", "{}", ran.story());
        }
        assert_eq!(bench.result(&bench.run("fine").await), "fine", "in another host");
    });
}

/// One attempt is in a process of its own, another waits for one that a host which stands still does not open.
#[test]
fn an_attempt_that_waits_for_its_host_is_handed_to_another_worker() {
    test(async {
        let (project, place) = (project(), tempfile::tempdir().unwrap());
        let site = Site::new(&project).await;
        let arguments = ["--slots", "2", "--drain", "100ms"];
        let worker = site.worker("one", &arguments).await;
        let [_, engine, ..] = &ENGINES;
        let bench = Bench { site: &site, engine, place: place.path(), log: &site.log("one") };
        let handed_over = async {
            let process = bench.process("wait").await;
            let status =
                std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
            let host = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
            kill_process(Pid::from_raw(host.parse().unwrap()).unwrap(), Signal::STOP).unwrap();
            assert_eq!(bench.result(&bench.run("fine").await), "fine", "its process was ready before");
            let worker_ends = async {
                let busy = async || {
                    let listed = site.mahavishnu(&["engines", "get", engine.name]).await.out;
                    let listed: Value = serde_json::from_str(&listed).unwrap();
                    (listed["workers"][0]["busy"] == 2).then_some(())
                };
                wait_for("both attempts", busy).await.unwrap();
                worker.signal(Signal::TERM).unwrap();
                // A host that does not open an attempt is waited for longer.
                worker.end(Duration::from_secs(20)).await.unwrap();
                std::fs::write(place.path().join("wait.go"), "").unwrap();
                site.worker("two", &arguments).await
            };
            let (ran, other) = tokio::join!(bench.run("fine"), worker_ends);
            assert_eq!(bench.result(&ran), "fine", "{}", ran.story());
            other
        };
        let (waited, _other) = tokio::join!(bench.run("wait"), handed_over);
        assert!(bench.result(&waited).is_number(), "{}", waited.story());
    });
}

/// LangGraph's nodes are in threads, so the host goes on with the others beside each.
#[test]
fn a_shared_host_has_a_ceiling() {
    test(async {
        let (project, place) = (project(), tempfile::tempdir().unwrap());
        let site = Site::new(&project).await;
        let arguments = ["--slots", "3", "--isolation", "shared", "--memory-mib", MEMORY];
        let _worker = site.worker("one", &arguments).await;
        let [_, engine, ..] = &ENGINES;
        let bench = Bench { site: &site, engine, place: place.path(), log: &site.log("one") };
        let outgrown = async {
            let old = bench.process("wait").await;
            let hoard = bench.run("hoard").await;
            assert_eq!(bench.result(&hoard), old.as_raw_nonzero().get());
            // What the last one left behind is noticed; the next one is elsewhere.
            let elsewhere = async || {
                let ran = bench.run("who").await;
                (bench.result(&ran) != old.as_raw_nonzero().get()).then_some(())
            };
            wait_for("another host", elsewhere).await.unwrap();
            std::fs::write(place.path().join("wait.go"), "").unwrap();
            old
        };
        let (waited, old) = tokio::join!(bench.run("wait"), outgrown);
        assert_eq!(bench.result(&waited), old.as_raw_nonzero().get(), "it ended where it began");
        gone(old).await;

        let leaks = async {
            let host = bench.process("held").await;
            let ran = bench.run("leak").await;
            (host, ran)
        };
        let (held, (host, leaked)) = tokio::join!(site.run(bench.workflow("unruly", "held", 2)), leaks);
        for ran in [&held, &leaked] {
            let error = failure(ran);
            assert_eq!((&error["reason"], &error["retryable"]), (&"MEMORY_EXCEEDED".into(), &true.into()));
            assert!(error["message"].as_str().unwrap().contains("--memory-mib"), "{error}");
        }
        assert_eq!(bench.result(&held), "passed");
        gone(host).await;
    });
}
