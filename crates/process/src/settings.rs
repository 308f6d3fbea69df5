//! Settings from flags, environment and a file, in this order of precedence.
//!
//! The file is TOML; its keys are the long names of the flags: `nats = "nats://nats:4222"`, `slots = 8`.
//! It is named by `--config` or `MAHAVISHNU_CONFIG`. What it says becomes the default of each flag.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgMatches, Command, Parser};

/// `EX_USAGE` of sysexits.
const USAGE: u8 = 64;
/// The name of the flag.
const CONFIG: &str = "config";

/// The file that settings may come from.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFile {
    /// A TOML file with settings, named like the flags
    #[arg(long, env = "MAHAVISHNU_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Reads the settings of a program, or says what is wrong with them.
///
/// # Errors
/// The exit code, once the reason is printed.
pub fn parse<P: Parser>() -> Result<P, ExitCode> {
    parse_with_matches().map(|(settings, _)| settings)
}

/// The same, with what tells where each setting comes from. Where a program has commands, those that have `--config`
/// take it.
///
/// # Errors
/// The exit code, once the reason is printed.
pub fn parse_with_matches<P: Parser>() -> Result<(P, ArgMatches), ExitCode> {
    match read(P::command(), std::env::args_os().collect()) {
        Ok(Ok(matches)) => {
            let settings = P::from_arg_matches(&matches).map_err(|error| refused(&error))?;
            Ok((settings, matches))
        }
        Ok(Err(error)) => Err(refused(&error)),
        Err(error) => {
            eprintln!("{error:#}");
            Err(ExitCode::from(USAGE))
        }
    }
}

/// Prints why the settings are refused, and gives the exit code: `EX_USAGE`, so that a bad flag is not taken for a refused
/// workflow. Help and version come this way too; a closed standard output is no reason to fail.
pub fn refused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn read(command: Command, arguments: Vec<OsString>) -> anyhow::Result<Result<ArgMatches, clap::Error>> {
    let command = match named(&command, &arguments) {
        Some((role, path)) => with_file(command, role.as_deref(), &path)?,
        None => command,
    };
    Ok(command.try_get_matches_from(arguments))
}

/// The command that was called, if there are several, and the file that it is to read. What else is wrong with the
/// arguments is told later, when the file is read.
fn named(command: &Command, arguments: &[OsString]) -> Option<(Option<String>, PathBuf)> {
    let lenient = command.clone().ignore_errors(true);
    let found = lenient.try_get_matches_from(arguments).ok()?;
    let (role, matches) = match found.subcommand() {
        Some((role, matches)) => (Some(role.to_owned()), matches),
        None => (None, &found),
    };
    let path = matches.try_get_one::<PathBuf>(CONFIG).ok()??.clone();
    Some((role, path))
}

/// The command with the file's settings as defaults.
fn with_file(mut command: Command, role: Option<&str>, path: &Path) -> anyhow::Result<Command> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
    for (key, value) in table {
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => bail!("{}: {key} cannot be a {}", path.display(), other.type_str()),
        };
        let own = role.and_then(|role| command.find_subcommand(role)).and_then(|role| id(role, &key));
        let whole = id(&command, &key);
        let set = |argument: Arg| argument.default_value(text).required(false);
        command = match (role, own, whole) {
            (Some(role), Some(id), _) => command.mut_subcommand(role, |role| role.mut_arg(id, set)),
            (_, None, Some(id)) => command.mut_arg(id, set),
            _ => {
                let role = role.and_then(|role| command.find_subcommand(role));
                let known = role.into_iter().chain([&command]).flat_map(Command::get_arguments);
                let names: Vec<_> = known.filter_map(Arg::get_long).filter(|name| *name != CONFIG).collect();
                bail!("{}: no setting {key:?}; there are {}", path.display(), names.join(", "));
            }
        };
    }
    Ok(command)
}

fn id(command: &Command, key: &str) -> Option<clap::Id> {
    let mut known = command.get_arguments().filter(|argument| argument.get_long() != Some(CONFIG));
    known.find(|argument| argument.get_long() == Some(key)).map(|argument| argument.get_id().clone())
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        file: ConfigFile,
        // Cargo sets it for every test.
        #[arg(long, env = "CARGO_PKG_NAME")]
        package: String,
        #[arg(long, default_value = "default")]
        nats: String,
        #[arg(long, default_value_t = 1)]
        slots: u32,
    }

    #[derive(Parser)]
    struct Programs {
        #[arg(long, global = true, default_value = "here")]
        state_dir: String,
        #[command(subcommand)]
        role: Role,
    }

    #[derive(Subcommand)]
    enum Role {
        Worker(Worker),
        Other,
    }

    #[derive(clap::Args)]
    struct Worker {
        engine: String,
        #[command(flatten)]
        file: ConfigFile,
        #[arg(long)]
        needed: String,
        #[arg(long, default_value_t = 1)]
        slots: u32,
    }

    fn settings<P: Parser>(before: &[&str], file: &str, after: &[&str]) -> anyhow::Result<P> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("settings.toml");
        std::fs::write(&path, file)?;
        let mut arguments: Vec<OsString> = before.iter().map(OsString::from).collect();
        arguments.extend(["--config".into(), path.into_os_string()]);
        arguments.extend(after.iter().map(OsString::from));
        Ok(P::from_arg_matches(&read(P::command(), arguments)??)?)
    }

    fn program(file: &str, flags: &[&str]) -> anyhow::Result<Program> {
        settings(&["program"], file, flags)
    }

    #[test]
    fn flags_go_before_the_file() {
        let found = program("nats = 'file'\nslots = 3", &[]).unwrap();
        assert_eq!((found.nats.as_str(), found.slots), ("file", 3));
        assert!(found.file.config.is_some());
        let found = program("slots = 3", &["--slots", "4"]).unwrap();
        assert_eq!((found.nats.as_str(), found.slots), ("default", 4));
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        assert_eq!(program("package = 'file'", &[]).unwrap().package, env!("CARGO_PKG_NAME"));
    }

    #[test]
    fn a_command_has_its_own_file_and_the_settings_of_all() {
        let words = ["program", "worker"];
        let file = "needed = 'file'\nslots = 3\nstate-dir = 'there'";
        let found: Programs = settings(&words, file, &["agno", "--slots=4"]).unwrap();
        let Role::Worker(worker) = found.role else { panic!("not a worker") };
        assert_eq!((worker.engine.as_str(), worker.needed.as_str(), worker.slots), ("agno", "file", 4));
        assert_eq!((found.state_dir.as_str(), worker.file.config.is_some()), ("there", true));
        assert!(settings::<Programs>(&["program", "other"], file, &[]).is_err());
        let error = settings::<Programs>(&words, "slot = 3", &["agno"]).map(drop).unwrap_err().to_string();
        assert!(error.contains("slots") && error.contains("state-dir"), "{error}");
        assert!(matches!(Programs::try_parse_from(["program", "other"]).unwrap().role, Role::Other));
    }

    #[test]
    fn an_unknown_setting_names_the_known_ones() {
        let error = program("slot = 3", &[]).map(drop).unwrap_err().to_string();
        assert!(error.contains("no setting \"slot\"") && error.contains("slots"), "{error}");
        for bad in ["slots = [1]", "slots", "slots = 'many'", "config = 'x'"] {
            assert!(program(bad, &[]).is_err(), "{bad}");
        }
    }
}
