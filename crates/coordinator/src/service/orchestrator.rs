//! `OrchestratorService`.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use mahavishnu_core::engine::Profile;
use mahavishnu_core::id::EngineName;
use mahavishnu_core::{engine, recommendation, selection};
use mahavishnu_proto::v1::orchestrator_service_server::OrchestratorService;
use mahavishnu_proto::v1::{
    ExecuteRequest, ExecuteResponse, GetGuideRequest, GetGuideResponse, GetInfoRequest, GetInfoResponse,
    GetProfileRequest, GetProfileResponse, GuideEntry, ListProfilesRequest, ListProfilesResponse,
    PlanRequest, PlanResponse, PlannedStage, RecommendRequest, RecommendResponse, SelectRequest,
    SelectResponse,
};
use mahavishnu_proto::worker::Heartbeat;
use mahavishnu_proto::{json, public, v1};
use tonic::{Request, Response, Status, async_trait};

use super::{Api, caller, trace};
use crate::app::{App, Error, Retention};

#[async_trait]
impl OrchestratorService for Api {
    type ExecuteStream = BoxStream<'static, Result<ExecuteResponse, Status>>;

    async fn select(&self, request: Request<SelectRequest>) -> Result<Response<SelectResponse>, Status> {
        let request = request.into_inner();
        let request = selection::Request {
            task_type: request.task_type,
            requires_state: request.requires_state,
            requires_routing: request.requires_routing,
            requires_scheduling: request.requires_scheduling,
        };
        let selection = selection::select(self.app.registry(), &request).map_err(Error::Invalid)?;
        Ok(Response::new(SelectResponse {
            engine: selection.engine.to_string(),
            rule: selection.because.clone(),
            explanation: Some(json::to_struct_from(&selection)),
        }))
    }

    async fn recommend(
        &self,
        request: Request<RecommendRequest>,
    ) -> Result<Response<RecommendResponse>, Status> {
        let text = request.into_inner().description;
        let answer = recommendation::recommend(self.app.registry(), &text).map_err(Error::Invalid)?;
        Ok(Response::new(RecommendResponse {
            primary: answer.primary.to_string(),
            profile: Some(profile(&self.app, &answer.profile)),
            confidence: answer.confidence,
            plan: answer.plan.iter().map(|stage| PlannedStage { r#type: stage.engine.to_string() }).collect(),
            explanation: Some(json::to_struct_from(&answer)),
        }))
    }

    async fn get_profile(
        &self,
        request: Request<GetProfileRequest>,
    ) -> Result<Response<GetProfileResponse>, Status> {
        let name = request.into_inner().engine;
        let registry = self.app.registry();
        let found = EngineName::parse(&name).ok().and_then(|name| registry.get(&name));
        let found = found.ok_or_else(|| Error::NotFound {
            what: "engine",
            hint: match registry.nearest(&name) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => "list what there is: mahavishnu engines list".to_owned(),
            },
            name,
        })?;
        Ok(Response::new(GetProfileResponse { profile: Some(profile(&self.app, found)) }))
    }

    async fn list_profiles(
        &self,
        _: Request<ListProfilesRequest>,
    ) -> Result<Response<ListProfilesResponse>, Status> {
        let profiles = self.app.registry().profiles().map(|found| profile(&self.app, found)).collect();
        Ok(Response::new(ListProfilesResponse { profiles }))
    }

    async fn get_info(&self, _: Request<GetInfoRequest>) -> Result<Response<GetInfoResponse>, Status> {
        let level = self.app.level;
        let durability = match level.durability {
            crate::Durability::Process => v1::get_info_response::Durability::Process,
            crate::Durability::Power => v1::get_info_response::Durability::Power,
        };
        Ok(Response::new(GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nats_version: self.app.bus.server_version(),
            durability: durability.into(),
            replicas: u32::try_from(level.replicas).unwrap_or(u32::MAX),
            loss_budget: level.loss_budget().to_owned(),
            retention: Some(retention(self.app.retention)),
            pools: pools(&self.app),
            max_artifact_bytes: self.app.bus.max_artifact(),
            partitions: level.partitions,
        }))
    }

    async fn get_guide(&self, _: Request<GetGuideRequest>) -> Result<Response<GetGuideResponse>, Status> {
        let entries = engine::guide(self.app.registry())
            .into_iter()
            .map(|(task, engine)| GuideEntry { task, engine: engine.to_string() })
            .collect();
        Ok(Response::new(GetGuideResponse { entries }))
    }

    async fn plan(&self, request: Request<PlanRequest>) -> Result<Response<PlanResponse>, Status> {
        let draft = public::draft(request.into_inner().workflow).map_err(Error::Invalid)?;
        let plan = self.app.plan(draft)?;
        let missing = plan.workers.iter().flatten().filter(|known| known.live == 0);
        Ok(Response::new(PlanResponse {
            engines_without_worker: missing.map(|known| known.queue().to_string()).collect(),
            plan: Some(json::to_struct_from(&plan)),
        }))
    }

    async fn execute(
        &self,
        request: Request<ExecuteRequest>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        let trace = trace(&request);
        let requester = caller(&request, &request.get_ref().requested_by)?;
        let request = request.into_inner();
        let draft = public::draft(request.workflow).map_err(Error::Invalid)?;
        let history = self.app.start(draft, &requester, &request.request_id, &trace).await?;
        let events = self.app.watch(history, 0).await?;
        let responses = events.map(|event| match event {
            Ok(event) => Ok(ExecuteResponse { event: Some(event) }),
            Err(error) => Err(error.into()),
        });
        Ok(Response::new(responses.boxed()))
    }
}

fn retention(retention: Retention) -> v1::Retention {
    let told = |duration: Duration| prost_types::Duration::try_from(duration).ok();
    v1::Retention {
        executions: retention.executions.and_then(told),
        artifacts: told(retention.artifacts),
        checkpoints: told(retention.checkpoints),
        checkpoint_bytes: retention.checkpoint_bytes,
        engine_state: told(retention.engine_state),
        engine_state_bytes: retention.engine_state_bytes,
        history_bytes: retention.history_bytes,
    }
}

fn profile(app: &App, profile: &Profile) -> v1::Profile {
    v1::Profile { workers: workers(app, profile), ..public::profile(profile) }
}

/// The connected workers of an engine, by pool.
fn workers(app: &App, profile: &Profile) -> Vec<v1::Worker> {
    let live = app.workers().of(profile.name.as_str());
    let worker = |heartbeat: Heartbeat| v1::Worker {
        id: heartbeat.worker_id,
        versions: heartbeat.versions,
        slots: heartbeat.slots,
        busy: heartbeat.busy,
        pool: heartbeat.pool,
        isolation: heartbeat.isolation,
    };
    live.into_iter().map(worker).collect()
}

fn pools(app: &App) -> Vec<v1::Pool> {
    let mut pools: Vec<v1::Pool> = Vec::new();
    for profile in app.registry().profiles() {
        for worker in workers(app, profile) {
            let engine = profile.name.as_str();
            if !pools.last().is_some_and(|last| last.engine == engine && last.name == worker.pool) {
                pools.push(v1::Pool {
                    engine: engine.to_owned(),
                    name: worker.pool.clone(),
                    ..v1::Pool::default()
                });
            }
            if let Some(pool) = pools.last_mut() {
                pool.slots = pool.slots.saturating_add(worker.slots);
                pool.busy = pool.busy.saturating_add(worker.busy);
                pool.workers.push(worker);
            }
        }
    }
    pools
}
