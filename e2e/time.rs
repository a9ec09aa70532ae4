//! Time that plays tricks on a gateway: one that stood still knows what was said meanwhile before it answers, and one whose clock
//! is wrong gets no more work.

use serde_json::json;
use trial::rollout::{Members, Stage, patiently};

use crate::stage::PORTICO;

/// Readiness looks at the core as well, so there is one where that is asked for.
fn members(has_issuer: bool) -> Members {
    Members {
        binary: PORTICO.into(),
        gateways: 1,
        policies: json!({ "approval_from": "never", "audit_fail_on": "critical", "interval_ms": 200 }),
        probation_ms: 300,
        has_issuer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answers_of_a_gateway_that_stood_still_know_what_was_said_meanwhile() {
    let stage = Stage::start(&members(false)).await.unwrap();
    let stood_still = "portico_standstills_total ";
    let before = stage
        .gateway("edge-1")
        .unwrap()
        .metric(stood_still)
        .await
        .unwrap();
    let first = stage.block_while_still("edge-1", "127.0.0.0/8").await.unwrap();
    assert_eq!(first, [403; 8]);
    let after = stage
        .gateway("edge-1")
        .unwrap()
        .metric(stood_still)
        .await
        .unwrap();
    assert!(after > before, "{before:?} {after:?}");
    stage.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_is_wrong_is_not_ready_until_it_is_set() {
    let mut stage = Stage::start(&members(true)).await.unwrap();
    let clock = stage.restart_with_clock("edge-1").await.unwrap();
    let (status, _) = stage.clock_is("edge-1", true).await.unwrap();
    assert_eq!(status, 200);

    clock.set(-60).unwrap();
    let (status, said) = stage.clock_is("edge-1", false).await.unwrap();
    let why = said["checks"]["clock"].as_str().unwrap();
    assert!(
        status == 503 && why.contains(" s behind the control plane's"),
        "{said}"
    );
    let offset_ms = stage
        .gateway("edge-1")
        .unwrap()
        .metric("portico_clock_offset_ms ")
        .await
        .unwrap();
    assert!(offset_ms.unwrap() < -30_000, "{offset_ms:?}");
    stage.every_gateway_runs(0).await.unwrap();
    let mut status = String::new();
    patiently("it is shown as drifted", async || {
        status = stage.ask(&["fleet", "status"]).await.unwrap().text;
        status.contains("DRIFTED")
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: {status}"));
    clock.set(0).unwrap();
    assert_eq!(stage.clock_is("edge-1", true).await.unwrap().0, 200);

    // What it knows goes on while nobody can be asked; who never knew is ready.
    clock.set(60).unwrap();
    stage.clock_is("edge-1", false).await.unwrap();
    stage.kill_control_plane().await.unwrap();
    assert_eq!(stage.clock_is("edge-1", false).await.unwrap().0, 503);
    clock.set(0).unwrap();
    assert_eq!(stage.clock_is("edge-1", true).await.unwrap().0, 200);
    let clock = stage.restart_with_clock("edge-1").await.unwrap();
    clock.set(60).unwrap();
    assert_eq!(stage.clock_is("edge-1", true).await.unwrap().0, 200);
    stage.stop().await.unwrap();
}
