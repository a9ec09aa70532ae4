//! PostgreSQL against the pure rules of `keyring::step`.

use http::StatusCode;
use keyring::{Bounds, Event, KeyState, Ring, RingName, RingRefusal, step};
use serde_json::Value;

use super::{Plane, settings};
use crate::signing_keys::retire::maintain_once;

/// The SQL does what the pure rules say, on schedules that were not chosen by hand.
#[tokio::test]
async fn the_database_and_the_pure_rules_agree() {
    let plane = Plane::start().await;
    let bounds: Bounds = settings().bounds();
    let names = Event::Initialise {
        active: plane.kid("active").await,
        standby: plane.kid("published").await,
    };
    // Waits are multiples of 10 s, bounds of 5 s: no event comes less than 5 s before a bound, so the time that the test
    // itself takes decides nothing.
    let (mut now, mut ring) = (0_i64, step(&Ring::default(), &names, 0, &bounds).unwrap());
    let mut random = 0x5eed_u64;
    let mut rotations = 0;
    for round in 0..60 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let wait = [10, 50, 100, 170, 350][usize::try_from(random >> 33).unwrap() % 5];
        plane.pass(wait).await;
        now += wait;
        if (random >> 60).is_multiple_of(2) {
            let (status, _, body) = plane.rotate().await;
            let standby = body["standby"].as_str().unwrap_or("refused").to_owned();
            match step(&ring, &Event::Rotate { standby }, now, &bounds) {
                Ok(next) => {
                    assert_eq!(status, StatusCode::OK, "round {round}: {body}");
                    ring = next;
                    rotations += 1;
                }
                Err(RingRefusal::StandbyTooYoung { retry_after_s }) => {
                    let told = body["retry_after"].as_i64().unwrap();
                    assert!(
                        (retry_after_s - 5..=retry_after_s).contains(&told),
                        "round {round}: {body}"
                    );
                }
                Err(refusal) => panic!("round {round}: {refusal}"),
            }
        } else {
            maintain_once(&plane.state, RingName::Access).await.unwrap();
            ring = step(&ring, &Event::Retire, now, &bounds).unwrap();
            ring = step(&ring, &Event::Purge, now, &bounds).unwrap();
        }
        compare(&plane.keys().await, &ring, round);
    }
    assert!(
        rotations > 3 && ring.keys.iter().any(|key| key.state == KeyState::Retired),
        "{ring:?}"
    );
}

fn compare(body: &Value, ring: &Ring, round: usize) {
    let mut found: Vec<_> = body["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| {
            let text = |name: &str| key[name].as_str().unwrap().to_owned();
            (
                text("kid"),
                text("state"),
                key["has_private_part"].as_bool().unwrap(),
            )
        })
        .collect();
    let mut expected: Vec<_> = ring
        .keys
        .iter()
        .map(|key| (key.kid.clone(), key.state.to_string(), key.has_private))
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(
        (found, body["seq"].as_u64()),
        (expected, Some(ring.seq)),
        "round {round}"
    );
}
