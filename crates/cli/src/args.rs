//! The command line.

mod schedules;
mod values;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::builder::BoolishValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum, ValueHint};
use mahavishnu_process::settings::ConfigFile;
use mahavishnu_provision::nats;
use mahavishnu_worker::Engine;

use crate::system::engines;

pub use schedules::{
    BackfillSchedule, CatchUp, CreateSchedule, Overlap, PreviewSchedule, Rule, Schedules, UpdateSchedule,
};
pub use values::{Input, Since};
use values::{input, model, object, pair, python, since};

/// Hybrid workflows over Agno, LangGraph, LlamaIndex and Prefect
#[derive(Debug, Parser)]
#[command(name = "mahavishnu", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: mahavishnu_telemetry::Options,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "All commands")]
pub struct Global {
    /// Where environments, data and logs are kept; by default in the user's data directory
    #[arg(long, env = "MAHAVISHNU_HOME", value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub state_dir: Option<PathBuf>,
    /// A coordinator to speak to, such as http://127.0.0.1:7433; by default the running `mahavishnu dev`
    #[arg(long, env = "MAHAVISHNU_ENDPOINT", value_name = "URL", global = true)]
    pub endpoint: Option<String>,
    /// Print JSON, and nothing else, on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only what was asked for
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// A file that registers further engines
    #[arg(long, env = "MAHAVISHNU_ENGINES", value_name = "FILE", global = true, value_hint = ValueHint::FilePath)]
    pub engines_file: Option<PathBuf>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start everything on this machine and keep it up for clients
    Dev(Dev),
    /// Run a workflow and watch it; starts what it needs unless a system runs already
    Run(Box<Run>),
    /// Choose the engine for requirements, with the rule that fired
    Select(Select),
    /// Recommend engines for a description
    Recommend(Recommend),
    /// Check and explain a workflow without running it
    Plan(Plan),
    /// The quick reference: kind of task to engine
    Guide,
    /// Engines, their workers and versions
    #[command(subcommand)]
    Engines(Engines),
    /// Executions: list, look at, watch, cancel, continue, vary, remove
    #[command(subcommand)]
    Executions(Executions),
    /// Why an execution is where it is, and the command that moves it
    Explain {
        /// The execution
        id: String,
    },
    /// What the server is, and what an acknowledged event survives there
    Info,
    /// Checkpoints of LangGraph's stages: where a graph stood, with its state
    #[command(subcommand)]
    Checkpoints(Checkpoints),
    /// Human decisions that stages wait for
    #[command(subcommand)]
    Approvals(Approvals),
    /// Documents and large payloads: list, look at, remove what nothing uses
    #[command(subcommand)]
    Artifacts(Artifacts),
    /// Tasks that no worker survived or could read: list, look at, run again
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Rules that start executions: cron fields in a time zone
    #[command(subcommand)]
    Schedules(Schedules),
    /// Check what this machine has and lacks, and say what to do
    Doctor(Doctor),
    /// Shell completions, on standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run only a coordinator, for real deployments
    Coordinator(Coordinator),
    /// Run only the worker of one engine, for real deployments
    Worker(Worker),
}

/// What the commands that start a system have in common.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "The system that is started")]
pub struct SystemArgs {
    /// The project directory: references, source catalogue, default documents and `repos` are inside it
    #[arg(long, env = "MAHAVISHNU_PROJECT", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub project: Option<PathBuf>,
    /// What an acknowledged event survives: the death of any process, or a power cut too
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    pub durability: Durability,
    /// Attempts at the same time, per engine
    #[arg(long, env = "MAHAVISHNU_SLOTS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: u32,
    /// The Python that environments are built from; with ENGINE= your own Python with that engine in it
    #[arg(long, value_name = "[ENGINE=]PATH", value_parser = python)]
    pub python: Vec<(Option<String>, PathBuf)>,
    /// The model of the engines: openai:NAME, anthropic:NAME, ollama:NAME, NAME@URL of any OpenAI-compatible API, or
    /// local, the default: a small one, started when a stage first needs it. The key is read from
    /// MAHAVISHNU_MODEL_API_KEY
    #[arg(long, env = "MAHAVISHNU_MODEL", value_parser = model)]
    pub model: Option<String>,
    /// Directory of secrets, a file each, for the workers alone. A task refers to one as ${{ secrets.NAME }}; what has no file
    /// here is looked for in the variable MAHAVISHNU_SECRET_NAME
    #[arg(long, env = "MAHAVISHNU_SECRETS_DIR", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub secrets_dir: Option<PathBuf>,
    /// Let the Prefect engine run `shell` tasks of graphs, which it refuses otherwise
    #[arg(long, env = "MAHAVISHNU_ALLOW_SHELL", value_parser = BoolishValueParser::new())]
    pub allow_shell: bool,
}

impl SystemArgs {
    /// The Python that environments are built from.
    pub fn base_python(&self) -> Option<PathBuf> {
        self.python.iter().rev().find(|(engine, _)| engine.is_none()).map(|(_, path)| path.clone())
    }

    /// The project directory, which must be there.
    pub fn project(&self, default: &Path) -> anyhow::Result<PathBuf> {
        let project = self.project.as_deref().unwrap_or(default);
        let found = project.canonicalize().ok().filter(|path| path.is_dir());
        found
            .with_context(|| format!("no project directory {}; choose one with --project", project.display()))
    }

    /// The directory of secrets, which must be there if it is said.
    pub fn secrets(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(given) = &self.secrets_dir else { return Ok(None) };
        let found = given.canonicalize().ok().filter(|path| path.is_dir());
        let none =
            || format!("no directory of secrets {}; choose another with --secrets-dir", given.display());
        found.map(Some).with_context(none)
    }
}

/// What an acknowledged event survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// The death of any process; on the disk within two minutes
    #[default]
    Process,
    /// A power cut too; on the disk before it is acknowledged
    Power,
}

impl Durability {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Power => "power",
        }
    }
}

impl From<Durability> for nats::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Process => Self::Process,
            Durability::Power => Self::Power,
        }
    }
}

/// `dev`.
#[derive(Debug, Args)]
pub struct Dev {
    /// Where to serve gRPC and gRPC-Web; port 0 takes a free one
    #[arg(long, env = "MAHAVISHNU_LISTEN", default_value = "127.0.0.1:7433")]
    pub listen: SocketAddr,
    /// Engines to start workers for, separated by commas; by default all, and those that --engines-file says how to start
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = engines::parse)]
    pub engines: Vec<Engine>,
    /// The system that is started.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// `run`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["file", "demo"]))]
#[command(group = ArgGroup::new("answer").args(["approve", "reject"]))]
pub struct Run {
    /// The workflow, YAML or JSON; `-` reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
    /// Run the workflow that comes with the program: four stages, one per engine, over a PDF and a DOCX
    #[arg(long)]
    pub demo: bool,
    /// A value that expressions read as `input.KEY`; VALUE is JSON where it is valid JSON, else text.
    /// Or a whole JSON object
    #[arg(long = "input", value_name = "KEY=VALUE|JSON", value_parser = input)]
    pub inputs: Vec<Input>,
    /// A label to find the execution by
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// A file to attach as the document NAME of `docs`
    #[arg(long = "doc", value_name = "NAME=PATH", value_parser = pair)]
    pub docs: Vec<(String, String)>,
    /// A UUID of your own: the same id never starts a second execution
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<uuid::Uuid>,
    /// Who asks for it, and decides what is asked here; by default the user's name
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// Start it, print its id, and leave; needs a system that stays
    #[arg(long)]
    pub detach: bool,
    /// Make a schedule of it instead, by the `schedule` of its first stage; needs a system that stays. NAME is
    /// by default that of the file. More choices: mahavishnu schedules create
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with_all = ["demo", "detach", "answer"])]
    pub schedule: Option<String>,
    /// Answer every approval with yes
    #[arg(long)]
    pub approve: bool,
    /// Answer every approval with no
    #[arg(long)]
    pub reject: bool,
    /// The system that is started.
    #[command(flatten)]
    pub system: SystemArgs,
}

/// `select`.
#[derive(Debug, Args)]
pub struct Select {
    /// The kind of task, in words: rag_workflow, "approval workflow", batchJob
    #[arg(long, default_value = "")]
    pub task_type: String,
    /// It must keep state
    #[arg(long)]
    pub requires_state: bool,
    /// It must route by conditions
    #[arg(long)]
    pub requires_routing: bool,
    /// It must run on a schedule
    #[arg(long)]
    pub requires_scheduling: bool,
}

/// `recommend`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["text", "file"]))]
pub struct Recommend {
    /// What the task is
    pub text: Option<String>,
    /// A file with one description a line, `-` for standard input; answered by one JSON object a line
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The workflow, YAML or JSON; `-` reads standard input
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Print a Mermaid flow chart
    #[arg(long, conflicts_with = "json")]
    pub mermaid: bool,
}

/// `engines`.
#[derive(Debug, Subcommand)]
pub enum Engines {
    /// Profiles, and with a running system the live workers and their versions
    List,
    /// One engine's profile: what it is good at, what it costs
    Get {
        /// The engine
        engine: String,
    },
}

/// `executions`.
#[derive(Debug, Subcommand)]
pub enum Executions {
    /// The most recently changed first
    List(ListExecutions),
    /// The present state of one, with the outputs of its stages, and what came too late to have an effect
    #[command(visible_alias = "show")]
    Get {
        /// The execution
        id: String,
    },
    /// Its events, past and to come, until it ends
    Watch {
        /// The execution
        id: String,
        /// Only events after this number
        #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
        after: i64,
    },
    /// Stop it
    Cancel {
        /// The execution
        id: String,
        /// Why
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Continue one that failed or was cancelled: a new execution takes over what there is and runs the rest
    Retry {
        /// The execution
        id: String,
    },
    /// Remove one that has ended, with its history
    Delete {
        /// The execution
        id: String,
    },
    /// Start a new one that goes its own way from a stage on, and takes over the results of the others
    Fork(Fork),
}

/// `executions fork`.
#[derive(Debug, Args)]
pub struct Fork {
    /// The execution that it goes on from
    pub id: String,
    /// This stage and all that depend on it run anew
    #[arg(long, value_name = "STAGE")]
    pub from: String,
    /// A value that expressions read as `input.KEY`, instead of what it was; as for `run`
    #[arg(long = "input", value_name = "KEY=VALUE|JSON", value_parser = input)]
    pub inputs: Vec<Input>,
    /// Another engine for the stage
    #[arg(long, default_value = "", value_name = "NAME")]
    pub engine: String,
    /// Another pool of workers for the stage; empty for those without one
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// Another task for the stage: all of it, as JSON
    #[arg(long, value_name = "JSON", value_parser = object)]
    pub task: Option<Input>,
    /// Go on from this checkpoint of the stage, with the nodes after it; see `checkpoints list`
    #[arg(long, default_value = "", value_name = "CHECKPOINT", hide_default_value = true)]
    pub from_checkpoint: String,
    /// Values to change in the checkpoint's state first, as JSON, by LangGraph's own rules for update_state
    #[arg(long, value_name = "JSON", value_parser = object, requires = "from_checkpoint")]
    pub state: Option<Input>,
    /// The node that is taken to have written --state; by default the one that LangGraph takes
    #[arg(
        long,
        default_value = "",
        value_name = "NODE",
        requires = "from_checkpoint",
        hide_default_value = true
    )]
    pub as_node: String,
    /// A UUID of your own: the same id never starts a second execution
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<uuid::Uuid>,
    /// Who asks for it; by default the user's name
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// `checkpoints`.
#[derive(Debug, Subcommand)]
pub enum Checkpoints {
    /// Those of a stage, the newest first
    List {
        /// The execution
        execution: String,
        /// The stage
        stage: String,
        /// Of this graph inside the stage's
        #[arg(long, default_value = "", value_name = "PLACE", hide_default_value = true)]
        namespace: String,
    },
    /// One, with the values of its state
    Show {
        /// The execution
        execution: String,
        /// The stage
        stage: String,
        /// The checkpoint; the newest when it is left out
        #[arg(default_value = "", hide_default_value = true)]
        checkpoint: String,
        /// Of this graph inside the stage's
        #[arg(long, default_value = "", value_name = "PLACE", hide_default_value = true)]
        namespace: String,
    },
}

/// `artifacts`.
#[derive(Debug, Subcommand)]
pub enum Artifacts {
    /// All of them, those that were stored or named last at the end
    List {
        /// Only those that no execution and no schedule refers to
        #[arg(long)]
        unused: bool,
    },
    /// One, with who refers to it
    #[command(visible_alias = "get")]
    Show {
        /// The artifact
        id: String,
    },
    /// Remove one that nothing refers to
    Delete {
        /// The artifact
        id: String,
    },
    /// Remove all that nothing refers to now, instead of waiting until it happens by itself
    Prune {
        /// Only those that nobody stored or named for this long, a minute at least; by default the deployment's
        /// --artifact-grace
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        min_age: Option<Duration>,
        /// Only say which
        #[arg(long)]
        dry_run: bool,
    },
}

/// `dead-letters`.
#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// Those that nobody has run again
    List {
        /// Also those that were run again
        #[arg(long)]
        all: bool,
        /// Only those of this execution
        #[arg(long, default_value = "", value_name = "ID")]
        execution: String,
    },
    /// One, with its task and what went wrong
    Show {
        /// The dead letter
        id: String,
    },
    /// Continue its execution from the stage that failed
    Redrive {
        /// The dead letter
        id: String,
    },
}

/// `executions list`.
#[derive(Debug, Args)]
pub struct ListExecutions {
    /// Only those in one of these states, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    pub state: Vec<ExecutionState>,
    /// Only those with a stage on this engine
    #[arg(long, default_value = "", value_name = "NAME")]
    pub engine: String,
    /// Only those with this label
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Only those that this schedule started
    #[arg(long, default_value = "", value_name = "ID")]
    pub schedule: String,
    /// Only those accepted within this time, such as 2h, or since an RFC 3339 instant
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<Since>,
    /// At most this many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
}

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum ExecutionState {
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

/// `approvals`.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// What waits for a decision
    List {
        /// Also those that are decided or expired
        #[arg(long)]
        all: bool,
        /// Only those of this execution
        #[arg(long, default_value = "", value_name = "ID")]
        execution: String,
    },
    /// One approval, with what the engine shows, who may decide and who has
    #[command(visible_alias = "show")]
    Get {
        /// The approval
        id: String,
    },
    /// Decide one; where it takes several people, each of them once
    Decide(Decide),
}

/// `approvals decide`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("answer").required(true).args(["approve", "reject"]))]
pub struct Decide {
    /// The approval
    pub id: String,
    /// Yes
    #[arg(long)]
    pub approve: bool,
    /// No
    #[arg(long)]
    pub reject: bool,
    /// Why; some stages take no decision without
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Who decides; by default the user's name
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// A value that the stage's state takes over
    #[arg(long = "value", value_name = "KEY=VALUE|JSON", value_parser = input)]
    pub values: Vec<Input>,
    /// The nonce that `approvals get` showed: refused if something else is asked by now
    #[arg(long, default_value = "")]
    pub nonce: String,
}

/// `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The Python that environments would be built from
    #[arg(long, value_name = "PATH")]
    pub python: Option<PathBuf>,
}

/// `coordinator`.
#[derive(Debug, Args)]
pub struct Coordinator {
    /// The file of settings.
    #[command(flatten)]
    pub file: ConfigFile,
    /// How it is set up.
    #[command(flatten)]
    pub options: mahavishnu_coordinator::Options,
}

/// `worker`.
#[derive(Debug, Args)]
pub struct Worker {
    /// The engine: agno, langgraph, llamaindex or prefect; with --module one of your own
    pub engine: String,
    /// The engine's module in the project directory, for an engine of your own: path.py or package.module.
    /// It runs in --python
    #[arg(long, value_name = "PLACE")]
    pub module: Option<String>,
    /// The file of settings.
    #[command(flatten)]
    pub file: ConfigFile,
    /// How it is set up.
    #[command(flatten)]
    pub options: mahavishnu_worker::Options,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
