//! Three gateways on addresses of their own, and what is lost of them (EDG-15): `make fleet-drill` as a test.

#![cfg(test)]

use trial::edge::{Fleet, Network};

#[tokio::test(flavor = "current_thread")]
async fn a_fleet_that_loses_a_gateway_a_core_its_store_and_links_does_what_the_policy_says() {
    if let Some(reason) = Network::impossible() {
        skips::skip(format_args!("no network namespaces here: {reason}"));
        return;
    }
    if let Some(part) = Fleet::leaves_out() {
        skips::skip(part);
    }
    let mut fleet = Fleet::start(env!("CARGO_BIN_EXE_portico").as_ref())
        .await
        .unwrap();
    let findings = fleet
        .lose_everything_once(|finding| println!("{finding}"))
        .await
        .unwrap();
    assert!(findings.len() > 10);
    let bad: Vec<String> = findings
        .iter()
        .filter(|finding| !finding.holds)
        .map(ToString::to_string)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let no_500 = |finding: &trial::edge::Finding| !finding.seen.contains_key(&500);
    assert!(findings.iter().all(no_500), "nobody sees a 500");
}
