//! `ArtifactService`.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_bus::artifacts::Artifact;
use mahavishnu_bus::references::Referrer;
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::v1::artifact_service_server::ArtifactService;
use mahavishnu_proto::v1::{
    ArtifactReferrer, DeleteArtifactRequest, DeleteArtifactResponse, DownloadArtifactRequest,
    DownloadArtifactResponse, GetArtifactRequest, GetArtifactResponse, ListArtifactsRequest,
    ListArtifactsResponse, PruneArtifactsRequest, PruneArtifactsResponse, UploadArtifactRequest,
    UploadArtifactResponse, artifact_referrer,
};
use mahavishnu_proto::{v1, wire};
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::Api;
use crate::app::{Error, Page};

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

    async fn list_artifacts(
        &self,
        request: Request<ListArtifactsRequest>,
    ) -> Result<Response<ListArtifactsResponse>, Status> {
        let request = request.into_inner();
        let page = Page { size: request.page_size, token: request.page_token };
        let (found, next_page_token) = self.app.list_artifacts(request.unused, &page).await?;
        let artifacts = found.iter().map(|found| artifact(found, &[])).collect();
        Ok(Response::new(ListArtifactsResponse { artifacts, next_page_token }))
    }

    async fn get_artifact(
        &self,
        request: Request<GetArtifactRequest>,
    ) -> Result<Response<GetArtifactResponse>, Status> {
        let (found, referrers) = self.app.artifact(&request.into_inner().id).await?;
        Ok(Response::new(GetArtifactResponse { artifact: Some(artifact(&found, &referrers)) }))
    }

    async fn delete_artifact(
        &self,
        request: Request<DeleteArtifactRequest>,
    ) -> Result<Response<DeleteArtifactResponse>, Status> {
        self.app.delete_artifact(&request.into_inner().id).await?;
        Ok(Response::new(DeleteArtifactResponse {}))
    }

    async fn prune_artifacts(
        &self,
        request: Request<PruneArtifactsRequest>,
    ) -> Result<Response<PruneArtifactsResponse>, Status> {
        let request = request.into_inner();
        let min_age = request.min_age.map(|age| {
            age.try_into().map_err(|_| {
                let mut violations = Violations::default();
                violations.push("min_age", Reason::InvalidValue, "a duration cannot be negative");
                Error::Invalid(violations)
            })
        });
        let removed = self.app.prune_artifacts(min_age.transpose()?, request.dry_run).await?;
        let freed: u64 = removed.iter().map(|removed| removed.size).sum();
        Ok(Response::new(PruneArtifactsResponse {
            artifacts: removed.iter().map(|removed| artifact(removed, &[])).collect(),
            freed_bytes: i64::try_from(freed).unwrap_or(i64::MAX),
        }))
    }
}

fn artifact(artifact: &Artifact, referrers: &[Referrer]) -> v1::Artifact {
    let referrer = |referrer: &Referrer| {
        let referrer = match referrer {
            Referrer::Execution(id) => artifact_referrer::Referrer::ExecutionId(id.to_string()),
            Referrer::Schedule(id) => artifact_referrer::Referrer::ScheduleId(id.to_string()),
        };
        ArtifactReferrer { referrer: Some(referrer) }
    };
    v1::Artifact {
        id: artifact.id.to_string(),
        size: i64::try_from(artifact.size).unwrap_or(i64::MAX),
        update_time: Some(wire::timestamp(artifact.kept)),
        referrers: referrers.iter().map(referrer).collect(),
    }
}
