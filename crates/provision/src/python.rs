//! Finding a Python that environments can be built from: CPython 3.10 or newer with `venv` and `ensurepip`.
//!
//! A name on `PATH` proves nothing (version managers put wrappers there that fail), so every candidate is asked. As that
//! takes a third of a second with such wrappers, the answer is remembered until `PATH` or the interpreter changes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::process::withhold;

const OLDEST: (u32, u32) = (3, 10);
/// The newest version that the locked packages were tried with; a newer one is taken only if there is no other.
const NEWEST: (u32, u32) = (3, 13);
const NAMES: [&str; 6] = ["python3", "python3.13", "python3.12", "python3.11", "python3.10", "python"];
/// Long, because a cold disk is slow; a wrapper that hangs is passed over.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prints what [`Answer`] reads; understood by every Python 3.
const QUESTION: &str = "
import json, sys
def has(name):
    try:
        __import__(name)
        return True
    except Exception:
        return False
print(json.dumps({
    'implementation': sys.implementation.name,
    'version': list(sys.version_info[:3]),
    'executable': getattr(sys, '_base_executable', None) or sys.executable,
    'venv': has('venv'),
    'ensurepip': has('ensurepip'),
}))
";

/// Variables that change what a Python imports or writes; children of this crate do not inherit them.
pub(crate) const FOREIGN_SETTINGS: [&str; 7] = [
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONDONTWRITEBYTECODE",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
];

/// A Python that was asked and fits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// The interpreter itself: no wrapper, and not inside an environment.
    pub executable: PathBuf,
    /// Its version.
    pub version: (u32, u32, u32),
}

/// A finding, with what it depended on.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    path: String,
    /// The file behind `executable`: with an upgrade of the system, `python3` becomes another one.
    file: PathBuf,
    python: Python,
}

#[derive(Debug, Deserialize)]
struct Answer {
    implementation: String,
    version: (u32, u32, u32),
    executable: PathBuf,
    venv: bool,
    ensurepip: bool,
}

impl Python {
    /// What tells compiled packages of one version from those of another: `cp311`.
    pub fn tag(&self) -> String {
        format!("cp{}{}", self.version.0, self.version.1)
    }
}

/// Like [`find`], but what was found on `PATH` before is taken from the file if it still holds.
pub(crate) async fn recall(wanted: Option<&Path>, memory: &Path) -> Result<Python> {
    if wanted.is_some() {
        return find(wanted).await;
    }
    let path = std::env::var_os("PATH").unwrap_or_default().to_string_lossy().into_owned();
    if let Some(python) = Memory::read(memory, &path) {
        return Ok(python);
    }
    let python = find(None).await?;
    // A help, not a need.
    if let Err(error) = Memory::write(memory, path, &python) {
        tracing::debug!(%error, "cannot remember the Python that was found");
    }
    Ok(python)
}

impl Memory {
    fn read(file: &Path, path: &str) -> Option<Python> {
        let memory: Self = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let holds = memory.path == path && memory.python.executable.canonicalize().ok()? == memory.file;
        holds.then_some(memory.python)
    }

    fn write(file: &Path, path: String, python: &Python) -> std::io::Result<()> {
        let memory = Self { path, file: python.executable.canonicalize()?, python: python.clone() };
        // Renamed into place, so that nobody reads half of it.
        let mut new = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
        serde_json::to_writer(&mut new, &memory)?;
        new.persist(file)?;
        Ok(())
    }
}

/// The interpreter that was asked for, or the best one on `PATH`.
pub(crate) async fn find(wanted: Option<&Path>) -> Result<Python> {
    match wanted {
        Some(path) => examine(path).await,
        None => search(NAMES.iter().flat_map(|name| which::which_all(name).into_iter().flatten())).await,
    }
}

async fn search(candidates: impl Iterator<Item = PathBuf>) -> Result<Python> {
    let mut seen = Vec::new();
    let mut without_venv = None;
    let mut too_new: Option<Python> = None;
    for candidate in candidates {
        match examine(&candidate).await {
            Ok(python) if (python.version.0, python.version.1) <= NEWEST => return Ok(python),
            Ok(python) => too_new = too_new.or(Some(python)),
            Err(error @ Error::NoVenv { .. }) => without_venv = without_venv.or(Some(error)),
            Err(Error::UnusablePython { python, reason }) => {
                seen.push(format!("{}: {reason}", python.display()))
            }
            Err(other) => return Err(other),
        }
    }
    if let Some(python) = too_new {
        return Ok(python);
    }
    Err(without_venv.unwrap_or_else(|| Error::NoPython {
        seen: if seen.is_empty() { "none on PATH".to_owned() } else { seen.join("; ") },
    }))
}

async fn examine(path: &Path) -> Result<Python> {
    let unusable = |reason: String| Error::UnusablePython { python: path.to_owned(), reason };
    let answer = ask(path).await.map_err(unusable)?;
    let (major, minor, patch) = answer.version;
    if answer.implementation != "cpython" {
        return Err(unusable(format!("it is {}, not CPython", answer.implementation)));
    }
    if (major, minor) < OLDEST {
        return Err(unusable(format!("version {major}.{minor}.{patch} is too old")));
    }
    for (there, module) in [(answer.venv, "venv"), (answer.ensurepip, "ensurepip")] {
        if !there {
            return Err(Error::NoVenv { python: path.to_owned(), module });
        }
    }
    Ok(Python { executable: answer.executable, version: answer.version })
}

async fn ask(path: &Path) -> Result<Answer, String> {
    let mut command = Command::new(path);
    // -I: neither the directory we happen to be in nor the user's variables may change the answer.
    command.args(["-I", "-c", QUESTION]).stdin(Stdio::null());
    withhold(&mut command);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let output = timeout(PATIENCE, command.output())
        .await
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("it does not run ({})", output.status));
    }
    serde_json::from_slice(&output.stdout).map_err(|_| "it does not answer like a Python".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn pretender(directory: &Path, name: &str, script: &str) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn answering(version: &str, venv: bool) -> String {
        format!(
            r#"echo '{{"implementation": "cpython", "version": [{version}], "executable": "/p/{version}", "venv": {venv}, "ensurepip": true}}'"#
        )
    }

    #[tokio::test]
    async fn a_real_python_is_found() {
        let python = find(None).await.unwrap();
        assert!(python.executable.is_file());
        assert!((python.version.0, python.version.1) >= OLDEST);
        assert_eq!(find(Some(&python.executable)).await.unwrap(), python);
    }

    #[test]
    fn a_finding_holds_until_the_path_or_the_interpreter_changes() {
        let directory = tempfile::tempdir().unwrap();
        let [memory, link] = ["python.json", "python3"].map(|name| directory.path().join(name));
        for version in ["python3.11", "python3.12"] {
            pretender(directory.path(), version, "");
        }
        std::os::unix::fs::symlink("python3.11", &link).unwrap();
        let python = Python { executable: link.clone(), version: (3, 11, 0) };
        assert_eq!(Memory::read(&memory, "/bin"), None);
        Memory::write(&memory, "/bin".to_owned(), &python).unwrap();
        assert_eq!(Memory::read(&memory, "/bin"), Some(python));
        assert_eq!(Memory::read(&memory, "/usr/bin"), None);
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("python3.12", &link).unwrap();
        assert_eq!(Memory::read(&memory, "/bin"), None);
    }

    #[tokio::test]
    async fn wrappers_that_fail_old_and_newest_ones_are_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let candidates = [
            pretender(directory.path(), "shim", "exit 127"),
            pretender(directory.path(), "old", &answering("3, 9, 18", true)),
            pretender(directory.path(), "bare", &answering("3, 12, 0", false)),
            pretender(directory.path(), "new", &answering("3, 99, 0", true)),
            pretender(directory.path(), "good", &answering("3, 12, 1", true)),
        ];
        let choose = |wanted: &[usize]| {
            let chosen: Vec<PathBuf> = wanted.iter().filter_map(|at| candidates.get(*at).cloned()).collect();
            search(chosen.into_iter())
        };
        assert_eq!(choose(&[0, 1, 2, 3, 4]).await.unwrap().version, (3, 12, 1));
        assert_eq!(choose(&[0, 3]).await.unwrap().version, (3, 99, 0));

        let error = choose(&[0, 1]).await.unwrap_err().to_string();
        assert!(error.contains("it does not run") && error.contains("3.9.18 is too old"), "{error}");
        let error = choose(&[0, 2]).await.unwrap_err();
        assert!(
            error.to_string().contains("no venv module") && error.advice().contains("python3-venv"),
            "{error}"
        );
        assert!(choose(&[]).await.unwrap_err().to_string().contains("none on PATH"));
    }
}
