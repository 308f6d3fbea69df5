//! The subscriber: logs on standard error, spans to an OTLP endpoint.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use opentelemetry::global;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::SpanRelay;

/// Logs and traces of a process.
#[derive(Clone, Debug, clap::Args)]
#[group(id = "telemetry")]
#[command(next_help_heading = "Telemetry")]
pub struct Options {
    /// What to log: a level, or directives such as `info,mahavishnu_worker=debug`
    #[arg(long, env = "MAHAVISHNU_LOG", default_value = "info", global = true)]
    pub log: String,
    /// How to log
    #[arg(long, env = "MAHAVISHNU_LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
    /// Where to send spans: an OTLP/gRPC endpoint such as http://127.0.0.1:4317; nowhere when absent
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", global = true)]
    pub otlp_endpoint: Option<String>,
    /// Share of traces to record when the caller has not decided, 0 to 1
    #[arg(long, env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = 1.0, global = true)]
    pub trace_ratio: f64,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Keeps the exporter; what is still buffered is sent by [`Telemetry::shutdown`].
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    /// Sends on the spans that engine hosts make.
    pub relay: Option<SpanRelay>,
}

impl Telemetry {
    /// Sets up logs and traces for this process. Needs a Tokio runtime when there is an endpoint.
    ///
    /// # Errors
    /// When the log directives or the endpoint cannot be used, or when it was set up before.
    pub fn init(service: &'static str, options: &Options) -> anyhow::Result<Self> {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let filter = EnvFilter::try_new(&options.log)
            .with_context(|| format!("--log {:?} is not a level or a list of directives", options.log))?;
        let color = std::io::stderr().is_terminal();
        let lines = match options.log_format {
            LogFormat::Text => {
                tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(color).boxed()
            }
            LogFormat::Json => tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json().boxed(),
        };
        let (provider, relay, spans) = match &options.otlp_endpoint {
            None => (None, None, None),
            Some(endpoint) => {
                let provider = provider(service, endpoint, options.trace_ratio)?;
                let layer = tracing_opentelemetry::layer()
                    .with_tracer(provider.tracer("mahavishnu"))
                    .with_filter(tracing_subscriber::filter::filter_fn(|meta| {
                        meta.is_span() && meta.target().starts_with("mahavishnu")
                    }));
                (Some(provider), Some(SpanRelay::new(endpoint)?), Some(layer))
            }
        };
        tracing_subscriber::registry()
            .with(spans)
            .with(lines.with_filter(filter))
            .try_init()
            .context("logging was set up before")?;
        Ok(Self { provider, relay })
    }

    /// Sends what is buffered.
    pub fn shutdown(self) {
        if let Some(error) = self.provider.and_then(|provider| provider.shutdown().err()) {
            tracing::warn!(%error, "spans may be lost");
        }
    }
}

fn provider(service: &'static str, endpoint: &str, ratio: f64) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .with_context(|| format!("--otlp-endpoint {endpoint:?} cannot be used"))?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(Resource::builder().with_service_name(service).build())
        .build())
}
