//! Starting again: with or without a control plane, after being killed at any step, and with a disk that lies.

use std::path::{Path, PathBuf};

use fleet::{Exported, Pointer, Stage, Stream, TrustedKey};
use serde_json::json;

use super::control_plane::{ControlPlane, DAY, patiently};
use super::{LONG, SHORT, member, member_that_says_where, not_ready, position, rates, stricter};
use crate::gateway_process::{GatewayProcess, POLICY, now};

fn state(gateway: &GatewayProcess, file: &str) -> PathBuf {
    gateway.directory.path().join("state/fleet").join(file)
}

/// A gateway whose first policy is proven.
pub(super) async fn proven(fleet: &ControlPlane) -> GatewayProcess {
    let gateway = member(fleet, SHORT).await;
    patiently(
        || "the policy is proven".to_owned(),
        || std::future::ready(state(&gateway, "policy/healthy.json").exists()),
    )
    .await;
    gateway
}

/// From now on nothing is proven.
pub(super) fn with_a_long_probation(gateway: &mut GatewayProcess) {
    gateway.change_settings(|settings| {
        let fleet = settings.fleet.as_mut().unwrap();
        fleet.probation_ms = u64::try_from(LONG.as_millis()).unwrap();
    });
}

/// Ends without a word, as `kill -9` does: nothing is written after it.
async fn killed(gateway: &mut GatewayProcess, folder: &Path) {
    let kept = tempfile::tempdir().unwrap();
    copy(folder, kept.path());
    gateway.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
    copy(kept.path(), folder);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn with_the_control_plane_away_a_gateway_starts_with_what_was_proven() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let token = fleet.token(&json!({}));
    fleet.kill();
    gateway.restart().await.unwrap();
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    assert_eq!(rates(&gateway).await, 200);
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    assert_eq!(gateway.metric("portico_fleet_connected").await, Some(0));
    // And it is a member again when there is one.
    fleet.revive();
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Healthy).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_gateway_that_nobody_has_ever_answered_begins_with_what_it_was_given_and_believes_no_more_of_it() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let exported = fleet.exported();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("begin.json");
    let give = |exported: &Exported| std::fs::write(&file, serde_json::to_vec(exported).unwrap()).unwrap();
    give(&exported);
    fleet.kill();
    let mut gateway = GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        settings.fleet.as_mut().unwrap().begin_with = file.clone();
    })
    .await;
    let token = fleet.token(&json!({}));
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
    assert_eq!(rates(&gateway).await, 200);
    gateway.counts("portico_keyset_age_seconds", -1).await;

    // One flipped letter in the key set: the rest is signed.
    gateway.stop().await;
    std::fs::remove_dir_all(state(&gateway, "")).unwrap();
    let keys = |text: &String| text.contains(Stream::Keyset.payload_type());
    let mut bent = exported.clone();
    let of_keys = bent.statements.iter_mut().find(|text| keys(text)).unwrap();
    *of_keys = of_keys.replacen("\"payload\":\"e", "\"payload\":\"f", 1);
    assert_ne!(bent, exported);
    give(&bent);
    gateway.restart().await.unwrap();
    assert_eq!(gateway.get("/health/ready").await.status(), 503);
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 503);
    assert_eq!(rates(&gateway).await, 200);

    // What the control plane says later goes on from there.
    fleet.revive();
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Active).await;
    gateway.wait_for_keys().await;
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);
}

/// How long it took is printed, and judged nowhere: this is a debug build on any machine.
#[tokio::test]
async fn a_thousand_routes_are_served_from_the_disk_without_a_control_plane() {
    let routes = (0..1_000).map(|number| {
        format!(
            "  route_{number}:\n    match: {{ method: GET, path: \"/api/v1/of/{number}/{{id}}\" }}\n    auth: customers\n    scopes: []\n    upstream: core\n"
        )
    });
    let policy = format!("{POLICY}{}", routes.collect::<String>());
    let mut fleet = ControlPlane::start(&policy).await;
    let mut gateway = proven(&fleet).await;
    let token = fleet.token(&json!({}));
    fleet.kill();
    gateway.stop().await;
    let began = std::time::Instant::now();
    gateway.restart().await.unwrap();
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    println!("ready after {:?}", began.elapsed());
    assert_eq!(gateway.get_with("/api/v1/of/999/x", &token).await.status(), 200);
}

#[tokio::test]
async fn without_any_signed_policy_a_gateway_is_not_ready_and_begins_when_one_comes() {
    let fleet = ControlPlane::empty();
    let folder = tempfile::tempdir().unwrap();
    let endpoints = folder.path().join("endpoints.json");
    let waiting = member_that_says_where(&fleet, &endpoints);
    let served = async {
        let mut private = None;
        patiently(
            || "the private address is known".to_owned(),
            || {
                let text = std::fs::read_to_string(&endpoints).unwrap_or_default();
                let found: Option<serde_json::Value> = serde_json::from_str(&text).ok();
                private = found.map(|found| found["private"].as_str().unwrap().to_owned());
                std::future::ready(private.is_some())
            },
        )
        .await;
        let report = not_ready(&private.unwrap()).await;
        assert_eq!(report["checks"]["policy"], "there is no signed policy yet");

        // Not even what is signed by the right key, before the roots have named it.
        let early = fleet.state_policy(POLICY);
        assert_eq!(fleet.refused(&early).await, "no_trust");
        let now = now().timestamp();
        fleet.trust(&[TrustedKey::new(fleet.bundle.public(), now - DAY, now + DAY)]);
        fleet.state(Stream::Keyset, &fleet.key_set());
        fleet.state_policy(POLICY)
    };
    let (gateway, first) = tokio::join!(waiting, served);
    fleet.told(&first, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 200);
}

#[tokio::test]
async fn killed_at_any_step_of_taking_over_a_gateway_starts_with_something_signed_and_goes_on() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    with_a_long_probation(&mut gateway);
    gateway.restart().await.unwrap();
    let folder = state(&gateway, "");
    let before = tempfile::tempdir().unwrap();
    copy(&folder, before.path());
    let next = fleet.state_policy(&stricter());
    fleet.told(&next, Stage::Active).await;
    let during = tempfile::tempdir().unwrap();
    copy(&folder, during.path());
    gateway.stop().await;

    let probation = |from: &Path| std::fs::read(from.join("policy/probation.json")).unwrap();
    let steps: [(&str, &dyn Fn()); 4] = [
        ("half of the envelope is written", &|| {
            let whole = probation(during.path());
            std::fs::write(folder.join("policy/probation.draft"), &whole[..whole.len() / 2]).unwrap();
        }),
        ("the envelope is written, and not that it was reached", &|| {
            std::fs::write(folder.join("policy/probation.json"), probation(during.path())).unwrap();
        }),
        ("all is written, and nothing is in force", &|| {
            std::fs::remove_dir_all(&folder).unwrap();
            copy(during.path(), &folder);
        }),
        ("it is proven, and has its new name only half", &|| {
            std::fs::remove_dir_all(&folder).unwrap();
            copy(during.path(), &folder);
            let healthy = folder.join("policy/healthy.json");
            std::fs::copy(&healthy, folder.join("policy/healthy.second")).unwrap();
            std::fs::copy(&healthy, folder.join("policy/previous.json")).unwrap();
        }),
    ];
    for (step, prepare) in steps {
        fleet.kill();
        std::fs::remove_dir_all(&folder).unwrap();
        copy(before.path(), &folder);
        prepare();
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 200, "{step}: what was proven");
        fleet.forget_acknowledgements();
        fleet.revive();
        fleet.told(&next, Stage::Active).await;
        assert!(!fleet.stages(&next).contains(&Stage::Refused), "{step}");
        assert_eq!(rates(&gateway).await, 401, "{step}: it goes on");
        gateway.stop().await;
    }
}

#[tokio::test]
async fn after_three_starts_that_failed_the_policy_before_is_in_force_and_the_last_is_given_up() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let last = fleet.state_policy(&stricter());
    fleet.told(&last, Stage::Healthy).await;
    with_a_long_probation(&mut gateway);
    gateway.restart().await.unwrap();
    fleet.kill();
    let folder = state(&gateway, "");
    for start in 1..=3 {
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 401, "start {start}");
        killed(&mut gateway, &folder).await;
    }
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 200, "the policy before");
    fleet.forget_acknowledgements();
    fleet.revive();
    assert_eq!(fleet.refused(&last).await, "failed_starts");
    let beat = fleet.beats("the policy before", |_| true).await;
    assert_eq!(position(&beat, Stream::Policy).as_deref(), Some("1.1"));

    // It stays given up after an end in order, and is not what a later policy falls back to.
    fleet.kill();
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 200, "the policy before, again");
    gateway.change_settings(|settings| settings.fleet.as_mut().unwrap().probation_ms = 50);
    fleet.revive();
    gateway.restart().await.unwrap();
    let later = fleet.state_policy(&format!("# later\n{}", stricter()));
    fleet.told(&later, Stage::Healthy).await;
    with_a_long_probation(&mut gateway);
    fleet.kill();
    for start in 1..=3 {
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 401, "start {start}");
        killed(&mut gateway, &folder).await;
    }
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 200, "the last one that did well");
}

/// There is none to go back to: it must live, to be told of a better one.
#[tokio::test]
async fn a_first_policy_with_which_three_starts_failed_is_given_up_and_the_gateway_waits_for_another() {
    let mut fleet = ControlPlane::empty();
    let now = now().timestamp();
    fleet.trust(&[TrustedKey::new(fleet.bundle.public(), now - DAY, now + DAY)]);
    fleet.state(Stream::Keyset, &fleet.key_set());
    let first = fleet.state_policy(POLICY);
    let mut gateway = member(&fleet, LONG).await;
    let folder = state(&gateway, "");
    fleet.kill();
    for start in 1..=3 {
        killed(&mut gateway, &folder).await;
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 200, "start {start}");
    }
    killed(&mut gateway, &folder).await;
    fleet.forget_acknowledgements();
    fleet.revive();
    let better = async {
        assert_eq!(fleet.refused(&first).await, "failed_starts");
        fleet.state_policy(&stricter())
    };
    let (started, better) = tokio::join!(gateway.restart(), better);
    started.unwrap();
    fleet.told(&better, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn starts_that_end_in_order_are_not_counted() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let last = fleet.state_policy(&stricter());
    fleet.told(&last, Stage::Healthy).await;
    with_a_long_probation(&mut gateway);
    fleet.kill();
    for _ in 0..5 {
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 401);
    }
}

#[tokio::test]
async fn a_policy_that_kills_the_gateway_is_tried_three_times() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    with_a_long_probation(&mut gateway);
    gateway.restart().await.unwrap();
    let deadly = fleet.state_policy(&stricter());
    let folder = state(&gateway, "");
    for _ in 1..=3 {
        fleet.told(&deadly, Stage::Active).await;
        fleet.kill();
        killed(&mut gateway, &folder).await;
        fleet.forget_acknowledgements();
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 200, "what was proven");
        fleet.revive();
    }
    assert_eq!(fleet.refused(&deadly).await, "failed_trials");
    assert_eq!(rates(&gateway).await, 200);
}

#[tokio::test]
async fn a_state_that_is_damaged_or_gone_ends_taking_over_and_not_serving() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let file = state(&gateway, "state.json");
    let whole = std::fs::read_to_string(&file).unwrap();
    let lower = whole.replace("\"1.1\"", "\"0.1\"");
    assert_ne!(whole, lower);
    let damages: [(&str, &dyn Fn()); 3] = [
        ("a lower number", &|| std::fs::write(&file, &lower).unwrap()),
        ("half of it", &|| {
            std::fs::write(&file, &whole.as_bytes()[..whole.len() / 2]).unwrap();
        }),
        ("gone", &|| std::fs::remove_file(&file).unwrap()),
    ];
    for (damage, make) in damages {
        gateway.stop().await;
        make();
        gateway.restart().await.unwrap();
        assert_eq!(rates(&gateway).await, 200, "{damage}");
        assert_eq!(
            gateway.metric("portico_fleet_state_ok").await,
            Some(0),
            "{damage}"
        );
        let next = fleet.state_policy(&stricter());
        assert_eq!(fleet.refused(&next).await, "state_damaged", "{damage}");
        assert_eq!(rates(&gateway).await, 200, "{damage}");
    }
    // An operator decides.
    gateway.stop().await;
    std::fs::remove_dir_all(state(&gateway, "")).unwrap();
    fleet.state_policy(&stricter());
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 401);
}

/// A control plane names no list that a gateway says it holds.
#[tokio::test]
async fn a_gateway_whose_state_is_damaged_is_not_ready_and_says_so_before_anything_is_named() {
    let fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let nobody = keyring::RevocationList::default();
    let held = [
        fleet.state(Stream::Revocations, &nobody),
        fleet.state_policy(&format!("{POLICY}# held\n")),
    ];
    for held in &held {
        fleet.told(held, Stage::Healthy).await;
    }
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
    let file = state(&gateway, "state.json");
    gateway.stop().await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, "").unwrap();
    fleet.forget_acknowledgements();
    fleet.be_silent(true);
    gateway.restart().await.unwrap();
    for held in &held {
        assert_eq!(fleet.refused(held).await, "state_damaged");
    }
    let report = not_ready(&gateway.private.to_string()).await;
    let why = report["checks"]["fleet_state"].as_str().unwrap();
    assert!(why.contains("not even what is revoked"), "{report}");
    assert_eq!(gateway.get("/health/ready").await.status(), 503);
    assert_eq!(rates(&gateway).await, 200, "what still comes is answered");

    // That it holds what is named makes it no better.
    fleet.speak();
    fleet.beats("it has heard of it", |_| true).await;
    for held in &held {
        assert_eq!(fleet.stages(held), [Stage::Refused]);
    }

    // With its state again it says that it is well, which nobody else would.
    gateway.stop().await;
    std::fs::write(&file, whole).unwrap();
    fleet.forget_acknowledgements();
    fleet.be_silent(true);
    gateway.restart().await.unwrap();
    for held in &held {
        fleet.told(held, Stage::Active).await;
    }
    assert_eq!(gateway.get("/health/ready").await.status(), 200);
}

#[tokio::test]
async fn what_somebody_wrote_to_the_disk_is_not_believed() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = proven(&fleet).await;
    let last = fleet.state_policy(&stricter());
    fleet.told(&last, Stage::Healthy).await;
    fleet.kill();
    gateway.stop().await;
    let folder = state(&gateway, "");
    let edited = |file: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let file = folder.join(file);
        let mut bytes = std::fs::read(&file).unwrap();
        change(&mut bytes);
        std::fs::write(&file, bytes).unwrap();
    };
    // A policy with a flipped bit: the one before it is signed.
    edited("policy/healthy.json", &|bytes| bytes[200] ^= 1);
    gateway.restart().await.unwrap();
    assert_eq!(rates(&gateway).await, 200);
    gateway.stop().await;

    // Keys that nobody signed, beside those that are: where they lay before there was a fleet.
    let stranger = keyring::SigningKey::generate(keyring::Algorithm::EdDSA).unwrap();
    let mut set = fleet.key_set();
    set.keys = vec![stranger.public_key(keyring::KeyState::Active)];
    set.seq = 99;
    let planted = gateway.directory.path().join("state/keyset.json");
    std::fs::write(planted, serde_json::to_vec(&set).unwrap()).unwrap();
    gateway.restart().await.unwrap();
    let forged = stranger.sign(&crate::key_service::claims(&json!({}))).unwrap();
    let good = fleet.token(&json!({}));
    assert_eq!(
        gateway.get_with("/api/v1/me", &forged).await.status(),
        503,
        "an unknown key, and nobody to ask"
    );
    assert_eq!(gateway.get_with("/api/v1/me", &good).await.status(), 200);
    gateway.stop().await;

    // A key set that nobody signed.
    edited("keyset/healthy.json", &|bytes| bytes[200] ^= 1);
    gateway.restart().await.unwrap();
    assert_eq!(gateway.get_with("/api/v1/me", &good).await.status(), 503);
    assert_eq!(gateway.get("/health/ready").await.status(), 503);
    // What was signed comes again, and is no replay.
    fleet.revive();
    patiently(
        || "it is ready".to_owned(),
        || async { gateway.get("/health/ready").await.status() == 200 },
    )
    .await;
}

#[tokio::test]
async fn an_older_trust_document_brings_no_key_back() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = proven(&fleet).await;
    let now = now().timestamp();
    let of = |key: &keyring::SigningKey| TrustedKey::new(key.public(), now - DAY, now + DAY);
    let fresh = keyring::SigningKey::generate(keyring::Algorithm::EdDSA).unwrap();
    fleet.trust(&[of(&fresh)]);
    let by_fresh = |policy: &str| -> Pointer {
        let statement = fleet.next(Stream::Policy, &super::control_plane::content(policy, &[]));
        fleet.offer(
            Stream::Policy,
            statement.position,
            &fleet.sealed_by(&statement, &[&fresh]),
        )
    };
    let taken = by_fresh(&format!("{POLICY}# by the fresh key\n"));
    fleet.told(&taken, Stage::Healthy).await;
    // The control plane was restored, and has the old document.
    fleet.restore_trust(&[of(&fleet.bundle)]);
    let by_old = fleet.state_policy(&stricter());
    assert_eq!(fleet.refused(&by_old).await, "unsigned");
    assert_eq!(rates(&gateway).await, 200);
}
