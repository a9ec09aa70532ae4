//! A short form of `make rollout-drill`: policies go out, gateways die while they take them over, somebody forges envelopes, and
//! the control plane is away.

#![cfg(test)]

use std::time::Duration;

use trial::rollout::{RolloutDrill, Row};

/// What a busy machine has its own times for.
const TIMED: [&str; 2] = ["T-P1", "T-P3"];

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_nothing_forged_is_taken_over_and_harm_stays_with_one_gateway() {
    let drill = RolloutDrill {
        binary: env!("CARGO_BIN_EXE_portico").into(),
        gateways: 3,
        policies: 3,
        lists: 1,
        rate: 60,
        connections: 6,
        routes: 30,
        kills: 4,
        outage: Duration::from_secs(2),
    };
    let report = drill.run(|line| println!("{line}")).await.unwrap();
    println!("{report}");
    for row in &report.rows {
        let is_harm = row.target.starts_with("T-P7");
        let is_as_promised = match is_harm {
            // Whatever time it took.
            true => row.measured.contains("1 of 3 gateways") && row.measured.contains("requests fail"),
            false => row.holds || TIMED.iter().any(|timed| row.target.starts_with(timed)),
        };
        assert!(is_as_promised, "{row:?}");
    }
    let name = |row: &Row| row.target.split(' ').next().unwrap().to_owned();
    let rows: Vec<_> = report.rows.iter().map(name).collect();
    assert_eq!(
        rows,
        [
            "T-P1", "T-P2", "T-P1", "T-P1", "T-P1", "T-P1", "T-P1", "T-P3", "T-P4", "T-P5", "T-P5", "T-P6",
            "T-P7"
        ]
    );
}
