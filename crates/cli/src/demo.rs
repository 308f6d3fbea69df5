//! The workflow that comes with the program, its documents and its project.

use std::path::PathBuf;

use include_dir::{Dir, include_dir};
use mahavishnu_provision::Provision;

static WORKFLOWS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../tests/workflows");

/// Where the demo was put.
#[derive(Debug)]
pub struct Demo {
    /// The workflow.
    pub file: PathBuf,
    /// The project directory of its workers.
    pub project: PathBuf,
}

impl Demo {
    /// Writes it into the state directory, unless it is there.
    pub async fn write(provision: &Provision) -> anyhow::Result<Self> {
        let directory = provision.sources(&WORKFLOWS).await?;
        Ok(Self { file: directory.join("demo.yaml"), project: directory.join("project") })
    }
}
