//! What `mahavishnu doctor` says: one check per thing that is needed, each with what to do when it is not right.
//!
//! Invariant: looking changes nothing. What is merely not there yet is right, because first use provides it; whether it
//! *can* be provided is then checked too (network, disk).

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use crate::environment::Environment;
use crate::error::Error;
use crate::nats::{self, Durability};
use crate::process::withhold;
use crate::tool::Step;
use crate::{Provision, tools};

/// Free space for a machine where everything is there already.
const SPACE_TO_RUN: u64 = 256 << 20;
/// Free space for building everything: four engines, the model, the tools, uv's cache.
const SPACE_TO_BUILD: u64 = 3 << 30;

/// The answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub check: String,
    /// Whether it is right.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do, when it is not right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Checks everything that these environments and a server of this durability need.
pub async fn examine(
    provision: &Provision,
    environments: &[Environment],
    durability: Durability,
) -> Vec<Check> {
    let mut checks = vec![good("state directory", provision.state().root().display().to_string())];
    let python = python(provision, &mut checks).await;
    let mut complete = server(provision, durability, &mut checks).await;
    for environment in environments {
        let (check, present) = installed(provision, environment, python).await;
        checks.push(check);
        complete &= present;
    }
    checks.push(space(provision, complete));
    if python && !complete {
        checks.push(network(provision).await);
    }
    checks
}

async fn python(provision: &Provision, checks: &mut Vec<Check>) -> bool {
    match provision.examined_python().await {
        Ok(python) => {
            let (major, minor, patch) = python.version;
            checks
                .push(good("python", format!("{major}.{minor}.{patch} at {}", python.executable.display())));
            checks.push(good("python venv", "venv and ensurepip are there"));
            true
        }
        Err(error @ Error::NoVenv { .. }) => {
            checks.push(bad("python venv", &error));
            false
        }
        Err(error) => {
            checks.push(bad("python", &error));
            false
        }
    }
}

async fn server(provision: &Provision, durability: Durability, checks: &mut Vec<Check>) -> bool {
    let fetched = tools::present(provision).map(|tools| tools.nats_server());
    let program = match nats::on_path().await {
        Some((program, _)) => Some(program),
        None => fetched,
    };
    let (whose, durability) = match nats::running(&provision.state().nats()).await {
        Some((url, running)) => (format!("the one that runs at {url}"), running),
        None => ("the next one started here".to_owned(), durability),
    };
    let sync = match durability {
        Durability::Process => {
            "an acknowledged write survives the death of any process, a power cut after two minutes"
        }
        Durability::Power => "an acknowledged write survives a power cut",
    };
    let detail = format!("{whose} has sync_interval {}: {sync}", durability.sync_interval());
    checks.push(good("nats-server durability", detail));
    let Some(program) = program else {
        checks.push(good("nats-server", "not there yet; fetched on first use"));
        return false;
    };
    match nats::version(&program).await {
        Some((major, minor, patch)) => {
            checks.push(good("nats-server", format!("{major}.{minor}.{patch} at {}", program.display())));
        }
        None => {
            let detail = format!("{} does not run", program.display());
            checks.push(broken("nats-server", detail, &tools::directory(provision)));
        }
    }
    // Also without it on PATH the tools are needed for the environments.
    tools::present(provision).is_some()
}

/// The check, and whether the environment is there.
async fn installed(provision: &Provision, environment: &Environment, python: bool) -> (Check, bool) {
    let name = format!("environment of {}", environment.name());
    if !python {
        let advice = Some("install Python first".to_owned());
        return (
            Check { check: name, ok: false, detail: "not checked without a Python".to_owned(), advice },
            true,
        );
    }
    let interpreter = match environment.present(provision).await {
        Ok(Some(interpreter)) => interpreter,
        Ok(None) => return (good(name, "not there yet; built on first use"), false),
        Err(error) => return (bad(name, &error), false),
    };
    let directory = interpreter.parent().and_then(Path::parent).unwrap_or(&interpreter);
    if runs(&interpreter).await {
        let versions: Vec<_> = environment
            .versions()
            .iter()
            .map(|(package, version)| format!("{package} {version}, "))
            .collect();
        (good(name, format!("{}in {}", versions.concat(), directory.display())), true)
    } else {
        (broken(name, format!("{} does not run", interpreter.display()), directory), true)
    }
}

async fn runs(interpreter: &Path) -> bool {
    let mut command = tokio::process::Command::new(interpreter);
    withhold(command.as_std_mut());
    command.args(["-I", "-c", ""]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).status().await.is_ok_and(|status| status.success())
}

fn space(provision: &Provision, complete: bool) -> Check {
    let needed = if complete { SPACE_TO_RUN } else { SPACE_TO_BUILD };
    match provision.state().free_bytes() {
        Ok(free) if free >= needed => good("disk space", format!("{} MB free", free >> 20)),
        Ok(free) => {
            let what = format!("{} MB free, {} MB needed", free >> 20, needed >> 20);
            bad("disk space", &Error::NoSpace { what, path: provision.state().root().to_owned() })
        }
        Err(error) => bad("disk space", &error),
    }
}

/// Asks for a small package the way it would be fetched, and keeps nothing.
async fn network(provision: &Provision) -> Check {
    const NAME: &str = "network";
    let pip = match (tools::present(provision), provision.python().await) {
        (Some(tools), _) => tools.python(),
        (None, Ok(python)) => python.executable.clone(),
        (None, Err(error)) => return bad(NAME, &error),
    };
    let mut command = Command::new(pip);
    command.args([
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--no-input",
        "--retries",
        "1",
    ]);
    command.args(["--disable-pip-version-check", "--only-binary", ":all:", "uv"]);
    let step = Step::start(provision, NAME);
    match step.run(command).await {
        Ok(()) => {
            step.done();
            good(NAME, "the package index answers")
        }
        // Debian's Python has no pip outside of environments.
        Err(Error::Tool { detail, .. }) if detail.contains("No module named pip") => {
            good(NAME, "not checked: no pip here yet")
        }
        Err(error) => bad(NAME, &error),
    }
}

fn good(check: impl Into<String>, detail: impl Into<String>) -> Check {
    Check { check: check.into(), ok: true, detail: detail.into(), advice: None }
}

fn bad(check: impl Into<String>, error: &Error) -> Check {
    Check { check: check.into(), ok: false, detail: error.to_string(), advice: Some(error.advice()) }
}

fn broken(check: impl Into<String>, detail: String, remove: &Path) -> Check {
    let advice = Some(format!("remove {}; it is provided again on next use", remove.display()));
    Check { check: check.into(), ok: false, detail, advice }
}
