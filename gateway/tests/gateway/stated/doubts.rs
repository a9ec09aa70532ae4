//! The first decision after a start: it is not made with what is on the disk while the control plane is about to speak.

use std::time::{Duration, Instant};

use fleet::{Stage, Stream};
use keyring::RevocationList;
use serde_json::json;
use tokio::time::timeout;

use super::boots::proven;
use super::control_plane::ControlPlane;
use crate::gateway_process::{GatewayProcess, POLICY};
use crate::revocations::lock_out;

/// After this time a start goes on with what it knows.
const PATIENCE: Duration = Duration::from_millis(700);
/// Starts that may be too slow to tell anything.
const STARTS: usize = 20;

async fn me(gateway: &GatewayProcess, token: &str) -> u16 {
    gateway.get_with("/api/v1/me", token).await.status().as_u16()
}

#[tokio::test]
async fn inv3_a_start_decides_by_what_the_control_plane_says_and_not_by_what_is_on_the_disk() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    let mut shown = Vec::new();
    for start in 0..STARTS {
        gateway.stop().await;
        // What is on the disk is the opposite, each time.
        let (revocations, right) = match start % 2 {
            0 => (vec![lock_out("usr_alice")], 401),
            _ => (Vec::new(), 200),
        };
        fleet.be_silent(true);
        let stated = fleet.state(Stream::Revocations, &RevocationList { seq: 1, revocations });
        let begun = Instant::now();
        gateway.restart().await.unwrap();
        let mut asked = Box::pin(me(&gateway, &token));
        let early = timeout(Duration::from_millis(150), &mut asked).await;
        assert!(
            early.is_err() || begun.elapsed() >= PATIENCE,
            "{early:?} was decided before anybody had spoken"
        );
        fleet.speak();
        if early.is_err() {
            let status = asked.await;
            if begun.elapsed() < PATIENCE {
                assert_eq!(status, right);
                shown.push(status);
            }
        }
        fleet.told(&stated, Stage::Healthy).await;
        assert_eq!(me(&gateway, &token).await, right);
        if shown.contains(&401) && shown.contains(&200) {
            return;
        }
    }
    panic!("{STARTS} starts were too slow: {shown:?}");
}

#[tokio::test]
async fn a_start_waits_for_no_control_plane_that_cannot_be_dialled() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let token = fleet.token(&json!({}));
    fleet.kill();
    let mut soonest = Duration::MAX;
    for _ in 0..STARTS {
        gateway.stop().await;
        let begun = Instant::now();
        gateway.restart().await.unwrap();
        assert_eq!(me(&gateway, &token).await, 200);
        soonest = soonest.min(begun.elapsed());
        if soonest < PATIENCE {
            return;
        }
    }
    panic!("no start of {STARTS} was soon enough: {soonest:?}");
}
