//! The system that most tests share, and ways to start smaller ones.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use mahavishnu_core::engine::Registry;
use mahavishnu_core::workflow::Parsed;
use mahavishnu_provision::model;
use mahavishnu_test_support::otlp::Collector;
use mahavishnu_test_support::system::{Home, Running, finished, programs, provision};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;

use crate::api::Api;
use crate::ran::Ran;

/// A part that is warm within this time, also on a busy machine.
pub const START: Duration = Duration::from_secs(120);
/// A workflow with the small model, also on a busy machine.
pub const RUN: Duration = Duration::from_secs(240);
/// A command that needs no system.
pub const SHORT: Duration = Duration::from_secs(30);
/// What a condition is given that should hold soon.
pub const SOON: Duration = Duration::from_secs(60);
/// The name of the model that comes with the system.
pub const MODEL: &str = model::MODEL;

/// One runtime for all tests, so that what they share outlives each of them.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().enable_all().thread_stack_size(STACK).build().unwrap());
/// Enough to make input that is deeper than any server should accept.
const STACK: usize = 64 << 20;

/// Runs a test.
pub fn test<T>(body: impl Future<Output = T>) -> T {
    RUNTIME.block_on(body)
}

/// Runs a test on a thread with room for deep values.
pub fn test_deep(body: impl Future<Output = ()> + Send + 'static) {
    RUNTIME.block_on(async { tokio::spawn(body).await.unwrap() });
}

/// The sample workflows.
pub fn workflows() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows")
}

/// A workflow of the samples.
pub fn workflow(name: &str) -> PathBuf {
    workflows().join(name)
}

/// Everything, started as a user would with `mahavishnu dev`.
#[derive(Debug)]
pub struct System {
    /// Its coordinator.
    pub endpoint: String,
    /// Its state directory.
    pub home: Home,
    /// `api1` of its project.
    pub api: Api,
    /// Where its spans go.
    pub collector: Collector,
    _dev: Running,
}

/// The system with all engines, started by the first test that asks. It ends with this process.
pub async fn system() -> &'static System {
    static SYSTEM: OnceCell<System> = OnceCell::const_new();
    SYSTEM.get_or_init(start).await
}

async fn start() -> System {
    provisioned().await;
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("system");
    let home = Home::kept(&kept).unwrap();
    let api = Api::start();
    let collector = Collector::start().await.unwrap();
    let mut command = mahavishnu(&home, &["dev", "--json", "--allow-shell", "--listen", "127.0.0.1:0"]).await;
    command.arg("--project").arg(workflows().join("project"));
    traced(&mut command, &collector);
    command.env("API1_URL", &api.url);
    let mut dev = Running::start(command, &kept.join("dev.log")).unwrap();
    let said = dev.ready(START).await.unwrap();
    let endpoint = said["endpoint"].as_str().unwrap().to_owned();
    System { endpoint, home, api, collector, _dev: dev }
}

/// Spans of this program go to the collector, soon.
pub fn traced(command: &mut Command, collector: &Collector) {
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()).env("OTEL_BSP_SCHEDULE_DELAY", "200");
}

/// Everything that is fetched is there; the first run of all takes minutes for it.
pub async fn provisioned() {
    static DONE: OnceCell<()> = OnceCell::const_new();
    let fetch = async || {
        let provision = provision().unwrap();
        let engines = [
            mahavishnu_worker_agno::ENGINE,
            mahavishnu_worker_langgraph::ENGINE,
            mahavishnu_worker_llamaindex::ENGINE,
            mahavishnu_worker_prefect::ENGINE,
        ];
        let mut wanted: Vec<_> = engines.iter().map(|engine| engine.environment()).collect();
        wanted.push(model::environment());
        provision.nats_server().await.unwrap();
        provision.environments(&wanted).await.unwrap();
    };
    DONE.get_or_init(fetch).await;
}

/// The `mahavishnu` command.
pub async fn mahavishnu(home: &Home, arguments: &[&str]) -> Command {
    let mut command = programs().await.unwrap().command("mahavishnu", home).unwrap();
    command.args(arguments);
    command
}

/// Runs a workflow file on the shared system to its end. What its stages yield must be what the check of a workflow
/// says that they yield.
pub async fn run(file: &Path, arguments: &[&str]) -> Ran {
    let system = system().await;
    let mut command = mahavishnu(&system.home, &["run", "--json", "--endpoint", &system.endpoint]).await;
    command.args(arguments).arg(file);
    traced(&mut command, &system.collector);
    let said = finished(command, b"", RUN).await.unwrap();
    let ran = Ran::new(said.code, &said.out, said.err);
    outputs_are_as_declared(&ran, &std::fs::read(file).unwrap());
    ran
}

/// What the stages of a workflow yielded is what its check says that they yield.
pub fn outputs_are_as_declared(ran: &Ran, file: &[u8]) {
    let workflow = Parsed::yaml(file).check(&Registry::builtin()).unwrap();
    for stage in &workflow.stages {
        let id = stage.id.as_str();
        for completed in ran.of("stage_completed").filter(|event| event["stage_id"] == id) {
            let declared = mahavishnu_core::workflow::output(stage.engine.as_str(), &stage.task);
            let compared = declared.compare(&completed["stage_completed"]["output"]);
            assert_eq!(
                compared,
                Ok(()),
                "{id} of {}: {}",
                stage.engine,
                completed["stage_completed"]["output"]
            );
        }
    }
}

/// The lines of a text, each a JSON value.
pub fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
