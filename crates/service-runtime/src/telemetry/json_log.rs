//! Log lines as JSON: one object a line, with the request and trace id of the span it was written in.
//!
//! **Invariant:** writing a line never waits for the reader. Lines beyond the queue are counted and dropped.

use std::fmt;
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use chrono::SecondsFormat;
use prometheus::IntCounter;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::clock::Clock;
use crate::metrics;

/// Lines that may wait for a slow reader of standard output.
const QUEUE: usize = 8_192;

static DROPPED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let counter = IntCounter::new(
        "portico_log_lines_dropped_total",
        "Log lines that were dropped because standard output was not read fast enough.",
    )
    .ok()?;
    metrics::registry().register(Box::new(counter.clone())).ok()?;
    Some(counter)
});

enum Message {
    Line(Vec<u8>),
    Stop,
}

/// The thread that writes lines out; dropping it writes what is queued.
pub(super) struct Writer {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let stopping = self.queue.send(Message::Stop).is_ok();
        if let Some(thread) = self.thread.take()
            && stopping
        {
            drop(thread.join());
        }
    }
}

pub(super) struct JsonLog {
    service: &'static str,
    clock: Clock,
    queue: SyncSender<Message>,
}

/// The layer that formats lines, and the thread that writes them.
pub(super) fn layer(service: &'static str) -> (JsonLog, Writer) {
    let (queue, lines) = sync_channel(QUEUE);
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_out(&lines))
        .ok();
    (
        JsonLog {
            service,
            clock: Clock::system(),
            queue: queue.clone(),
        },
        Writer { queue, thread },
    )
}

fn write_out(lines: &Receiver<Message>) {
    let mut out = std::io::stdout().lock();
    while let Ok(Message::Line(line)) = lines.recv() {
        // A closed pipe means that nobody reads: there is no better place to say so.
        drop(out.write_all(&line));
        drop(out.flush());
    }
}

/// What a span adds to every line written inside it.
#[derive(Default)]
struct SpanFields(Map<String, Value>);

impl<S> Layer<S> for JsonLog
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = SpanFields::default();
        attributes.record(&mut Collect(&mut fields.0));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<SpanFields>()
        {
            record.record(&mut Collect(&mut fields.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Map::new();
        let metadata = event.metadata();
        let time = self.clock.now().to_rfc3339_opts(SecondsFormat::Micros, true);
        line.insert("time".to_owned(), Value::String(time));
        line.insert("level".to_owned(), Value::from(metadata.level().as_str()));
        line.insert("service".to_owned(), Value::from(self.service));
        line.insert("target".to_owned(), Value::from(metadata.target()));
        line.extend(fields_of(event, &context));
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        if self.queue.try_send(Message::Line(bytes)).is_err()
            && let Some(dropped) = DROPPED.as_ref()
        {
            dropped.inc();
        }
    }
}

/// The fields of a line: those of the spans it stands in, from the outermost inwards, then its own.
pub(super) fn fields_of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Map<String, Value>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    let mut fields = Map::new();
    for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
        if let Some(of_span) = span.extensions().get::<SpanFields>() {
            fields.extend(of_span.0.clone());
        }
    }
    event.record(&mut Collect(&mut fields));
    fields
}

struct Collect<'m>(&'m mut Map<String, Value>);

impl Collect<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        // `otel.*` fields steer the exporter; they say nothing in a log.
        if !field.name().starts_with("otel.") {
            self.0.insert(field.name().to_owned(), value.into());
        }
    }
}

impl Visit for Collect<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    #[expect(
        clippy::disallowed_types,
        reason = "the trait's own signature; a log shows numbers, it does not count money"
    )]
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    fn lines_of(act: impl FnOnce()) -> Vec<Value> {
        let (queue, lines) = sync_channel(64);
        let log = JsonLog {
            service: "test",
            clock: Clock::manual(chrono::DateTime::UNIX_EPOCH),
            queue,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), act);
        lines
            .try_iter()
            .filter_map(|message| match message {
                Message::Line(line) => Some(serde_json::from_slice(&line).unwrap()),
                Message::Stop => None,
            })
            .collect()
    }

    #[test]
    fn every_line_carries_the_ids_of_its_request() {
        let lines = lines_of(|| {
            let request = tracing::info_span!("request", request_id = "r-1", trace_id = "t-1");
            request.in_scope(|| {
                tracing::info_span!("inner").in_scope(|| tracing::warn!(attempt = 3, "slow"));
            });
        });
        assert_eq!(
            lines,
            [serde_json::json!({
                "time": "1970-01-01T00:00:00.000000Z", "level": "WARN", "service": "test",
                "target": "service_runtime::telemetry::json_log::tests",
                "request_id": "r-1", "trace_id": "t-1", "attempt": 3, "message": "slow",
            })]
        );
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let (queue, lines) = sync_channel(8);
        let log = JsonLog {
            service: "test",
            clock: Clock::system(),
            queue,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            tracing::info!(path = "/a\n{\"forged\":true}", "seen");
        });
        let Message::Line(line) = lines.recv().unwrap() else {
            panic!("no line")
        };
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_not_time() {
        let (queue, _lines) = sync_channel(1);
        let log = JsonLog {
            service: "test",
            clock: Clock::system(),
            queue,
        };
        let before = DROPPED.as_ref().unwrap().get();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log), || {
            for _ in 0..10 {
                tracing::info!("line");
            }
        });
        assert_eq!(DROPPED.as_ref().unwrap().get() - before, 9);
    }
}
