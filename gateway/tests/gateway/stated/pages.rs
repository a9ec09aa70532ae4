//! Lists in pages: whole in force, whatever of them was fetched before, kept over a restart, and never half.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleet::{Page, Pointer, Stage, StatedList, Statement, Stream};
use keyring::{Revocation, RevocationList};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

use super::control_plane::{Blob, ControlPlane};
use super::{LONG, member};
use crate::gateway_process::{GatewayProcess, POLICY, eventually};
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
fn paged(fleet: &ControlPlane, stream: Stream, list: RevocationList) -> (Statement, Vec<Page>) {
    let (stated, pages) = StatedList::paginate(list).unwrap();
    let mut statement = fleet.next(stream, &stated);
    statement.features = vec![StatedList::FEATURE.to_owned()];
    (statement, pages)
}

/// States a list as the control plane does.
fn state(fleet: &ControlPlane, list: RevocationList) -> (Pointer, Vec<Page>) {
    state_in(fleet, Stream::Revocations, list)
}

fn state_in(fleet: &ControlPlane, stream: Stream, list: RevocationList) -> (Pointer, Vec<Page>) {
    let (statement, pages) = paged(fleet, stream, list);
    for page in &pages {
        fleet.hand_out(page.name.digest, Blob::Whole(page.bytes.clone()));
    }
    let bytes = fleet.sealed(&statement);
    (fleet.offer(stream, statement.position, &bytes), pages)
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
    eventually("nothing is kept that nobody names", || async {
        files(&gateway).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_list_with_a_page_that_cannot_be_had_or_is_another_is_not_in_force_and_the_one_before_it_stays() {
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let alice = fleet.token(&json!({}));
    let (good, _) = state(&fleet, list(600, &["usr_alice"]));
    fleet.told(&good, Stage::Healthy).await;

    // Its pages say something else.
    let (statement, pages) = paged(&fleet, Stream::Revocations, list(2_000, &[]));
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
    let (statement, pages) = paged(&fleet, Stream::Revocations, list(4_000, &[]));
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
async fn killed_after_some_pages_of_the_next_list_were_written_it_has_the_list_before_it() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let (alice, bob) = (fleet.token(&json!({})), fleet.token(&json!({"sub": "usr_bob"})));
    let (before, old) = state(&fleet, list(900, &["usr_alice"]));
    fleet.told(&before, Stage::Healthy).await;
    fleet.kill();
    let (next, new) = state(&fleet, list(4_000, &["usr_bob"]));
    // One whole, one half: as far as the disk had come.
    let (whole, half) = (&new[new.len() - 2], &new[new.len() - 1]);
    for (page, written) in [(whole, whole.bytes.len()), (half, half.bytes.len() / 2)] {
        assert!(!old.contains(page));
        let file = folder(&gateway).join(page.name.digest.to_string());
        std::fs::write(file, &page.bytes[..written]).unwrap();
    }
    gateway.restart().await.unwrap();
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 200));
    fleet.revive();
    fleet.told(&next, Stage::Healthy).await;
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (200, 401));
    for page in &new {
        let file = folder(&gateway).join(page.name.digest.to_string());
        assert_eq!(std::fs::read(file).unwrap(), page.bytes);
    }
}

#[tokio::test]
async fn killed_before_the_next_list_was_proven_it_has_the_list_before_it_and_takes_the_next_again() {
    let mut fleet = ControlPlane::start(POLICY).await;
    let mut gateway = member(&fleet, LONG).await;
    let (alice, bob) = (fleet.token(&json!({})), fleet.token(&json!({"sub": "usr_bob"})));
    let (before, _) = state(&fleet, list(900, &["usr_alice"]));
    fleet.told(&before, Stage::Healthy).await;
    fleet.kill();
    let (statement, new) = paged(&fleet, Stream::Revocations, list(4_000, &["usr_bob"]));
    let sealed = fleet.sealed(&statement);
    // As far as the disk had come: all pages, and the statement that names them, but not in its place.
    for page in &new {
        fleet.hand_out(page.name.digest, Blob::Whole(page.bytes.clone()));
        std::fs::write(folder(&gateway).join(page.name.digest.to_string()), &page.bytes).unwrap();
    }
    std::fs::write(folder(&gateway).with_file_name("probation.json"), &sealed).unwrap();
    gateway.restart().await.unwrap();
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (401, 200));
    let next = fleet.offer(Stream::Revocations, statement.position, &sealed);
    fleet.revive();
    fleet.told(&next, Stage::Healthy).await;
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (200, 401));

    // It is in its place: another restart begins with it.
    fleet.kill();
    gateway.restart().await.unwrap();
    assert_eq!((me(&gateway, &alice).await, me(&gateway, &bob).await), (200, 401));
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

/// Whatever the control plane has, over connections that end after so many bytes.
struct Mirror {
    url: String,
    connections: Arc<AtomicUsize>,
}

impl Mirror {
    async fn of(fleet: &ControlPlane, bytes: u64) -> Self {
        let behind = fleet.membership().control_plane;
        let behind: u16 = behind.rsplit(':').next().unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                    let ((mut asks, mut hears), (answers, mut is_asked)) =
                        (client.into_split(), server.into_split());
                    let mut answers = answers.take(bytes);
                    tokio::select! {
                        _ = copy(&mut asks, &mut is_asked) => {}
                        _ = copy(&mut answers, &mut hears) => {}
                    }
                });
            }
        });
        Self {
            url: format!("https://localhost:{port}/fleet/v1/blobs"),
            connections,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn the_pages_of_a_mirror_come_over_one_connection_and_over_the_next_where_that_ends() {
    for (bytes, connections) in [(u64::MAX, 1..=1), (150_000, 3..=6)] {
        let fleet = ControlPlane::start(POLICY).await;
        let mirror = Mirror::of(&fleet, bytes).await;
        let gateway = GatewayProcess::with(POLICY, |settings| {
            fleet.join(settings);
            settings.fleet.as_mut().unwrap().mirrors = vec![mirror.url.clone()];
        })
        .await;
        let before = mirror.connections();
        let (revoked, pages) = state(&fleet, list(6_000, &["usr_alice"]));
        let total: u64 = pages.iter().map(|page| page.name.bytes).sum();
        assert!((400_000..600_000).contains(&total) && pages.len() > 20, "{total}");
        fleet.told(&revoked, Stage::Healthy).await;
        assert_eq!(me(&gateway, &fleet.token(&json!({}))).await, 401);
        let opened = mirror.connections() - before;
        assert!(
            connections.contains(&opened),
            "{opened} connections of {bytes} bytes"
        );
    }
}

#[tokio::test]
async fn as_many_entries_as_a_list_may_have_are_in_force_and_blocks_come_in_pages_too() {
    const MOST: usize = 15_000;
    let fleet = ControlPlane::start(POLICY).await;
    let gateway = member(&fleet, LONG).await;
    let token = fleet.token(&json!({}));
    let mut long = list(0, &[]);
    long.revocations = (0..MOST)
        .map(|number| Revocation::Token {
            issuer: "https://issuer.example".to_owned(),
            jti: format!("{number:0>333}"),
            until: 4_000_000_000,
        })
        .collect();
    long.revocations[1] = lock_out("usr_alice");
    let (revoked, pages) = state(&fleet, long);
    let total: u64 = pages.iter().map(|page| page.name.bytes).sum();
    assert!((5_500_000..8 * 1024 * 1024).contains(&total), "{total} bytes");
    fleet.told(&revoked, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401);

    let network = |address: String, prefix| Revocation::Network {
        address: address.parse().unwrap(),
        prefix,
        until: 4_000_000_000,
    };
    let mut networks = list(0, &[]);
    let others = (1..MOST).map(|number| network(format!("2001:db8::{number:x}"), 128));
    networks.revocations = std::iter::once(network("127.0.0.0".to_owned(), 8))
        .chain(others)
        .collect();
    let (blocked, pages) = state_in(&fleet, Stream::Blocks, networks);
    assert!(pages.len() > 50, "{} pages", pages.len());
    fleet.told(&blocked, Stage::Healthy).await;
    assert_eq!(gateway.get("/api/v1/rates/eur-usd").await.status(), 403);
    let (over, _) = state_in(&fleet, Stream::Blocks, list(0, &[]));
    fleet.told(&over, Stage::Healthy).await;
    assert_eq!(me(&gateway, &token).await, 401, "what is revoked stays so");
}
