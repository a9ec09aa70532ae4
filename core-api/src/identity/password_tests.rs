//! Passwords through the router: what is accepted, how they change, and what older systems left (IDN-1, IDN-4).

use std::fs;
use std::io::Cursor;
use std::path::Path;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use futures::future::{join, join_all};
use passwords::Profile;
use serde_json::json;
use service_runtime::clock::Clock;
use service_runtime::settings::Secret;
use service_runtime::shutdown::Shutdown;

use super::client_network::ClientNetwork;
use super::hash_queue::Priority;
use crate::settings::Settings;
use crate::state::AppState;
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store;

const NEW: &str = "a quartz lagoon at noon";

async fn register(bank: &TestBank, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "full_name": "Test Person", "password": password});
    bank.post("/api/v1/auth/register").json(&body).send().await
}

async fn change(bank: &TestBank, customer: &Customer, old: &str, new: &str) -> Answer {
    let body = json!({"current_password": old, "new_password": new});
    bank.post("/api/v1/me/password")
        .by(customer)
        .json(&body)
        .send()
        .await
}

async fn log_in(bank: &TestBank, customer: &Customer) -> Customer {
    let login = bank.login(&customer.email, PASSWORD).await;
    login.assert_status(200);
    Customer {
        access: login.text("access_token"),
        refresh: login.text("refresh_token"),
        ..customer.clone()
    }
}

async fn me(bank: &TestBank, customer: &Customer) -> u16 {
    bank.get("/api/v1/me").by(customer).send().await.status
}

/// Another process at the same database, and its state.
fn beside(bank: &TestBank, settings: &Settings) -> anyhow::Result<(TestBank, AppState)> {
    let db = bank.db.pool_as("portico_core").into();
    let state = crate::run::state(settings, db, Clock::system(), &Shutdown::new())?;
    let router = crate::router::router(state.clone())?;
    let router = service_runtime::http::layers(router, "core-api");
    Ok((bank.served_by(router), state))
}

/// Puts a file of these breached passwords in place, as the command does.
fn write_filter(path: &Path, passwords: &[&str]) {
    let mut lines: Vec<String> = passwords
        .iter()
        .map(|password| {
            let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
            let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
            format!("{hex}:3\n")
        })
        .collect();
    lines.sort();
    let mut file = Cursor::new(Vec::new());
    passwords::build(lines.concat().as_bytes(), 1, &mut file).unwrap();
    let draft = path.with_extension("new");
    fs::write(&draft, file.into_inner()).unwrap();
    fs::rename(&draft, path).unwrap();
}

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_the_old_password() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (phone, stranger) = (log_in(&bank, &alice).await, bank.customer("bob").await);
    change(&bank, &alice, PASSWORD, NEW).await.assert_status(204);

    let sessions = [&alice, &phone, &stranger];
    let mut live = Vec::new();
    for session in sessions {
        live.push(me(&bank, session).await);
    }
    assert_eq!(live, [200, 401, 200]);
    let refreshed = bank
        .post("/api/v1/auth/refresh")
        .json(&json!({"refresh_token": phone.refresh}))
        .send()
        .await;
    refreshed.assert_problem(401, "session-ended");
    bank.login(&alice.email, PASSWORD)
        .await
        .assert_problem(401, "invalid-credentials");
    bank.login(&alice.email, NEW).await.assert_status(200);

    let told = store::texts(
        &bank.owner,
        "SELECT name FROM control.revocation WHERE kind = 'session'",
    )
    .await;
    assert_eq!(told, [bank.claims(&phone).sid.unwrap()], "gateways are told");
    let trail = store::texts(
        &bank.owner,
        "SELECT action || ' ' || outcome FROM core.audit_event WHERE action IN ('session.revoked', 'password.changed') ORDER BY audit_event_id",
    )
    .await;
    assert_eq!(
        trail,
        ["session.revoked password_changed", "password.changed done"]
    );
    let events = "SELECT kind FROM core.outbox_event WHERE kind IN ('session.revoked', 'password.changed') ORDER BY outbox_event_id";
    assert_eq!(
        store::texts(&bank.owner, events).await,
        ["session.revoked", "password.changed"]
    );
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let phone = log_in(&bank, &alice).await;
    change(&bank, &alice, "a wrong password", NEW)
        .await
        .assert_problem(403, "wrong-password");
    change(&bank, &alice, &"long ".repeat(200), NEW)
        .await
        .assert_problem(403, "wrong-password");

    let weak = change(&bank, &alice, PASSWORD, "alice").await;
    weak.assert_problem(422, "validation-failed");
    let codes = ["too_short", "low_diversity", "too_guessable", "contains_context"];
    assert_eq!(
        weak.faults(),
        codes.map(|code| ("/new_password".to_owned(), code.to_owned()))
    );
    let same = change(&bank, &alice, PASSWORD, PASSWORD).await;
    assert_eq!(same.faults(), [("/new_password".to_owned(), "reused".to_owned())]);

    let nobody = json!({"current_password": PASSWORD, "new_password": NEW});
    bank.post("/api/v1/me/password")
        .json(&nobody)
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!((me(&bank, &alice).await, me(&bank, &phone).await), (200, 200));
    bank.login(&alice.email, PASSWORD).await.assert_status(200);
    let refused = "SELECT count(*) FROM core.audit_event WHERE action = 'password.changed' AND outcome = 'wrong_password'";
    assert_eq!(store::number(&bank.owner, refused).await, 2);

    bank.post("/api/v1/auth/logout")
        .by(&alice)
        .send()
        .await
        .assert_status(204);
    change(&bank, &alice, PASSWORD, NEW)
        .await
        .assert_problem(401, "session-ended");
}

#[tokio::test]
async fn of_two_changes_at_once_one_is_done() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let phone = log_in(&bank, &alice).await;
    let others = ["a quartz lagoon at dawn", "a quartz lagoon at dusk"];
    let (first, second) = join(
        change(&bank, &alice, PASSWORD, others[0]),
        change(&bank, &phone, PASSWORD, others[1]),
    )
    .await;
    let mut answers = [first.status, second.status];
    answers.sort_unstable();
    assert_eq!(answers[0], 204, "{answers:?}");
    assert!([401, 403, 409].contains(&answers[1]), "{answers:?}");
    let mut working = Vec::new();
    for password in [PASSWORD, others[0], others[1]] {
        working.push(bank.login(&alice.email, password).await.status == 200);
    }
    assert_eq!(working.iter().filter(|works| **works).count(), 1, "{working:?}");
}

/// The hash of the old password was compared before, the session is opened after the change.
#[tokio::test]
async fn a_log_in_that_is_overtaken_by_a_change_opens_no_session() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let pool = bank.db.pool_as("portico_core");
    let before = super::store::login_candidate(&pool, &alice.email)
        .await
        .unwrap()
        .unwrap();
    change(&bank, &alice, PASSWORD, NEW).await.assert_status(204);
    let hold = super::store::hold_password(&pool, before.user_id, before.password_version);
    assert!(!hold.await.unwrap());
    let after = super::store::login_candidate(&pool, &alice.email)
        .await
        .unwrap()
        .unwrap();
    let hold = super::store::hold_password(&pool, after.user_id, after.password_version);
    assert!(hold.await.unwrap());

    // While a log-in holds the password, a change waits: it ends the session that comes of it.
    let mut held = pool.begin().await.unwrap();
    super::store::hold_password(&mut *held, after.user_id, after.password_version)
        .await
        .unwrap();
    let mut conn = pool.acquire().await.unwrap();
    store::execute_on(&mut conn, "SET lock_timeout = '50ms'")
        .await
        .unwrap();
    let user = after.user_id;
    let bind = format!("SELECT set_config('app.user_id', '{user}', false)");
    store::execute_on(&mut conn, &bind).await.unwrap();
    let hash = super::store::NewHash {
        version: after.password_version,
        hash: "$argon2id$x",
    };
    let session = uuid::Uuid::nil();
    let waited = super::store::change_password(&mut conn, session, hash, 600, "r").await;
    let code = waited
        .err()
        .unwrap()
        .as_database_error()
        .unwrap()
        .code()
        .unwrap()
        .into_owned();
    assert_eq!(code, "55P03", "lock_not_available");
}

#[tokio::test]
async fn a_hash_by_bcrypt_lets_its_owner_in_and_is_replaced() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let stored = "SELECT password_hash FROM core.user WHERE email = 'alice@example.com'";
    for prefix in ["$2a$", "$2b$", "$2y$"] {
        let old = bcrypt::hash("short", 4).unwrap().replacen("$2b$", prefix, 1);
        let import =
            format!("UPDATE core.user SET password_hash = '{old}' WHERE email = 'alice@example.com'");
        store::execute(&bank.owner, &import).await.unwrap();
        bank.login(&alice.email, "wrong")
            .await
            .assert_problem(401, "invalid-credentials");
        assert_eq!(store::texts(&bank.owner, stored).await, [old]);
        bank.login(&alice.email, "short").await.assert_status(200);
        let renewed = store::texts(&bank.owner, stored).await.remove(0);
        assert!(renewed.starts_with("$argon2id$"), "{renewed}");
        bank.login(&alice.email, "short").await.assert_status(200);
        assert_eq!(store::texts(&bank.owner, stored).await, [renewed]);
    }
    // No import brings what would hold a thread for minutes, or what is no hash.
    let good = bcrypt::hash("short", 4).unwrap();
    for bad in [
        good.replacen("$04$", "$15$", 1),
        good.replacen("$2b$", "$2x$", 1),
        "short".to_owned(),
    ] {
        let import =
            format!("UPDATE core.user SET password_hash = '{bad}' WHERE email = 'alice@example.com'");
        assert!(store::execute(&bank.owner, &import).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_new_pepper_takes_over_as_people_log_in() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let key_id = async || {
        let hash = store::texts(&bank.owner, "SELECT password_hash FROM core.user")
            .await
            .remove(0);
        hash.split("keyid=")
            .nth(1)
            .unwrap()
            .split('$')
            .next()
            .unwrap()
            .to_owned()
    };
    let old = key_id().await;
    let mut rotated = settings();
    rotated.password.peppers = vec![rotated.password.pepper.clone()];
    rotated.password.pepper = Secret::from("another pepper of the tests".to_owned());
    let (rotated, _) = beside(&bank, &rotated).unwrap();
    rotated
        .login(&alice.email, "wrong")
        .await
        .assert_problem(401, "invalid-credentials");
    assert_eq!(key_id().await, old);
    rotated.login(&alice.email, PASSWORD).await.assert_status(200);
    assert_ne!(key_id().await, old);
    // The old process does not know the new pepper: that is why it is accepted everywhere first.
    bank.login(&alice.email, PASSWORD)
        .await
        .assert_problem(500, "internal");
}

#[tokio::test]
async fn breached_passwords_are_refused_and_a_new_file_is_taken_over_when_it_is_whole() {
    let bank = TestBank::new().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("breached.bf16");
    let mut settings = settings();
    settings.password.breach_filter = Some(path.clone());
    let missing = beside(&bank, &settings).err().unwrap();
    assert!(
        format!("{missing:#}").contains("password.breach_filter"),
        "{missing:#}"
    );

    write_filter(&path, &[NEW]);
    let (bank, state) = beside(&bank, &settings).unwrap();
    let breached = async |password: &str| {
        let answer = register(&bank, "carol@example.com", password).await;
        match answer.status {
            202 => false,
            _ => answer.faults() == [("/password".to_owned(), "breached".to_owned())],
        }
    };
    assert_eq!((breached(NEW).await, breached(PASSWORD).await), (true, false));
    let file = state.identity.passwords.breached_file().unwrap();
    write_filter(&path, &[PASSWORD]);
    assert!(breached(NEW).await, "nobody has looked yet");
    file.look_again();
    assert_eq!((breached(NEW).await, breached(PASSWORD).await), (false, true));

    // Half a file, none, and a foreign one: the last good one stays.
    let whole = fs::read(&path).unwrap();
    for bad in [
        Some(&whole[..whole.len() / 2]),
        None,
        Some(b"PK\x03\x04".as_slice()),
    ] {
        match bad {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        file.look_again();
        assert_eq!((breached(NEW).await, breached(PASSWORD).await), (false, true));
    }
    write_filter(&path, &[NEW]);
    file.look_again();
    assert_eq!((breached(NEW).await, breached(PASSWORD).await), (true, false));
}

#[tokio::test]
async fn staff_have_rules_of_their_own() {
    let bank = TestBank::new().await;
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings();
    settings.password.profile = Profile::PciStaff;
    settings.password.breach_filter = Some(directory.path().join("breached.bf16"));
    write_filter(&directory.path().join("breached.bf16"), &[]);
    let (bank, _) = beside(&bank, &settings).unwrap();
    let refused = register(&bank, "dan@example.com", PASSWORD).await;
    assert_eq!(
        refused.faults(),
        [("/password".to_owned(), "low_diversity".to_owned())]
    );
    register(&bank, "dan@example.com", "quartz lagoon 81")
        .await
        .assert_status(202);
}

#[tokio::test]
async fn when_all_places_are_taken_a_log_in_is_told_to_come_back_and_nothing_is_looked_up() {
    let bank = TestBank::new().await;
    let mut settings = settings();
    settings.password.queue = 2;
    settings.password.max_parallel = 1;
    settings.password.max_per_address = 2;
    let (bank, state) = beside(&bank, &settings).unwrap();
    let passwords = &state.identity.passwords;
    let held = ClientNetwork::of(&http::HeaderMap::new());
    let places: Vec<_> = (0..2)
        .map(|_| passwords.take(Priority::LogIn, held).ok().unwrap())
        .collect();
    let attempts = "SELECT count(*) FROM core.audit_event";
    let before = store::number(&bank.owner, attempts).await;
    let busy = bank.login("alice@example.com", PASSWORD).await;
    busy.assert_problem(503, "auth-busy");
    assert_eq!(
        (&busy.json["code"], &busy.json["retry_after"]),
        (&json!("auth_busy"), &json!(2))
    );
    assert_eq!(busy.headers["retry-after"], "2");
    let busy = register(&bank, "erin@example.com", PASSWORD).await;
    busy.assert_problem(503, "auth-busy");
    assert_eq!(busy.json["retry_after"], 3);
    assert_eq!(store::number(&bank.owner, attempts).await, before);
    drop(places);
    register(&bank, "erin@example.com", PASSWORD)
        .await
        .assert_status(202);

    // One address has two places, whoever else waits.
    let one: http::HeaderMap = [(
        http::HeaderName::from_static("x-forwarded-for"),
        "192.0.2.7".parse().unwrap(),
    )]
    .into_iter()
    .collect();
    let network = ClientNetwork::of(&one);
    let mut settings = settings.clone();
    settings.password.queue = 32;
    let (bank, state) = beside(&bank, &settings).unwrap();
    let places: Vec<_> = (0..2)
        .map(|_| {
            state
                .identity
                .passwords
                .take(Priority::LogIn, network)
                .ok()
                .unwrap()
        })
        .collect();
    let from = async |address: &str| {
        let body = json!({"email": "erin@example.com", "password": PASSWORD});
        let call = bank.post("/api/v1/auth/login").header("x-forwarded-for", address);
        call.json(&body).send().await.status
    };
    assert_eq!((from("192.0.2.7").await, from("192.0.2.8").await), (503, 200));
    drop(places);
    assert_eq!(from("192.0.2.7").await, 200);
}

#[tokio::test]
async fn a_flood_of_log_ins_leaves_no_place_behind() {
    let bank = TestBank::new().await;
    let mut settings = settings();
    settings.password.queue = 4;
    let (bank, state) = beside(&bank, &settings).unwrap();
    let answers = join_all((0..100).map(|number| {
        let email = format!("guess-{number}@example.com");
        let bank = &bank;
        async move { bank.login(&email, PASSWORD).await.status }
    }))
    .await;
    assert!(
        answers.iter().all(|status| [401, 503].contains(status)),
        "{answers:?}"
    );
    let passwords = &state.identity.passwords;
    let free = (0..4).map(|_| passwords.take(Priority::LogIn, ClientNetwork::Unknown).ok());
    assert!(free.collect::<Option<Vec<_>>>().is_some());
}
