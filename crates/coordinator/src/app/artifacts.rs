//! Documents of clients.

use mahavishnu_bus::artifacts::{Content, Upload};
use mahavishnu_core::id::ArtifactId;

use super::{App, Error, Result};

impl App {
    /// Begins an upload.
    ///
    /// # Errors
    /// When there is no room for a temporary file.
    pub fn begin_upload(&self) -> Result<Upload> {
        Ok(Upload::new()?)
    }

    /// Stores what was uploaded; gives its id and size.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn finish_upload(&self, upload: Upload) -> Result<(ArtifactId, u64)> {
        Ok(self.bus.finish_upload(upload).await?)
    }

    /// Reads an artifact.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn download(&self, id: &str) -> Result<Content> {
        let missing = || Error::NotFound {
            what: "artifact",
            name: id.to_owned(),
            hint: "an artifact is named by the SHA-256 of its content".to_owned(),
        };
        let parsed = ArtifactId::parse(id).map_err(|_| missing())?;
        self.bus.open_artifact(&parsed).await.map_err(|error| match error {
            mahavishnu_bus::Error::NotFound => missing(),
            error => error.into(),
        })
    }
}
