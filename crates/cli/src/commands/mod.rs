//! One file per command; here is what they have in common: runtime, signals, telemetry, errors.

mod approvals;
mod artifacts;
mod checkpoints;
mod dead_letters;
mod dev;
mod doctor;
mod engines;
mod executions;
mod explain;
mod guide;
mod plan;
mod recommend;
mod run;
mod schedules;
mod select;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::CommandFactory as _;
use mahavishnu_telemetry::Telemetry;
use tracing::Instrument as _;

use crate::args::{Cli, Command, Engines};
use crate::context::Context;
use crate::failure::{self, Failure};
use crate::signals::Signals;

/// A read of standard input that never returns must not keep the program.
const LEAVE: Duration = Duration::from_millis(200);

/// Runs a command to its exit code.
pub fn run(command: Command, context: Context) -> ExitCode {
    match try_run(command, &context) {
        Ok(code) => code,
        Err(error) => failure::report(&error, context.global.json),
    }
}

fn try_run(command: Command, context: &Context) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")?;
    let result = runtime.block_on(async {
        let telemetry = Telemetry::init("mahavishnu", &context.telemetry)?;
        let signals = Signals::listen()?;
        // The trace of whatever the command asks for begins here.
        let span = tracing::info_span!("mahavishnu", otel.name = name(&command), otel.kind = "client");
        let result = dispatch(command, context, &signals).instrument(span).await;
        // The exporter blocks while it sends the rest.
        tokio::task::spawn_blocking(|| telemetry.shutdown()).await.context("telemetry")?;
        result
    });
    runtime.shutdown_timeout(LEAVE);
    result
}

async fn dispatch(command: Command, context: &Context, signals: &Signals) -> anyhow::Result<ExitCode> {
    // These two end in order themselves; every other command may be left at any point.
    match command {
        Command::Dev(args) => return dev::run(context, args, signals).await,
        Command::Run(args) => return run::run(context, *args, signals).await,
        Command::Executions(crate::args::Executions::Watch { id, after }) => {
            return executions::watch(context, id, after, signals).await;
        }
        _ => {}
    }
    let work = async {
        match command {
            Command::Select(args) => select::run(context, args).await,
            Command::Recommend(args) => recommend::run(context, args).await,
            Command::Plan(args) => plan::run(context, args).await,
            Command::Guide => guide::run(context).await,
            Command::Engines(Engines::List) => engines::list(context).await,
            Command::Engines(Engines::Get { engine }) => engines::get(context, engine).await,
            Command::Executions(args) => executions::run(context, args).await,
            Command::Checkpoints(args) => checkpoints::run(context, args).await,
            Command::Approvals(args) => approvals::run(context, args).await,
            Command::Explain { id } => explain::run(context, id).await,
            Command::Info => explain::info(context).await,
            Command::Artifacts(args) => artifacts::run(context, args).await,
            Command::DeadLetters(args) => dead_letters::run(context, args).await,
            Command::Schedules(args) => schedules::run(context, args).await,
            Command::Doctor(args) => doctor::run(context, args).await,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "mahavishnu", &mut script);
                crate::output::line(String::from_utf8_lossy(&script).trim_end());
                Ok(ExitCode::SUCCESS)
            }
            // Handled before, here or in `main`.
            Command::Dev(_) | Command::Run(_) | Command::Coordinator(_) | Command::Worker(_) => {
                Ok(ExitCode::SUCCESS)
            }
        }
    };
    tokio::select! {
        result = work => result,
        () = signals.stop.cancelled() => Err(Failure::Interrupted.into()),
    }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Dev(_) => "mahavishnu dev",
        Command::Run(_) => "mahavishnu run",
        Command::Select(_) => "mahavishnu select",
        Command::Recommend(_) => "mahavishnu recommend",
        Command::Plan(_) => "mahavishnu plan",
        Command::Guide => "mahavishnu guide",
        Command::Engines(_) => "mahavishnu engines",
        Command::Executions(_) => "mahavishnu executions",
        Command::Checkpoints(_) => "mahavishnu checkpoints",
        Command::Approvals(_) => "mahavishnu approvals",
        Command::Artifacts(_) => "mahavishnu artifacts",
        Command::DeadLetters(_) => "mahavishnu dead-letters",
        Command::Explain { .. } => "mahavishnu explain",
        Command::Info => "mahavishnu info",
        Command::Schedules(_) => "mahavishnu schedules",
        Command::Doctor(_) => "mahavishnu doctor",
        Command::Completions { .. } => "mahavishnu completions",
        Command::Coordinator(_) => "mahavishnu coordinator",
        Command::Worker(_) => "mahavishnu worker",
    }
}
