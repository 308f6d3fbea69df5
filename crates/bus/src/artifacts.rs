//! Large payloads, kept by content hash in a JetStream object store.
//!
//! Invariant: an artifact's id is the SHA-256 of its content; the same content is stored once.

use std::io::Cursor;
use std::path::Path;

use async_nats::jetstream::object_store::{ObjectMetadata, ObjectStore};
use backon::Retryable as _;
use bytes::Bytes;
use mahavishnu_core::id::ArtifactId;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::log::patience;
use crate::{Bus, Error, Result, streams};

/// The content of an artifact, as it comes.
pub type Content = Box<dyn AsyncRead + Send + Unpin>;

/// Largest artifact, in bytes.
pub const MAX_SIZE: u64 = 256 * 1024 * 1024;

impl Bus {
    /// Stores content that is in memory.
    ///
    /// # Errors
    /// When NATS cannot be reached or is full.
    pub async fn put_artifact(&self, content: Bytes) -> Result<ArtifactId> {
        let id = id(Sha256::digest(&content))?;
        let put = || async { self.put(&id, &mut Cursor::new(content.clone())).await };
        // As patient as any other write of the history: a body goes before its message.
        put.retry(patience()).await?;
        Ok(id)
    }

    /// Stores a file's content.
    ///
    /// # Errors
    /// When the file cannot be read, or NATS cannot be reached or is full.
    pub async fn put_artifact_file(&self, path: &Path) -> Result<ArtifactId> {
        let mut upload = Upload::new()?;
        let mut file = tokio::fs::File::open(path).await.map_err(Error::new)?;
        let mut chunk = vec![0; 128 * 1024];
        loop {
            let read = file.read(&mut chunk).await.map_err(Error::new)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            upload.write(bytes).await?;
        }
        self.finish_upload(upload).await.map(|(id, _)| id)
    }

    /// Stores what was uploaded; gives its id and size.
    ///
    /// # Errors
    /// When NATS cannot be reached or is full.
    pub async fn finish_upload(&self, upload: Upload) -> Result<(ArtifactId, u64)> {
        let Upload { mut file, hash, size } = upload;
        let id = id(hash.finalize())?;
        file.flush().await.map_err(Error::new)?;
        file.rewind().await.map_err(Error::new)?;
        self.put(&id, &mut file).await?;
        Ok((id, size))
    }

    /// Reads content into memory.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such artifact.
    pub async fn get_artifact(&self, id: &ArtifactId) -> Result<Bytes> {
        let mut content = Vec::new();
        self.open_artifact(id).await?.read_to_end(&mut content).await.map_err(Error::new)?;
        Ok(content.into())
    }

    /// Reads content piece by piece.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such artifact.
    pub async fn open_artifact(&self, id: &ArtifactId) -> Result<Content> {
        use async_nats::jetstream::object_store::GetErrorKind;
        match self.store_of_artifacts().await?.get(id.as_str()).await {
            Ok(object) => Ok(Box::new(object)),
            Err(error) if error.kind() == GetErrorKind::NotFound => Err(Error::NotFound),
            Err(error) => Err(Error::new(error)),
        }
    }

    /// Whether there is such an artifact.
    ///
    /// # Errors
    /// When NATS cannot be reached.
    pub async fn has_artifact(&self, id: &ArtifactId) -> Result<bool> {
        use async_nats::jetstream::object_store::InfoErrorKind;
        match self.store_of_artifacts().await?.info(id.as_str()).await {
            Ok(info) => Ok(!info.deleted),
            Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::new(error)),
        }
    }

    async fn put(&self, id: &ArtifactId, content: &mut (impl AsyncRead + Unpin)) -> Result<()> {
        if self.has_artifact(id).await? {
            return Ok(());
        }
        let store = self.store_of_artifacts().await?;
        let meta = ObjectMetadata { name: id.to_string(), ..ObjectMetadata::default() };
        store.put(meta, content).await.map_err(Error::new)?;
        Ok(())
    }

    async fn store_of_artifacts(&self) -> Result<ObjectStore> {
        self.js.get_object_store(streams::ARTIFACTS).await.map_err(Error::new)
    }
}

/// Content on its way in: hashed as it comes, spooled to a file that nobody else sees.
pub struct Upload {
    file: tokio::fs::File,
    hash: Sha256,
    size: u64,
}

impl Upload {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no room for a temporary file.
    pub fn new() -> Result<Self> {
        let file = tempfile::tempfile().map_err(Error::new)?;
        Ok(Self { file: tokio::fs::File::from_std(file), hash: Sha256::new(), size: 0 })
    }

    /// Appends.
    ///
    /// # Errors
    /// [`Error::TooLarge`] past [`MAX_SIZE`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > MAX_SIZE {
            return Err(Error::TooLarge { limit: MAX_SIZE });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(Error::new)
    }
}

fn id(digest: impl AsRef<[u8]>) -> Result<ArtifactId> {
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    ArtifactId::parse(&hex).map_err(Error::new)
}
