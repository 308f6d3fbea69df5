//! How a worker is set up.

use std::path::PathBuf;
use std::time::Duration;

use mahavishnu_core::id::PoolName;

use crate::Model;

/// How a worker is set up.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "worker")]
pub struct Options {
    /// NATS servers, separated by commas; `mahavishnu worker` beside a running `mahavishnu dev` takes its server by default
    #[arg(long, env = "MAHAVISHNU_NATS_URL", default_value = "nats://127.0.0.1:4222")]
    pub nats: String,
    /// NATS credentials file
    #[arg(long, env = "MAHAVISHNU_NATS_CREDENTIALS")]
    pub nats_credentials: Option<PathBuf>,
    /// The project directory: references, source catalogue, default documents and `repos` are inside it
    #[arg(long, env = "MAHAVISHNU_PROJECT", default_value = ".")]
    pub project: PathBuf,
    /// A Python with the engine installed, instead of the pinned environment
    #[arg(long, env = "MAHAVISHNU_ENGINE_PYTHON")]
    pub python: Option<PathBuf>,
    /// Take only the tasks of stages that name this pool (`pool: NAME`); without it only those that name none. So several
    /// workers of one engine may have different projects and interpreters
    #[arg(long, env = "MAHAVISHNU_POOL", value_name = "NAME", value_parser = PoolName::parse)]
    pub pool: Option<PoolName>,
    /// Attempts at the same time
    #[arg(long, env = "MAHAVISHNU_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,
    /// A process for every attempt, or all in one for trusted, quick work: there an attempt that blocks its event loop and does
    /// not obey takes the others with it, which are tried again
    #[arg(long, env = "MAHAVISHNU_ISOLATION", value_enum, default_value_t)]
    pub isolation: Isolation,
    /// MiB of memory that an attempt's process may hold, with all that it starts; 0 for as much as there is. With all attempts
    /// in one process it is replaced once it holds more: what runs in it may end, within half as much again. Linux
    #[arg(long, env = "MAHAVISHNU_MEMORY_MIB", value_name = "MIB", default_value_t = 4096)]
    pub memory_mib: u64,
    /// Largest output, in bytes; a larger one fails its attempt. An engine host sends at most 64 MiB
    #[arg(long, env = "MAHAVISHNU_MAX_ARTIFACT_BYTES", value_name = "BYTES", default_value_t = 256 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub max_artifact_bytes: u64,
    /// The model of the engines: openai:NAME, anthropic:NAME, ollama:NAME, NAME@URL of any OpenAI-compatible API, or
    /// local, the default: a small one, started when a stage first needs it and shared by all workers of the machine. The
    /// key is read from MAHAVISHNU_MODEL_API_KEY; for a provider that only a stage names, from OPENAI_API_KEY or
    /// ANTHROPIC_API_KEY
    #[arg(long, env = "MAHAVISHNU_MODEL")]
    pub model: Option<Model>,
    /// Let the Prefect engine run `shell` tasks of graphs, which it refuses otherwise
    #[arg(long, env = "MAHAVISHNU_ALLOW_SHELL", value_parser = clap::builder::BoolishValueParser::new())]
    pub allow_shell: bool,
    /// Directory of secrets, a file each. A task refers to one as ${{ secrets.NAME }}; what has no file here is looked for
    /// in the variable MAHAVISHNU_SECRET_NAME
    #[arg(long, env = "MAHAVISHNU_SECRETS_DIR", value_name = "DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// How long running attempts may go on after a request to stop, such as 30s
    #[arg(long, env = "MAHAVISHNU_DRAIN", default_value = "30s", value_parser = humantime::parse_duration)]
    pub drain: Duration,
}

/// How attempts are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Isolation {
    /// A process for every attempt, forked from a warm one.
    #[default]
    Process,
    /// All attempts in one process.
    Shared,
}

impl Isolation {
    /// As the engine host takes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Shared => "shared",
        }
    }
}
