//! Python environments from locked requirements.
//!
//! An environment is built in a directory of its own beside its place and renamed when it is finished (uv makes it
//! relocatable), so whatever has the final name is complete. What a killed build left is removed by the next one.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::tool::{Step, require_space};
use crate::tools::Tools;
use crate::{Provision, Python, in_environment, short_hash};

/// Room for the largest environment while it is being built.
const NEEDED_BYTES: u64 = 800 << 20;
/// How long another process may take to build the same environment.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// An environment to be: a name for people and requirements with hashes, complete (nothing else is installed).
#[derive(Debug, Clone)]
pub struct Environment {
    name: Cow<'static, str>,
    requirements_lock: Cow<'static, str>,
    told: &'static [&'static str],
}

impl Environment {
    /// A file name and the text of the lock file.
    pub fn new(name: impl Into<Cow<'static, str>>, requirements_lock: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), requirements_lock: requirements_lock.into(), told: &[] }
    }

    /// With packages whose versions are of interest.
    #[must_use]
    pub const fn telling(mut self, packages: &'static [&'static str]) -> Self {
        self.told = packages;
        self
    }

    /// These packages with their versions, by the lock file; not those whose version depends on the Python.
    pub fn versions(&self) -> Vec<(&'static str, &str)> {
        let pinned = |package: &&'static str| {
            let lines = self.requirements_lock.lines().filter_map(|line| line.split_once("=="));
            let mut found = lines.filter(|(name, _)| name == package).map(|(_, rest)| rest);
            let version = found.next().filter(|_| found.next().is_none())?;
            Some((*package, version.split_whitespace().next()?))
        };
        self.told.iter().filter_map(pinned).collect()
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interpreter, if the environment is there.
    pub async fn present(&self, provision: &Provision) -> Result<Option<PathBuf>> {
        Ok(interpreter(&self.directory(provision, provision.python().await?)))
    }

    fn directory(&self, provision: &Provision, python: &Python) -> PathBuf {
        let hash = short_hash(&[self.requirements_lock.as_bytes(), std::env::consts::ARCH.as_bytes()]);
        provision.state().env().join(format!("{}-{}-{hash}", self.name, python.tag()))
    }

    pub(crate) async fn ensure(&self, provision: &Provision) -> Result<PathBuf> {
        let python = provision.python().await?;
        let target = self.directory(provision, python);
        if let Some(interpreter) = interpreter(&target) {
            return Ok(interpreter);
        }
        let tools = provision.tools().await?;
        let step = Step::start(provision, format!("environment of {}", self.name));
        let wait = |holder: &str| step.detail(format!("waiting for {holder}"));
        let _lock = Lock::take(target.with_extension("lock"), step.name(), PATIENCE, wait).await?;
        if let Some(interpreter) = interpreter(&target) {
            step.done();
            return Ok(interpreter);
        }
        require_space(provision.state(), step.name(), NEEDED_BYTES)?;

        let building = Building::begin(&target)?;
        let mut make = uv(tools, provision).await;
        make.args(["venv", "--relocatable", "--no-python-downloads", "--python"]).arg(&python.executable);
        make.args(["--clear", "--quiet"]).arg(building.path());
        step.run(make).await?;

        let requirements = building.path().join("requirements.lock");
        std::fs::write(&requirements, self.requirements_lock.as_bytes())
            .map_err(Error::io("cannot write", &requirements))?;
        let mut install = uv(tools, provision).await;
        install.args(["pip", "install", "--require-hashes", "--no-deps", "--no-build", "--compile-bytecode"]);
        // Hard links break packages that refuse files with several names (nltk).
        install.args(["--link-mode", "copy", "--python"]).arg(in_environment(building.path(), "python"));
        install.arg("-r").arg(&requirements);
        step.run(install).await?;

        building.finish(&target)?;
        let interpreter = in_environment(&target, "python");
        step.done();
        Ok(interpreter)
    }
}

/// uv with the user's pip settings and without variables that would lead it elsewhere.
async fn uv(tools: &Tools, provision: &Provision) -> Command {
    let mut command = Command::new(tools.uv());
    command.envs(provision.uv_settings(tools).await.iter().map(|(name, value)| (name, value)));
    for name in [
        "UV_PYTHON",
        "UV_SYSTEM_PYTHON",
        "UV_PROJECT",
        "UV_WORKING_DIR",
        "UV_NO_VERIFY_HASHES",
        "UV_OVERRIDE",
        "UV_CONSTRAINT",
    ] {
        command.env_remove(name);
    }
    command.env("UV_NO_PROGRESS", "1").env("UV_PYTHON_DOWNLOADS", "never");
    command
}

/// The interpreter of a finished environment; nothing when the Python behind it has been removed from the machine.
fn interpreter(directory: &Path) -> Option<PathBuf> {
    let interpreter = in_environment(directory, "python");
    interpreter.is_file().then_some(interpreter)
}

/// A directory under construction; dropped unfinished, it is removed.
pub(crate) struct Building {
    directory: tempfile::TempDir,
}

impl Building {
    /// Begins beside the target, after removing what killed builds left of it and the target itself, which is broken.
    /// The caller holds the target's lock.
    pub fn begin(target: &Path) -> Result<Self> {
        if target.exists() {
            std::fs::remove_dir_all(target).map_err(Error::io("cannot replace", target))?;
        }
        let (parent, prefix) = Self::place(target);
        let entries = std::fs::read_dir(parent).map_err(Error::io("cannot read", parent))?;
        for entry in entries.filter_map(std::io::Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                // Garbage that cannot be removed is a nuisance, not a reason to fail.
                if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                    tracing::warn!(path = %entry.path().display(), %error, "cannot remove an unfinished build");
                }
            }
        }
        Self::beside(target)
    }

    /// Begins without a look at what is there.
    pub fn beside(target: &Path) -> Result<Self> {
        let (parent, prefix) = Self::place(target);
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
        Ok(Self { directory: directory.map_err(Error::io("cannot write to", parent))? })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Gives the directory its final name, which must be free.
    pub fn finish(self, target: &Path) -> Result<()> {
        std::fs::rename(self.directory.path(), target).map_err(Error::io("cannot create", target))?;
        // Renamed away: there is nothing left to remove.
        let _ = self.directory.keep();
        Ok(())
    }

    /// The target's directory and what its unfinished builds are called.
    fn place(target: &Path) -> (&Path, String) {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        (target.parent().unwrap_or(Path::new(".")), format!(".building-{name}-"))
    }
}
