//! Documents of a workflow, sent to the coordinator as artifacts so that a worker anywhere can read them.
//!
//! Invariant: only what the workflow names inside its own directory is sent, and what `--doc` names.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};
use futures::{StreamExt as _, TryStreamExt as _};
use mahavishnu_core::workflow::Draft;
use mahavishnu_proto::v1::UploadArtifactRequest;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::client::Client;
use crate::failure;

/// Below the limit of a message.
const CHUNK: usize = 512 << 10;
/// Files sent at the same time.
const AT_ONCE: usize = 4;

/// The local files that a draft's `docs` name, and those attached by hand: name to path.
///
/// A named file that is not there is left to the worker's project directory; an attached one must be there.
pub fn documents(
    draft: &Draft,
    directory: &Path,
    attached: &[(String, String)],
) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut documents: BTreeMap<String, PathBuf> = named(draft)
        .filter(|name| !draft.documents.contains_key(*name))
        .filter_map(|name| Some((name.to_owned(), local(directory, name)?)))
        .collect();
    for (name, path) in attached {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("--doc {name}={}: there is no such file", path.display());
        }
        documents.insert(name.clone(), path);
    }
    Ok(documents)
}

/// Sends the files; gives name to artifact.
pub async fn send(
    client: &Client,
    documents: BTreeMap<String, PathBuf>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let sending = documents.into_iter().map(|(name, path)| async move {
        let id = send_one(client, &path).await.with_context(|| format!("sending {}", path.display()))?;
        anyhow::Ok((name, id))
    });
    futures::stream::iter(sending).buffer_unordered(AT_ONCE).try_collect().await
}

async fn send_one(client: &Client, path: &Path) -> anyhow::Result<String> {
    let file = tokio::fs::File::open(path).await?;
    // A file that cannot be read to its end ends the call instead of storing half of it: the error is kept.
    let (broken, mut error) = tokio::sync::oneshot::channel();
    let chunks = futures::stream::unfold((file, Some(broken)), |(mut file, broken)| async {
        let mut chunk = Vec::with_capacity(CHUNK);
        match (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await {
            Ok(0) => None,
            Ok(_) => Some((UploadArtifactRequest { chunk }, (file, broken))),
            Err(error) => {
                // The receiver outlives the call.
                broken.map(|broken| broken.send(error));
                None
            }
        }
    });
    let response = client.artifacts().upload_artifact(chunks).await.map_err(failure::at(&client.endpoint));
    if let Ok(error) = error.try_recv() {
        return Err(error.into());
    }
    Ok(response?.into_inner().id)
}

/// Every text in a `docs` list of a task.
fn named(draft: &Draft) -> impl Iterator<Item = &str> {
    let tasks = draft.stages.iter().filter_map(|stage| stage.task.as_ref());
    let lists = tasks.filter_map(|task| task.get("docs").and_then(Value::as_array));
    lists.flatten().filter_map(Value::as_str)
}

/// The file of this name inside the directory, links resolved.
fn local(directory: &Path, name: &str) -> Option<PathBuf> {
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || name.starts_with("artifact:") {
        return None;
    }
    let directory = directory.canonicalize().ok()?;
    let path = directory.join(relative).canonicalize().ok()?;
    (path.starts_with(&directory) && path.is_file()).then_some(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn draft(docs: Value) -> Draft {
        serde_json::from_value(json!({"stages": [
            {"type": "llamaindex", "task": {"docs": docs}},
            {"type": "agno", "task": {"docs": "not a list"}},
            {"type": "agno"},
        ]}))
        .unwrap()
    }

    #[test]
    fn what_is_named_and_there_is_sent_and_nothing_else() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("sub")).unwrap();
        for name in ["a.pdf", "sub/b.pdf", "unnamed.pdf"] {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(outside.path().join("secret"), directory.path().join("link")).unwrap();
        let secret = outside.path().join("secret").display().to_string();
        let docs = json!([
            "a.pdf",
            "./sub/b.pdf",
            "missing.pdf",
            "sub",
            "link",
            "../x",
            secret,
            "artifact:abc",
            7,
            "${{ stages.x.output.file }}"
        ]);
        let found = documents(&draft(docs), directory.path(), &[]).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["./sub/b.pdf", "a.pdf"]);
    }

    #[test]
    fn attached_files_go_before_named_ones_and_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other.pdf");
        std::fs::write(directory.path().join("a.pdf"), "x").unwrap();
        std::fs::write(&other, "x").unwrap();
        let attach = |path: &Path| [("a.pdf".to_owned(), path.display().to_string())];
        let found = documents(&draft(json!(["a.pdf"])), directory.path(), &attach(&other)).unwrap();
        assert_eq!(found.get("a.pdf").unwrap(), &other);
        let missing = directory.path().join("missing");
        assert!(documents(&draft(json!([])), directory.path(), &attach(&missing)).is_err());
    }
}
