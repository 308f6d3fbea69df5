//! `ArtifactService`.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_proto::v1::artifact_service_server::ArtifactService;
use mahavishnu_proto::v1::{
    DownloadArtifactRequest, DownloadArtifactResponse, UploadArtifactRequest, UploadArtifactResponse,
};
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Api;
use crate::app::Error;

/// Size of a piece of a download, in bytes.
const PIECE: usize = 128 * 1024;

#[async_trait]
impl ArtifactService for Api {
    type DownloadArtifactStream = BoxStream<'static, Result<DownloadArtifactResponse, Status>>;

    async fn upload_artifact(
        &self,
        request: Request<Streaming<UploadArtifactRequest>>,
    ) -> Result<Response<UploadArtifactResponse>, Status> {
        let mut chunks = request.into_inner();
        let mut upload = self.app.begin_upload()?;
        while let Some(request) = chunks.message().await? {
            upload.write(&request.chunk).await.map_err(Error::from)?;
        }
        let (id, size) = self.app.finish_upload(upload).await?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        Ok(Response::new(UploadArtifactResponse { id: id.to_string(), size }))
    }

    async fn download_artifact(
        &self,
        request: Request<DownloadArtifactRequest>,
    ) -> Result<Response<Self::DownloadArtifactStream>, Status> {
        let content = self.app.download(&request.into_inner().id).await?;
        let pieces = ReaderStream::with_capacity(content, PIECE).map(|piece| match piece {
            Ok(piece) => Ok(DownloadArtifactResponse { chunk: piece.to_vec() }),
            Err(error) => Err(Status::data_loss(format!("the artifact cannot be read to its end: {error}"))),
        });
        Ok(Response::new(pieces.boxed()))
    }
}
