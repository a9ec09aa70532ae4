//! Disks that hang: what is revoked is heard and in force whatever is being written, and the gateway goes on telling that it lives.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet::{Acknowledgement, Stage, Stream, TrustedKey};
use keyring::{Algorithm, KeySet, KeyState, Revocation, RevocationList, SigningKey};
use serde_json::json;

use super::control_plane::{Blob, ControlPlane, DAY, patiently, pointer};
use super::{LONG, member, rates, stricter};
use crate::gateway_process::{GatewayProcess, POLICY, now};
use crate::key_service::claims;
use crate::revocations::lock_out;

fn list(revocations: Vec<Revocation>) -> RevocationList {
    RevocationList { seq: 1, revocations }
}

async fn me(gateway: &GatewayProcess, token: &str) -> u16 {
    gateway.get_with("/api/v1/me", token).await.status().as_u16()
}

/// Waits until what was stated first is on the disk.
async fn settled(fleet: &ControlPlane) {
    let is_written = |told: &Acknowledgement| told.stream == Stream::Keyset && told.stage == Stage::Healthy;
    patiently(
        || "the first key set is written".to_owned(),
        || std::future::ready(fleet.acknowledgements().iter().any(is_written)),
    )
    .await;
}

/// A disk that hangs: drafts go into a pipe that nobody reads, and opening it waits.
fn hangs(draft: &Path) {
    let made = Command::new("mkfifo").arg(draft).status().unwrap();
    assert!(made.success(), "{}", draft.display());
}

#[tokio::test]
async fn what_is_revoked_is_in_force_before_the_disk_has_written_it() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    settled(&fleet).await;
    let state = gateway.directory.path().join("state");
    let drafts = ["fleet/revocations/probation.draft", "keyset.draft"].map(|file| state.join(file));
    drafts.iter().for_each(|draft| hangs(draft));

    let revoked = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_alice")]));
    patiently(
        || "what is revoked is refused".to_owned(),
        || async { me(&gateway, &token).await == 401 },
    )
    .await;
    let fresh = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let set = KeySet {
        keys: vec![fresh.public_key(KeyState::Active)],
        revoked_kids: vec![fleet.access.kid().to_owned()],
        ..fleet.key_set()
    };
    let rotated = fleet.state(Stream::Keyset, &set);
    let new = fresh.sign(&claims(&json!({"sub": "usr_bob"}))).unwrap();
    patiently(
        || "the new key counts".to_owned(),
        || async { me(&gateway, &new).await == 200 },
    )
    .await;
    for pointer in [&revoked, &rotated] {
        assert!(
            !fleet.stages(pointer).contains(&Stage::Healthy),
            "nothing is written"
        );
    }

    // The disk answers: with an error first, for a pipe cannot be synced, and what could not be written is written again.
    // One is written after the other, and the gateway runs on this thread too.
    let answered = drafts.map(|draft| tokio::task::spawn_blocking(|| answers([draft])));
    futures::future::join_all(answered).await;
    for pointer in [&revoked, &rotated] {
        fleet.told(pointer, Stage::Healthy).await;
    }
    let behind = pointer(Stream::Revocations, "1.0".parse().unwrap(), b"an older list");
    fleet.offer_as(&behind, Blob::Whole(b"an older list".to_vec()));
    assert_eq!(fleet.refused(&behind).await, "replayed");
}

/// Files of a gateway's state whose writing hangs from now on.
fn hanging<const N: usize>(gateway: &GatewayProcess, drafts: [&str; N]) -> [PathBuf; N] {
    let state = gateway.directory.path().join("state/fleet");
    let drafts = drafts.map(|draft| state.join(draft));
    drafts.iter().for_each(|draft| hangs(draft));
    drafts
}

/// The disk answers: with an error, for a pipe cannot be synced. What comes after it is written.
fn answers<const N: usize>(drafts: [PathBuf; N]) {
    for draft in drafts {
        let read = File::open(&draft).unwrap();
        std::fs::remove_file(&draft).unwrap();
        drop(read);
    }
}

async fn is_revoked_and_told(fleet: &ControlPlane, gateway: &GatewayProcess, token: &str) {
    let revoked = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_alice")]));
    fleet.told(&revoked, Stage::Active).await;
    assert_eq!(me(gateway, token).await, 401);
    fleet.beats("it lives", |_| true).await;
}

#[tokio::test]
async fn how_far_a_stream_has_come_is_being_written_and_the_next_revocation_does_not_wait() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    settled(&fleet).await;
    let drafts = hanging(&gateway, ["state.draft"]);
    let first = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_bob")]));
    fleet.told(&first, Stage::Active).await;
    // Its envelope has been written, and its position hangs.
    let written = gateway
        .directory
        .path()
        .join("state/fleet/revocations/healthy.json");
    patiently(
        || "the envelope is on the disk".to_owned(),
        || std::future::ready(written.exists()),
    )
    .await;
    is_revoked_and_told(&fleet, &gateway, &token).await;
    answers(drafts);
}

/// A disk that refuses: what should be a folder is a file. The folder comes back when this is called.
fn refuses(folder: &Path) -> impl FnOnce() + use<> {
    let (folder, aside) = (folder.to_owned(), folder.with_extension("aside"));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    move || {
        std::fs::remove_file(&folder).unwrap();
        std::fs::rename(&aside, &folder).unwrap();
    }
}

#[tokio::test]
async fn a_list_that_the_disk_refuses_is_in_force_and_never_told_as_healthy_until_it_is_written() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    let nobody = fleet.state(Stream::Revocations, &list(Vec::new()));
    fleet.told(&nobody, Stage::Healthy).await;
    let folder = gateway.directory.path().join("state/fleet/revocations");
    let answers = refuses(&folder);
    let unwritten = r#"portico_fleet_unwritten_total{stream="revocations"}"#;
    let before = gateway.metric(unwritten).await.unwrap_or(0);
    let revoked = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_alice")]));
    fleet.told(&revoked, Stage::Active).await;
    assert_eq!(me(&gateway, &token).await, 401);
    patiently(
        || "it is tried more than once".to_owned(),
        || async { gateway.metric(unwritten).await >= Some(before + 2) },
    )
    .await;
    assert!(!fleet.stages(&revoked).contains(&Stage::Healthy));

    answers();
    fleet.told(&revoked, Stage::Healthy).await;
    fleet.kill();
    gateway.restart().await.unwrap();
    assert_eq!(me(&gateway, &token).await, 401, "a restart begins with it");
}

#[tokio::test]
async fn a_policy_that_does_well_is_told_as_healthy_when_the_disk_has_it_as_proven() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, Duration::from_millis(500)).await;
    settled(&fleet).await;
    let policy = fleet.state_policy(&stricter());
    fleet.told(&policy, Stage::Active).await;
    let answers = refuses(&gateway.directory.path().join("state/fleet/policy"));
    let unwritten = r#"portico_fleet_unwritten_total{stream="policy"}"#;
    patiently(
        || "it is tried more than once".to_owned(),
        || async { gateway.metric(unwritten).await >= Some(2) },
    )
    .await;
    assert!(!fleet.stages(&policy).contains(&Stage::Healthy));
    answers();
    fleet.told(&policy, Stage::Healthy).await;
}

/// Threads of this process.
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[tokio::test]
async fn however_much_is_revoked_while_the_disk_hangs_it_takes_one_thread_and_the_newest_is_written() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    settled(&fleet).await;
    let drafts = hanging(&gateway, ["revocations/probation.draft"]);
    let mut newest = fleet.state(Stream::Revocations, &list(vec![lock_out("usr_0")]));
    fleet.told(&newest, Stage::Active).await;
    let before = threads();
    for number in 1..=60 {
        newest = fleet.state(
            Stream::Revocations,
            &list(vec![lock_out(&format!("usr_{number}"))]),
        );
        fleet.told(&newest, Stage::Active).await;
    }
    let now = threads();
    assert!(now < before + 20, "{before} threads, then {now}");
    answers(drafts);
    fleet.told(&newest, Stage::Healthy).await;
}

#[tokio::test]
async fn a_policy_that_waits_for_the_disk_holds_nothing_up_and_is_not_in_force_yet() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    settled(&fleet).await;
    let drafts = hanging(&gateway, ["policy/probation.draft"]);
    let policy = fleet.state_policy(&stricter());
    fleet.told(&policy, Stage::Verified).await;
    is_revoked_and_told(&fleet, &gateway, &token).await;
    assert_eq!(rates(&gateway).await, 200, "on the disk first");
    assert!(!fleet.stages(&policy).contains(&Stage::Active));
    answers(drafts);
    assert_eq!(fleet.refused(&policy).await, "disk");
    fleet.told(&policy, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn a_policy_that_the_disk_refuses_is_refused_and_in_force_as_soon_as_it_is_written() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    settled(&fleet).await;
    let answers = refuses(&gateway.directory.path().join("state/fleet/policy"));
    let policy = fleet.state_policy(&stricter());
    assert_eq!(fleet.refused(&policy).await, "disk");
    let is_refusal = |told: &&Acknowledgement| told.digest == policy.digest && told.stage == Stage::Refused;
    patiently(
        || "it is tried more than once".to_owned(),
        || {
            let told = fleet.acknowledgements();
            std::future::ready(told.iter().filter(is_refusal).count() > 1)
        },
    )
    .await;
    assert!(!fleet.stages(&policy).contains(&Stage::Active));
    assert_eq!(rates(&gateway).await, 200, "what was in force stays");

    answers();
    fleet.told(&policy, Stage::Active).await;
    assert_eq!(rates(&gateway).await, 401);
}

#[tokio::test]
async fn whom_to_believe_waits_for_no_disk() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    assert_eq!(me(&gateway, &token).await, 200);
    settled(&fleet).await;
    let drafts = hanging(&gateway, ["trust.draft"]);
    let next = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let trusted =
        |key: &SigningKey| TrustedKey::new(key.public(), now().timestamp() - DAY, now().timestamp() + DAY);
    fleet.trust(&[trusted(&fleet.bundle), trusted(&next)]);
    let statement = fleet.next(Stream::Revocations, &list(vec![lock_out("usr_bob")]));
    let by_next = fleet.sealed_by(&statement, &[&next]);
    let offered = fleet.offer(Stream::Revocations, statement.position, &by_next);
    fleet.told(&offered, Stage::Active).await;
    is_revoked_and_told(&fleet, &gateway, &token).await;
    answers(drafts);
}
