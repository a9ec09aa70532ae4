//! A clock that differs from the control plane's by more than tokens allow for.

use std::sync::Mutex;

use chrono::TimeDelta;
use serde_json::Value;

use super::control_plane::{ControlPlane, patiently};
use super::{LONG, member};
use crate::gateway_process::{GatewayProcess, POLICY};

/// Waits until the readiness says this of the clock.
async fn says(gateway: &GatewayProcess, is_wanted: impl Fn(&str) -> bool) -> Value {
    let last: Mutex<Value> = Mutex::default();
    patiently(
        || format!("the clock is noticed: {last:?}"),
        || async {
            let report: Value = serde_json::from_str(&gateway.private_text("/health/ready").await).unwrap();
            let is_it = is_wanted(report["checks"]["clock"].as_str().unwrap());
            *last.lock().unwrap() = report;
            is_it
        },
    )
    .await;
    last.into_inner().unwrap()
}

#[tokio::test]
async fn a_gateway_whose_clock_is_off_by_more_than_is_allowed_for_is_not_ready_and_goes_on() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    // An older control plane says nothing of the time.
    fleet.beats("one", |_| true).await;
    assert_eq!(says(&gateway, |clock| clock == "ok").await["status"], "ready");

    fleet.tell_time(gateway.clock.now() - TimeDelta::seconds(90));
    let off = says(&gateway, |clock| clock != "ok").await;
    let why = off["checks"]["clock"].as_str().unwrap();
    assert!(why.contains("s ahead of the control plane's"), "{off}");
    assert_eq!(off["status"], "not ready");
    assert_eq!(super::rates(&gateway).await, 200, "what still comes is answered");

    fleet.tell_time(gateway.clock.now());
    assert_eq!(says(&gateway, |clock| clock == "ok").await["status"], "ready");
}
