//! `mahavishnu`: the whole system on one machine, and a client of any.
//!
//! | module | what it does |
//! |---|---|
//! | [`args`] | the command line |
//! | [`commands`] | one file per command |
//! | [`system`] | starts and stops everything that `dev` and `run` need |
//! | [`client`] | finds a coordinator and speaks to it |
//! | [`events`] | an execution's events, across broken connections |
//! | [`output`] | what is shown: tree, lines, JSON |
//!
//! Invariants: with `--json` nothing but JSON goes to standard output; everything that was started here has
//! ended when the program ends, whichever way it ends; the exit code is 0 for success, 1 for a failure, 2 for
//! a refusal before anything ran, 64 for a command line that is not one, 130 after an interruption.

mod approver;
mod args;
mod client;
mod commands;
mod context;
mod demo;
mod events;
mod failure;
mod output;
mod signals;
mod system;
mod upload;
mod workflow;

use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Cli, Command};
use crate::context::Context;

/// `EX_USAGE` of sysexits, so that a bad flag is not taken for a refused workflow.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let parsed = Cli::command()
        .try_get_matches()
        .and_then(|matches| Cli::from_arg_matches(&matches).map(|cli| (cli, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version come this way too; a closed standard output is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let mut telemetry = cli.telemetry;
    match cli.command {
        Command::Coordinator(options) => mahavishnu_coordinator::main(options, &telemetry),
        Command::Worker(role) => {
            mahavishnu_worker::main(role.runs, role.options, cli.global.state_dir, &telemetry)
        }
        command => {
            let log_chosen =
                matches.value_source("log").is_some_and(|source| source != ValueSource::DefaultValue);
            let children = log_chosen.then(|| telemetry.log.clone());
            if !log_chosen {
                // The terminal belongs to the command's own output.
                telemetry.log = "error".to_owned();
            }
            commands::run(command, Context { global: cli.global, telemetry, children_log: children })
        }
    }
}
