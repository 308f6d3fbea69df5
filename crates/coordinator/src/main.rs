//! `mahavishnu-coordinator`: serves the API and advances executions.

use std::process::ExitCode;

use clap::Parser;
use mahavishnu_process::settings::{self, ConfigFile};

/// Serves the Mahavishnu API and advances executions
#[derive(Parser)]
#[command(name = "mahavishnu-coordinator", version)]
struct Program {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    options: mahavishnu_coordinator::Options,
    #[command(flatten)]
    telemetry: mahavishnu_telemetry::Options,
}

fn main() -> ExitCode {
    match settings::parse::<Program>() {
        Ok(program) => mahavishnu_coordinator::main(program.options, &program.telemetry),
        Err(code) => code,
    }
}
