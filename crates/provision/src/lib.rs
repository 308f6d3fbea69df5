//! Everything that Mahavishnu needs and a fresh machine lacks, fetched once into a state directory.
//!
//! [`Provision`] is the handle: it finds a Python, builds engine environments from locked requirements, supplies
//! `nats-server` and writes embedded Python sources. [`process::Child`] starts what was provided; [`nats::NatsServer`]
//! and [`model::ModelServer`] are its two standing uses; [`SharedModel`] is one of the latter for a whole machine. [`doctor`] tells what is missing and what to do.
//!
//! Invariants:
//! - What is fetched is pinned by hash; a file that does not match is refused.
//! - A directory with its final name is complete: it is built beside under another name and renamed.
//! - Two processes never build the same thing at once, and a build cut short is started afresh.
//! - A warm start touches no network and shows nothing.
//! - No process started here outlives the one that started it, however that one ends.

pub mod doctor;
mod environment;
mod error;
mod index;
mod lock;
pub mod model;
pub mod nats;
pub mod process;
pub mod progress;
mod python;
mod shared;
mod sources;
mod state;
mod tool;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

pub use environment::Environment;
pub use error::{Error, Result};
pub use python::Python;
pub use shared::SharedModel;
pub use state::StateDir;

use progress::Progress;

/// Environments that are built at the same time: more would only compete for the same network and disk.
const BUILDS_AT_ONCE: usize = 2;

/// What a caller may choose; everything has a default.
#[derive(Default)]
pub struct Options {
    /// The state directory; without it `mahavishnu` in the user's data directory.
    pub state_dir: Option<PathBuf>,
    /// The Python that environments are built from; without it the best one on `PATH`.
    pub python: Option<PathBuf>,
    /// Who hears what is being done; without it nobody.
    pub progress: Option<Arc<dyn Progress>>,
}

/// The handle to a state directory and what it can be made to hold. Clones share what was found out.
#[derive(Clone)]
pub struct Provision {
    inner: Arc<Inner>,
}

struct Inner {
    state: StateDir,
    wanted_python: Option<PathBuf>,
    progress: Arc<dyn Progress>,
    python: OnceCell<Python>,
    tools: OnceCell<tools::Tools>,
    uv_settings: OnceCell<Vec<(String, String)>>,
}

impl Provision {
    /// Opens the state directory, creating it when it is not there.
    pub fn open(options: Options) -> Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                state: StateDir::open(options.state_dir.as_deref())?,
                wanted_python: options.python,
                progress: options.progress.unwrap_or_else(|| Arc::new(progress::Silent)),
                python: OnceCell::new(),
                tools: OnceCell::new(),
                uv_settings: OnceCell::new(),
            }),
        })
    }

    /// The state directory.
    pub fn state(&self) -> &StateDir {
        &self.inner.state
    }

    /// The Python that environments are built from, looked for once.
    pub async fn python(&self) -> Result<&Python> {
        let memory = self.state().bin().join("python.json");
        let find = || async { python::recall(self.inner.wanted_python.as_deref(), &memory).await };
        self.inner.python.get_or_try_init(find).await
    }

    /// The same, looked for anew.
    async fn examined_python(&self) -> Result<Python> {
        python::find(self.inner.wanted_python.as_deref()).await
    }

    /// A `nats-server` that is new enough: the one on `PATH`, else the pinned one, fetched when it is not there yet.
    pub async fn nats_server(&self) -> Result<PathBuf> {
        if let Some((program, _)) = nats::on_path().await {
            return Ok(program);
        }
        Ok(self.tools().await?.nats_server())
    }

    /// The interpreter of an environment, which is built when it is not there yet.
    pub async fn environment(&self, environment: &Environment) -> Result<PathBuf> {
        environment.ensure(self).await
    }

    /// Several environments, a few at a time; the interpreters in the order asked for. The first failure ends it.
    pub async fn environments(&self, environments: &[Environment]) -> Result<Vec<PathBuf>> {
        // Found once, before the builds start, so that they do not look for the same things side by side.
        self.python().await?;
        let builds: Vec<_> = environments.iter().map(|environment| environment.ensure(self)).collect();
        futures::stream::iter(builds).buffered(BUILDS_AT_ONCE).try_collect().await
    }

    /// Writes an embedded tree of Python sources and gives its directory, named after its content.
    pub async fn sources(&self, tree: &'static include_dir::Dir<'static>) -> Result<PathBuf> {
        sources::write(&self.inner.state, tree).await
    }

    fn progress(&self) -> &Arc<dyn Progress> {
        &self.inner.progress
    }

    async fn tools(&self) -> Result<&tools::Tools> {
        self.inner.tools.get_or_try_init(|| tools::ensure(self)).await
    }

    /// The user's pip settings in uv's terms, asked from pip once.
    async fn uv_settings(&self, tools: &tools::Tools) -> &[(String, String)] {
        self.inner.uv_settings.get_or_init(|| index::uv_settings(tools.python())).await
    }
}

/// The first twelve hexadecimal digits of the SHA-256 over the parts: enough to tell versions of one thing apart.
fn short_hash(parts: &[&[u8]]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") apart from ("a", "bc").
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// An executable inside a virtual environment.
fn in_environment(environment: &Path, program: &str) -> PathBuf {
    environment.join("bin").join(program)
}
