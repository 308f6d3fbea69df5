//! Calls to a coordinator, any of them, again until one answers.

use std::time::Duration;

use fastrand::Rng;
use mahavishnu_proto::v1;
use mahavishnu_proto::v1::approval_service_client::ApprovalServiceClient;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use uuid::Uuid;

/// A call that takes longer is made again, elsewhere perhaps.
const CALL: Duration = Duration::from_secs(10);
/// A coordinator that is stopped is noticed in this time.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
const MAX_MESSAGE: usize = 64 << 20;

/// The coordinators, and the trace under which one execution is asked for.
pub struct Client {
    channels: Vec<Channel>,
    traceparent: String,
}

impl Client {
    /// For one execution; the trace is the seed's choice.
    pub fn new(channels: &[Channel], rng: &mut Rng) -> Self {
        let traceparent = format!("00-{:032x}-{:016x}-01", rng.u128(1..), rng.u64(1..));
        Self { channels: channels.to_vec(), traceparent }
    }

    /// Channels to all of them.
    pub fn connect(endpoints: &[String]) -> Vec<Channel> {
        let channel = |endpoint: &String| {
            let endpoint = Endpoint::from_shared(format!("http://{endpoint}")).expect("an address");
            endpoint
                .connect_timeout(KEEP_ALIVE)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .keep_alive_timeout(KEEP_ALIVE)
                .keep_alive_while_idle(true)
                .connect_lazy()
        };
        endpoints.iter().map(channel).collect()
    }

    /// Starts an execution; a refusal is the last word, everything else is tried again.
    pub async fn start(
        &self,
        rng: &mut Rng,
        request: &v1::StartExecutionRequest,
    ) -> Result<v1::Execution, Status> {
        let started = self.again(rng, |channel| {
            let request = self.request(request.clone());
            async move { ExecutionServiceClient::new(channel).start_execution(request).await }
        });
        Ok(started.await?.execution.unwrap_or_default())
    }

    /// One execution.
    pub async fn get(&self, coordinator: usize, id: &str) -> Result<v1::Execution, Status> {
        let mut service = ExecutionServiceClient::new(self.channels[coordinator].clone())
            .max_decoding_message_size(MAX_MESSAGE);
        let answer =
            service.get_execution(self.request(v1::GetExecutionRequest { id: id.to_owned() })).await?;
        Ok(answer.into_inner().execution.unwrap_or_default())
    }

    /// Cancels an execution.
    pub async fn cancel(&self, rng: &mut Rng, id: &str) -> Result<(), Status> {
        let request = v1::CancelExecutionRequest { id: id.to_owned(), reason: "chaos".to_owned() };
        let cancelled = self.again(rng, |channel| {
            let request = self.request(request.clone());
            async move { ExecutionServiceClient::new(channel).cancel_execution(request).await }
        });
        cancelled.await.map(drop)
    }

    /// Decides an approval.
    pub async fn decide(&self, rng: &mut Rng, id: &str) -> Result<(), Status> {
        let request = v1::DecideApprovalRequest {
            id: id.to_owned(),
            approved: rng.bool(),
            decided_by: "chaos".to_owned(),
            request_id: Uuid::from_u128(rng.u128(..)).to_string(),
            ..v1::DecideApprovalRequest::default()
        };
        let decided = self.again(rng, |channel| {
            let request = self.request(request.clone());
            async move { ApprovalServiceClient::new(channel).decide_approval(request).await }
        });
        decided.await.map(drop)
    }

    /// Watches on any coordinator; the stream breaks when it breaks.
    pub async fn watch(
        &self,
        rng: &mut Rng,
        id: &str,
        after_sequence: i64,
    ) -> Result<Streaming<v1::WatchExecutionResponse>, Status> {
        let channel = self.channels[rng.usize(..self.channels.len())].clone();
        let request = self.request(v1::WatchExecutionRequest { id: id.to_owned(), after_sequence });
        let mut service = ExecutionServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let watching = tokio::time::timeout(CALL, service.watch_execution(request));
        Ok(watching.await.map_err(|_| Status::deadline_exceeded("no answer"))??.into_inner())
    }

    async fn again<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        rng: &mut Rng,
        call: impl Fn(Channel) -> F,
    ) -> Result<T, Status> {
        loop {
            let channel = self.channels[rng.usize(..self.channels.len())].clone();
            let answer = tokio::time::timeout(CALL, call(channel)).await;
            let status = match answer {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer"),
            };
            if !may_pass(&status) {
                return Err(status);
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(50..400))).await;
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("traceparent", self.traceparent.parse().expect("ASCII"));
        request
    }
}

/// Whether the same call may succeed later.
pub fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::DeadlineExceeded
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::Aborted
    )
}
