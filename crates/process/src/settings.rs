//! Settings from flags, environment and a file, in this order of precedence.
//!
//! The file is TOML; its keys are the long names of the flags: `nats = "nats://nats:4222"`, `slots = 8`.
//! It is named by `--config` or `MAHAVISHNU_CONFIG`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Command, Parser};

/// `EX_USAGE` of sysexits.
const USAGE: u8 = 64;

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
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match read::<P>(arguments, |name| std::env::var_os(name)) {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err(error)) => {
            let _ = error.print();
            Err(if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS })
        }
        Err(error) => {
            eprintln!("{error:#}");
            Err(ExitCode::from(USAGE))
        }
    }
}

fn read<P: Parser>(
    mut arguments: Vec<OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Result<P, clap::Error>> {
    let command = P::command().args_override_self(true);
    if let Some(path) = file(&arguments, &environment) {
        let given = given(&path, &command, &environment)?;
        // Before the real flags, which override them.
        arguments.splice(1.min(arguments.len())..1.min(arguments.len()), given);
    }
    Ok(command.try_get_matches_from(arguments).and_then(|matches| P::from_arg_matches(&matches)))
}

fn file(arguments: &[OsString], environment: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--config") => return arguments.next().map(PathBuf::from),
            Some(text) => {
                if let Some(path) = text.strip_prefix("--config=") {
                    return Some(PathBuf::from(path));
                }
            }
            None => {}
        }
    }
    environment("MAHAVISHNU_CONFIG").map(PathBuf::from)
}

/// The file's settings as flags, without those that the environment has.
fn given(
    path: &Path,
    command: &Command,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> anyhow::Result<Vec<OsString>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
    let mut flags = Vec::new();
    for (key, value) in table {
        let known =
            command.get_arguments().find(|argument| argument.get_long() == Some(&key) && key != "config");
        let Some(argument) = known else {
            let names: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
            bail!("{}: no setting {key:?}; there are {}", path.display(), names.join(", "));
        };
        let from_environment =
            argument.get_env().and_then(|name| name.to_str()).is_some_and(|name| environment(name).is_some());
        if from_environment {
            continue;
        }
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Float(number) => number.to_string(),
            toml::Value::Boolean(flag) => flag.to_string(),
            other => bail!("{}: {key} cannot be a {}", path.display(), other.type_str()),
        };
        flags.push(format!("--{key}={text}").into());
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        file: ConfigFile,
        #[arg(long, env = "TEST_NATS", default_value = "default")]
        nats: String,
        #[arg(long, default_value_t = 1)]
        slots: u32,
    }

    fn settings(file: &str, flags: &[&str], nats: Option<&str>) -> anyhow::Result<(String, u32)> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("settings.toml");
        std::fs::write(&path, file)?;
        let mut arguments = vec!["program".into(), "--config".into(), path.into_os_string()];
        arguments.extend(flags.iter().map(OsString::from));
        let program =
            read::<Program>(arguments, |name| nats.filter(|_| name == "TEST_NATS").map(Into::into))??;
        assert!(program.file.config.is_some());
        Ok((program.nats, program.slots))
    }

    #[test]
    fn flags_go_before_the_file() {
        assert_eq!(settings("nats = 'file'\nslots = 3", &[], None).unwrap(), ("file".into(), 3));
        assert_eq!(settings("slots = 3", &["--slots", "4"], None).unwrap(), ("default".into(), 4));
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        // The value itself is read by clap from the real environment; here it must not come from the file.
        assert_eq!(settings("nats = 'file'", &[], Some("environment")).unwrap().0, "default");
    }

    #[test]
    fn an_unknown_setting_names_the_known_ones() {
        let error = settings("slot = 3", &[], None).unwrap_err().to_string();
        assert!(error.contains("no setting \"slot\"") && error.contains("slots"), "{error}");
        assert!(settings("slots = [1]", &[], None).is_err());
        assert!(settings("slots", &[], None).is_err());
    }
}
