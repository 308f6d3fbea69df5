//! The edge: decode, call the application, encode.
//!
//! Architecture invariant: only [`status`] makes a `Status` out of an application error.

mod approval;
mod artifact;
mod dead_letter;
mod execution;
mod orchestrator;
mod schedule;
mod status;

use std::time::Duration;

use anyhow::Context as _;
use mahavishnu_bus::Trace;
use mahavishnu_proto::v1::approval_service_server::ApprovalServiceServer;
use mahavishnu_proto::v1::artifact_service_server::ArtifactServiceServer;
use mahavishnu_proto::v1::dead_letter_service_server::DeadLetterServiceServer;
use mahavishnu_proto::v1::execution_service_server::ExecutionServiceServer;
use mahavishnu_proto::v1::orchestrator_service_server::OrchestratorServiceServer;
use mahavishnu_proto::v1::schedule_service_server::ScheduleServiceServer;
use mahavishnu_telemetry::context::{self, FromHttp};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use crate::app::App;

/// Largest request, in bytes. Checked early, so the answer names it; the core's own limit on workflows is
/// below it.
const MAX_REQUEST: usize = 8 * 1024 * 1024;

/// Serves until `stop`, then lets calls that are under way end.
///
/// # Errors
/// When the listener fails.
pub async fn serve(app: App, listener: TcpListener, stop: CancellationToken) -> anyhow::Result<()> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(mahavishnu_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let api = Api { app: app.clone() };
    let router = Server::builder()
        .trace_fn(span)
        // Browsers speak gRPC-Web over HTTP/1.1.
        .accept_http1(true)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .layer(tonic_web::GrpcWebLayer::new())
        .add_service(health_service)
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?)
        .add_service(OrchestratorServiceServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(ExecutionServiceServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(ApprovalServiceServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(DeadLetterServiceServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(ScheduleServiceServer::new(api.clone()).max_decoding_message_size(MAX_REQUEST))
        .add_service(ArtifactServiceServer::new(api).max_decoding_message_size(MAX_REQUEST));
    // Before the first call: a service without a status does not exist to a health check.
    set_health(&health, app.bus.is_connected()).await;
    let health_loop = tokio::spawn(report_health(app, health, stop.clone()));
    // Set here, because the builder's own setting is for its own listeners. Without it the last events of a stream wait
    // 40 ms for the client's delayed acknowledgement.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await.context("gRPC server")?;
    health_loop.abort();
    Ok(())
}

/// Serving means that the bus can be reached and nobody has asked to stop.
async fn report_health(app: App, health: HealthReporter, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut was = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => {}
        }
        let serving = app.bus.is_connected() && !stop.is_cancelled();
        if was != Some(serving) {
            was = Some(serving);
            set_health(&health, serving).await;
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

async fn set_health(health: &HealthReporter, serving: bool) {
    if serving {
        health.set_serving::<OrchestratorServiceServer<Api>>().await;
        health.set_serving::<ExecutionServiceServer<Api>>().await;
        health.set_serving::<ApprovalServiceServer<Api>>().await;
        health.set_serving::<ScheduleServiceServer<Api>>().await;
        health.set_serving::<ArtifactServiceServer<Api>>().await;
        health.set_serving::<DeadLetterServiceServer<Api>>().await;
    } else {
        health.set_not_serving::<OrchestratorServiceServer<Api>>().await;
        health.set_not_serving::<ExecutionServiceServer<Api>>().await;
        health.set_not_serving::<ApprovalServiceServer<Api>>().await;
        health.set_not_serving::<ScheduleServiceServer<Api>>().await;
        health.set_not_serving::<ArtifactServiceServer<Api>>().await;
        health.set_not_serving::<DeadLetterServiceServer<Api>>().await;
    }
    // The empty name stands for the whole server.
    let whole =
        if serving { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    health.set_service_status("", whole).await;
}

/// Under which metadata key an authenticating proxy says who calls.
const USER: &str = "x-forwarded-user";

/// The services, all over one application.
#[derive(Clone)]
struct Api {
    app: App,
}

/// The span of a call, continuing the caller's trace.
fn span(request: &tonic::codegen::http::Request<()>) -> tracing::Span {
    let method = request.uri().path().trim_start_matches('/');
    if !method.starts_with("mahavishnu.") {
        return tracing::Span::none();
    }
    let span = tracing::info_span!(
        "rpc",
        otel.name = method,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = method,
    );
    context::adopt(&span, &FromHttp(request.headers()));
    span
}

/// Who calls: whom a proxy in front says that it has authenticated, or else who the message says.
///
/// # Errors
/// When the proxy's word cannot be told: then nobody else's is taken for it.
fn caller<T>(request: &tonic::Request<T>, claimed: &str) -> Result<String, tonic::Status> {
    let mut said = request.metadata().get_all(USER).iter();
    match (said.next(), said.next()) {
        (None, _) => Ok(claimed.to_owned()),
        (Some(name), None) if let Ok(name) = name.to_str() => Ok(name.to_owned()),
        _ => Err(tonic::Status::invalid_argument(format!("metadata {USER} must be one name in ASCII"))),
    }
}

/// The context under which an execution goes on: the call's span, or what the caller sent when spans are
/// not exported here.
fn trace<T>(request: &tonic::Request<T>) -> Trace {
    let own = context::of(&tracing::Span::current());
    if !own.is_empty() {
        return own;
    }
    ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), request.metadata().get(name)?.to_str().ok()?.to_owned())))
        .collect()
}
