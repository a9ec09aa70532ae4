//! Lists in pages: whole in force, whatever of them was fetched before, kept over a restart, and never half.

use std::path::PathBuf;

use fleet::{Page, Pointer, Stage, StatedList, Statement, Stream};
use keyring::{Revocation, RevocationList};
use serde_json::json;

use super::control_plane::{Blob, ControlPlane};
use super::{LONG, member};
use crate::gateway_process::{GatewayProcess, POLICY};
use crate::revocations::lock_out;

/// Tokens that nobody has, and people who are locked out.
fn list(tokens: usize, people: &[&str]) -> RevocationList {
    let token = |number: usize| Revocation::Token {
        issuer: "https://issuer.example".to_owned(),
        jti: format!("tok_{number}"),
        until: 4_000_000_000,
    };
    let people = people.iter().map(|sub| lock_out(sub));
    RevocationList {
        seq: 1,
        revocations: (0..tokens).map(token).chain(people).collect(),
    }
}

/// The next statement of a list, and its pages.
fn paged(fleet: &ControlPlane, list: RevocationList) -> (Statement, Vec<Page>) {
    let (stated, pages) = StatedList::paginate(list).unwrap();
    let mut statement = fleet.next(Stream::Revocations, &stated);
    statement.features = vec![StatedList::FEATURE.to_owned()];
    (statement, pages)
}

/// States a list as the control plane does.
fn state(fleet: &ControlPlane, list: RevocationList) -> (Pointer, Vec<Page>) {
    let (statement, pages) = paged(fleet, list);
    for page in &pages {
        fleet.hand_out(page.name.digest, Blob::Whole(page.bytes.clone()));
    }
    let bytes = fleet.sealed(&statement);
    (
        fleet.offer(Stream::Revocations, statement.position, &bytes),
        pages,
    )
}

async fn me(gateway: &GatewayProcess, token: &str) -> u16 {
    gateway.get_with("/api/v1/me", token).await.status().as_u16()
}

fn folder(gateway: &GatewayProcess) -> PathBuf {
    gateway.directory.path().join("state/fleet/revocations/pages")
}

fn files(gateway: &GatewayProcess) -> Vec<String> {
    let entries = std::fs::read_dir(folder(gateway)).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn names(pages: &[Page]) -> Vec<String> {
    let mut names: Vec<_> = pages.iter().map(|page| page.name.digest.to_string()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn j41_of_a_list_in_pages_only_what_has_changed_is_fetched_and_all_of_it_is_in_force() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let (alice, bob) = (fleet.token(&json!({})), fleet.token(&json!({"sub": "usr_bob"})));
    // Somebody in the first page, and nobody in the statement itself.
    let mut long = list(2_000, &[]);
    long.revocations.insert(3, lock_out("usr_alice"));
    let (revoked, before) = state(&fleet, long.clone());
    assert!(before.len() > 5, "{} pages", before.len());
    fleet.told(&revoked, Stage::Healthy).await;
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 200));
    assert_eq!(files(&gateway), names(&before));

    let fetched = fleet.fetched();
    long.revocations.push(lock_out("usr_bob"));
    let (revoked, after) = state(&fleet, long);
    let new = after.iter().filter(|page| !before.contains(page)).count();
    assert!(new <= 1, "{new} pages are new");
    fleet.told(&revoked, Stage::Healthy).await;
    assert_eq!(
        fleet.fetched() - fetched,
        1 + new,
        "the statement, and what is new"
    );
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 401));

    // Nobody can be asked: the pages are on the disk.
    fleet.kill();
    gateway.restart().await.unwrap();
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 401));

    // Another list has nothing to do with them, and the one after it has them taken away.
    fleet.revive();
    let (over, _) = state(&fleet, list(0, &[]));
    fleet.told(&over, Stage::Healthy).await;
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (200, 200));
    assert_eq!(
        files(&gateway),
        names(&after),
        "the list before may be gone back to"
    );
    let (over, _) = state(&fleet, list(1, &[]));
    fleet.told(&over, Stage::Healthy).await;
    assert_eq!(files(&gateway), Vec::<String>::new());
}

#[tokio::test]
async fn a_list_with_a_page_that_cannot_be_had_or_is_another_is_not_in_force_and_the_one_before_it_stays() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let alice = fleet.token(&json!({}));
    let (good, _) = state(&fleet, list(600, &["usr_alice"]));
    fleet.told(&good, Stage::Healthy).await;

    // Its pages say something else.
    let (statement, pages) = paged(&fleet, list(2_000, &[]));
    let bent = |page: &Page| {
        String::from_utf8(page.bytes.clone())
            .unwrap()
            .replacen("tok_", "tik_", 1)
    };
    for page in &pages {
        fleet.hand_out(page.name.digest, Blob::Whole(bent(page).into_bytes()));
    }
    let offered = fleet.offer(Stream::Revocations, statement.position, &fleet.sealed(&statement));
    assert_eq!(fleet.refused(&offered).await, "wrong_digest");
    assert_eq!(me(&gateway, &alice).await, 401);

    // Nobody has its last page; when somebody has it, the list is in force.
    let (statement, pages) = paged(&fleet, list(4_000, &[]));
    let (lost, others) = pages.split_last().unwrap();
    for page in others {
        fleet.hand_out(page.name.digest, Blob::Whole(page.bytes.clone()));
    }
    fleet.withhold(lost.name.digest);
    let offered = fleet.offer(Stream::Revocations, statement.position, &fleet.sealed(&statement));
    assert_eq!(fleet.refused(&offered).await, "unavailable");
    assert_eq!(me(&gateway, &alice).await, 401);
    fleet.hand_out(lost.name.digest, Blob::Whole(lost.bytes.clone()));
    fleet.told(&offered, Stage::Healthy).await;
    assert_eq!(me(&gateway, &alice).await, 200);

    // More than a list may have is not even asked for.
    let (stated, _) = StatedList::paginate(list(600, &[])).unwrap();
    let mut huge = serde_json::to_value(&stated).unwrap();
    huge["pages"][0]["bytes"] = json!(9_000_000);
    let fetched = fleet.fetched();
    let offered = fleet.state(Stream::Revocations, &huge);
    assert_eq!(fleet.refused(&offered).await, "too_large");
    assert_eq!(fleet.fetched() - fetched, 1, "the statement alone");
}

#[tokio::test]
async fn a_damaged_page_on_the_disk_is_not_believed_and_comes_again() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let (alice, bob) = (fleet.token(&json!({})), fleet.token(&json!({"sub": "usr_bob"})));
    let (before, old) = state(&fleet, list(300, &["usr_alice"]));
    fleet.told(&before, Stage::Healthy).await;
    let (newest, new) = state(&fleet, list(900, &["usr_alice", "usr_bob"]));
    fleet.told(&newest, Stage::Healthy).await;
    let page = new.iter().find(|page| !old.contains(page)).unwrap();
    let file = folder(&gateway).join(page.name.digest.to_string());
    std::fs::write(&file, "[]").unwrap();
    fleet.kill();
    gateway.restart().await.unwrap();
    // Half of the newest list is no list: the one before it is in force.
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 200));
    fleet.revive();
    fleet.forget_acknowledgements();
    fleet.told(&newest, Stage::Healthy).await;
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 401));
    assert_eq!(std::fs::read(&file).unwrap(), page.bytes);
}

#[tokio::test]
async fn a_gateway_that_nobody_has_ever_answered_begins_with_the_pages_it_was_given() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let (revoked, pages) = state(&fleet, {
        let mut list = list(600, &[]);
        list.revocations.insert(0, lock_out("usr_alice"));
        list
    });
    let mut exported = fleet.exported();
    assert!(exported.statements.len() > 2 && !pages.is_empty());
    let text = |page: &Page| String::from_utf8(page.bytes.clone()).unwrap();
    exported.pages = pages.iter().map(text).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("begin.json");
    std::fs::write(&file, serde_json::to_vec(&exported).unwrap()).unwrap();
    fleet.kill();
    let gateway = GatewayProcess::with(POLICY, |settings| {
        fleet.join(settings);
        settings.fleet.as_mut().unwrap().begin_with = file.clone();
    })
    .await;
    assert_eq!(me(&gateway, &fleet.token(&json!({}))).await, 401);
    fleet.revive();
    fleet.told(&revoked, Stage::Healthy).await;
}
