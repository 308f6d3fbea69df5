//! What every command gets.

use std::sync::Arc;

use anyhow::Context as _;
use mahavishnu_core::engine::Registry;
use mahavishnu_provision::Provision;
use mahavishnu_provision::StateDir;
use mahavishnu_provision::progress::{Progress, Terminal};

use crate::args::Global;

/// What every command gets.
#[derive(Debug)]
pub struct Context {
    /// The options that all commands have.
    pub global: Global,
    /// Logs and traces.
    pub telemetry: mahavishnu_telemetry::Options,
    /// What the processes started here log, where the user has said.
    pub children_log: Option<String>,
}

impl Context {
    /// The handle to the state directory; what is fetched is shown unless asked to be quiet.
    pub fn provision(&self, python: Option<std::path::PathBuf>) -> anyhow::Result<Provision> {
        let progress: Option<Arc<dyn Progress>> =
            if self.global.quiet { None } else { Some(Arc::new(Terminal::new())) };
        let state_dir = self.global.state_dir.clone();
        Ok(Provision::open(mahavishnu_provision::Options { state_dir, python, progress })?)
    }

    /// The state directory.
    pub fn state(&self) -> anyhow::Result<StateDir> {
        Ok(StateDir::open(self.global.state_dir.as_deref())?)
    }

    /// The engines that are known here: the built-in ones and those of `--engines-file`.
    pub fn registry(&self) -> anyhow::Result<Registry> {
        let builtin = Registry::builtin();
        let Some(path) = &self.global.engines_file else { return Ok(builtin) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(builtin.with_file(&text)?)
    }

    /// Says something on standard error, unless asked to be quiet.
    pub fn say(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{text}");
        }
    }
}
