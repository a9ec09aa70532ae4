//! What the gateway counts. Labels are closed vocabularies: names from the policy, methods, statuses, reasons.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    core::Collector,
};
use service_runtime::metrics::{LATENCY_SECONDS, registry};

use crate::tokens;

/// The metrics of this process.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::register);

/// Route label of a request that matched none.
pub(crate) const NO_ROUTE: &str = "none";

/// A store answers within a millisecond, or something is wrong.
#[expect(clippy::disallowed_types, reason = "buckets of Prometheus are floats")]
const STORE_SECONDS: [f64; 8] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.02];

/// From what a policy takes to what a slow client may take.
#[expect(clippy::disallowed_types, reason = "buckets of Prometheus are floats")]
const PHASE_SECONDS: [f64; 14] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
    5.0,
];

/// One histogram for each phase, looked up once.
pub(crate) struct PhaseTimes {
    pub(crate) head: Histogram,
    pub(crate) evaluate: Histogram,
    pub(crate) store: Histogram,
    pub(crate) connect: Histogram,
}

impl PhaseTimes {
    fn register() -> Self {
        let options = HistogramOpts::new(
            "portico_phase_duration_seconds",
            "Phases of requests: the head from its first byte to its last, the policy, the store of shared limits, a new connection to the upstream.",
        );
        let times = registered(built(HistogramVec::new(
            options.buckets(PHASE_SECONDS.to_vec()),
            &["phase"],
        )));
        Self {
            head: times.with_label_values(&["head"]),
            evaluate: times.with_label_values(&["evaluate"]),
            store: times.with_label_values(&["store"]),
            connect: times.with_label_values(&["connect"]),
        }
    }
}

pub(crate) struct Metrics {
    pub(crate) phases: PhaseTimes,
    pub(crate) requests: IntCounterVec,
    pub(crate) request_seconds: HistogramVec,
    pub(crate) upstream_seconds: HistogramVec,
    pub(crate) tokens: IntCounterVec,
    pub(crate) token_cache_hits: IntCounter,
    pub(crate) token_cache_misses: IntCounter,
    pub(crate) limit_decisions: IntCounterVec,
    pub(crate) limit_keys: IntGauge,
    pub(crate) limit_store_up: IntGaugeVec,
    pub(crate) limit_store_gateways: IntGauge,
    pub(crate) limit_store_seconds: Histogram,
    pub(crate) limit_refunds_lost: IntCounter,
    pub(crate) refused_heads: IntCounterVec,
    pub(crate) connections: IntGaugeVec,
    pub(crate) connections_refused: IntCounterVec,
    pub(crate) handshakes: IntCounterVec,
    pub(crate) handshake_seconds: Histogram,
    pub(crate) certificate_ok: IntGaugeVec,
    pub(crate) certificate_expires_at: IntGaugeVec,
    pub(crate) staple_ok: IntGaugeVec,
    pub(crate) staple_ends_at: IntGaugeVec,
    pub(crate) upstream_certificate_ok: IntGaugeVec,
    pub(crate) upstream_certificate_expires_at: IntGaugeVec,
    pub(crate) upstream_authority_ok: IntGaugeVec,
    pub(crate) upstream_authority_expires_at: IntGaugeVec,
    pub(crate) upstream_tls_failures: IntCounterVec,
    pub(crate) acme_attempts: IntCounterVec,
    pub(crate) acme_waiting: IntGaugeVec,
    pub(crate) client_authority_ok: IntGaugeVec,
    pub(crate) revocation_lists_end_at: IntGaugeVec,
    pub(crate) policy_reloads: IntCounterVec,
    pub(crate) policy_loaded_at: IntGauge,
    pub(crate) policy_info: IntGaugeVec,
    pub(crate) policy_ok: IntGauge,
    pub(crate) policy_waivers_expired: IntGauge,
    pub(crate) listeners_waiting: IntGauge,
    pub(crate) keyset_seq: IntGauge,
    pub(crate) keyset_heard_seconds: IntGauge,
    pub(crate) key_file_ok: IntGaugeVec,
    pub(crate) key_url_ok: IntGaugeVec,
    pub(crate) key_url_fetches: IntCounterVec,
    pub(crate) revocations: IntGauge,
    pub(crate) revocations_seq: IntGauge,
    pub(crate) revocations_heard_seconds: IntGauge,
    pub(crate) fleet_connected: IntGauge,
    pub(crate) standstills: IntCounter,
    pub(crate) clock_offset: IntGauge,
    pub(crate) fleet_heard_seconds: IntGauge,
    pub(crate) fleet_state_ok: IntGauge,
    pub(crate) fleet_unwritten: IntCounterVec,
    pub(crate) fleet_seq: IntGaugeVec,
    pub(crate) fleet_acknowledgements: IntCounterVec,
    pub(crate) fleet_refusals: IntCounterVec,
    pub(crate) missing_permits: IntCounter,
    pub(crate) upstream_up: IntGaugeVec,
    pub(crate) upstream_in_flight: IntGaugeVec,
    pub(crate) upstream_ejections: IntCounterVec,
    pub(crate) upstream_breaker: IntGaugeVec,
    pub(crate) upstream_breaker_openings: IntCounterVec,
    pub(crate) upstream_fallbacks: IntCounterVec,
    pub(crate) upstream_retries: IntCounterVec,
    pub(crate) cache_requests: IntCounterVec,
    pub(crate) cache_bytes: IntGauge,
    pub(crate) cache_evictions: IntCounter,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "one list, with nothing to decide in it")]
    fn register() -> Self {
        Self {
            phases: PhaseTimes::register(),
            requests: counters(
                "portico_requests_total",
                "Requests answered, by route of the policy, method and status.",
                &["route", "method", "status"],
            ),
            request_seconds: histograms(
                "portico_request_duration_seconds",
                "From the complete request head to the end of the answer.",
                &["route"],
            ),
            upstream_seconds: histograms(
                "portico_upstream_duration_seconds",
                "From the choice of the upstream to the head of its answer.",
                &["upstream"],
            ),
            tokens: counters(
                "portico_tokens_total",
                "Tokens on routes that ask for one, by provider, result and the rule that was broken.",
                &["issuer", "result", "reason"],
            ),
            token_cache_hits: counter(
                "portico_token_cache_hits_total",
                "Tokens that had been verified before.",
            ),
            token_cache_misses: counter(
                "portico_token_cache_misses_total",
                "Tokens whose signature had to be verified.",
            ),
            limit_decisions: counters(
                "portico_limit_decisions_total",
                "Decisions of rate limits, and what made them: `store` is shared, local, overflow (the table was full) or none.",
                &["policy", "outcome", "store"],
            ),
            limit_keys: gauge("portico_limit_keys", "Keys in the rate-limit table."),
            // Without labels, so that it is there from its first value on: without a store there is nothing to alert on.
            limit_store_up: gauges(
                "portico_limit_store_up",
                "1 when the store of shared limits answers, 0 when it is down.",
                &[],
            ),
            limit_store_gateways: gauge(
                "portico_limit_store_gateways",
                "How many gateways count in the store of shared limits, as this one has heard.",
            ),
            limit_store_seconds: registered(built(Histogram::with_opts(
                HistogramOpts::new(
                    "portico_limit_store_seconds",
                    "How long the store of shared limits took to answer a request's call.",
                )
                .buckets(STORE_SECONDS.to_vec()),
            ))),
            limit_refunds_lost: registered(built(IntCounter::new(
                "portico_limit_refunds_lost_total",
                "Reservations of failures that could not be given back to the store; they come back by themselves.",
            ))),
            refused_heads: counters(
                "portico_refused_heads_total",
                "Requests that ended before a route was known, by the framing rule they broke.",
                &["rule"],
            ),
            connections: gauges(
                "portico_connections",
                "Open connections, by listener.",
                &["listener"],
            ),
            connections_refused: counters(
                "portico_connections_refused_total",
                "Connections closed at once because too many were open.",
                &["reason"],
            ),
            handshakes: counters(
                "portico_tls_handshakes_total",
                "TLS handshakes, by outcome or negotiated version.",
                &["outcome"],
            ),
            handshake_seconds: histogram(
                "portico_tls_handshake_seconds",
                "Duration of good TLS handshakes.",
            ),
            certificate_ok: gauges(
                "portico_certificate_ok",
                "1 when the certificate in force is what its files say, 0 when they are wrong or missing.",
                &["certificate"],
            ),
            certificate_expires_at: gauges(
                "portico_certificate_expires_timestamp_seconds",
                "When the certificate in force ends, Unix time.",
                &["certificate"],
            ),
            staple_ok: gauges(
                "portico_certificate_staple_ok",
                "1 when clients are shown the OCSP response that lies beside a certificate, 0 when it does not hold.",
                &["certificate"],
            ),
            staple_ends_at: gauges(
                "portico_certificate_staple_ends_timestamp_seconds",
                "Until when that OCSP response holds, Unix time.",
                &["certificate"],
            ),
            upstream_certificate_ok: gauges(
                "portico_upstream_certificate_ok",
                "1 when the certificate that upstreams are shown is what its files say, 0 when they are wrong or missing.",
                &["certificate"],
            ),
            upstream_certificate_expires_at: gauges(
                "portico_upstream_certificate_expires_timestamp_seconds",
                "When the certificate that upstreams are shown ends, Unix time.",
                &["certificate"],
            ),
            upstream_authority_ok: gauges(
                "portico_upstream_authority_ok",
                "1 when an authority of upstreams is what its file says, 0 when that is wrong or missing.",
                &["authority"],
            ),
            upstream_authority_expires_at: gauges(
                "portico_upstream_authority_expires_timestamp_seconds",
                "When the first of the authorities of upstreams ends, Unix time.",
                &["authority"],
            ),
            upstream_tls_failures: counters(
                "portico_upstream_tls_failures_total",
                "Connections to upstreams that TLS ended, by what was wrong.",
                &["upstream", "reason"],
            ),
            acme_attempts: counters(
                "portico_acme_attempts_total",
                "Attempts to fetch a certificate by ACME, by outcome.",
                &["certificate", "outcome"],
            ),
            acme_waiting: gauges(
                "portico_acme_waiting",
                "1 while a certificate is not asked for because the last attempt was of no use.",
                &["certificate"],
            ),
            client_authority_ok: gauges(
                "portico_client_authority_ok",
                "1 when the client authority in force is what its files say, 0 when they are wrong or missing.",
                &["authority"],
            ),
            revocation_lists_end_at: gauges(
                "portico_revocation_lists_end_timestamp_seconds",
                "When the first revocation list of a client authority ends, Unix time; nobody is let in after it.",
                &["authority"],
            ),
            policy_reloads: counters(
                "portico_policy_reloads_total",
                "Attempts to load the policy bundle, by outcome.",
                &["outcome"],
            ),
            policy_loaded_at: gauge(
                "portico_policy_loaded_timestamp_seconds",
                "When the policy in force was loaded, Unix time.",
            ),
            policy_info: gauges(
                "portico_policy_info",
                "1 for the hash of the policy in force.",
                &["hash"],
            ),
            policy_ok: gauge(
                "portico_policy_directory_ok",
                "1 when the policy in force is what the directory says, 0 when the directory is broken.",
            ),
            listeners_waiting: gauge(
                "portico_listeners_waiting",
                "Sides of listeners that the policy in force adds, moves or removes: they wait for a restart.",
            ),
            policy_waivers_expired: gauge(
                "portico_policy_waivers_expired",
                "Waivers of the policy in force whose last day is over.",
            ),
            keyset_seq: gauge(
                "portico_keyset_seq",
                "Sequence number of the key set in force; 0 without one.",
            ),
            keyset_heard_seconds: gauge(
                "portico_keyset_age_seconds",
                "Seconds since the control plane last confirmed the key set; -1 when it never has.",
            ),
            key_file_ok: gauges(
                "portico_key_file_ok",
                "1 when the keys of another issuer are what their file says, 0 when the file is wrong or missing.",
                &["file"],
            ),
            key_url_ok: gauges(
                "portico_key_url_ok",
                "1 when the keys of another issuer were fetched the last time, 0 when that failed.",
                &["url"],
            ),
            key_url_fetches: counters(
                "portico_key_url_fetches_total",
                "Fetches of the keys of another issuer, by outcome.",
                &["url", "outcome"],
            ),
            revocations: gauge("portico_revocations", "Entries of the list of what is revoked."),
            revocations_seq: gauge(
                "portico_revocations_seq",
                "Sequence number of the list of what is revoked; 0 without one.",
            ),
            revocations_heard_seconds: gauge(
                "portico_revocations_age_seconds",
                "Seconds since the control plane last confirmed what is revoked; -1 when it never has.",
            ),
            fleet_connected: gauge(
                "portico_fleet_connected",
                "1 while the control plane's stream of pointers is open.",
            ),
            standstills: counter(
                "portico_standstills_total",
                "Times that the process stood still, and asked the control plane before it went on.",
            ),
            clock_offset: gauge(
                "portico_clock_offset_ms",
                "How far this clock is ahead of the control plane's, in milliseconds, at the least; beyond 30 s not ready.",
            ),
            fleet_heard_seconds: gauge(
                "portico_fleet_age_seconds",
                "Seconds since the control plane was last heard; -1 when it never was.",
            ),
            fleet_state_ok: gauge(
                "portico_fleet_state_ok",
                "0 when the state on disk is damaged: then nothing new is taken over.",
            ),
            fleet_unwritten: counters(
                "portico_fleet_unwritten_total",
                "Times that a statement in force could not be written to disk, by stream.",
                &["stream"],
            ),
            fleet_seq: gauges(
                "portico_fleet_seq",
                "The `seq` of the position in force, by stream.",
                &["stream"],
            ),
            fleet_acknowledgements: counters(
                "portico_fleet_acknowledgements_total",
                "What the control plane was told of statements, by stream and stage.",
                &["stream", "stage"],
            ),
            fleet_refusals: counters(
                "portico_fleet_refusals_total",
                "Statements that were refused or given up, by stream and reason.",
                &["stream", "code"],
            ),
            missing_permits: counter(
                "portico_missing_permits_total",
                "Requests that reached forwarding without a permit: always a bug.",
            ),
            upstream_up: gauges(
                "portico_upstream_up",
                "1 for an address that gets requests, 0 for one that is ill or ejected.",
                &["upstream", "address"],
            ),
            upstream_in_flight: gauges(
                "portico_upstream_in_flight",
                "Requests under way, by address.",
                &["upstream", "address"],
            ),
            upstream_ejections: counters(
                "portico_upstream_ejections_total",
                "Times that an address was taken out because it failed requests.",
                &["upstream", "address"],
            ),
            upstream_breaker: gauges(
                "portico_upstream_breaker",
                "0 closed, 1 open, 2 waiting for the request that decides.",
                &["upstream"],
            ),
            upstream_breaker_openings: counters(
                "portico_upstream_breaker_openings_total",
                "Times that a breaker opened, by what it had seen: failures in a row, or their share.",
                &["upstream", "reason"],
            ),
            upstream_fallbacks: counters(
                "portico_upstream_fallbacks_total",
                "Answers in place of a service that is left alone: a problem document, or what was kept.",
                &["upstream", "answer"],
            ),
            upstream_retries: counters(
                "portico_upstream_retries_total",
                "Further attempts, by what failed before.",
                &["upstream", "reason"],
            ),
            cache_requests: counters(
                "portico_cache_requests_total",
                "Requests on routes with `cache`, by what became of them.",
                &["route", "outcome"],
            ),
            cache_bytes: gauge("portico_cache_bytes", "Bytes of the answers that are kept."),
            cache_evictions: counter(
                "portico_cache_evictions_total",
                "Answers that made room for others before their time.",
            ),
        }
    }

    /// The counter of tokens of a provider that were not accepted for this reason.
    pub(crate) fn token(&self, provider: &str, reason: &str) -> IntCounter {
        let reason = tokens::listed(reason);
        self.tokens
            .with_label_values(&[provider, tokens::result_of(reason), reason])
    }
}

#[expect(
    clippy::expect_used,
    reason = "names and labels are constants: a wrong one fails in every test"
)]
fn built<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("the metric is well formed")
}

#[expect(clippy::expect_used, reason = "each name is registered once, here")]
fn registered<C: Collector + Clone + 'static>(metric: C) -> C {
    registry()
        .register(Box::new(metric.clone()))
        .expect("the metric is registered once");
    metric
}

fn counter(name: &str, help: &str) -> IntCounter {
    registered(built(IntCounter::new(name, help)))
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(built(IntCounterVec::new(Opts::new(name, help), labels)))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(built(IntGaugeVec::new(Opts::new(name, help), labels)))
}

fn gauge(name: &str, help: &str) -> IntGauge {
    registered(built(IntGauge::new(name, help)))
}

fn histograms(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec());
    registered(built(HistogramVec::new(options, labels)))
}

fn histogram(name: &str, help: &str) -> Histogram {
    registered(built(Histogram::with_opts(
        HistogramOpts::new(name, help).buckets(LATENCY_SECONDS.to_vec()),
    )))
}

/// The method as a label: unknown ones are one value, since a client chooses them.
pub(crate) fn method_label(method: &str) -> &'static str {
    match method {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
