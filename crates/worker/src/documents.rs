//! Puts what a task names in `docs` where the engine host can read it.
//!
//! Invariant: a document is an artifact that came with the workflow, an artifact that the task names, or a
//! file inside the project directory; a name never leads anywhere else.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use mahavishnu_bus::Bus;
use mahavishnu_core::execution::{Failure, Task};
use mahavishnu_core::id::ArtifactId;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

/// Documents by name, and the directory of those that were fetched, which is removed with this.
pub struct Staged {
    /// Name as in `docs` to readable file.
    pub paths: BTreeMap<String, PathBuf>,
    _directory: Option<TempDir>,
}

/// Stages the documents of one task.
pub async fn stage(bus: &Bus, task: &Task, project: &Path) -> Result<Staged, Failure> {
    // Most tasks have none, and to make and remove one takes a millisecond.
    let mut directory = None;
    let mut paths = BTreeMap::new();
    let named = match task.task.get("docs") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for (n, name) in named.into_iter().enumerate() {
        let at_fault = |mut failure: Failure| {
            failure.field = format!("docs[{n}]");
            failure
        };
        let path = match artifact(task, name) {
            Some(id) => {
                let directory = match &mut directory {
                    Some(directory) => &*directory,
                    none => none.insert(temporary()?),
                };
                fetch(bus, &id, directory, n, name).await.map_err(at_fault)?
            }
            None => inside(project, name).map_err(at_fault)?,
        };
        paths.insert(name.to_owned(), path);
    }
    Ok(Staged { paths, _directory: directory })
}

fn temporary() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("mahavishnu-docs-").tempdir();
    made.map_err(|error| Failure::retryable("NO_SPACE", format!("no temporary directory: {error}")))
}

fn artifact(task: &Task, name: &str) -> Option<ArtifactId> {
    let named = name.strip_prefix("artifact:").and_then(|id| ArtifactId::parse(id).ok());
    named.or_else(|| task.documents.get(name).cloned())
}

async fn fetch(
    bus: &Bus,
    id: &ArtifactId,
    directory: &TempDir,
    n: usize,
    name: &str,
) -> Result<PathBuf, Failure> {
    let unavailable = |error: &dyn std::fmt::Display| {
        Failure::retryable("ARTIFACT_UNAVAILABLE", format!("{name}: {error}"))
    };
    let mut content = bus.open_artifact(id).await.map_err(|error| match error {
        mahavishnu_bus::Error::NotFound => {
            Failure::terminal("DOCUMENT_NOT_FOUND", format!("{name}: no artifact {id}"))
        }
        error => unavailable(&error),
    })?;
    // A directory of its own keeps the file's own name, which engines show and choose readers by.
    let own = directory.path().join(n.to_string());
    let file_name = Path::new(name).file_name().unwrap_or(name.as_ref());
    let path = own.join(file_name);
    let write = async {
        tokio::fs::create_dir(&own).await?;
        let mut file = tokio::fs::File::create(&path).await?;
        tokio::io::copy(&mut content, &mut file).await?;
        file.flush().await
    };
    write.await.map_err(|error| unavailable(&error))?;
    Ok(path)
}

fn inside(project: &Path, name: &str) -> Result<PathBuf, Failure> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let missing = || {
        Failure::terminal(
            "DOCUMENT_NOT_FOUND",
            format!(
                "{name} came neither with the workflow nor is it in the worker's project directory; \
                 attach it: mahavishnu run --doc {name}=PATH"
            ),
        )
    };
    if !plain {
        return Err(missing());
    }
    // Resolved, so that a link cannot lead outside either.
    let path = project.join(relative).canonicalize().map_err(|_| missing())?;
    if path.starts_with(project) && path.is_file() { Ok(path) } else { Err(missing()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_inside_the_project() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let project = tempfile::tempdir().unwrap();
        let root = project.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("docs")).unwrap();
        std::fs::write(root.join("docs/a.txt"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link")).unwrap();
        assert!(inside(&root, "docs/a.txt").is_ok());
        assert!(inside(&root, "./docs/a.txt").is_ok());
        let absolute = outside.path().join("secret");
        for bad in ["docs", "nothing", "../secret", "docs/../../x", "link", absolute.to_str().unwrap()] {
            assert_eq!(inside(&root, bad).unwrap_err().reason, "DOCUMENT_NOT_FOUND", "{bad}");
        }
    }
}
