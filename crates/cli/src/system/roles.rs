//! How this program starts itself as coordinator and as worker.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_core::id::{EngineName, PoolName};
use mahavishnu_provision::StateDir;
use mahavishnu_provision::process::entrust;
use mahavishnu_worker::Engine;
use serde_json::Value;

use super::Wanted;
use super::part::{MakeCommand, Spec};
use crate::args::SystemArgs;
use crate::context::Context;

/// The coordinator, in words for a user.
pub const COORDINATOR: &str = "coordinator";
/// Beyond the drain: closing connections, ending the engine host, sending the last spans.
const GRACE: Duration = Duration::from_secs(10);

/// What all roles are started with.
pub struct Roles<'a> {
    pub context: &'a Context,
    pub state: &'a StateDir,
    pub args: &'a SystemArgs,
    pub wanted: &'a Wanted,
    /// The NATS server's address.
    pub nats: &'a str,
}

impl Roles<'_> {
    /// The coordinator. Started again, it takes the address that it had.
    pub fn coordinator(&self) -> anyhow::Result<Spec> {
        let mut base = self.program()?;
        base.args(["--nats", self.nats]);
        base.args(["--durability", self.args.durability.as_str()]);
        if let Some(file) = &self.context.global.engines_file {
            base.args(["--engines".as_ref(), file.as_os_str()]);
        }
        let listen = self.wanted.listen.to_string();
        Ok(Spec {
            name: COORDINATOR.to_owned(),
            log: self.state.log("coordinator"),
            grace: GRACE,
            tries: self.wanted.tries,
            command: repeat(base, Some("coordinator"), move |said| {
                let had = said.and_then(|said| said.get("address")).and_then(Value::as_str);
                vec!["--listen".to_owned(), had.unwrap_or(&listen).to_owned()]
            }),
        })
    }

    /// The worker of an engine, for the tasks of one pool.
    pub fn worker(
        &self,
        engine: &Engine,
        pool: Option<&PoolName>,
        python: &Path,
        model: Option<&str>,
    ) -> anyhow::Result<Spec> {
        let mut base = self.program()?;
        base.arg(engine.name).args(["--nats", self.nats]);
        base.args(["--project".as_ref(), self.wanted.project.as_os_str()]);
        base.args(["--python".as_ref(), python.as_os_str()]);
        base.args(["--slots", &self.args.slots.to_string()]);
        base.args(["--drain", &format!("{}ms", self.wanted.drain.as_millis())]);
        if let Some(model) = model {
            base.args(["--model", model]);
        }
        if let Some(directory) = &self.wanted.secrets {
            base.args(["--secrets-dir".as_ref(), directory.as_os_str()]);
        }
        entrust(&mut base);
        if let Some(pool) = pool {
            base.args(["--pool", pool.as_str()]);
        }
        Ok(self.worker_spec(engine.name, pool, repeat(base, Some("worker"), |_| Vec::new())))
    }

    /// The worker of an engine that the deployment adds: what its file says, run by the shell in the project directory.
    /// All settings of a worker are in the environment, and this program is on the path.
    pub fn added(
        &self,
        engine: &EngineName,
        pool: Option<&PoolName>,
        how: &str,
        model: Option<&str>,
    ) -> anyhow::Result<Spec> {
        let mut base = self.inherit(Command::new("sh"));
        base.args(["-c", &format!("exec {how}")]).current_dir(&self.wanted.project);
        base.env("MAHAVISHNU_NATS_URL", self.nats).env("MAHAVISHNU_PROJECT", &self.wanted.project);
        base.env("MAHAVISHNU_SLOTS", self.args.slots.to_string());
        base.env("MAHAVISHNU_DRAIN", format!("{}ms", self.wanted.drain.as_millis()));
        if let Some(model) = model {
            base.env("MAHAVISHNU_MODEL", model);
        }
        entrust(&mut base);
        if let Some(directory) = &self.wanted.secrets {
            base.env("MAHAVISHNU_SECRETS_DIR", directory);
        }
        if let Some(pool) = pool {
            base.env("MAHAVISHNU_POOL", pool.as_str());
        }
        let own = std::env::current_exe().context("the path of this program")?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = own.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        base.env("PATH", std::env::join_paths(all).context("the search path")?);
        Ok(self.worker_spec(engine.as_str(), pool, repeat(base, None, |_| Vec::new())))
    }

    fn worker_spec(&self, engine: &str, pool: Option<&PoolName>, command: MakeCommand) -> Spec {
        let (words, file) = match pool {
            None => (String::new(), String::new()),
            Some(pool) => (format!(" in pool {pool}"), format!("-{pool}")),
        };
        Spec {
            name: format!("worker of {engine}{words}"),
            log: self.state.log(&format!("worker-{engine}{file}")),
            grace: self.wanted.drain + GRACE,
            tries: self.wanted.tries,
            command,
        }
    }

    /// This program, with what all roles inherit.
    fn program(&self) -> anyhow::Result<Command> {
        Ok(self.inherit(Command::new(std::env::current_exe().context("the path of this program")?)))
    }

    fn inherit(&self, mut command: Command) -> Command {
        let telemetry = &self.context.telemetry;
        command.env("MAHAVISHNU_HOME", self.state.root());
        command.env("MAHAVISHNU_ALLOW_SHELL", self.args.allow_shell.to_string());
        // Which pools there are is said to each worker.
        command.env_remove("MAHAVISHNU_POOL");
        command.env("OTEL_TRACES_SAMPLER_ARG", telemetry.trace_ratio.to_string());
        if let Some(endpoint) = &telemetry.otlp_endpoint {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        }
        if let Some(log) = &self.context.children_log {
            command.env("MAHAVISHNU_LOG", log);
        }
        command
    }
}

/// The same command again and again: `role` if there is one, then what `base` has, then what `more` adds.
fn repeat(
    base: Command,
    role: Option<&'static str>,
    more: impl Fn(Option<&Value>) -> Vec<String> + Send + Sync + 'static,
) -> MakeCommand {
    Box::new(move |said| {
        let mut command = Command::new(base.get_program());
        command.args(role).args(base.get_args()).args(more(said));
        if let Some(directory) = base.get_current_dir() {
            command.current_dir(directory);
        }
        for (name, value) in base.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    })
}
