//! Error reports to Sentry. What leaves is built anew from an allow-list: anything not named here stays.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sentry::protocol::{Event, Exception, Map, Value};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::json_log;
use crate::settings::{Environment, Secret};

/// Fields of a log line that may travel as tags: ids and closed vocabularies, never text that a client can choose.
const TAGS: [&str; 6] = ["request_id", "trace_id", "service", "route", "method", "status"];

/// How long the end of the process waits for the last report.
const SHUTDOWN: Duration = Duration::from_secs(2);

pub(super) fn init(
    dsn: &Secret,
    service: &'static str,
    environment: Environment,
) -> anyhow::Result<sentry::ClientInitGuard> {
    let dsn: sentry::types::Dsn = dsn
        .expose()
        .parse()
        .map_err(|_| anyhow::anyhow!("telemetry.sentry_dsn: not a DSN"))?;
    let mut options = sentry::ClientOptions::new();
    options.dsn = Some(dsn);
    options.release = Some(Cow::Borrowed(concat!("portico@", env!("CARGO_PKG_VERSION"))));
    options.environment = Some(Cow::Borrowed(environment.as_str()));
    options.send_default_pii = false;
    options.max_breadcrumbs = 0;
    options.shutdown_timeout = SHUTDOWN;
    options.before_send = Some(Arc::new(move |event| Some(scrub(&event, service))));
    Ok(sentry::init(options))
}

/// Turns error lines into reports; lower levels go nowhere.
pub(super) struct ErrorReports;

impl<S> Layer<S> for ErrorReports
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_event(&self, line: &tracing::Event<'_>, context: Context<'_, S>) {
        let metadata = line.metadata();
        if *metadata.level() != tracing::Level::ERROR {
            return;
        }
        let mut fields = json_log::fields_of(line, &context);
        let mut event = Event::new();
        event.level = sentry::Level::Error;
        event.logger = Some(metadata.target().to_owned());
        event.message = match fields.remove("message") {
            Some(Value::String(message)) => Some(message),
            _ => None,
        };
        for name in TAGS {
            match fields.remove(name) {
                Some(Value::String(text)) => drop(event.tags.insert(name.to_owned(), text)),
                Some(Value::Number(number)) => drop(event.tags.insert(name.to_owned(), number.to_string())),
                _ => {}
            }
        }
        sentry::capture_event(event);
    }
}

/// A new report with only what the allow-list names: where it happened and the ids to find it in our own logs.
fn scrub(event: &Event<'static>, service: &str) -> Event<'static> {
    let mut kept = Event::new();
    kept.event_id = event.event_id;
    kept.level = event.level;
    kept.timestamp = event.timestamp;
    kept.platform = event.platform.clone();
    kept.logger = event.logger.clone();
    kept.release = event.release.clone();
    kept.environment = event.environment.clone();
    // Our messages are literals; a message that a foreign crate formatted may hold anything.
    kept.message = match (&event.logger, &event.message) {
        (Some(logger), Some(message)) if is_ours(logger) => Some(message.clone()),
        _ => None,
    };
    kept.tags.insert("service".to_owned(), service.to_owned());
    for name in TAGS {
        if let Some(value) = event.tags.get(name) {
            kept.tags.insert(name.to_owned(), value.clone());
        }
    }
    kept.exception.values = event.exception.values.iter().map(without_value).collect();
    kept
}

const OURS: [&str; 9] = [
    "portico",
    "gateway",
    "control_plane",
    "core_api",
    "policy",
    "problem",
    "service_runtime",
    "keyring",
    "database",
];

fn is_ours(logger: &str) -> bool {
    logger.split("::").next().is_some_and(|root| OURS.contains(&root))
}

/// The kind and the place of an exception; its value is a text that may quote data.
fn without_value(exception: &Exception) -> Exception {
    let mut stacktrace = exception.stacktrace.clone();
    for frame in stacktrace.iter_mut().flat_map(|trace| trace.frames.iter_mut()) {
        frame.vars = Map::new();
        frame.pre_context = Vec::new();
        frame.context_line = None;
        frame.post_context = Vec::new();
    }
    Exception {
        ty: exception.ty.clone(),
        module: exception.module.clone(),
        stacktrace,
        ..Exception::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_allowed_leaves() {
        let mut event = Event::new();
        event.logger = Some("core_api::transfers".to_owned());
        event.message = Some("internal error".to_owned());
        event.user = Some(sentry::User {
            email: Some("canary@example.com".into()),
            ..Default::default()
        });
        event.server_name = Some("canary-host".into());
        event.tags.insert("request_id".into(), "r-1".into());
        event.tags.insert("email".into(), "canary@example.com".into());
        event.extra.insert("body".into(), "canary-body".into());
        let fields: Map<String, Value> = [("password".to_owned(), "canary-password".into())].into();
        event.contexts.insert(
            "Rust Tracing Fields".into(),
            sentry::protocol::Context::Other(fields),
        );
        event.exception.values.push(Exception {
            ty: "panic".into(),
            value: Some("canary-value".into()),
            ..Exception::default()
        });

        let kept = scrub(&event, "core-api");
        let text = serde_json::to_string(&kept).unwrap();

        assert!(!text.contains("canary"), "{text}");
        assert_eq!(kept.message.as_deref(), Some("internal error"));
        assert_eq!(kept.tags["request_id"], "r-1");
        assert_eq!(kept.exception.values[0].ty, "panic");
    }

    #[test]
    fn a_foreign_message_stays() {
        let mut event = Event::new();
        event.logger = Some("hyper::proto".to_owned());
        event.message = Some("GET /?token=canary".to_owned());
        assert_eq!(scrub(&event, "gateway").message, None);
    }
}
