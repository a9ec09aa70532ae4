//! A short form of `make edge-drill`: tens of swaps, some upgrades and drains, and no request fails (EDG-16).

#![cfg(test)]

use trial::edge::Drill;

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
    let faults: Vec<String> = phases
        .iter()
        .filter_map(|phase| phase.fault(MOST_GROWTH_KIB))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}
