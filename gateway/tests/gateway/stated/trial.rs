//! A policy that comes into force: its stages, its time of probation, and what happens when the gateway fails under it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fleet::{Stage, Stream};
use serde_json::json;

use super::control_plane::{ControlPlane, content, patiently};
use super::{LONG, SHORT, member, position, rates, stricter};
use crate::gateway_process::POLICY;

/// Compiles, and refuses every token: nobody is where the keys of its provider are said to be.
fn without_keys() -> String {
    let nowhere = r#"{ url: "https://localhost:1/keys", refresh: 5min, stale_for: 1h, addresses: [127.0.0.0/8, "::1"] }"#;
    stricter().replace("keys: portico", &format!("keys: {nowhere}"))
}

#[tokio::test]
async fn a_policy_comes_in_force_in_stages_and_the_heartbeat_says_what_is_in_memory() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, SHORT).await;
    assert_eq!(rates(&gateway).await, 200);
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Healthy).await;
    let stages = [Stage::Received, Stage::Verified, Stage::Active, Stage::Healthy];
    assert_eq!(fleet.stages(&next), stages);
    assert_eq!(rates(&gateway).await, 401);

    let beat = fleet.beats("the new policy", |_| true).await;
    assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.2"));
    assert_eq!(position(&beat, Stream::Keyset).as_deref(), Some("1.1"));
    let status: serde_json::Value = serde_json::from_str(&gateway.private_text("/status").await).unwrap();
    let active = &beat.active[0];
    assert_eq!(active.fingerprint, status["policy"]["hash"]);
    assert_eq!(active.digest, Some(next.digest));
    assert!(
        beat.traffic.requests >= 2 && beat.traffic.denied >= 1,
        "{:?}",
        beat.traffic
    );
    assert_eq!(beat.traffic.latency.iter().sum::<u64>(), beat.traffic.requests);
    assert_eq!(beat.clock_unix_ms, gateway.clock.now().timestamp_millis());
}

#[tokio::test]
async fn a_policy_under_which_the_gateway_fails_is_given_up_by_itself_and_not_tried_again() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, SHORT).await;
    let first = fleet
        .beats("the first", |beat| position(beat, Stream::Policy).is_some())
        .await;
    patiently(
        || "the first is proven".to_owned(),
        || {
            std::future::ready(
                fleet
                    .acknowledgements()
                    .iter()
                    .any(|it| it.stream == Stream::Policy && it.stage == Stage::Healthy),
            )
        },
    )
    .await;

    // It must not be proven before it has failed.
    let token = fleet.token(&json!({}));
    let mut gateway = restarted_with_a_long_probation(gateway, &fleet).await;
    let bad = fleet.state_policy(&without_keys());
    fleet.told(&bad, Stage::Active).await;
    patiently(
        || "the gateway has failed often enough".to_owned(),
        || async { gateway.get_with("/api/v1/rates/eur-usd", &token).await.status() == 200 },
    )
    .await;
    assert_eq!(fleet.refused(&bad).await, "probation");
    assert!(!fleet.stages(&bad).contains(&Stage::Healthy));
    let beat = fleet.beats("the first again", |_| true).await;
    assert_eq!(beat.active[0].fingerprint, first.active[0].fingerprint);
    assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.1"));

    // The same again, also after a restart, is refused without a look at it.
    fleet.forget_acknowledgements();
    let fetched = fleet.fetched();
    gateway.restart().await.unwrap();
    assert_eq!(fleet.refused(&bad).await, "probation");
    fleet.kill();
    fleet.forget_acknowledgements();
    fleet.revive();
    assert_eq!(fleet.refused(&bad).await, "probation");
    assert_eq!(fleet.fetched(), fetched);
    assert_eq!(rates(&gateway).await, 200);

    // What comes behind it is another matter.
    let good = fleet.state_policy(&stricter());
    fleet.told(&good, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

/// The same state directory, and a probation that does not end.
async fn restarted_with_a_long_probation(
    mut gateway: crate::gateway_process::GatewayProcess,
    fleet: &ControlPlane,
) -> crate::gateway_process::GatewayProcess {
    gateway.change_settings(|settings| {
        fleet.join(settings);
        if let Some(fleet) = &mut settings.fleet {
            fleet.probation_ms = u64::try_from(LONG.as_millis()).unwrap();
        }
    });
    gateway.restart().await.unwrap();
    gateway
}

/// Sockets are opened once, and what is not in force is never told as healthy; a restart begins with it all the same.
#[tokio::test]
async fn a_listener_that_a_policy_moves_waits_for_a_restart_and_until_then_the_gateway_says_so() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, SHORT).await;
    let beat = fleet.beats("the first policy", |_| true).await;
    assert_eq!(beat.waiting, Vec::<String>::new());
    let moved = fleet.state_policy(&stricter().replace("127.0.0.1:8080", "127.0.0.1:8081"));
    let is_proven = gateway.directory.path().join("state/fleet/policy/probation.json");
    fleet.told(&moved, Stage::Active).await;
    patiently(
        || "a restart begins with it".to_owned(),
        || std::future::ready(!is_proven.exists()),
    )
    .await;
    assert_eq!(rates(&gateway).await, 401, "its routes are in force");
    for _ in 0..2 {
        let beat = fleet.beats("the listener waits", |_| true).await;
        assert_eq!(beat.waiting, ["public.http"]);
        assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.2"));
    }
    assert!(!fleet.stages(&moved).contains(&Stage::Healthy));

    gateway.restart().await.unwrap();
    fleet.told(&moved, Stage::Healthy).await;
    let beat = fleet.beats("it is open", |beat| beat.waiting.is_empty()).await;
    assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.2"));
}

#[tokio::test]
async fn a_newer_policy_ends_the_trial_of_an_older_one_and_a_bad_one_does_not() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let second = fleet.state_policy(&stricter());
    fleet.told(&second, Stage::Active).await;
    let broken = fleet.state_policy("version: 1\nroutes: []\n");
    assert_eq!(fleet.refused(&broken).await, "compile");
    assert_eq!(rates(&gateway).await, 401, "the second stays");
    let third = fleet.state_policy(POLICY);
    fleet.told(&third, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 200);
    assert!(!fleet.stages(&second).contains(&Stage::Healthy));
}

#[tokio::test]
async fn the_cases_of_a_policy_are_run_before_it_comes_in_force() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let case = |permitted: &str| {
        format!(
            "version: 1\ntests:\n  rates_are_open:\n    environment: test\n    request: {{ method: GET, path: /api/v1/rates/eur-usd }}\n    expect: {permitted}\n"
        )
    };
    let state = |policy: &str, expected: &str| {
        let case = case(expected);
        fleet.state(Stream::Policy, &content(policy, &[("tests/rates.yaml", &case)]))
    };
    let failing = state(&stricter(), "{ decision: permit }");
    assert_eq!(fleet.refused(&failing).await, "cases");
    let told = fleet.told(&failing, Stage::Refused).await.objection.unwrap();
    assert_eq!(told.path.as_deref(), Some("tests/rates.yaml:3"), "{told:?}");
    assert!(told.message.contains("rates_are_open"), "{told:?}");
    assert_eq!(fleet.stages(&failing), [Stage::Received, Stage::Refused]);
    assert_eq!(rates(&gateway).await, 200);
    let good = state(POLICY, "{ decision: permit }");
    fleet.told(&good, Stage::Active).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swaps_under_load_drop_no_request() {
    swaps_drop_no_request(50).await;
}

#[ignore = "takes minutes: run it with `--run-ignored only`"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_swaps_under_load_drop_no_request() {
    swaps_drop_no_request(1_000).await;
}

async fn swaps_drop_no_request(swaps: usize) {
    // The load is no client to be limited.
    let policy = POLICY.replace("6000/min, burst: 6000", "600000/min, burst: 600000");
    let fleet = ControlPlane::start(&policy).await;
    let gateway = member(&fleet, LONG).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut load = Vec::new();
    for _ in 0..4 {
        let (client, url) = (gateway.client(), gateway.url("/api/v1/rates/eur-usd"));
        let (stop, served) = (stop.clone(), served.clone());
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = client.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answer.bytes().await.unwrap();
                served.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for swap in 0..swaps {
        let next = fleet.state_policy(&format!("{policy}# {swap}\n"));
        fleet.told(&next, Stage::Active).await;
        fleet.forget_acknowledgements();
    }
    stop.store(true, Ordering::Relaxed);
    for one in load {
        one.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) >= swaps);
    let beat = fleet.beats("the last one", |_| true).await;
    assert_eq!(position(&beat, Stream::Policy), Some(format!("1.{}", swaps + 1)));
}
