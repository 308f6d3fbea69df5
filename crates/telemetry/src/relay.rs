//! Sends on spans that were made elsewhere: engine hosts have no network of their own to export with.

use anyhow::Context as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};

/// A connection to the OTLP endpoint, made when it is first needed.
#[derive(Clone, Debug)]
pub struct SpanRelay(TraceServiceClient<Channel>);

impl SpanRelay {
    /// For this endpoint.
    pub(crate) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())
            .with_context(|| format!("--otlp-endpoint {endpoint:?} is not an address"))?;
        Ok(Self(TraceServiceClient::new(endpoint.connect_lazy())))
    }

    /// Sends an encoded `ExportTraceServiceRequest`.
    ///
    /// # Errors
    /// When the bytes are not one, or the endpoint does not take them.
    pub async fn export(&self, request: &[u8]) -> anyhow::Result<()> {
        let request = ExportTraceServiceRequest::decode(request).context("not an OTLP trace request")?;
        self.0.clone().export(request).await.context("OTLP endpoint")?;
        Ok(())
    }
}
