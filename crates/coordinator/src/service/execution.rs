//! `ExecutionService`.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_core::violation::{Reason, Violations};
use mahavishnu_proto::v1::execution_service_server::ExecutionService;
use mahavishnu_proto::v1::{
    CancelExecutionRequest, CancelExecutionResponse, DeleteExecutionRequest, DeleteExecutionResponse,
    ExplainExecutionRequest, ExplainExecutionResponse, ForkExecutionRequest, ForkExecutionResponse,
    GetCheckpointRequest, GetCheckpointResponse, GetExecutionRequest, GetExecutionResponse,
    ListCheckpointsRequest, ListCheckpointsResponse, ListExecutionsRequest, ListExecutionsResponse,
    RetryExecutionRequest, RetryExecutionResponse, StartExecutionRequest, StartExecutionResponse,
    WatchExecutionRequest, WatchExecutionResponse,
};
use mahavishnu_proto::{json, public, v1, wire};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, trace};
use crate::app::{Changes, Error, ExecutionFilter, Page, Place};

#[async_trait]
impl ExecutionService for Api {
    type WatchExecutionStream = BoxStream<'static, Result<WatchExecutionResponse, Status>>;

    async fn start_execution(
        &self,
        request: Request<StartExecutionRequest>,
    ) -> Result<Response<StartExecutionResponse>, Status> {
        let trace = trace(&request);
        let requester = caller(&request, &request.get_ref().requested_by)?;
        let request = request.into_inner();
        let draft = public::draft(request.workflow).map_err(Error::Invalid)?;
        let history = self.app.start(draft, &requester, &request.request_id, &trace).await?;
        Ok(Response::new(StartExecutionResponse { execution: Some(self.app.describe(&history)) }))
    }

    async fn get_execution(
        &self,
        request: Request<GetExecutionRequest>,
    ) -> Result<Response<GetExecutionResponse>, Status> {
        let history = self.app.find(&request.into_inner().id).await?;
        Ok(Response::new(GetExecutionResponse { execution: Some(self.app.describe(&history)) }))
    }

    async fn list_executions(
        &self,
        request: Request<ListExecutionsRequest>,
    ) -> Result<Response<ListExecutionsResponse>, Status> {
        let request = request.into_inner();
        let page = Page { size: request.page_size, token: request.page_token };
        let filter = filter(request.filter.unwrap_or_default()).map_err(Error::Invalid)?;
        let (executions, next_page_token) = self.app.list_executions(&page, &filter).await?;
        Ok(Response::new(ListExecutionsResponse { executions, next_page_token }))
    }

    async fn watch_execution(
        &self,
        request: Request<WatchExecutionRequest>,
    ) -> Result<Response<Self::WatchExecutionStream>, Status> {
        let request = request.into_inner();
        let history = self.app.find(&request.id).await?;
        let events = self.app.watch(history, request.after_sequence).await?;
        let responses = events.map(|event| match event {
            Ok(event) => Ok(WatchExecutionResponse { event: Some(event) }),
            Err(error) => Err(error.into()),
        });
        Ok(Response::new(responses.boxed()))
    }

    async fn cancel_execution(
        &self,
        request: Request<CancelExecutionRequest>,
    ) -> Result<Response<CancelExecutionResponse>, Status> {
        let trace = trace(&request);
        let caller = caller(&request, "a client")?;
        let request = request.into_inner();
        let history = self.app.cancel(&request.id, &request.reason, &caller, &trace).await?;
        Ok(Response::new(CancelExecutionResponse { execution: Some(self.app.describe(&history)) }))
    }

    async fn retry_execution(
        &self,
        request: Request<RetryExecutionRequest>,
    ) -> Result<Response<RetryExecutionResponse>, Status> {
        let trace = trace(&request);
        let history = self.app.retry(&request.into_inner().id, &trace).await?;
        Ok(Response::new(RetryExecutionResponse { execution: Some(self.app.describe(&history)) }))
    }

    async fn explain_execution(
        &self,
        request: Request<ExplainExecutionRequest>,
    ) -> Result<Response<ExplainExecutionResponse>, Status> {
        Ok(Response::new(self.app.explain(&request.into_inner().id).await?))
    }

    async fn list_checkpoints(
        &self,
        request: Request<ListCheckpointsRequest>,
    ) -> Result<Response<ListCheckpointsResponse>, Status> {
        let request = request.into_inner();
        let (execution, stage, namespace) = (request.execution_id, request.stage_id, request.namespace);
        let page = Page { size: request.page_size, token: request.page_token };
        let place = Place { execution, stage, namespace };
        let (checkpoints, next_page_token, namespaces) = self.app.list_checkpoints(&place, &page).await?;
        Ok(Response::new(ListCheckpointsResponse { checkpoints, next_page_token, namespaces }))
    }

    async fn get_checkpoint(
        &self,
        request: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let request = request.into_inner();
        let (execution, stage, namespace) = (request.execution_id, request.stage_id, request.namespace);
        let checkpoint =
            self.app.checkpoint(&Place { execution, stage, namespace }, &request.checkpoint_id).await?;
        Ok(Response::new(GetCheckpointResponse { checkpoint: Some(checkpoint) }))
    }

    async fn delete_execution(
        &self,
        request: Request<DeleteExecutionRequest>,
    ) -> Result<Response<DeleteExecutionResponse>, Status> {
        self.app.delete(&request.into_inner().id).await?;
        Ok(Response::new(DeleteExecutionResponse {}))
    }

    async fn fork_execution(
        &self,
        request: Request<ForkExecutionRequest>,
    ) -> Result<Response<ForkExecutionResponse>, Status> {
        let trace = trace(&request);
        let requester = caller(&request, &request.get_ref().requested_by)?;
        let request = request.into_inner();
        let changes = Changes {
            from_stage: request.from_stage,
            input: request.input.map(json::from_struct).unwrap_or_default(),
            engine: request.engine,
            pool: request.pool,
            task: request.task.map(json::from_struct),
            checkpoint: request.checkpoint_id,
            state: request.state.map(json::from_struct),
            as_node: request.as_node,
        };
        let history = self.app.fork(&request.id, changes, &requester, &request.request_id, &trace).await?;
        Ok(Response::new(ForkExecutionResponse { execution: Some(self.app.describe(&history)) }))
    }
}

fn filter(filter: v1::ExecutionFilter) -> Result<ExecutionFilter, Violations> {
    let mut violations = Violations::default();
    let states = filter
        .states
        .iter()
        .enumerate()
        .filter_map(|(n, state)| match v1::execution::State::try_from(*state) {
            Ok(state) if state != v1::execution::State::Unspecified => Some(state),
            _ => {
                let message = "not a state of an execution";
                violations.push(format!("filter.states[{n}]"), Reason::InvalidValue, message);
                None
            }
        })
        .collect();
    let mut time = |stamp: Option<prost_types::Timestamp>, field: &str| {
        stamp.and_then(|stamp| match wire::time(Some(stamp), "time") {
            Ok(time) => Some(time),
            Err(_) => {
                violations.push(format!("filter.{field}"), Reason::InvalidValue, "not a time");
                None
            }
        })
    };
    let created_after = time(filter.created_after, "created_after");
    let created_before = time(filter.created_before, "created_before");
    let labels = filter.labels.into_iter().collect();
    violations.into_result(ExecutionFilter {
        states,
        engine: filter.engine,
        created_after,
        created_before,
        schedule: filter.schedule_id,
        labels,
    })
}
