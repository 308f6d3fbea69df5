//! An OTLP trace collector in this process: what real programs export, as spans that can be asked about.
//!
//! Spans arrive in any order and from several processes; [`Collector::wait_for`] looks again whenever some came.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::{Request, Response, Status, async_trait};

/// A span as it was exported. Ids are hexadecimal.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace.
    pub trace: String,
    /// The span.
    pub id: String,
    /// The span above; empty at the top.
    pub parent: String,
    /// Its name.
    pub name: String,
    /// What it is at the border of its process.
    pub kind: SpanKind,
    /// The `service.name` of its process.
    pub service: String,
    /// Its attributes; numbers and flags as text.
    pub attributes: BTreeMap<String, String>,
}

/// A collector that serves. It ends when it is dropped.
#[derive(Debug)]
pub struct Collector {
    endpoint: String,
    received: Received,
    _server: AbortOnDropHandle<()>,
}

#[derive(Clone, Debug)]
struct Received {
    spans: Arc<Mutex<Vec<Span>>>,
    count: watch::Sender<usize>,
}

impl Collector {
    /// Serves on a free port of the loopback address.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let received = Received { spans: Arc::default(), count: watch::Sender::new(0) };
        let server = Server::builder()
            .add_service(TraceServiceServer::new(received.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async {
            // A broken server shows as spans that never come.
            let _ = server.await;
        }));
        Ok(Self { endpoint, received, _server: server })
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Everything that has come.
    pub fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks about the spans each time more have come, until the answer is a good one.
    ///
    /// # Errors
    /// The last complaint, after `limit`.
    pub async fn wait_for<T>(
        &self,
        limit: Duration,
        mut ask: impl FnMut(&[Span]) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut changes = self.received.count.subscribe();
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            changes.mark_unchanged();
            let complaint = match ask(&self.spans()) {
                Ok(answer) => return Ok(answer),
                Err(complaint) => complaint,
            };
            // The sender lives as long as `self`.
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return Err(format!("{complaint} (waited {limit:?} for spans)"));
            }
        }
    }
}

#[async_trait]
impl TraceService for Received {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let new: Vec<Span> = request.into_inner().resource_spans.into_iter().flat_map(spans).collect();
        let count = {
            let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
            spans.extend(new);
            spans.len()
        };
        self.count.send_replace(count);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn spans(resource: ResourceSpans) -> impl Iterator<Item = Span> {
    let attributes = resource.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
    let service = attributes.get("service.name").cloned().unwrap_or_default();
    resource.scope_spans.into_iter().flat_map(|scope| scope.spans).map(move |span| Span {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind(),
        name: span.name,
        service: service.clone(),
        attributes: texts(span.attributes),
    })
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        None => String::new(),
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(other) => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
