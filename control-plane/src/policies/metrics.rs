//! What Prometheus sees of roll-outs.

use std::sync::LazyLock;

use chrono::TimeDelta;
use fleet::Phase;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};
use service_runtime::metrics::registry;

use super::error::PolicyError;
use super::store;
use crate::state::AppState;

struct RolloutMetrics {
    phase: IntGaugeVec,
    phase_age: IntGauge,
    halts: IntCounter,
}

static METRICS: LazyLock<Option<RolloutMetrics>> = LazyLock::new(|| match register() {
    Ok(metrics) => Some(metrics),
    Err(error) => {
        tracing::error!(%error, "roll-out metrics cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<RolloutMetrics> {
    let metrics = RolloutMetrics {
        phase: IntGaugeVec::new(
            Opts::new(
                "portico_rollout_phase",
                "1 for the phase of the newest roll-out, 0 for the others.",
            ),
            &["phase"],
        )?,
        phase_age: IntGauge::new(
            "portico_rollout_phase_age_seconds",
            "How long the newest roll-out has been in its phase.",
        )?,
        halts: IntCounter::new(
            "portico_rollout_halts_total",
            "Roll-outs that this process halted.",
        )?,
    };
    registry().register(Box::new(metrics.phase.clone()))?;
    registry().register(Box::new(metrics.phase_age.clone()))?;
    registry().register(Box::new(metrics.halts.clone()))?;
    Ok(metrics)
}

/// Counts a halt.
pub(super) fn count_halt() {
    if let Some(metrics) = METRICS.as_ref() {
        metrics.halts.inc();
    }
}

/// Shows the newest roll-out as the database has it now.
pub(super) async fn show(state: &AppState) -> Result<(), PolicyError> {
    let Some(metrics) = METRICS.as_ref() else {
        return Ok(());
    };
    let mut conn = state.db.acquire().await?;
    let newest = store::rollouts(&mut conn, 1).await?.into_iter().next();
    let now = store::database_time(&mut conn).await?;
    for phase in Phase::ALL {
        let is_it = newest.as_ref().is_some_and(|row| row.phase == phase.as_str());
        metrics
            .phase
            .with_label_values(&[phase.as_str()])
            .set(i64::from(is_it));
    }
    let age = newest.map_or(TimeDelta::zero(), |row| now - row.phase_since);
    metrics.phase_age.set(age.num_seconds());
    Ok(())
}
