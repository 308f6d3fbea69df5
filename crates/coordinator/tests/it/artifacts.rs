//! Documents of clients.

use std::time::Duration;

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
async fn what_is_larger_than_an_artifact_may_be_is_refused_or_fails_its_execution() {
    const LIMIT: u64 = 1 << 20;
    let nats = TestNats::start().await.unwrap();
    let coordinator =
        Coordinator::with(&nats, nats.url(), |options| options.max_artifact_bytes = LIMIT).await;
    let info = coordinator.orchestrator().get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.max_artifact_bytes, LIMIT);
    let chunks = futures::stream::iter([vec![0; 1 << 19], vec![0; 1 << 19], vec![0; 1]]);
    let chunks = chunks.map(|chunk| v1::UploadArtifactRequest { chunk });
    let too_large = coordinator.artifacts().upload_artifact(chunks).await;
    let status = refused(too_large, Code::InvalidArgument, "TOO_LARGE");
    assert!(status.message().contains("--max-artifact-bytes"), "{status}");

    // Each output may travel, both together may not; what runs beside them is stopped.
    let worker = Worker::join(&nats).await;
    let mut signals = worker.bus.cancelled_attempts().await.unwrap();
    let id = coordinator
        .begin(workflow([stage("a", &[]), stage("b", &[]), stage("c", &[]), stage("d", &["a", "b"])]))
        .await;
    for _ in 0..3 {
        let delivery = worker.take().await;
        if delivery.task.stage.as_str() != "c" {
            worker.report(&delivery, Outcome::Completed(json!({"text": "x".repeat(700_000)}))).await;
        }
    }
    let (stopped, signal) = in_time("the signal", signals.next()).await.unwrap().unwrap();
    assert_eq!((stopped.as_str(), signal.stage_id.as_str()), (id.as_str(), ""), "all of it");
    let events = coordinator.watch(&id, 0).await;
    numbered(&events);
    let execution = coordinator.get(&id).await;
    assert_eq!(execution.state(), v1::execution::State::Failed);
    let error = execution.error.unwrap();
    assert_eq!(error.reason, "INPUT_TOO_LARGE", "{error:?}");
    assert!(error.message.contains("1048576 bytes"), "{error:?}");
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

async fn shown(coordinator: &Coordinator, id: &str) -> Result<v1::Artifact, Status> {
    let request = v1::GetArtifactRequest { id: id.into() };
    Ok(coordinator.artifacts().get_artifact(request).await?.into_inner().artifact.unwrap())
}

async fn delete(coordinator: &Coordinator, id: &str) -> Result<(), Status> {
    coordinator.artifacts().delete_artifact(v1::DeleteArtifactRequest { id: id.into() }).await.map(drop)
}

async fn listed(coordinator: &Coordinator, unused: bool) -> Vec<String> {
    let request = v1::ListArtifactsRequest { unused, ..v1::ListArtifactsRequest::default() };
    let artifacts = coordinator.artifacts().list_artifacts(request).await.unwrap().into_inner().artifacts;
    artifacts.into_iter().map(|artifact| artifact.id).collect()
}

async fn gone(coordinator: &Coordinator, id: &str) {
    let gone = async || shown(coordinator, id).await.is_err().then_some(());
    wait_for("the artifact to be removed", gone).await.unwrap();
}

fn with_document(id: &str, stages: impl IntoIterator<Item = v1::Stage>) -> v1::Workflow {
    let mut documented = workflow(stages);
    documented.documents.insert("a.pdf".into(), id.into());
    documented
}

#[tokio::test]
async fn artifacts_live_as_long_as_something_refers_to_them() {
    const GRACE: Duration = Duration::from_secs(2);
    let nats = TestNats::start().await.unwrap();
    let brief = || Coordinator::with(&nats, nats.url(), |options| options.artifact_grace = GRACE);
    // Two look at the same time.
    let (first, second) = (brief().await, brief().await);
    let worker = Worker::join(&nats).await;
    let document = upload(&first, vec![b"of two executions and a schedule".to_vec()]).await.id;
    let one = first.begin(with_document(&document, [stage("a", &[])])).await;
    let two = second.begin(with_document(&document, [stage("a", &[])])).await;
    for _ in 0..2 {
        let a = worker.take().await;
        // Too large for a message.
        let large = json!({"by": a.execution.as_str(), "text": "x".repeat(700_000)});
        worker.report(&a, Outcome::Completed(large)).await;
    }
    first.watch(&one, 0).await;
    second.watch(&two, 0).await;
    let spec = v1::ScheduleSpec {
        cron: "0 0 1 1 *".into(),
        workflow: Some(with_document(&document, [stage("a", &[])])),
        ..v1::ScheduleSpec::default()
    };
    let request = v1::CreateScheduleRequest { id: "yearly".into(), spec: Some(spec), ..Default::default() };
    first.schedules().create_schedule(request).await.unwrap();

    let bus = mahavishnu_bus::Bus::connect(mahavishnu_bus::Options::new(nats.url(), "test")).await.unwrap();
    let before = bus.audit_artifacts(GRACE).await.unwrap();
    assert_eq!((before.stored, before.referred, before.missing.len()), (3, 3, 0));
    // Nobody refers to this one; when it is gone, the coordinators have looked at all that is older.
    let loose = upload(&second, vec![b"loose".to_vec()]).await.id;
    gone(&first, &loose).await;
    let used = shown(&first, &document).await.unwrap();
    assert_eq!((used.size, used.referrers.len()), (32, 3), "{used:?}");
    refused(delete(&second, &document).await, Code::FailedPrecondition, "ARTIFACT_IN_USE");
    refused(delete(&second, &loose).await, Code::NotFound, "NOT_FOUND");
    assert_eq!((listed(&first, false).await.len(), listed(&first, true).await.len()), (3, 0));

    let remove = async |id: &str| {
        let request = v1::DeleteExecutionRequest { id: id.into() };
        first.executions().delete_execution(request).await.unwrap();
    };
    remove(&one).await;
    wait_for("the result of the first", async || (listed(&second, false).await.len() == 2).then_some(()))
        .await
        .unwrap();
    assert!(download(&first, &document).await.is_ok(), "the second has the same document");
    assert_eq!(kinds(&second.watch(&two, 0).await).last().unwrap(), "completed", "and is whole");
    remove(&two).await;
    wait_for("that of the second", async || {
        (listed(&second, false).await == [document.as_str()]).then_some(())
    })
    .await
    .unwrap();
    let request = v1::DeleteScheduleRequest { id: "yearly".into(), ..Default::default() };
    second.schedules().delete_schedule(request).await.unwrap();
    let referrers = shown(&first, &document).await.unwrap().referrers;
    assert_eq!(referrers.len(), 1, "a deleted schedule brings to its end what it began");
    let after = bus.audit_artifacts(GRACE).await.unwrap();
    assert_eq!((after.missing, after.left), (vec![], vec![]));
}

#[tokio::test]
async fn what_was_just_named_is_in_use() {
    let (_nats, coordinator) = start().await;
    let document = upload(&coordinator, vec![b"young".to_vec()]).await.id;
    let why = refused(delete(&coordinator, &document).await, Code::FailedPrecondition, "ARTIFACT_IN_USE");
    assert!(why.message().contains("less than 1m ago"), "{why}");
    let request = v1::PruneArtifactsRequest { min_age: seconds(0), dry_run: false };
    let pruned = coordinator.artifacts().prune_artifacts(request).await.unwrap().into_inner();
    assert_eq!(pruned.artifacts.len(), 0, "nobody may ask for less than it takes to start an execution");
    assert_eq!(listed(&coordinator, true).await, [document.as_str()]);
    let request = v1::PruneArtifactsRequest { min_age: seconds(-1), dry_run: true };
    refused(coordinator.artifacts().prune_artifacts(request).await, Code::InvalidArgument, "INVALID_VALUE");
    let info = coordinator.orchestrator().get_info(v1::GetInfoRequest {}).await.unwrap().into_inner();
    let retention = info.retention.unwrap();
    assert_eq!((retention.executions, retention.artifacts), (None, seconds(3600)));
}
