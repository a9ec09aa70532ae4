//! Log lines as JSON: one object a line, with the request and trace id of the span it was written in.
//!
//! **Invariant:** writing a line never waits for the reader. Lines beyond the queue's capacity are counted and dropped.

use std::cell::Cell;
use std::fmt;
use std::io::Write as _;
use std::mem;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::IntCounter;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};

use super::RequestNames;
use super::line::Line;
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
struct SpanFields(Vec<(&'static str, Value)>);

impl<S> Layer<S> for JsonLog
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = SpanFields::default();
        attributes.record(&mut Collect(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<SpanFields>()
        {
            record.record(&mut Collect(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        // Taken, not borrowed: a value that logs while it is written gets a line of its own.
        let mut line = LINE.take();
        line.begin();
        event.record(&mut Collect(&mut Own(&mut line)));
        if let Some(spans) = context.event_scope(event) {
            for span in spans {
                if let Some(of_span) = span.extensions().get::<SpanFields>() {
                    for (name, value) in &of_span.0 {
                        line.take(name, value);
                    }
                }
            }
        }
        RequestNames::with_current(|names| {
            line.take_text("request_id", names.request_id());
            line.take_text("trace_id", names.trace_id());
        });
        if !line.holds("time") {
            line.add_time("time", self.clock.now());
        }
        line.take_text("level", metadata.level().as_str());
        line.take_text("service", self.service);
        line.take_text("target", metadata.target());
        self.queue.push(line.end(), *metadata.level() <= Level::WARN);
        if line.is_small() {
            LINE.set(line);
        }
    }
}

thread_local! {
    /// The last line of this thread: its memory serves the next one.
    static LINE: Cell<Line> = Cell::default();
}

/// Where fields go.
trait Fields {
    fn take(&mut self, name: &'static str, value: &(impl Serialize + ?Sized));

    fn take_text(&mut self, name: &'static str, text: &str) {
        self.take(name, text);
    }
}

/// What has a name already keeps its value: fields of the line come before those of its spans, and inner spans before
/// outer ones.
impl Fields for Line {
    fn take(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        if !self.holds(name) {
            self.add(name, value);
        }
    }

    fn take_text(&mut self, name: &'static str, text: &str) {
        if !self.holds(name) {
            self.add_text(name, text);
        }
    }
}

/// The fields of the line itself: whoever writes it names none of them twice.
struct Own<'l>(&'l mut Line);

impl Fields for Own<'_> {
    fn take(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.0.add(name, value);
    }

    fn take_text(&mut self, name: &'static str, text: &str) {
        self.0.add_text(name, text);
    }
}

impl Fields for SpanFields {
    fn take(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        let value = serde_json::to_value(value).unwrap_or_default();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }
}

impl Fields for Map<String, Value> {
    fn take(&mut self, name: &'static str, value: &(impl Serialize + ?Sized)) {
        self.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }
}

/// The fields of a line: the ids of its request, those of the spans it stands in, from the outermost inwards, then its
/// own.
pub(super) fn fields_of<S>(event: &Event<'_>, context: &Context<'_, S>) -> Map<String, Value>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    let mut fields = Map::new();
    RequestNames::with_current(|names| {
        fields.take("request_id", names.request_id());
        fields.take("trace_id", names.trace_id());
    });
    for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
        if let Some(of_span) = span.extensions().get::<SpanFields>() {
            for (name, value) in &of_span.0 {
                fields.take(name, value);
            }
        }
    }
    event.record(&mut Collect(&mut fields));
    fields
}

struct Collect<'f, F>(&'f mut F);

impl<F: Fields> Collect<'_, F> {
    fn put(&mut self, field: &Field, value: &(impl Serialize + ?Sized)) {
        if is_for_people(field) {
            self.0.take(field.name(), value);
        }
    }
}

/// `otel.*` fields steer the exporter; they say nothing in a log.
fn is_for_people(field: &Field) -> bool {
    !field.name().starts_with("otel.")
}

/// What a value shows of itself, as one JSON string.
struct Shown<'v>(&'v dyn fmt::Debug);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A value that gives up half-way has said what it could; the line goes on.
        let _ = write!(f, "{:?}", self.0);
        Ok(())
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<F: Fields> Visit for Collect<'_, F> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &Shown(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if is_for_people(field) {
            self.0.take_text(field.name(), value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, &value);
    }

    #[expect(
        clippy::disallowed_types,
        reason = "the trait's own signature; a log shows numbers, it does not count money"
    )]
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{RequestId, TraceContext};
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
    fn a_line_carries_the_ids_of_the_request_at_hand_and_of_no_other() {
        let names = |id: &str, digit: &str| {
            let call = format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16));
            RequestNames::new(
                RequestId::parse(id).unwrap(),
                &TraceContext::parse(&call).unwrap(),
            )
        };
        let (outer, inner) = (names("outer-id", "a"), names("inner-id", "b"));
        let lines = lines_of(|| {
            outer.in_scope(|| {
                tracing::warn!("bare");
                tracing::warn!(trace_id = "its own", "named");
                inner.in_scope(|| tracing::warn!("inner"));
                futures::executor::block_on(inner.clone().scope(async { tracing::warn!("in a future") }));
                tracing::info_span!("s", request_id = "of a span").in_scope(|| tracing::warn!("in a span"));
            });
            tracing::warn!("outside");
        });
        let ids: Vec<_> = lines
            .iter()
            .map(|line| (line["request_id"].as_str(), line["trace_id"].as_str()))
            .collect();
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        assert_eq!(
            ids,
            [
                (Some("outer-id"), Some(a.as_str())),
                (Some("outer-id"), Some("its own")),
                (Some("inner-id"), Some(b.as_str())),
                (Some("inner-id"), Some(b.as_str())),
                (Some("of a span"), Some(a.as_str())),
                (None, None),
            ]
        );
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let lines = lines_of(|| tracing::info!(path = "/a\n{\"forged\":true}", "seen"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["path"], "/a\n{\"forged\":true}");
    }

    #[test]
    fn fields_of_the_line_come_before_those_of_its_spans_and_no_name_stands_twice() {
        let text = || {
            let queue = Arc::default();
            write(&queue, || {
                let outer = tracing::info_span!("outer", route = "outer", attempt = 1, service = "span");
                let _outer = outer.enter();
                let inner = tracing::info_span!("inner", route = "inner", level = tracing::field::Empty);
                inner.record("level", "recorded");
                let _inner = inner.enter();
                tracing::info!(attempt = 2, skipped = Option::<u64>::None, "done");
            });
            taken(&queue)
        };
        assert_eq!(
            text(),
            "{\"message\":\"done\",\"attempt\":2,\"route\":\"inner\",\"level\":\"recorded\",\"service\":\"span\",\
             \"time\":\"1970-01-01T00:00:00.000000Z\",\"target\":\"service_runtime::telemetry::json_log::tests\"}\n"
        );
    }

    #[test]
    fn a_value_that_gives_up_does_not_break_the_line() {
        struct Mute;
        impl fmt::Debug for Mute {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        let lines = lines_of(|| tracing::info!(mute = ?Mute, after = 1, "seen"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(
            (&lines[0]["mute"], &lines[0]["after"]),
            (&Value::from("half"), &Value::from(1))
        );
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
