//! Logs, traces and error reports, set up once per process.

mod errors;
mod json_log;
mod line;
mod names;
mod traces;

pub use names::RequestNames;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde::Deserialize;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::{Environment, Secret};

/// What a process tells about itself, and to whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// Log filter in `tracing` syntax, such as `info` or `info,gateway=debug`.
    pub level: String,
    /// Sentry DSN, as a secret reference; none sends nothing.
    pub sentry_dsn: Option<Secret>,
    /// OTLP/HTTP endpoint for traces, such as `http://collector:4318`; none sends nothing.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            sentry_dsn: None,
            otlp_endpoint: None,
        }
    }
}

/// How long the end of a process waits for exporters to send what they still hold.
const FLUSH: Duration = Duration::from_secs(3);

/// Whether traces leave this process: without, a span of a request is for nobody, and [`RequestNames`] are enough.
#[must_use]
pub fn exports_traces() -> bool {
    EXPORTS_TRACES.load(Ordering::Relaxed)
}

static EXPORTS_TRACES: AtomicBool = AtomicBool::new(false);

/// Keeps the exporters alive; dropping it sends what they still hold, and gives up after three seconds.
#[must_use = "dropping the guard ends telemetry"]
pub struct TelemetryGuard {
    _log: json_log::Writer,
    exporters: Option<Exporters>,
}

struct Exporters {
    _errors: Option<sentry::ClientInitGuard>,
    _traces: Option<traces::TraceGuard>,
}

impl Drop for TelemetryGuard {
    /// An exporter joins its own thread when it is dropped, and that thread may hang in an endpoint that accepts and
    /// never answers: so it is dropped on a thread of its own, which the end of the process takes along.
    fn drop(&mut self) {
        let exporters = self.exporters.take();
        let (done, finished) = channel();
        std::thread::spawn(move || {
            drop(exporters);
            let _ = done.send(());
        });
        let _ = finished.recv_timeout(FLUSH);
    }
}

impl std::fmt::Debug for TelemetryGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TelemetryGuard")
    }
}

/// Starts telemetry for this process: JSON lines on standard output, and Sentry and OTLP where settings name them.
/// Call it before any runtime is built. An endpoint that does not answer costs a request nothing.
///
/// # Errors
/// When a setting cannot be understood, or telemetry runs already.
pub fn init(
    settings: &TelemetrySettings,
    service: &'static str,
    environment: Environment,
) -> anyhow::Result<TelemetryGuard> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| anyhow::anyhow!("telemetry.level: `{}`: {error}", settings.level))?;
    let errors = settings
        .sentry_dsn
        .as_ref()
        .map(|dsn| errors::init(dsn, service, environment))
        .transpose()?;
    let traces = settings
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| traces::init(endpoint, service, environment))
        .transpose()?;
    EXPORTS_TRACES.store(traces.is_some(), Ordering::Relaxed);
    let (log, writer) = json_log::layer(service);
    tracing_subscriber::registry()
        .with(filter)
        .with(log)
        .with(errors.as_ref().map(|_| errors::ErrorReports))
        .with(
            traces
                .as_ref()
                .map(|guard| tracing_opentelemetry::layer().with_tracer(guard.tracer()).boxed()),
        )
        .try_init()?;
    Ok(TelemetryGuard {
        _log: writer,
        exporters: Some(Exporters {
            _errors: errors,
            _traces: traces,
        }),
    })
}
