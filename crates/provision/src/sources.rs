//! Embedded Python sources, written where an interpreter can import them.
//!
//! The directory is named after its content, so versions live side by side and nothing is ever overwritten.

use std::path::{Path, PathBuf};

use include_dir::{Dir, File};

use crate::environment::Building;
use crate::error::{Error, Result};
use crate::state::create_private;
use crate::{StateDir, short_hash};

pub(crate) async fn write(state: &StateDir, tree: &'static Dir<'static>) -> Result<PathBuf> {
    let state = state.clone();
    // A few small files; still file operations, so not on the async threads. A panic of the closure is impossible.
    match tokio::task::spawn_blocking(move || write_now(&state, tree)).await {
        Ok(written) => written,
        Err(error) => {
            Err(Error::Tool { what: "writing embedded sources".to_owned(), detail: error.to_string() })
        }
    }
}

fn write_now(state: &StateDir, tree: &Dir<'_>) -> Result<PathBuf> {
    let mut files = Vec::new();
    collect(tree, &mut files);
    files.sort_by_key(|file| file.path());
    let parts: Vec<&[u8]> =
        files.iter().flat_map(|file| [file.path().as_os_str().as_encoded_bytes(), file.contents()]).collect();
    let target = state.hosts().join(short_hash(&parts));
    if target.is_dir() {
        return Ok(target);
    }
    let building = Building::beside(&target)?;
    for file in files {
        let path = building.path().join(file.path());
        create_private(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(&path, file.contents()).map_err(Error::io("cannot write", &path))?;
    }
    match building.finish(&target) {
        // Another process was faster and wrote the same.
        Err(_) if target.is_dir() => Ok(target),
        outcome => outcome.map(|()| target),
    }
}

/// All files but what Python itself had written beside the sources when they were embedded.
fn collect<'a>(directory: &'a Dir<'a>, files: &mut Vec<&'a File<'a>>) {
    files.extend(
        directory.files().filter(|file| file.path().extension().is_none_or(|extension| extension != "pyc")),
    );
    for inner in directory.dirs() {
        collect(inner, files);
    }
}
