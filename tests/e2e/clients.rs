//! Clients in other languages. Python's knows nothing but reflection, and runs the calls of the README word for word.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mahavishnu_provision::Environment;
use mahavishnu_test_support::system::{Said, finished, provision};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{RUN, system, test};

const LOCK: &str = include_str!("../clients/python/requirements.lock");
/// The address that the README calls.
const README_ADDRESS: &str = "127.0.0.1:7433";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}

/// The Python of the client, built once into the state directory.
async fn python() -> &'static Path {
    static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
    let build =
        async || provision().unwrap().environment(&Environment::new("client-python", LOCK)).await.unwrap();
    PYTHON.get_or_init(build).await
}

/// The address of the shared system, as clients take it.
async fn address() -> &'static str {
    system().await.endpoint.strip_prefix("http://").unwrap()
}

async fn call(arguments: &[&str], method: &str) -> Said {
    let mut command = Command::new(python().await);
    command
        .arg(directory().join("grpcurl.py"))
        .arg("-plaintext")
        .args(arguments)
        .args([address().await, method]);
    finished(command, b"", RUN).await.unwrap()
}

/// The answers of a call, which must succeed.
async fn answers(method: &str, data: &Value) -> Vec<Value> {
    let said = call(&["-d", &data.to_string()], method).await;
    assert_eq!(said.code, Some(0), "{method}: {}", said.err);
    let stream = serde_json::Deserializer::from_str(&said.out).into_iter();
    stream.map(|value| value.unwrap_or_else(|error| panic!("{error}: {}", said.out))).collect()
}

#[test]
fn reflection_of_both_versions_names_every_service() {
    test(async {
        let expected = [
            "grpc.health.v1.Health",
            "mahavishnu.v1.ApprovalService",
            "mahavishnu.v1.ArtifactService",
            "mahavishnu.v1.DeadLetterService",
            "mahavishnu.v1.ExecutionService",
            "mahavishnu.v1.OrchestratorService",
            "mahavishnu.v1.ScheduleService",
        ];
        for version in ["v1", "v1alpha"] {
            let said = call(&["-reflection", version], "list").await;
            assert_eq!(said.code, Some(0), "{version}: {}", said.err);
            let named: Vec<&str> =
                said.out.lines().filter(|name| !name.starts_with("grpc.reflection.")).collect();
            assert_eq!(named, expected, "{version}");
            let select = ["-reflection", version, "-d", r#"{"task_type": "rag_workflow"}"#];
            let said = call(&select, "mahavishnu.v1.OrchestratorService/Select").await;
            let answer: Value =
                serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err));
            assert_eq!(answer["engine"], "llamaindex", "{version}");
        }
        for service in &expected[1..] {
            let health = answers("grpc.health.v1.Health/Check", &json!({"service": service})).await;
            assert_eq!(health[0]["status"], "SERVING", "{service}");
        }
    });
}

#[test]
fn an_approval_is_listed_decided_once_and_watched_from_any_event() {
    test(async {
        let workflow = json!({"stages": [
            {"id": "gate", "type": "langgraph", "task": {"workflow": {"nodes": ["approve"]}}},
        ], "labels": {"client": "python"}});
        let request = json!({"workflow": workflow, "request_id": uuid::Uuid::new_v4().to_string()});
        let start = "mahavishnu.v1.ExecutionService/StartExecution";
        let started = answers(start, &request).await.remove(0);
        let id = started["execution"]["id"].as_str().unwrap();
        assert_eq!(
            answers(start, &request).await[0]["execution"]["id"],
            id,
            "the same request id, the same execution"
        );

        // The events up to the question; the client goes away then.
        let watch = "mahavishnu.v1.ExecutionService/WatchExecution";
        let approval = asked(id).await;
        let list = answers("mahavishnu.v1.ApprovalService/ListApprovals", &json!({"executionId": id})).await;
        assert_eq!(list[0]["approvals"][0]["id"], approval.as_str());
        assert_eq!(list[0]["approvals"][0]["state"], "STATE_PENDING");

        let decide = "mahavishnu.v1.ApprovalService/DecideApproval";
        let decision = json!({"id": approval, "approved": true, "decidedBy": "ann", "reason": "looks right"});
        let decided = answers(decide, &decision).await;
        assert_eq!(decided[0]["approval"]["state"], "STATE_APPROVED");
        let again = call(&["-d", &decision.to_string()], decide).await;
        assert_eq!(again.code, Some(64 + 9), "FAILED_PRECONDITION: {}", again.err);

        let all = answers(watch, &json!({"id": id})).await;
        let durable: Vec<&Value> =
            all.iter().map(|answer| &answer["event"]).filter(|event| event["ephemeral"] != true).collect();
        let last = durable.last().unwrap();
        assert!(last["executionCompleted"].is_object(), "{last}");
        assert_eq!(last["executionCompleted"]["output"]["gate"]["decision"]["decided_by"], "ann");
        let numbers: Vec<&str> = durable.iter().map(|event| event["sequence"].as_str().unwrap()).collect();
        let expected: Vec<String> = (1..=durable.len()).map(|n| n.to_string()).collect();
        assert_eq!(numbers, expected);
        let rest = answers(watch, &json!({"id": id, "afterSequence": "2"})).await;
        let rest: Vec<&Value> =
            rest.iter().map(|answer| &answer["event"]).filter(|event| event["ephemeral"] != true).collect();
        assert_eq!(rest, durable[2..], "after 2 comes the rest");

        let beyond = call(&["-d", &json!({"id": id, "afterSequence": "99"}).to_string()], watch).await;
        assert_eq!(beyond.code, Some(64 + 11), "OUT_OF_RANGE: {}", beyond.err);
    });
}

/// The approval that an execution asks for.
async fn asked(id: &str) -> String {
    let deadline = tokio::time::Instant::now() + RUN;
    loop {
        let list = answers("mahavishnu.v1.ApprovalService/ListApprovals", &json!({"executionId": id})).await;
        if let Some(approval) = list[0]["approvals"][0]["id"].as_str() {
            return approval.to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "no approval of {id} within {RUN:?}");
    }
}

#[test]
fn a_document_is_uploaded_in_chunks_and_comes_back() {
    test(async {
        let chunks = ["bWFoYQ==", "dmlzaG51"];
        let requests: String = chunks.iter().fold(String::new(), |mut all, chunk| {
            write!(all, "{}", json!({"chunk": chunk})).unwrap();
            all
        });
        let said = call(&["-d", &requests], "mahavishnu.v1.ArtifactService/UploadArtifact").await;
        let stored: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err));
        assert_eq!(stored["size"], "10");
        let back =
            answers("mahavishnu.v1.ArtifactService/DownloadArtifact", &json!({"id": stored["id"]})).await;
        assert_eq!(back, [json!({"chunk": "bWFoYXZpc2hudQ=="})]);
    });
}

#[test]
fn the_calls_of_the_readme_run_as_they_stand() {
    test(async {
        let readme = std::fs::read_to_string(directory().join("../../../README.md")).unwrap();
        let blocks: Vec<&str> = readme
            .split("```bash\n")
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default())
            .filter(|block| block.contains("grpcurl"))
            .collect();
        assert!(
            !blocks.is_empty() && blocks.iter().all(|block| block.contains(README_ADDRESS)),
            "{blocks:#?}"
        );
        let script = blocks.join("\n").replace(README_ADDRESS, address().await);
        let path = tempfile::tempdir().unwrap();
        shim(&path.path().join("grpcurl"), python().await);
        let mut command = Command::new("bash");
        command.args(["-eu", "-c", &script]);
        let inherited = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{inherited}", path.path().display()));
        let said = finished(command, b"", RUN).await.unwrap();
        assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
        for part in [r#""engine": "langgraph""#, r#""primary": "llamaindex""#, r#""n": 2"#, "STATE_APPROVED"]
        {
            assert!(said.out.contains(part), "no {part} in {}", said.out);
        }
        assert_eq!(said.out.matches(r#""executionCompleted""#).count(), 2, "{}", said.out);
    });
}

/// A program called `grpcurl`, which is ours.
fn shim(path: &Path, python: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let client = directory().join("grpcurl.py");
    let text = format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), client.display());
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
