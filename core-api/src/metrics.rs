//! What core-api counts. Names and labels are closed sets: no value of a client becomes a label.

use std::sync::LazyLock;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use service_runtime::metrics::registry;

struct Metrics {
    active_users: IntGauge,
    logins: IntCounterVec,
    gate: GateMetrics,
    factors: IntCounterVec,
    step_ups: IntCounterVec,
    refreshes: IntCounterVec,
    token_refusals: IntCounterVec,
    movements: IntCounterVec,
    batch_size: Histogram,
    batch_seconds: Histogram,
    batch_retries: IntCounter,
    queue_refusals: IntCounter,
    passwords: PasswordMetrics,
    purged: IntCounter,
    mails: MailMetrics,
}

/// What is counted of mails.
struct MailMetrics {
    tries: IntCounterVec,
    waiting: IntGauge,
    oldest_seconds: IntGauge,
    dead: IntGauge,
}

/// What is counted of failed log-ins.
struct GateMetrics {
    policy_info: IntGaugeVec,
    lockouts: IntCounterVec,
    throttled: IntCounterVec,
}

/// What is counted of passwords.
struct PasswordMetrics {
    hash_queue_depth: IntGauge,
    hash_inflight: IntGauge,
    hash_wait_seconds: Histogram,
    hash_seconds: Histogram,
    hash_shed: IntCounterVec,
    breach_entries: IntGauge,
    breach_loads: IntCounterVec,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| match register() {
    Ok(metrics) => Some(metrics),
    Err(error) => {
        tracing::error!(%error, "the metrics of core-api cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<Metrics> {
    let metrics = Metrics {
        active_users: IntGauge::new(
            "portico_active_users",
            "Users with a live session that was used in the last 15 minutes.",
        )?,
        logins: counters("portico_logins_total", "Log-ins by result.", &["result"])?,
        gate: GateMetrics::register()?,
        factors: counters(
            "portico_factor_checks_total",
            "Second factors that were shown, by kind and result.",
            &["factor", "result"],
        )?,
        step_ups: counters(
            "portico_step_ups_total",
            "Confirmations of operations: given, used, refused, missing.",
            &["result"],
        )?,
        refreshes: counters(
            "portico_refreshes_total",
            "Refresh requests by outcome.",
            &["outcome"],
        )?,
        token_refusals: counters(
            "portico_core_token_refusals_total",
            "Access tokens that core-api refused, by reason.",
            &["reason"],
        )?,
        movements: counters(
            "portico_movements_total",
            "Deposits, withdrawals and transfers by outcome.",
            &["kind", "outcome"],
        )?,
        batch_size: Histogram::with_opts(
            HistogramOpts::new(
                "portico_posting_batch_size",
                "Movements in one posting statement.",
            )
            .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]),
        )?,
        batch_seconds: seconds("portico_posting_batch_seconds", "Time of one posting statement.")?,
        batch_retries: IntCounter::new(
            "portico_posting_retries_total",
            "Posting statements that were tried again.",
        )?,
        queue_refusals: IntCounter::new(
            "portico_posting_queue_refusals_total",
            "Movements refused because the posting queue was full.",
        )?,
        passwords: PasswordMetrics::register()?,
        purged: IntCounter::new(
            "portico_idempotency_purged_total",
            "Expired idempotency records removed.",
        )?,
        mails: MailMetrics::register()?,
    };
    let registry = registry();
    registry.register(Box::new(metrics.active_users.clone()))?;
    registry.register(Box::new(metrics.logins.clone()))?;
    registry.register(Box::new(metrics.factors.clone()))?;
    registry.register(Box::new(metrics.step_ups.clone()))?;
    registry.register(Box::new(metrics.refreshes.clone()))?;
    registry.register(Box::new(metrics.token_refusals.clone()))?;
    registry.register(Box::new(metrics.movements.clone()))?;
    registry.register(Box::new(metrics.batch_size.clone()))?;
    registry.register(Box::new(metrics.batch_seconds.clone()))?;
    registry.register(Box::new(metrics.batch_retries.clone()))?;
    registry.register(Box::new(metrics.queue_refusals.clone()))?;
    registry.register(Box::new(metrics.purged.clone()))?;
    Ok(metrics)
}

impl MailMetrics {
    fn register() -> prometheus::Result<Self> {
        let metrics = Self {
            tries: counters(
                "portico_mails_total",
                "Tries to send a mail by result: sent, dropped, failed, dead.",
                &["result"],
            )?,
            waiting: IntGauge::new("portico_mails_waiting", "Mails in the queue.")?,
            oldest_seconds: IntGauge::new(
                "portico_mail_oldest_seconds",
                "For how long the oldest mail in the queue has waited.",
            )?,
            dead: IntGauge::new("portico_mails_dead", "Mails that nobody tries to send any more.")?,
        };
        let registry = registry();
        registry.register(Box::new(metrics.tries.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        registry.register(Box::new(metrics.oldest_seconds.clone()))?;
        registry.register(Box::new(metrics.dead.clone()))?;
        Ok(metrics)
    }
}

impl GateMetrics {
    fn register() -> prometheus::Result<Self> {
        let metrics = Self {
            policy_info: IntGaugeVec::new(
                Opts::new(
                    "portico_core_policy_info",
                    "1 for the hash of the policy whose rules for failed log-ins are in force.",
                ),
                &["hash"],
            )?,
            lockouts: counters(
                "portico_lockouts_total",
                "Names locked or shut, devices distrusted, networks blocked and attacks suspected because of failed log-ins.",
                &["what"],
            )?,
            throttled: counters(
                "portico_logins_throttled_total",
                "Log-ins refused without a look at the password, by cause.",
                &["cause"],
            )?,
        };
        let registry = registry();
        registry.register(Box::new(metrics.policy_info.clone()))?;
        registry.register(Box::new(metrics.lockouts.clone()))?;
        registry.register(Box::new(metrics.throttled.clone()))?;
        Ok(metrics)
    }
}

impl PasswordMetrics {
    fn register() -> prometheus::Result<Self> {
        let metrics = Self {
            hash_queue_depth: IntGauge::new(
                "portico_hash_queue_depth",
                "Requests that wait for a password hash.",
            )?,
            hash_inflight: IntGauge::new(
                "portico_hash_inflight",
                "Passwords that are being hashed or compared.",
            )?,
            hash_wait_seconds: seconds(
                "portico_hash_wait_seconds",
                "Time from a place in the queue to a thread.",
            )?,
            hash_seconds: seconds("portico_hash_seconds", "Time of a thread for one password.")?,
            hash_shed: counters(
                "portico_hash_shed_total",
                "Requests that got no password hash, by reason.",
                &["reason"],
            )?,
            breach_entries: IntGauge::new(
                "portico_breach_filter_entries",
                "Breached passwords that are known; 0 without a file.",
            )?,
            breach_loads: counters(
                "portico_breach_filter_loads_total",
                "Files of breached passwords that were read, by outcome.",
                &["outcome"],
            )?,
        };
        let registry = registry();
        registry.register(Box::new(metrics.hash_queue_depth.clone()))?;
        registry.register(Box::new(metrics.hash_inflight.clone()))?;
        registry.register(Box::new(metrics.hash_wait_seconds.clone()))?;
        registry.register(Box::new(metrics.hash_seconds.clone()))?;
        registry.register(Box::new(metrics.hash_shed.clone()))?;
        registry.register(Box::new(metrics.breach_entries.clone()))?;
        registry.register(Box::new(metrics.breach_loads.clone()))?;
        Ok(metrics)
    }
}

fn seconds(name: &str, help: &str) -> prometheus::Result<Histogram> {
    let buckets = service_runtime::metrics::LATENCY_SECONDS.to_vec();
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn with(record: impl FnOnce(&Metrics)) {
    if let Some(metrics) = METRICS.as_ref() {
        record(metrics);
    }
}

pub(crate) fn active_users(count: i64) {
    with(|metrics| metrics.active_users.set(count));
}

pub(crate) fn login(result: &'static str) {
    with(|metrics| metrics.logins.with_label_values(&[result]).inc());
}

pub(crate) fn factor(kind: &'static str, result: &'static str) {
    with(|metrics| metrics.factors.with_label_values(&[kind, result]).inc());
}

pub(crate) fn step_up(result: &'static str) {
    with(|metrics| metrics.step_ups.with_label_values(&[result]).inc());
}

pub(crate) fn policy(hash: &str) {
    with(|metrics| {
        metrics.gate.policy_info.reset();
        metrics.gate.policy_info.with_label_values(&[hash]).set(1);
    });
}

pub(crate) fn lockout(what: &'static str) {
    with(|metrics| metrics.gate.lockouts.with_label_values(&[what]).inc());
}

pub(crate) fn throttled(cause: &'static str) {
    with(|metrics| metrics.gate.throttled.with_label_values(&[cause]).inc());
}

pub(crate) fn refresh(outcome: &'static str) {
    with(|metrics| metrics.refreshes.with_label_values(&[outcome]).inc());
}

pub(crate) fn token_refusal(reason: &'static str) {
    with(|metrics| metrics.token_refusals.with_label_values(&[reason]).inc());
}

pub(crate) fn movement(kind: &'static str, outcome: &'static str) {
    with(|metrics| metrics.movements.with_label_values(&[kind, outcome]).inc());
}

#[expect(
    clippy::disallowed_types,
    clippy::cast_precision_loss,
    reason = "Prometheus histograms observe floats"
)]
pub(crate) fn batch(size: usize, took: std::time::Duration) {
    with(|metrics| {
        metrics.batch_size.observe(size as f64);
        metrics.batch_seconds.observe(took.as_secs_f64());
    });
}

pub(crate) fn batch_retry() {
    with(|metrics| metrics.batch_retries.inc());
}

pub(crate) fn queue_refusal() {
    with(|metrics| metrics.queue_refusals.inc());
}

pub(crate) fn hash_places(waiting: usize, running: usize) {
    let count = |places: usize| i64::try_from(places).unwrap_or(i64::MAX);
    with(|metrics| {
        metrics.passwords.hash_queue_depth.set(count(waiting));
        metrics.passwords.hash_inflight.set(count(running));
    });
}

pub(crate) fn hash_waited(waited: std::time::Duration) {
    with(|metrics| metrics.passwords.hash_wait_seconds.observe(waited.as_secs_f64()));
}

pub(crate) fn hash_took(took: std::time::Duration) {
    with(|metrics| metrics.passwords.hash_seconds.observe(took.as_secs_f64()));
}

pub(crate) fn hash_shed(reason: &'static str) {
    with(|metrics| metrics.passwords.hash_shed.with_label_values(&[reason]).inc());
}

pub(crate) fn breached_file_loaded(entries: u64) {
    with(|metrics| {
        metrics
            .passwords
            .breach_entries
            .set(i64::try_from(entries).unwrap_or(i64::MAX));
        metrics
            .passwords
            .breach_loads
            .with_label_values(&["loaded"])
            .inc();
    });
}

pub(crate) fn breached_file_refused() {
    with(|metrics| {
        metrics
            .passwords
            .breach_loads
            .with_label_values(&["refused"])
            .inc();
    });
}

pub(crate) fn purged(count: u64) {
    with(|metrics| metrics.purged.inc_by(count));
}

pub(crate) fn mail(result: &'static str) {
    with(|metrics| metrics.mails.tries.with_label_values(&[result]).inc());
}

pub(crate) fn mail_backlog(waiting: i64, oldest_s: i64, dead: i64) {
    with(|metrics| {
        metrics.mails.waiting.set(waiting);
        metrics.mails.oldest_seconds.set(oldest_s);
        metrics.mails.dead.set(dead);
    });
}
