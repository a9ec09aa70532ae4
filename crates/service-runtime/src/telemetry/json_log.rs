//! Log lines as JSON: one object a line, with the request and trace id of the span it was written in.
//!
//! **Invariant:** writing a line never waits for the reader. Lines beyond the queue's capacity are counted and dropped.

use std::fmt;
use std::io::Write as _;
use std::mem;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::SecondsFormat;
use prometheus::IntCounter;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::clock::Clock;
use crate::metrics;

/// Bytes of lines that may wait for a slow reader of standard output.
const CAPACITY_BYTES: usize = 4 * 1024 * 1024;
/// How long an ordinary line may wait for company: each write wakes a reader, and a wake-up costs more than a line.
/// Warnings and errors do not wait.
const LINGER: Duration = Duration::from_millis(10);
/// With so many bytes waiting there is company enough.
const FULL_BYTES: usize = 64 * 1024;

static DROPPED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let counter = IntCounter::new(
        "portico_log_lines_dropped_total",
        "Log lines that were dropped because standard output was not read fast enough.",
    )
    .ok()?;
    metrics::registry().register(Box::new(counter.clone())).ok()?;
    Some(counter)
});

/// Lines on their way to standard output.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    is_urgent: bool,
    is_closed: bool,
}

impl Waiting {
    fn must_go(&self) -> bool {
        self.is_urgent || self.is_closed || self.lines.len() >= FULL_BYTES
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, without waiting for anybody; counts it as dropped when there is no room.
    fn push(&self, line: &[u8], is_urgent: bool) {
        let mut waiting = self.lock();
        if waiting.lines.len().saturating_add(line.len()) > CAPACITY_BYTES {
            drop(waiting);
            if let Some(dropped) = DROPPED.as_ref() {
                dropped.inc();
            }
            return;
        }
        let (was_empty, must_go) = (waiting.lines.is_empty(), waiting.must_go());
        waiting.lines.extend_from_slice(line);
        waiting.is_urgent |= is_urgent;
        let wakes = was_empty || (waiting.must_go() && !must_go);
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// Waits for lines and moves them into `batch`, which is empty. Says whether more may come.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let is_idle = |waiting: &mut Waiting| waiting.lines.is_empty() && !waiting.is_closed;
        let waiting = self
            .changed
            .wait_while(self.lock(), is_idle)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, _) = self
            .changed
            .wait_timeout_while(waiting, LINGER, |waiting| !waiting.must_go())
            .unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut waiting.lines, batch);
        waiting.is_urgent = false;
        !waiting.is_closed
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }
}

/// The thread that writes lines out; dropping it writes what is queued.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

pub(super) struct JsonLog {
    service: &'static str,
    clock: Clock,
    queue: Arc<Queue>,
}

/// The layer that formats lines, and the thread that writes them.
pub(super) fn layer(service: &'static str) -> (JsonLog, Writer) {
    let queue = Arc::new(Queue::default());
    let lines = Arc::clone(&queue);
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_out(&lines))
        .ok();
    (
        JsonLog {
            service,
            clock: Clock::system(),
            queue: Arc::clone(&queue),
        },
        Writer { queue, thread },
    )
}

fn write_out(queue: &Queue) {
    let mut out = std::io::stdout().lock();
    let mut batch = Vec::new();
    loop {
        let goes_on = queue.take(&mut batch);
        // A closed pipe means that nobody reads: there is no better place to say so.
        drop(out.write_all(&batch).and_then(|()| out.flush()));
        if !goes_on {
            return;
        }
        batch.clear();
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
        self.queue.push(&bytes, *metadata.level() <= Level::WARN);
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

    fn log(queue: &Arc<Queue>, clock: Clock) -> JsonLog {
        JsonLog {
            service: "test",
            clock,
            queue: Arc::clone(queue),
        }
    }

    fn write(queue: &Arc<Queue>, act: impl FnOnce()) {
        let clock = Clock::manual(chrono::DateTime::UNIX_EPOCH);
        let subscriber = tracing_subscriber::registry().with(log(queue, clock));
        tracing::subscriber::with_default(subscriber, act);
    }

    fn taken(queue: &Queue) -> String {
        let mut batch = Vec::new();
        queue.take(&mut batch);
        String::from_utf8(batch).unwrap()
    }

    fn lines_of(act: impl FnOnce()) -> Vec<Value> {
        let queue = Arc::default();
        write(&queue, act);
        taken(&queue)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
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
        let lines = lines_of(|| tracing::info!(path = "/a\n{\"forged\":true}", "seen"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["path"], "/a\n{\"forged\":true}");
    }

    #[test]
    fn a_reader_that_stalls_costs_lines_not_time() {
        let queue = Arc::default();
        let before = DROPPED.as_ref().unwrap().get();
        let text = "x".repeat(CAPACITY_BYTES / 4);
        write(&queue, || {
            for _ in 0..10 {
                tracing::info!(text, "line");
            }
        });
        assert_eq!(DROPPED.as_ref().unwrap().get() - before, 7);
        assert_eq!(taken(&queue).lines().count(), 3);
    }

    #[test]
    fn lines_leave_together_and_the_last_ones_when_the_writer_ends() {
        let queue: Arc<Queue> = Arc::default();
        write(&queue, || {
            tracing::info!("first");
            tracing::info!("second");
        });
        assert_eq!(taken(&queue).lines().count(), 2);
        write(&queue, || tracing::info!("last"));
        queue.close();
        let mut batch = Vec::new();
        assert!(!queue.take(&mut batch), "a closed queue promises more");
        assert!(!batch.is_empty());
    }

    #[test]
    fn a_warning_waits_for_nobody() {
        let queue: Arc<Queue> = Arc::default();
        write(&queue, || tracing::info!("ordinary"));
        assert!(!queue.lock().must_go());
        write(&queue, || tracing::warn!("urgent"));
        assert!(queue.lock().must_go());
        assert_eq!(taken(&queue).lines().count(), 2);
        write(&queue, || tracing::info!("ordinary again"));
        assert!(!queue.lock().must_go());
    }
}
