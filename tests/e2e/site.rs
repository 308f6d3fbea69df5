//! A server and a coordinator of a test's own, with workers started alone, as in a deployment.

use std::path::{Path, PathBuf};

use mahavishnu_test_support::nats::TestNats;
use mahavishnu_test_support::system::{Home, Running, Said, finished, programs};
use serde_json::Value;

use crate::ran::Ran;
use crate::support::{RUN, SHORT, START, mahavishnu, provisioned};

/// Server and coordinator, with the project of all workers.
pub struct Site {
    home: Home,
    nats: TestNats,
    project: PathBuf,
    endpoint: String,
    _coordinator: Running,
}

impl Site {
    /// Without a worker yet.
    pub async fn new(project: &Path) -> Self {
        Self::with(project, &[]).await
    }

    /// One whose coordinator has these arguments.
    pub async fn with(project: &Path, arguments: &[&str]) -> Self {
        provisioned().await;
        let (home, nats) = (Home::temporary().unwrap(), TestNats::start().await.unwrap());
        let mut command = programs().await.unwrap().command("mahavishnu-coordinator", &home).unwrap();
        command.args(["--listen", "127.0.0.1:0", "--nats", nats.url()]).args(arguments);
        let mut coordinator = Running::start(command, &home.path().join("coordinator.log")).unwrap();
        let said = coordinator.ready(START).await.unwrap();
        let endpoint = format!("http://{}", said["address"].as_str().unwrap());
        Self { home, nats, project: project.to_owned(), endpoint, _coordinator: coordinator }
    }

    /// The state directory of everything here.
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// The coordinator.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A worker of LangGraph with one slot, unless its arguments say otherwise.
    pub async fn worker(&self, name: &str, arguments: &[&str]) -> Running {
        self.worker_of(name, &self.project, arguments).await
    }

    /// The same with a project of its own.
    pub async fn worker_of(&self, name: &str, project: &Path, arguments: &[&str]) -> Running {
        let project = project.to_str().unwrap();
        let arguments = [&["--project", project][..], arguments].concat();
        self.start("langgraph", &self.home, &self.log(name), &arguments, &[]).await
    }

    /// A worker of an engine on another machine: it has a state directory of its own.
    pub async fn elsewhere(&self, engine: &str, home: &Home, environment: &[(&str, &str)]) -> Running {
        let project = self.project.to_str().unwrap();
        self.start(engine, home, &home.path().join("worker.log"), &["--project", project], environment).await
    }

    /// A worker of any engine, with a state directory, a log, arguments and variables.
    pub async fn start(
        &self,
        engine: &str,
        home: &Home,
        log: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Running {
        let program = format!("mahavishnu-worker-{engine}");
        let mut command = programs().await.unwrap().command(&program, home).unwrap();
        if !arguments.contains(&"--slots") {
            command.args(["--slots", "1"]);
        }
        command.args(["--nats", self.nats.url()]).args(arguments).envs(environment.iter().copied());
        let mut worker = Running::start(command, log).unwrap();
        worker.ready(START).await.unwrap();
        worker
    }

    /// Where a worker's log is.
    pub fn log(&self, worker: &str) -> PathBuf {
        self.home.path().join(worker).with_extension("log")
    }

    /// Runs a workflow to its end.
    pub async fn run(&self, workflow: Value) -> Ran {
        let mut command = mahavishnu(&self.home, &["run", "--json", "--endpoint", &self.endpoint, "-"]).await;
        command.current_dir(self.home.path());
        let said = finished(command, workflow.to_string().as_bytes(), RUN).await.unwrap();
        Ran::new(said.code, &said.out, said.err)
    }

    /// Runs a command that talks to the coordinator.
    pub async fn mahavishnu(&self, arguments: &[&str]) -> Said {
        let mut command = mahavishnu(&self.home, arguments).await;
        command.args(["--json", "--endpoint", &self.endpoint]);
        finished(command, b"", SHORT).await.unwrap()
    }
}
