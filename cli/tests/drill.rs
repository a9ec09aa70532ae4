//! Short forms of `make edge-drill` and `make edge-soak`: tens of swaps, some upgrades and drains, some seconds of load,
//! and no request fails (EDG-16).

#![cfg(test)]

use std::time::Duration;

use trial::edge::{Bounds, Drill, Soak};

/// Debug builds keep more; a leak of each swap would still be far above.
const MOST_GROWTH_KIB: u64 = 32 * 1_024;

#[tokio::test(flavor = "multi_thread")]
async fn swaps_upgrades_and_drains_fail_no_request_and_the_controls_are_seen() {
    let drill = Drill {
        binary: env!("CARGO_BIN_EXE_portico").into(),
        rate: 100,
        connections: 8,
        sockets: 10,
        swaps: 20,
        upgrades: 3,
        drains: 4,
    };
    let phases = drill.run(|phase| println!("{phase}")).await.unwrap();
    assert_eq!(phases.len(), 5);
    let bounds = Bounds {
        most_growth_kib: MOST_GROWTH_KIB,
        least_rate: 0,
    };
    let faults: Vec<String> = phases.iter().filter_map(|phase| phase.fault(bounds)).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soak_looks_at_the_memory_of_a_gateway_that_answers_everything() {
    let soak = Soak {
        binary: env!("CARGO_BIN_EXE_portico").into(),
        rate: 100,
        connections: 8,
        sockets: 4,
        lasts: Duration::from_secs(3),
        sample_every: Duration::from_millis(300),
    };
    let soaked = soak.run(|sample| println!("{sample}")).await.unwrap();
    assert!(soaked.samples.iter().all(|sample| sample.resident_kib > 1_024));
    assert!(soaked.churn.answered > 0, "{soaked}");
    assert_eq!(soaked.sockets.opened, 4, "{soaked}");
    assert_eq!(soaked.fault(MOST_GROWTH_KIB, 0), None, "{soaked}");
}
