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

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use mahavishnu_process::settings;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::system::DevFile;

fn main() -> ExitCode {
    let (cli, matches) = match settings::parse_with_matches::<Cli>() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let mut telemetry = cli.telemetry;
    match cli.command {
        Command::Coordinator(role) => mahavishnu_coordinator::main(role.options, &telemetry),
        Command::Worker(mut role) => match system::engines::runs(&role.engine, role.module) {
            Ok(runs) => {
                let given = matches.subcommand().and_then(|(_, worker)| worker.value_source("nats"));
                if given.is_none_or(|source| source == ValueSource::DefaultValue) {
                    // Beside a running `dev` its server is meant.
                    role.options.nats =
                        DevFile::nats(cli.global.state_dir.as_deref()).unwrap_or(role.options.nats);
                }
                mahavishnu_worker::main(&runs, role.options, cli.global.state_dir, &telemetry)
            }
            Err(problem) => settings::refused(&Cli::command().error(ErrorKind::InvalidValue, problem)),
        },
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
