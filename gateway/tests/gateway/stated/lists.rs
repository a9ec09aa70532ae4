//! Keys, revocations and blocked networks: in force at once, kept over a restart, and stale when nobody confirms them.

use fleet::{Stage, Stream};
use keyring::{Algorithm, KeyState, Revocation, RevocationList, SigningKey};
use serde_json::json;

use super::control_plane::{ControlPlane, patiently};
use super::{LONG, member, position};
use crate::gateway_process::{GatewayProcess, POLICY, now};
use crate::key_service::claims;
use crate::revocations::lock_out;

fn list(revocations: Vec<Revocation>) -> RevocationList {
    RevocationList { seq: 1, revocations }
}

fn block() -> Revocation {
    Revocation::Network {
        address: "127.0.0.0".parse().unwrap(),
        prefix: 8,
        until: now().timestamp() + 60,
    }
}

async fn me(gateway: &GatewayProcess, token: &str) -> u16 {
    gateway.get_with("/api/v1/me", token).await.status().as_u16()
}

#[tokio::test]
async fn j42_what_is_revoked_is_refused_and_what_is_taken_back_is_good_again() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    let revoked = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_alice")]));
    fleet.told(&revoked, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401);

    // Blocks are another stream, and take nothing away from the first.
    let blocked = fleet.state(Stream::Blocks, &list(vec![block()]));
    fleet.told(&blocked, Stage::Healthy).await;
    assert_eq!(gateway.get("/api/v1/rates/eur-usd").await.status(), 403);
    let over = fleet.state(Stream::Blocks, &list(Vec::new()));
    fleet.told(&over, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401);
    let beat = fleet.beats("all four", |_| true).await;
    assert_eq!(position(&beat, Stream::Blocks).as_deref(), Some("1.2"));
    assert_eq!(beat.active.len(), 4);

    gateway.restart().await.unwrap();
    assert_eq!(me(&gateway, &token).await, 401, "from the disk");
    // The content says `seq: 1` again: the position of the statement is what counts.
    let back = fleet.state(Stream::Revocations, &list(Vec::new()));
    fleet.told(&back, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 200);
}

#[tokio::test]
async fn a_list_that_is_wrong_is_refused_and_the_old_one_stays() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    let no_keys = fleet.state(Stream::Keyset, &json!({"seq": 2, "keys": [], "revoked_kids": []}));
    assert_eq!(fleet.refused(&no_keys).await, "invalid");
    let no_set = fleet.state(Stream::Keyset, &json!({"keys": 1}));
    assert_eq!(fleet.refused(&no_set).await, "malformed");
    let no_network = fleet.state(Stream::Blocks, &list(vec![lock_out("usr_alice")]));
    assert_eq!(fleet.refused(&no_network).await, "invalid");
    assert_eq!(me(&gateway, &token).await, 200);
}

#[tokio::test]
async fn j16_a_new_key_counts_at_once_and_a_revoked_one_never_again() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let old = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &old).await, 200);
    let fresh = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let mut set = fleet.key_set();
    set.keys = vec![fresh.public_key(KeyState::Active)];
    set.revoked_kids = vec![fleet.access.kid().to_owned()];
    let rotated = fleet.state(Stream::Keyset, &set);
    fleet.told(&rotated, Stage::Healthy).await;
    let new = fresh.sign(&claims(&json!({}))).unwrap();
    assert_eq!(me(&gateway, &new).await, 200);
    assert_eq!(me(&gateway, &old).await, 401);

    // A control plane that was restored has forgotten it.
    gateway.restart().await.unwrap();
    set.keys.push(fleet.access.public_key(KeyState::Retiring));
    set.keys[1].sign_until = Some(now().timestamp() + 60);
    set.keys[1].verify_until = Some(now().timestamp() + 600);
    set.revoked_kids.clear();
    let restored = fleet.state(Stream::Keyset, &set);
    fleet.told(&restored, Stage::Healthy).await;
    assert_eq!(me(&gateway, &new).await, 200);
    assert_eq!(me(&gateway, &old).await, 401, "revoked once, revoked for ever");
}

#[tokio::test]
async fn j41_a_route_for_money_closes_when_the_control_plane_is_away_or_its_list_cannot_be_had() {
    let strict = POLICY.replace(
        "scopes: [transfers:write]\n",
        "scopes: [transfers:write]\n    revocations_within: 5s\n",
    );
    let mut fleet = ControlPlane::start(&strict).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    let pay = async || {
        let post = gateway.client().post(gateway.url("/api/v1/transfers"));
        let post = post.bearer_auth(&token).json(&json!({}));
        post.send().await.unwrap().status().as_u16()
    };
    patiently(|| "money moves".to_owned(), || async { pay().await == 200 }).await;
    fleet.kill();
    patiently(
        || "the silence is too long".to_owned(),
        || async { pay().await == 503 },
    )
    .await;
    assert_eq!(me(&gateway, &token).await, 200);
    fleet.revive();
    patiently(|| "money moves again".to_owned(), || async { pay().await == 200 }).await;

    // It speaks, and says that there is a list that nobody has.
    let statement = fleet.next(Stream::Revocations, &list(vec![lock_out("usr_bob")]));
    let bytes = fleet.sealed(&statement);
    let lost = fleet.offer(Stream::Revocations, statement.position, &bytes);
    fleet.told(&lost, Stage::Healthy).await;
    let statement = fleet.next(Stream::Revocations, &list(Vec::new()));
    let bytes = fleet.sealed_by(&statement, &[&fleet.access]);
    let forged = fleet.offer(Stream::Revocations, statement.position, &bytes);
    assert_eq!(fleet.refused(&forged).await, "unsigned");
    patiently(
        || "the list is not the one that was named".to_owned(),
        || async { pay().await == 503 },
    )
    .await;
    let good = fleet.state(Stream::Revocations, &list(Vec::new()));
    fleet.told(&good, Stage::Healthy).await;
    patiently(
        || "money moves once more".to_owned(),
        || async { pay().await == 200 },
    )
    .await;
}

/// As many as the control plane puts into one.
fn full(kind: impl Fn(usize) -> Revocation) -> RevocationList {
    RevocationList {
        seq: 1,
        revocations: (0..15_000).map(kind).collect(),
    }
}

#[tokio::test]
async fn lists_as_large_as_an_envelope_may_be_are_in_force() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    let long = |number: usize| Revocation::Token {
        issuer: "https://issuer.example".to_owned(),
        jti: format!("{number:0>333}"),
        until: now().timestamp() + 60,
    };
    let mut list = full(long);
    let last = list.revocations.last_mut().unwrap();
    *last = lock_out("usr_alice");
    let statement = fleet.next(Stream::Revocations, &list);
    let bytes = fleet.sealed(&statement);
    assert!(
        (8_000_000..8 * 1024 * 1024).contains(&bytes.len()),
        "{}",
        bytes.len()
    );
    let revoked = fleet.offer(Stream::Revocations, statement.position, &bytes);
    fleet.told(&revoked, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401);

    let networks = |number: usize| Revocation::Network {
        address: format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{number:x}")
            .parse()
            .unwrap(),
        prefix: 128,
        until: now().timestamp() + 60,
    };
    let mut list = full(networks);
    *list.revocations.last_mut().unwrap() = block();
    let blocked = fleet.state(Stream::Blocks, &list);
    fleet.told(&blocked, Stage::Healthy).await;
    assert_eq!(gateway.get("/api/v1/rates/eur-usd").await.status(), 403);
    let over = fleet.state(Stream::Blocks, &self::list(Vec::new()));
    fleet.told(&over, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401, "what is revoked stays so");
}
