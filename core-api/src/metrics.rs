//! What core-api counts. Names and labels are closed sets: no value of a client becomes a label.

use std::sync::LazyLock;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};
use service_runtime::metrics::registry;

struct Metrics {
    active_users: IntGauge,
    logins: IntCounterVec,
    policy_info: IntGaugeVec,
    lockouts: IntCounterVec,
    throttled: IntCounterVec,
    refreshes: IntCounterVec,
    token_refusals: IntCounterVec,
    movements: IntCounterVec,
    batch_size: Histogram,
    batch_seconds: Histogram,
    batch_retries: IntCounter,
    queue_refusals: IntCounter,
    hash_queue_depth: IntGauge,
    hash_shed: IntCounter,
    purged: IntCounter,
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
        policy_info: IntGaugeVec::new(
            Opts::new(
                "portico_core_policy_info",
                "1 for the hash of the policy whose rules for failed log-ins are in force.",
            ),
            &["hash"],
        )?,
        lockouts: counters(
            "portico_lockouts_total",
            "Names locked or shut, devices distrusted and networks blocked because of failed log-ins.",
            &["what"],
        )?,
        throttled: counters(
            "portico_logins_throttled_total",
            "Log-ins refused without a look at the password, by cause.",
            &["cause"],
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
        batch_seconds: Histogram::with_opts(
            HistogramOpts::new("portico_posting_batch_seconds", "Time of one posting statement.")
                .buckets(service_runtime::metrics::LATENCY_SECONDS.to_vec()),
        )?,
        batch_retries: IntCounter::new(
            "portico_posting_retries_total",
            "Posting statements that were tried again.",
        )?,
        queue_refusals: IntCounter::new(
            "portico_posting_queue_refusals_total",
            "Movements refused because the posting queue was full.",
        )?,
        hash_queue_depth: IntGauge::new(
            "portico_hash_queue_depth",
            "Requests that wait for a password hash.",
        )?,
        hash_shed: IntCounter::new(
            "portico_hash_shed_total",
            "Requests refused because password hashing was full.",
        )?,
        purged: IntCounter::new(
            "portico_idempotency_purged_total",
            "Expired idempotency records removed.",
        )?,
    };
    let registry = registry();
    registry.register(Box::new(metrics.active_users.clone()))?;
    registry.register(Box::new(metrics.logins.clone()))?;
    registry.register(Box::new(metrics.policy_info.clone()))?;
    registry.register(Box::new(metrics.lockouts.clone()))?;
    registry.register(Box::new(metrics.throttled.clone()))?;
    registry.register(Box::new(metrics.refreshes.clone()))?;
    registry.register(Box::new(metrics.token_refusals.clone()))?;
    registry.register(Box::new(metrics.movements.clone()))?;
    registry.register(Box::new(metrics.batch_size.clone()))?;
    registry.register(Box::new(metrics.batch_seconds.clone()))?;
    registry.register(Box::new(metrics.batch_retries.clone()))?;
    registry.register(Box::new(metrics.queue_refusals.clone()))?;
    registry.register(Box::new(metrics.hash_queue_depth.clone()))?;
    registry.register(Box::new(metrics.hash_shed.clone()))?;
    registry.register(Box::new(metrics.purged.clone()))?;
    Ok(metrics)
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

pub(crate) fn policy(hash: &str) {
    with(|metrics| {
        metrics.policy_info.reset();
        metrics.policy_info.with_label_values(&[hash]).set(1);
    });
}

pub(crate) fn lockout(what: &'static str) {
    with(|metrics| metrics.lockouts.with_label_values(&[what]).inc());
}

pub(crate) fn throttled(cause: &'static str) {
    with(|metrics| metrics.throttled.with_label_values(&[cause]).inc());
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

pub(crate) fn hash_queue_depth(depth: i64) {
    with(|metrics| metrics.hash_queue_depth.set(depth));
}

pub(crate) fn hash_shed() {
    with(|metrics| metrics.hash_shed.inc());
}

pub(crate) fn purged(count: u64) {
    with(|metrics| metrics.purged.inc_by(count));
}
