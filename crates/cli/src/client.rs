//! Finding a coordinator and speaking to it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use mahavishnu_proto::v1::approval_service_client::ApprovalServiceClient;
use mahavishnu_proto::v1::artifact_service_client::ArtifactServiceClient;
use mahavishnu_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use mahavishnu_proto::v1::orchestrator_service_client::OrchestratorServiceClient;
use mahavishnu_proto::v1::schedule_service_client::ScheduleServiceClient;
use mahavishnu_telemetry::context::send_along;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::context::Context;
use crate::system::DevFile;

/// Events carry whole outputs.
const MAX_MESSAGE: usize = 64 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A `dev` on this machine answers at once or is not there.
const LOCAL_LIMIT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

type Traced = InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>;

/// A connection to a coordinator, made when it is first used and again when it breaks.
#[derive(Clone, Debug)]
pub struct Client {
    /// Where it is.
    pub endpoint: String,
    service: Traced,
}

impl Client {
    /// For this address; `http://` may be left out.
    pub fn new(endpoint: &str) -> anyhow::Result<Self> {
        let endpoint =
            if endpoint.contains("://") { endpoint.to_owned() } else { format!("http://{endpoint}") };
        if endpoint.starts_with("https://") {
            bail!("{endpoint}: this program speaks plain HTTP/2; put a proxy in between for TLS");
        }
        let channel = Endpoint::from_shared(endpoint.clone())
            .with_context(|| format!("{endpoint:?} is not an address; write http://HOST:PORT"))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .tcp_nodelay(true)
            .connect_lazy();
        Ok(Self { endpoint, service: InterceptedService::new(channel, with_trace) })
    }

    /// The coordinator that was asked for, or the running `dev`; none when there is none.
    pub async fn find(context: &Context) -> anyhow::Result<Option<Self>> {
        if let Some(endpoint) = &context.global.endpoint {
            return Self::new(endpoint).map(Some);
        }
        match running_dev(context).await? {
            Some(dev) => Self::new(&dev.endpoint).map(Some),
            None => Ok(None),
        }
    }

    /// Like [`Client::find`]; without one, says how to get one.
    pub async fn required(context: &Context) -> anyhow::Result<Self> {
        Self::find(context)
            .await?
            .context("no system is running; start one with: mahavishnu dev (or name one with --endpoint)")
    }

    /// Select, Recommend, Plan, Execute.
    pub fn orchestrator(&self) -> OrchestratorServiceClient<Traced> {
        OrchestratorServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Executions.
    pub fn executions(&self) -> ExecutionServiceClient<Traced> {
        ExecutionServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Approvals.
    pub fn approvals(&self) -> ApprovalServiceClient<Traced> {
        ApprovalServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Dead letters.
    pub fn dead_letters(&self) -> DeadLetterServiceClient<Traced> {
        DeadLetterServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Schedules.
    pub fn schedules(&self) -> ScheduleServiceClient<Traced> {
        ScheduleServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Artifacts.
    pub fn artifacts(&self) -> ArtifactServiceClient<Traced> {
        ArtifactServiceClient::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Whether it answers within a second.
    pub async fn answers(&self) -> bool {
        let mut health = HealthClient::new(self.service.clone());
        let check = health.check(HealthCheckRequest { service: String::new() });
        matches!(tokio::time::timeout(LOCAL_LIMIT, check).await, Ok(Ok(_)))
    }
}

/// The `dev` of this state directory, if it answers.
pub async fn running_dev(context: &Context) -> anyhow::Result<Option<DevFile>> {
    let Some(dev) = DevFile::read(&context.state()?) else { return Ok(None) };
    let answers = match Client::new(&dev.endpoint) {
        Ok(client) => client.answers().await,
        Err(_) => false,
    };
    Ok(answers.then_some(dev))
}

/// The trace goes on at the coordinator.
fn with_trace(mut request: Request<()>) -> Result<Request<()>, Status> {
    send_along(request.metadata_mut());
    Ok(request)
}
