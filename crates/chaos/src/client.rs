//! Calls to a coordinator, any of them, again until one answers.

use std::time::Duration;

use fastrand::Rng;
use mahavishnu_proto::v1;
use mahavishnu_proto::v1::approval_service_client::ApprovalServiceClient;
use mahavishnu_proto::v1::execution_service_client::ExecutionServiceClient;
use mahavishnu_proto::v1::schedule_service_client::ScheduleServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};

/// A call that takes longer is made again, elsewhere perhaps.
const CALL: Duration = Duration::from_secs(10);
/// A coordinator that is stopped is noticed in this time.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// An execution may have several large outputs.
const MAX_MESSAGE: usize = 64 << 20;

/// The coordinators, and the trace under which one execution is asked for.
pub struct Client {
    channels: Vec<Channel>,
    traceparent: String,
}

/// Calls of services, each made again, anywhere, until it is answered; a refusal is the last word.
macro_rules! calls {
    ($($service:ident::$call:ident($request:ident) -> $response:ident;)*) => {
        impl Client {$(
            pub async fn $call(&self, rng: &mut Rng, request: &v1::$request) -> Result<v1::$response, Status> {
                let call = |channel| {
                    let request = self.request(request.clone());
                    let mut service = $service::new(channel).max_decoding_message_size(MAX_MESSAGE);
                    async move { service.$call(request).await }
                };
                self.again(rng, call).await
            }
        )*}
    };
}

calls! {
    ExecutionServiceClient::start_execution(StartExecutionRequest) -> StartExecutionResponse;
    ExecutionServiceClient::cancel_execution(CancelExecutionRequest) -> CancelExecutionResponse;
    ExecutionServiceClient::retry_execution(RetryExecutionRequest) -> RetryExecutionResponse;
    ExecutionServiceClient::fork_execution(ForkExecutionRequest) -> ForkExecutionResponse;
    ApprovalServiceClient::decide_approval(DecideApprovalRequest) -> DecideApprovalResponse;
    ScheduleServiceClient::create_schedule(CreateScheduleRequest) -> CreateScheduleResponse;
    ScheduleServiceClient::get_schedule(GetScheduleRequest) -> GetScheduleResponse;
    ScheduleServiceClient::pause_schedule(PauseScheduleRequest) -> PauseScheduleResponse;
    ScheduleServiceClient::resume_schedule(ResumeScheduleRequest) -> ResumeScheduleResponse;
    ScheduleServiceClient::trigger_schedule(TriggerScheduleRequest) -> TriggerScheduleResponse;
    ScheduleServiceClient::backfill_schedule(BackfillScheduleRequest) -> BackfillScheduleResponse;
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

    /// One execution.
    pub async fn get(&self, coordinator: usize, id: &str) -> Result<v1::Execution, Status> {
        let mut service = ExecutionServiceClient::new(self.channels[coordinator].clone())
            .max_decoding_message_size(MAX_MESSAGE);
        let answer =
            service.get_execution(self.request(v1::GetExecutionRequest { id: id.to_owned() })).await?;
        Ok(answer.into_inner().execution.unwrap_or_default())
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
