//! What Prometheus sees of the fleet.

use std::sync::LazyLock;

use fleet::Standing;
use prometheus::{IntGauge, IntGaugeVec, Opts};
use service_runtime::metrics::registry;

use super::nodes::FleetView;

struct FleetMetrics {
    nodes: IntGaugeVec,
    clocks_off: IntGauge,
    trust_version: IntGauge,
    trust_until: IntGauge,
}

static METRICS: LazyLock<Option<FleetMetrics>> = LazyLock::new(|| match register() {
    Ok(metrics) => Some(metrics),
    Err(error) => {
        tracing::error!(%error, "fleet metrics cannot be registered");
        None
    }
});

fn register() -> prometheus::Result<FleetMetrics> {
    let nodes = IntGaugeVec::new(
        Opts::new(
            "portico_fleet_nodes",
            "Gateways of the fleet, evicted ones left out, by standing.",
        ),
        &["standing"],
    )?;
    let clocks_off = IntGauge::new(
        "portico_fleet_clocks_off",
        "Gateways whose clock differs from the database's by more than five seconds.",
    )?;
    let trust_version = IntGauge::new(
        "portico_fleet_trust_version",
        "Version of the trust document in force; 0 before there is one.",
    )?;
    let trust_until = IntGauge::new(
        "portico_fleet_trust_expires_timestamp_seconds",
        "When the trust document in force ends the time of the key that signs now; 0 when it does not name it.",
    )?;
    registry().register(Box::new(trust_until.clone()))?;
    registry().register(Box::new(nodes.clone()))?;
    registry().register(Box::new(clocks_off.clone()))?;
    registry().register(Box::new(trust_version.clone()))?;
    Ok(FleetMetrics {
        nodes,
        clocks_off,
        trust_version,
        trust_until,
    })
}

/// Shows the fleet as it stands.
pub(super) fn show(fleet: &FleetView) {
    let Some(metrics) = METRICS.as_ref() else {
        return;
    };
    for standing in Standing::ALL {
        let count = fleet.standings().filter(|found| *found == standing).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        metrics.nodes.with_label_values(&[standing.as_str()]).set(count);
    }
    let clocks_off = fleet.clocks_off().count();
    metrics
        .clocks_off
        .set(i64::try_from(clocks_off).unwrap_or(i64::MAX));
    metrics.trust_version.set(fleet.trust_version());
    metrics.trust_until.set(fleet.trust_until().unwrap_or(0));
}
