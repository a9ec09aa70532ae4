//! The connection: what happens when it ends, falls silent, or says what nobody can read; and where bytes come from.

use fleet::{Stage, Stream};

use super::control_plane::{Blob, ControlPlane, content, patiently, pointer};
use super::{LONG, member, rates, stricter};
use crate::gateway_process::{GatewayProcess, POLICY};

#[tokio::test]
async fn a_stream_that_falls_silent_is_opened_again_from_where_the_gateway_stands() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let before = fleet.opened().len();
    fleet.be_silent(true);
    patiently(
        || "the stream is given up".to_owned(),
        || std::future::ready(fleet.opened().len() > before),
    )
    .await;
    assert_eq!(fleet.opened().last().unwrap(), "have=policy:1.1,keyset:1.1");
    fleet.be_silent(false);
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_line_without_end_is_given_up_and_words_that_nobody_knows_are_passed_over() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    fleet.say("event: weather\ndata: rain\n\nevent: pointer\ndata: {\"stream\":\"policy\"}\n\n");
    let before = fleet.opened().len();
    fleet.say(&format!("data: {}", "a".repeat(1024 * 1024)));
    patiently(
        || "the stream is opened again".to_owned(),
        || std::future::ready(fleet.opened().len() > before),
    )
    .await;
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn what_was_last_told_is_told_again_after_every_new_connection() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Active).await;
    fleet.kill();
    fleet.forget_acknowledgements();
    assert_eq!(rates(&gateway).await, 401);
    fleet.revive();
    fleet.told(&next, Stage::Active).await;
    assert_eq!(fleet.fetched(), 3, "the key set and two policies, each once");
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_one_that_lies_is_passed_over() {
    let fleet = ControlPlane::start(POLICY).await;
    let mirror = tempfile::tempdir().unwrap();
    let gateway = GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        let fleet = settings.fleet.as_mut().unwrap();
        fleet.mirrors = vec!["/nowhere".to_owned(), mirror.path().to_str().unwrap().to_owned()];
    })
    .await;
    let put = |policy: &str, lie: bool| {
        let statement = fleet.next(Stream::Policy, &content(policy, &[]));
        let bytes = fleet.sealed(&statement);
        let pointer = pointer(Stream::Policy, statement.position, &bytes);
        let mut handed_on = bytes.clone();
        handed_on[50] ^= u8::from(lie);
        std::fs::write(mirror.path().join(pointer.digest.to_string()), handed_on).unwrap();
        fleet.offer_as(&pointer, Blob::Whole(bytes));
        pointer
    };
    let before = fleet.fetched();
    let from_mirror = put(&stricter(), false);
    fleet.told(&from_mirror, Stage::Active).await;
    assert_eq!(fleet.fetched(), before);
    assert_eq!(rates(&gateway).await, 401);
    let from_control_plane = put(POLICY, true);
    fleet.told(&from_control_plane, Stage::Active).await;
    assert_eq!(fleet.fetched(), before + 1);
    assert_eq!(rates(&gateway).await, 200);
}

#[tokio::test]
async fn a_gateway_with_a_policy_directory_is_told_keys_and_revocations_only() {
    let fleet = ControlPlane::start(&stricter()).await;
    let gateway = GatewayProcess::with(POLICY, |settings| {
        settings.fleet = Some(fleet.membership());
    })
    .await;
    assert_eq!(rates(&gateway).await, 200, "the directory says so");
    let token = fleet.token(&serde_json::json!({}));
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    let beat = fleet
        .beats("the policy of the directory", |beat| beat.active.len() == 2)
        .await;
    assert_eq!(
        (beat.active[0].stream, beat.active[0].position),
        (Stream::Policy, None)
    );
    gateway.policy_file("base.yaml", &stricter());
    patiently(
        || "the edit is in force".to_owned(),
        || async { rates(&gateway).await == 401 },
    )
    .await;
}
