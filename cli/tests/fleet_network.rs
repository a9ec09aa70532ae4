//! Three gateways on addresses of their own, the bank behind them, and what is lost of both (EDG-15): `make fleet-drill` as tests.

#![cfg(test)]

use trial::edge::{Finding, Fleet, Network};

async fn fleet() -> Fleet {
    Fleet::start(env!("CARGO_BIN_EXE_portico").as_ref())
        .await
        .unwrap()
}

/// Every finding is what the policy says, and every control is not.
fn judge(findings: &[Finding], controls: usize) {
    let unexpected = findings.iter().filter(|finding| !finding.is_as_expected());
    let unexpected: Vec<String> = unexpected.map(ToString::to_string).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let found = findings.iter().filter(|finding| finding.is_control);
    assert_eq!(found.count(), controls, "{findings:#?}");
    let no_500 = |finding: &Finding| !finding.seen.contains_key(&500);
    assert!(findings.iter().all(no_500), "nobody sees a 500");
}

#[tokio::test(flavor = "current_thread")]
async fn a_fleet_that_loses_a_gateway_a_core_its_store_and_links_does_what_the_policy_says() {
    if let Some(reason) = Network::impossible() {
        skips::skip(format_args!("no network namespaces here: {reason}"));
        return;
    }
    if let Some(part) = Fleet::leaves_out() {
        skips::skip(part);
    }
    let mut fleet = fleet().await;
    let show = |finding: &Finding| println!("{finding}");
    let findings = fleet.lose_everything_once(show).await.unwrap();
    fleet.stop().await.unwrap();
    assert!(findings.len() > 10);
    judge(&findings, 2);
}

#[tokio::test(flavor = "current_thread")]
async fn customers_of_a_fleet_lose_no_money_and_no_session_with_a_gateway_a_core_its_store_or_the_control_plane()
 {
    if let Some(reason) = Network::impossible() {
        skips::skip(format_args!("no network namespaces here: {reason}"));
        return;
    }
    let mut fleet = fleet().await;
    let show = |finding: &Finding| println!("{finding}");
    let findings = fleet.lose_the_bank(show).await.unwrap();
    fleet.stop().await.unwrap();
    assert!(findings.len() > 20);
    judge(&findings, 2);
}
