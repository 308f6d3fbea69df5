//! The W3C trace context, as it crosses process boundaries.

use std::collections::HashMap;

use opentelemetry::Context;
use opentelemetry::global;
use opentelemetry::propagation::{Extractor, Injector};
use opentelemetry::trace::TraceContextExt as _;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetrySpanExt as _, SetParentError};

/// `traceparent` and `tracestate`, as headers.
pub type Headers = HashMap<String, String>;

/// The context of a span, to be sent along.
pub fn of(span: &Span) -> Headers {
    let mut headers = Headers::new();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), &mut headers));
    headers
}

/// Makes what came with `headers` the parent of `span`, which must not have been entered. Nothing happens
/// when nothing came.
pub fn adopt(span: &Span, headers: &impl Extractor) {
    let parent = extract(headers);
    if parent.span().span_context().is_valid()
        && let Err(error) = span.set_parent(parent)
        // Without an exporter there are no spans of ours; the headers themselves are passed on.
        && !matches!(error, SetParentError::LayerNotFound)
    {
        tracing::warn!(%error, "the span lost its parent");
    }
}

/// The context in `headers`.
pub fn extract(headers: &impl Extractor) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract(headers))
}

/// The trace id in `headers`, hexadecimal; empty when there is none.
pub fn trace_id(headers: &Headers) -> String {
    let context = extract(headers);
    let span = context.span();
    let context = span.span_context();
    if context.is_valid() { context.trace_id().to_string() } else { String::new() }
}

/// Reads HTTP headers, which is what gRPC metadata is before tonic has seen it.
pub struct FromHttp<'a>(pub &'a http::HeaderMap);

impl Extractor for FromHttp<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Writes gRPC metadata.
pub struct IntoMetadata<'a>(pub &'a mut tonic::metadata::MetadataMap);

impl Injector for IntoMetadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) =
            (tonic::metadata::MetadataKey::from_bytes(key.as_bytes()), value.parse())
        {
            self.0.insert(key, value);
        }
    }
}

/// Sends the current span's context along with a request.
pub fn send_along(metadata: &mut tonic::metadata::MetadataMap) {
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut IntoMetadata(metadata))
    });
}
