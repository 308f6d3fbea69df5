use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use mahavishnu_proto::v1::execution_service_server::{ExecutionService, ExecutionServiceServer};
use mahavishnu_proto::v1::orchestrator_service_server::{OrchestratorService, OrchestratorServiceServer};
use mahavishnu_proto::v1::*;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, async_trait};

use super::*;

type Script = Vec<Result<i64, Code>>;

/// A coordinator that breaks its streams as scripted: one script a connection, each of sequence numbers and errors.
/// 9 is the terminal event.
#[derive(Clone, Default)]
struct Breaking {
    scripts: Arc<Mutex<VecDeque<Script>>>,
    asked: Arc<Mutex<Vec<String>>>,
    state: execution::State,
}

impl Breaking {
    fn next(&self, asked: String) -> Result<Vec<Result<Event, Status>>, Status> {
        self.asked.lock().unwrap().push(asked);
        let script = self.scripts.lock().unwrap().pop_front().expect("no more connections");
        if let Some(Err(code)) = script.first() {
            return Err(Status::new(*code, "refused"));
        }
        Ok(script
            .into_iter()
            .map(|step| step.map(event).map_err(|code| Status::new(code, "broken")))
            .collect())
    }
}

fn event(sequence: i64) -> Event {
    let end = Kind::ExecutionCompleted(ExecutionCompleted::default());
    let kind = if sequence == 9 { end } else { Kind::TimerFired(TimerFired::default()) };
    Event { execution_id: "x".into(), sequence, kind: Some(kind), ..Event::default() }
}

#[async_trait]
impl OrchestratorService for Breaking {
    type ExecuteStream = BoxStream<'static, Result<ExecuteResponse, Status>>;

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let events = self.next(format!("execute {}", request.into_inner().request_id))?;
        let events =
            events.into_iter().map(|event| event.map(|event| ExecuteResponse { event: Some(event) }));
        Ok(Response::new(futures::stream::iter(events).boxed()))
    }

    async fn select(&self, _: Request<SelectRequest>) -> Result<Response<SelectResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn recommend(&self, _: Request<RecommendRequest>) -> Result<Response<RecommendResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_profile(
        &self,
        _: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_profiles(
        &self,
        _: Request<ListProfilesRequest>,
    ) -> Result<Response<ListProfilesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_guide(&self, _: Request<GetGuideRequest>) -> Result<Response<GetGuideResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn plan(&self, _: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[async_trait]
impl ExecutionService for Breaking {
    type WatchExecutionStream = BoxStream<'static, Result<WatchExecutionResponse, Status>>;

    async fn watch_execution(
        &self,
        request: Request<WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        let request = request.into_inner();
        let events = self.next(format!("watch {} after {}", request.id, request.after_sequence))?;
        let events =
            events.into_iter().map(|event| event.map(|event| WatchExecutionResponse { event: Some(event) }));
        Ok(Response::new(futures::stream::iter(events).boxed()))
    }

    async fn get_execution(
        &self,
        _: Request<GetExecutionRequest>,
    ) -> Result<Response<GetExecutionResponse>, Status> {
        let execution = Execution { state: self.state.into(), ..Execution::default() };
        Ok(Response::new(GetExecutionResponse { execution: Some(execution) }))
    }

    async fn start_execution(
        &self,
        _: Request<StartExecutionRequest>,
    ) -> Result<Response<StartExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_executions(
        &self,
        _: Request<ListExecutionsRequest>,
    ) -> Result<Response<ListExecutionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn cancel_execution(
        &self,
        _: Request<CancelExecutionRequest>,
    ) -> Result<Response<CancelExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn retry_execution(
        &self,
        _: Request<RetryExecutionRequest>,
    ) -> Result<Response<RetryExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn explain_execution(
        &self,
        _: Request<ExplainExecutionRequest>,
    ) -> Result<Response<ExplainExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete_execution(
        &self,
        _: Request<DeleteExecutionRequest>,
    ) -> Result<Response<DeleteExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_checkpoints(
        &self,
        _: Request<ListCheckpointsRequest>,
    ) -> Result<Response<ListCheckpointsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn fork_execution(
        &self,
        _: Request<ForkExecutionRequest>,
    ) -> Result<Response<ForkExecutionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// What came, in words, and what was asked.
async fn followed(scripts: Vec<Script>, state: execution::State, what: Follow) -> (Vec<String>, Vec<String>) {
    let server = Breaking { scripts: Arc::new(Mutex::new(scripts.into())), state, ..Breaking::default() };
    let asked = Arc::clone(&server.asked);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(&listener.local_addr().unwrap().to_string()).unwrap();
    let serving = Server::builder()
        .add_service(OrchestratorServiceServer::new(server.clone()))
        .add_service(ExecutionServiceServer::new(server))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(serving);
    let mut items = follow(client, what);
    let mut came = Vec::new();
    while let Some(item) = items.next().await {
        came.push(match item {
            Item::Event(event) => event.sequence.to_string(),
            Item::Over(state) => format!("over: {}", state.as_str_name()),
            Item::Failed(status) => format!("failed: {:?}", status.code()),
        });
    }
    let asked = asked.lock().unwrap().clone();
    (came, asked)
}

fn execute() -> Follow {
    Follow::Execute(Box::new(ExecuteRequest { request_id: "r".into(), ..ExecuteRequest::default() }))
}

#[tokio::test]
async fn a_broken_stream_goes_on_after_the_last_event() {
    let scripts = vec![
        vec![Err(Code::Unavailable)],
        vec![Ok(1), Ok(2), Err(Code::Unknown)],
        // Ends early and in order, as a server does that stops.
        vec![Ok(3)],
        vec![Ok(4), Ok(9), Ok(10)],
    ];
    let (came, asked) = followed(scripts, execution::State::Running, execute()).await;
    assert_eq!(came, ["1", "2", "3", "4", "9"]);
    assert_eq!(asked, ["execute r", "execute r", "watch x after 2", "watch x after 3"]);
}

#[tokio::test]
async fn what_cannot_pass_is_told_at_once() {
    let (came, asked) =
        followed(vec![vec![Err(Code::InvalidArgument)]], execution::State::Running, execute()).await;
    assert_eq!(came, ["failed: InvalidArgument"]);
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn an_execution_that_had_ended_is_over() {
    let what = Follow::Watch { id: "x".into(), after: 9 };
    let (came, _) = followed(vec![vec![]], execution::State::Failed, what).await;
    assert_eq!(came, ["over: STATE_FAILED"]);
}
