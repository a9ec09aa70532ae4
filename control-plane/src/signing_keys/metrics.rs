//! What Prometheus sees of the signing keys.

use std::sync::LazyLock;

use keyring::{KeyState, RingName};
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use service_runtime::metrics::registry;
use sqlx::PgPool;

use super::store;

struct KeyMetrics {
    keys: IntGaugeVec,
    rotations: IntCounterVec,
    active_age: IntGaugeVec,
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
    let rotations = IntCounterVec::new(
        Opts::new(
            "portico_signing_key_rotations_total",
            "Rotations made by this process.",
        ),
        &["ring"],
    )?;
    registry().register(Box::new(rotations.clone()))?;
    Ok(KeyMetrics {
        keys: gauge(
            "portico_signing_key_state",
            "Signing keys by state.",
            &["ring", "state"],
        )?,
        rotations,
        active_age: gauge(
            "portico_signing_key_active_age_seconds",
            "How long the active key has been active.",
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

/// Shows the ring as the database has it now.
pub(super) async fn show(db: &PgPool, ring: RingName) -> sqlx::Result<()> {
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
        }
    }
    // A rotation counter that starts at its first rotation cannot be alerted on.
    metrics.rotations.with_label_values(&[ring.as_str()]);
    metrics.seq.with_label_values(&[ring.as_str()]).set(seq);
    Ok(())
}
