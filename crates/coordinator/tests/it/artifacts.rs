//! Documents of clients.

use futures::StreamExt as _;

use super::*;

async fn upload(coordinator: &Coordinator, chunks: Vec<Vec<u8>>) -> v1::UploadArtifactResponse {
    let chunks = futures::stream::iter(chunks).map(|chunk| v1::UploadArtifactRequest { chunk });
    coordinator.artifacts().upload_artifact(chunks).await.unwrap().into_inner()
}

async fn download(coordinator: &Coordinator, id: &str) -> Result<Vec<u8>, Status> {
    let request = v1::DownloadArtifactRequest { id: id.into() };
    let mut pieces = coordinator.artifacts().download_artifact(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        content.extend(piece.chunk);
    }
    Ok(content)
}

#[tokio::test]
async fn a_document_goes_up_down_and_into_the_task() {
    let (nats, coordinator) = start().await;
    let second = Coordinator::start(&nats).await;
    let worker = Worker::join(&nats).await;
    let content: Vec<u8> = (0..700_000_u32).map(|n| (n % 253) as u8).collect();
    let up = upload(&coordinator, content.chunks(100_001).map(<[u8]>::to_vec).collect()).await;
    assert_eq!((up.id.len(), up.size), (64, 700_000));
    assert_eq!(upload(&second, vec![content.clone()]).await, up, "the same content, the same artifact");
    assert!(download(&second, &up.id).await.unwrap() == content);
    let nothing = upload(&coordinator, vec![]).await;
    assert_eq!(nothing.id, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(download(&coordinator, &nothing.id).await.unwrap(), b"");
    for missing in ["0".repeat(64), "../etc".into(), String::new()] {
        refused(download(&coordinator, &missing).await, Code::NotFound, "NOT_FOUND");
    }

    let mut documented = workflow([stage("a", &[])]);
    documented.documents.insert("a.pdf".into(), up.id.clone());
    coordinator.begin(documented).await;
    let task = worker.take().await.task;
    assert_eq!(task.documents["a.pdf"].as_str(), up.id);
    assert!(worker.bus.get_artifact(&task.documents["a.pdf"]).await.unwrap() == content);
}
