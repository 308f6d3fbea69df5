use std::net::SocketAddr;

use mahavishnu_coordinator::Options;
use mahavishnu_proto::v1::approval_service_client::ApprovalServiceClient;
use mahavishnu_proto::v1::artifact_service_client::ArtifactServiceClient;
use mahavishnu_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use mahavishnu_proto::v1::orchestrator_service_client::OrchestratorServiceClient;
use mahavishnu_proto::v1::schedule_service_client::ScheduleServiceClient;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::*;

/// A coordinator with a runtime of its own, so that dropping it ends all that it does at once, as a kill would.
pub struct Coordinator {
    address: SocketAddr,
    runtime: Option<Runtime>,
    stop: CancellationToken,
}

impl Coordinator {
    pub async fn start(nats: &TestNats) -> Self {
        Self::behind(nats, nats.url()).await
    }

    /// One that reaches the server by this URL.
    pub async fn behind(nats: &TestNats, url: &str) -> Self {
        Self::with(nats, url, |_| {}).await
    }

    /// One that removes what ended longer ago.
    pub async fn retaining(nats: &TestNats, retention: std::time::Duration) -> Self {
        Self::with(nats, nats.url(), |options| options.retention = Some(retention)).await
    }

    /// One whose options are changed like this.
    pub async fn with(nats: &TestNats, url: &str, change: impl FnOnce(&mut Options)) -> Self {
        let engines = nats.directory().join("engines.yaml");
        std::fs::write(&engines, "engines: [{name: custom, words: [custom]}, {name: other, words: [other]}]")
            .unwrap();
        let mut options = Options {
            artifact_grace: std::time::Duration::from_secs(3600),
            max_artifact_bytes: 256 << 20,
            checkpoint_age: std::time::Duration::from_secs(3600),
            checkpoint_bytes: 1 << 26,
            state_age: std::time::Duration::from_secs(3600),
            state_bytes: 1 << 26,
            durability: mahavishnu_coordinator::Durability::Power,
            retention: None,
            retention_bytes: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            nats: url.to_owned(),
            nats_credentials: None,
            replicas: 1,
            partitions: None,
            engines: Some(engines),
        };
        change(&mut options);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tell, told) = tokio::sync::oneshot::channel();
        let stop = CancellationToken::new();
        let running =
            mahavishnu_coordinator::run(options, |address| tell.send(address).unwrap(), stop.clone());
        runtime.spawn(async move {
            if let Err(error) = running.await {
                eprintln!("the coordinator ended: {error:#}");
            }
        });
        let address = in_time("a coordinator", told).await.unwrap().expect("the coordinator ended");
        Self { address, runtime: Some(runtime), stop }
    }

    /// Asks it to end, as SIGTERM does.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn schedules(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel())
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    pub fn orchestrator(&self) -> OrchestratorServiceClient<Channel> {
        OrchestratorServiceClient::new(self.channel())
    }

    pub fn executions(&self) -> ExecutionServiceClient<Channel> {
        ExecutionServiceClient::new(self.channel())
    }

    pub fn approvals(&self) -> ApprovalServiceClient<Channel> {
        ApprovalServiceClient::new(self.channel())
    }

    pub fn dead_letters(&self) -> DeadLetterServiceClient<Channel> {
        DeadLetterServiceClient::new(self.channel())
    }

    pub fn artifacts(&self) -> ArtifactServiceClient<Channel> {
        ArtifactServiceClient::new(self.channel())
    }

    pub async fn execute(&self, workflow: v1::Workflow) -> Streaming<v1::ExecuteResponse> {
        let request = v1::ExecuteRequest { workflow: Some(workflow), ..v1::ExecuteRequest::default() };
        self.orchestrator().execute(request).await.unwrap().into_inner()
    }

    pub async fn try_start(&self, workflow: v1::Workflow, request_id: &str) -> Result<v1::Execution, Status> {
        let request = v1::StartExecutionRequest {
            workflow: Some(workflow),
            request_id: request_id.into(),
            requested_by: "ann".into(),
        };
        Ok(self.executions().start_execution(request).await?.into_inner().execution.unwrap())
    }

    /// Starts an execution; its id.
    pub async fn begin(&self, workflow: v1::Workflow) -> String {
        self.try_start(workflow, "").await.unwrap().id
    }

    pub async fn get(&self, id: &str) -> v1::Execution {
        let request = v1::GetExecutionRequest { id: id.into() };
        self.executions().get_execution(request).await.unwrap().into_inner().execution.unwrap()
    }

    pub async fn try_watch(
        &self,
        id: &str,
        after: i64,
    ) -> Result<Streaming<v1::WatchExecutionResponse>, Status> {
        let request = v1::WatchExecutionRequest { id: id.into(), after_sequence: after };
        Ok(self.executions().watch_execution(request).await?.into_inner())
    }

    /// The durable events after `after`, until the execution ends.
    pub async fn watch(&self, id: &str, after: i64) -> Vec<v1::Event> {
        durable(collect(self.try_watch(id, after).await.unwrap()).await)
    }

    pub async fn try_cancel(&self, id: &str) -> Result<v1::Execution, Status> {
        let request = v1::CancelExecutionRequest { id: id.into(), reason: "enough".into() };
        Ok(self.executions().cancel_execution(request).await?.into_inner().execution.unwrap())
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
