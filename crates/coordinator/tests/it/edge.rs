//! Reflection and health.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::*;

const SERVICES: [&str; 4] = [
    "mahavishnu.v1.ApprovalService",
    "mahavishnu.v1.ArtifactService",
    "mahavishnu.v1.ExecutionService",
    "mahavishnu.v1.OrchestratorService",
];

macro_rules! reflect {
    ($version:ident, $channel:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let mut client = ServerReflectionClient::new($channel);
        let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let symbol = MessageRequest::FileContainingSymbol("mahavishnu.v1.OrchestratorService.Execute".into());
        let requests = [ask(MessageRequest::ListServices(String::new())), ask(symbol)];
        let mut answers =
            client.server_reflection_info(futures::stream::iter(requests)).await.unwrap().into_inner();
        let Some(MessageResponse::ListServicesResponse(listed)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no list")
        };
        let names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
        let Some(MessageResponse::FileDescriptorResponse(files)) =
            answers.message().await.unwrap().unwrap().message_response
        else {
            panic!("no descriptor")
        };
        assert!(!files.file_descriptor_proto.is_empty());
        names
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_answer() {
    let (_nats, coordinator) = start().await;
    let (new, old) = (reflect!(v1, coordinator.channel()), reflect!(v1alpha, coordinator.channel()));
    for names in [new, old] {
        for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
            assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
        }
    }
}

async fn health(coordinator: &Coordinator, service: &str) -> Result<ServingStatus, Status> {
    let request = HealthCheckRequest { service: service.into() };
    Ok(HealthClient::new(coordinator.channel()).check(request).await?.into_inner().status())
}

#[tokio::test]
async fn health_of_each_service_follows_the_bus() {
    let (mut nats, coordinator) = start().await;
    let all = async |wanted: ServingStatus| {
        for service in SERVICES.into_iter().chain([""]) {
            let what = format!("{service:?} to be {wanted:?}");
            wait_for(&what, async || (health(&coordinator, service).await.unwrap() == wanted).then_some(()))
                .await
                .unwrap();
        }
    };
    all(ServingStatus::Serving).await;
    assert_eq!(health(&coordinator, "nobody").await.unwrap_err().code(), Code::NotFound);
    nats.kill().await.unwrap();
    all(ServingStatus::NotServing).await;
    nats.restart().await.unwrap();
    all(ServingStatus::Serving).await;
}
