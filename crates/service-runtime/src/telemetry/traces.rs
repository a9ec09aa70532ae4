//! Traces to an OTLP endpoint, in batches, from a thread of their own.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use crate::settings::Environment;

/// How long one export may take, and how long the last one may hold up the end of the process.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct TraceGuard(SdkTracerProvider);

impl TraceGuard {
    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("portico")
    }
}

impl Drop for TraceGuard {
    fn drop(&mut self) {
        // An endpoint that is away must not keep the process: what it did not take is lost, as traces may be.
        drop(self.0.shutdown_with_timeout(TIMEOUT));
    }
}

pub(super) fn init(
    endpoint: &str,
    service: &'static str,
    environment: Environment,
) -> anyhow::Result<TraceGuard> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.as_str())
        .with_timeout(TIMEOUT)
        .build()
        .with_context(|| format!("telemetry.otlp_endpoint: {endpoint}"))?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("deployment.environment.name", environment.as_str()),
        ])
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    Ok(TraceGuard(provider))
}
