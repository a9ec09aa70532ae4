//! What Prometheus sees of the signing keys.

use std::sync::LazyLock;

use database::Pool;
use keyring::{KeyState, RingName};
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use service_runtime::metrics::registry;

use super::error::KeyError;
use super::store;

struct KeyMetrics {
    keys: IntGaugeVec,
    rotations: IntCounterVec,
    postponed: IntCounterVec,
    revocations: IntCounterVec,
    behind: IntGaugeVec,
    overdue: IntGaugeVec,
    active_age: IntGaugeVec,
    kek_failing: IntGaugeVec,
    seq: IntGaugeVec,
}

static METRICS: LazyLock<Option<KeyMetrics>> = LazyLock::new(|| match register() {
    Ok(metrics) => Some(metrics),
    Err(error) => {
        tracing::error!(%error, "signing-key metrics cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<KeyMetrics> {
    let gauge = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
        registry().register(Box::new(gauge.clone()))?;
        Ok(gauge)
    };
    let counter = |name: &str, help: &str| -> prometheus::Result<IntCounterVec> {
        let counter = IntCounterVec::new(Opts::new(name, help), &["ring"])?;
        registry().register(Box::new(counter.clone()))?;
        Ok(counter)
    };
    Ok(KeyMetrics {
        keys: gauge(
            "portico_signing_key_state",
            "Signing keys by state.",
            &["ring", "state"],
        )?,
        rotations: counter(
            "portico_signing_key_rotations_total",
            "Rotations made by this process.",
        )?,
        postponed: counter(
            "portico_signing_key_rotations_postponed_total",
            "Rotations that this process did not make because a live gateway did not know the next key.",
        )?,
        revocations: counter(
            "portico_signing_key_revocations_total",
            "Keys revoked by this process.",
        )?,
        behind: gauge(
            "portico_signing_key_gateways_behind",
            "Live gateways that do not know the key that signs next.",
            &["ring"],
        )?,
        overdue: gauge(
            "portico_signing_key_overdue",
            "1 when the active key has signed for longer than the settings want to be told of.",
            &["ring"],
        )?,
        active_age: gauge(
            "portico_signing_key_active_age_seconds",
            "How long the active key has been active.",
            &["ring"],
        )?,
        kek_failing: gauge(
            "portico_kek_failing",
            "1 while what keeps the key-encryption key does not do as it is asked for the keys of this ring.",
            &["ring"],
        )?,
        seq: gauge(
            "portico_keyset_seq",
            "The seq of the published key set.",
            &["ring"],
        )?,
    })
}

/// Counts a rotation.
pub(super) fn count_rotation(ring: RingName) {
    if let Some(metrics) = METRICS.as_ref() {
        metrics.rotations.with_label_values(&[ring.as_str()]).inc();
    }
}

/// Counts a rotation that waits for gateways.
pub(super) fn count_postponed(ring: RingName) {
    if let Some(metrics) = METRICS.as_ref() {
        metrics.postponed.with_label_values(&[ring.as_str()]).inc();
    }
}

/// Shows whether what keeps the key-encryption key did as it was asked, and says so once when that changes.
pub(super) fn show_provider(ring: RingName, outcome: Result<(), KeyError>) {
    let Some(metrics) = METRICS.as_ref() else { return };
    let failing = metrics.kek_failing.with_label_values(&[ring.as_str()]);
    match outcome {
        Ok(()) if failing.get() != 0 => {
            tracing::info!(ring = ring.as_str(), "the key-encryption key can be used again");
            failing.set(0);
        }
        Ok(()) => failing.set(0),
        Err(error @ KeyError::Vault(_)) => {
            if failing.get() == 0 {
                tracing::warn!(ring = ring.as_str(), %error, cause = ?error, "the key-encryption key cannot be used; what is held works on");
            }
            failing.set(1);
        }
        // The database has alarms of its own.
        Err(_) => {}
    }
}

/// Counts a revocation.
pub(super) fn count_revocation(ring: RingName) {
    if let Some(metrics) = METRICS.as_ref() {
        metrics.revocations.with_label_values(&[ring.as_str()]).inc();
    }
}

/// Shows the ring as the database has it now; an active key older than `overdue_s` is overdue.
pub(super) async fn show(db: &Pool, ring: RingName, overdue_s: i64) -> sqlx::Result<()> {
    let Some(metrics) = METRICS.as_ref() else {
        return Ok(());
    };
    let mut conn = db.acquire().await?;
    let figures = store::figures(&mut conn, ring).await?;
    let seq = store::seq(&mut conn, ring).await?.unwrap_or(0);
    for state in KeyState::ALL {
        let found = figures.iter().find(|figure| figure.state == state.as_str());
        let keys = found.map_or(0, |figure| figure.keys);
        metrics
            .keys
            .with_label_values(&[ring.as_str(), state.as_str()])
            .set(keys);
        if state == KeyState::Active {
            let age = found.and_then(|figure| figure.active_age_s).unwrap_or(0);
            metrics.active_age.with_label_values(&[ring.as_str()]).set(age);
            let is_overdue = i64::from(age > overdue_s);
            metrics
                .overdue
                .with_label_values(&[ring.as_str()])
                .set(is_overdue);
        }
    }
    let behind = store::behind(&mut conn, ring).await?;
    metrics.behind.with_label_values(&[ring.as_str()]).set(behind);
    // A counter that starts at its first event cannot be alerted on.
    for counter in [&metrics.rotations, &metrics.postponed, &metrics.revocations] {
        counter.with_label_values(&[ring.as_str()]);
    }
    metrics.seq.with_label_values(&[ring.as_str()]).set(seq);
    Ok(())
}
