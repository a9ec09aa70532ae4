//! The gate through the router. Time is the database's: the tests move the clock of the gate there.

use std::collections::BTreeSet;

use futures::future::join_all;
use http::Method;
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::shutdown::Shutdown;

use super::*;
use crate::state::AppState;
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store as db;

const WRONG: &str = "not the password at all";
const MINUTE: i64 = 60;

/// Moves the clock of the gate so many seconds ahead of the present.
async fn move_clock(bank: &TestBank, seconds: i64) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION core.gate_time() RETURNS timestamptz LANGUAGE sql VOLATILE
         SET search_path = pg_catalog, pg_temp AS 'SELECT clock_timestamp() + interval ''{seconds} seconds'''"
    );
    db::execute(&bank.owner, &sql).await.unwrap();
}

async fn login_from(bank: &TestBank, address: &str, name: &str, password: &str) -> Answer {
    bank.post("/api/v1/auth/login")
        .header("x-forwarded-for", address)
        .json(&json!({"email": name, "password": password}))
        .send()
        .await
}

/// One attempt from an address of its own.
async fn login_elsewhere(bank: &TestBank, number: usize, name: &str, password: &str) -> Answer {
    let address = format!("10.{}.{}.{}", number / 65_536, number / 256 % 256, number % 256);
    login_from(bank, &address, name, password).await
}

async fn login_on(bank: &TestBank, cookie: &str, name: &str, password: &str) -> Answer {
    bank.post("/api/v1/auth/login")
        .header("cookie", cookie)
        .header("x-forwarded-for", "192.0.2.1")
        .json(&json!({"email": name, "password": password}))
        .send()
        .await
}

/// The cookie of a device that signed in.
#[track_caller]
fn device_cookie(answer: &Answer) -> String {
    let cookie = answer.assert_status(200).headers["set-cookie"].to_str().unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("__Host-dev=1."), "{cookie}");
    assert_eq!(
        attributes,
        "Max-Age=15552000; Path=/; Secure; HttpOnly; SameSite=Lax"
    );
    pair.to_owned()
}

/// Fails unless the attempt was refused, with equal times in head and body. Gives the time, seconds.
#[track_caller]
fn assert_too_many(answer: &Answer) -> i64 {
    answer.assert_problem(429, "too-many-attempts");
    assert_eq!(answer.json["code"], "too_many_attempts");
    let retry_after: i64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.json["retry_after"], retry_after);
    retry_after
}

/// How many passwords were verified and found wrong.
async fn verified(bank: &TestBank) -> i64 {
    db::number(
        &bank.owner,
        "SELECT count(*) FROM core.audit_event WHERE action = 'login.refused'",
    )
    .await
}

async fn fail_elsewhere(bank: &TestBank, times: usize, name: &str) {
    for number in 0..times {
        login_elsewhere(bank, number, name, WRONG)
            .await
            .assert_problem(401, "invalid-credentials");
    }
}

fn process(bank: &TestBank) -> (TestBank, AppState) {
    let pool = bank.db.pool_as("portico_core").into();
    let state = crate::run::state(&settings(), pool, Clock::system(), &Shutdown::new()).unwrap();
    let router = crate::router::router(state.clone()).unwrap();
    (
        bank.served_by(service_runtime::http::layers(router, "core-api")),
        state,
    )
}

#[tokio::test]
async fn l1_l2_five_failures_then_429_also_for_the_right_password_which_is_not_looked_at() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    for (number, password) in [(6, WRONG), (7, PASSWORD)] {
        let answer = login_elsewhere(&bank, number, " Alice@Example.COM", password).await;
        assert!((840..=900).contains(&assert_too_many(&answer)));
    }
    assert_eq!(verified(&bank).await, 5);
    let trail = "SELECT action || ' ' || outcome FROM core.audit_event
                  WHERE action LIKE 'account.%' AND actor_id IS NOT NULL";
    assert_eq!(db::texts(&bank.owner, trail).await, ["account.locked failures"]);
    let told = "SELECT kind || payload::text FROM core.outbox_event WHERE kind = 'account.locked'";
    assert_eq!(
        db::texts(&bank.owner, told).await,
        [r#"account.locked{"for_s": 900}"#]
    );
}

#[tokio::test]
async fn l3_the_lock_ends_by_itself_and_a_success_leaves_no_counter() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    move_clock(&bank, 15 * MINUTE - 5).await;
    assert_too_many(&login_elsewhere(&bank, 9, "alice@example.com", PASSWORD).await);
    move_clock(&bank, 15 * MINUTE).await;
    login_elsewhere(&bank, 9, "alice@example.com", PASSWORD)
        .await
        .assert_status(200);
    let names = "SELECT count(*) FROM core.gate_counter WHERE kind = 'name'";
    assert_eq!(db::number(&bank.owner, names).await, 0);
}

#[tokio::test]
async fn l4_a_device_that_signed_in_before_does_so_while_the_name_is_locked() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    bank.register("bob@example.com").await;
    let first = bank.login("alice@example.com", PASSWORD).await;
    let cookie = device_cookie(&first);
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    fail_elsewhere(&bank, 5, "bob@example.com").await;
    let again = login_on(&bank, &cookie, "alice@example.com", PASSWORD).await;
    assert_ne!(device_cookie(&again), "", "it is trusted anew");
    assert_too_many(&login_elsewhere(&bank, 9, "alice@example.com", PASSWORD).await);
    // It is for one name, and a changed one is none.
    assert_too_many(&login_on(&bank, &cookie, "bob@example.com", PASSWORD).await);
    assert_too_many(&login_on(&bank, &format!("{cookie}x"), "alice@example.com", PASSWORD).await);
    // An application without cookies asks for a header.
    let app = bank.post("/api/v1/auth/login").header("x-device-token", "new");
    let body = json!({"email": "carol@example.com", "password": PASSWORD});
    bank.register("carol@example.com").await;
    let signed_in = app.json(&body).send().await;
    let token = signed_in.assert_status(200).headers["x-device-token"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(!signed_in.headers.contains_key("set-cookie"));
    fail_elsewhere(&bank, 5, "carol@example.com").await;
    let app = bank.post("/api/v1/auth/login").header("x-device-token", &token);
    app.json(&body).send().await.assert_status(200);
}

#[tokio::test]
async fn l5_two_hundred_guesses_at_once_over_two_processes_are_five() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let other = process(&bank).0;
    let guesses = (0..200).map(|number| {
        let bank = if number % 2 == 0 { &bank } else { &other };
        login_elsewhere(bank, number, "alice@example.com", WRONG)
    });
    let answers = join_all(guesses).await;
    let told = answers.iter().filter(|answer| answer.status == 401).count();
    assert_eq!(told, 5);
    assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
    assert_eq!(verified(&bank).await, 5);
}

#[tokio::test]
async fn l6_fifty_right_log_ins_at_once_are_all_let_in() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    // Four failures before: there is one place left, and each takes its turn.
    fail_elsewhere(&bank, 4, "alice@example.com").await;
    let answers = join_all((0..50).map(|_| bank.login("alice@example.com", PASSWORD))).await;
    for answer in answers {
        answer.assert_status(200);
    }
}

#[tokio::test]
async fn l7_an_address_that_tries_a_hundred_names_is_blocked_and_locks_nobody() {
    let bank = TestBank::new().await;
    let name = |number: usize| format!("customer{number}@example.com");
    bank.register(&name(0)).await;
    let mut statuses = Vec::new();
    for number in 0..100 {
        statuses.push(
            login_from(&bank, "203.0.113.7", &name(number), WRONG)
                .await
                .status,
        );
    }
    let (answered, refused) = statuses.split_at(10);
    assert!(answered.iter().all(|status| *status == 401), "{answered:?}");
    assert!(refused.iter().all(|status| *status == 429), "{refused:?}");
    let locked = "SELECT count(*) FROM core.audit_event WHERE action = 'account.locked'";
    assert_eq!(db::number(&bank.owner, locked).await, 0);
    login_from(&bank, "203.0.113.8", &name(0), PASSWORD)
        .await
        .assert_status(200);
    let blocked = login_from(&bank, "203.0.113.7", &name(0), PASSWORD).await;
    assert!((540..=600).contains(&assert_too_many(&blocked)));
    // Gateways are told.
    let told = "SELECT network::text || ' ' || scope || ' ' || author FROM control.block
                 WHERE until BETWEEN now() + interval '9 min' AND now() + interval '11 min'";
    assert_eq!(
        db::texts(&bank.owner, told).await,
        ["203.0.113.7/32 sign_in core-api"]
    );
    move_clock(&bank, 10 * MINUTE).await;
    login_from(&bank, "203.0.113.7", &name(0), PASSWORD)
        .await
        .assert_status(200);
}

#[tokio::test]
async fn l8_a_thousand_addresses_guess_five_times_and_the_owners_device_is_let_in() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let cookie = device_cookie(&bank.login("alice@example.com", PASSWORD).await);
    for round in 0..10 {
        let guesses =
            (0..100).map(|number| login_elsewhere(&bank, round * 100 + number, "alice@example.com", WRONG));
        let (answers, owner) = tokio::join!(
            join_all(guesses),
            login_on(&bank, &cookie, "alice@example.com", PASSWORD)
        );
        owner.assert_status(200);
        assert!(answers.iter().all(|answer| [401, 429].contains(&answer.status)));
        assert_eq!(verified(&bank).await, 5, "in round {round}");
    }
}

#[tokio::test]
async fn l8_a_device_loses_its_trust_with_the_tenth_failure() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let cookie = device_cookie(&bank.login("alice@example.com", PASSWORD).await);
    for _ in 0..10 {
        let guess = login_on(&bank, &cookie, "alice@example.com", WRONG).await;
        guess.assert_problem(401, "invalid-credentials");
    }
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    assert_too_many(&login_on(&bank, &cookie, "alice@example.com", PASSWORD).await);
    let trail = "SELECT action || ' ' || outcome FROM core.audit_event WHERE action LIKE 'device.%' ORDER BY audit_event_id";
    assert_eq!(
        db::texts(&bank.owner, trail).await,
        ["device.trusted done", "device.distrusted failures"]
    );
}

/// What a client sees of an attempt, without the id of the request.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let mut json = answer.json.clone();
    json["instance"] = Value::Null;
    let changing = [
        "x-request-id",
        "traceparent",
        "traceresponse",
        "date",
        "content-length",
    ];
    let headers = answer
        .headers
        .iter()
        .filter(|(name, _)| !changing.contains(&name.as_str()));
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (answer.status, headers.collect(), json)
}

#[tokio::test]
async fn l9_a_name_that_nobody_has_gets_the_same_answers_in_the_same_order() {
    let bank = TestBank::new().await;
    bank.register("known@example.com").await;
    let mut clock = 0;
    let mut number = 0;
    for minutes in [15, 30, 60, 60] {
        for _ in 0..7 {
            number += 1;
            let known = login_elsewhere(&bank, number, "known@example.com", WRONG).await;
            let nobody = login_elsewhere(&bank, number, "nobody@example.com", WRONG).await;
            let (mut one, mut other) = (seen(&known), seen(&nobody));
            if known.status == 429 {
                // The two locks began a moment apart.
                let times = (assert_too_many(&known), assert_too_many(&nobody));
                assert!((times.0 - times.1).abs() <= 1, "{times:?}");
                for seen in [&mut one, &mut other] {
                    seen.1.retain(|(name, _)| name != "retry-after");
                    seen.2["retry_after"] = Value::Null;
                }
            }
            assert_eq!(one, other);
            assert_eq!(
                known.bytes.len().abs_diff(nobody.bytes.len()),
                0,
                "{} {}",
                known.json,
                nobody.json
            );
        }
        clock += minutes * MINUTE + 1;
        move_clock(&bank, clock).await;
    }
}

#[tokio::test]
async fn l11_a_lock_outlives_the_process() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    let restarted = process(&bank).0;
    assert_too_many(&login_elsewhere(&restarted, 9, "alice@example.com", PASSWORD).await);
}

#[tokio::test]
async fn l12_refreshing_neither_is_locked_nor_lifts_the_lock() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    fail_elsewhere(&bank, 5, &alice.email).await;
    let body = json!({"refresh_token": alice.refresh});
    let refreshed = bank.post("/api/v1/auth/refresh").json(&body).send().await;
    refreshed.assert_status(200);
    assert_too_many(&login_elsewhere(&bank, 9, &alice.email, PASSWORD).await);
    let access = refreshed.text("access_token");
    let logout = bank.post("/api/v1/auth/logout").bearer(&access);
    logout.send().await.assert_status(204);
    assert_too_many(&login_elsewhere(&bank, 9, &alice.email, PASSWORD).await);
}

#[tokio::test]
async fn l13_failures_are_forgotten_when_no_other_comes_for_a_while() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    fail_elsewhere(&bank, 4, "alice@example.com").await;
    move_clock(&bank, 15 * MINUTE).await;
    fail_elsewhere(&bank, 4, "alice@example.com").await;
    login_elsewhere(&bank, 9, "alice@example.com", PASSWORD)
        .await
        .assert_status(200);
}

/// Operations that verify a password, each with a body that has this one, and the status that says it is wrong.
fn verifying(operation: &str, name: &str, password: &str) -> Option<(Value, u16)> {
    let (body, wrong) = match operation {
        "login" => (json!({"email": name, "password": password}), 401),
        "change_password" => (
            json!({"current_password": password, "new_password": "a quartz lagoon at noon"}),
            403,
        ),
        "begin_totp" | "begin_passkey" => (json!({"password": password}), 403),
        "change_email" => (json!({"email": format!("new.{name}"), "password": password}), 403),
        _ => return None,
    };
    Some((body, wrong))
}

/// Operations of `identity` that verify no password, and why a guesser gains nothing there.
const NOTHING_TO_GUESS: [(&str, &str); 29] = [
    ("register", "sets a password, and compares it with none"),
    ("refresh", "takes 256 random bits; uses them up"),
    ("verify_email", "takes 256 random bits; uses them up"),
    ("reset_password", "takes 256 random bits; sets a password"),
    ("keep_email", "takes 256 random bits; uses them up"),
    ("unlock", "takes 256 random bits; uses them up"),
    ("complete_login", "takes a code: see the tests of second factors"),
    ("step_up", "takes a code: see the tests of second factors"),
    (
        "confirm_totp",
        "takes a code of a secret that the caller was given",
    ),
    (
        "begin_passkey_login",
        "takes nothing; the answer is the same for everybody",
    ),
    (
        "complete_passkey_login",
        "takes a signature over 256 random bits; uses them up",
    ),
    (
        "confirm_passkey",
        "takes the answer to 256 random bits that the caller was given",
    ),
    ("begin_passkey_step_up", "needs a token"),
    ("name_passkey", "needs a token"),
    ("remove_passkey", "takes 256 random bits; uses them up"),
    ("resend_verification", "sends a mail"),
    ("forgot_password", "sends a mail"),
    ("send_unlock", "sends a mail"),
    ("logout", "needs a token"),
    ("show_me", "needs a token"),
    ("list_devices", "needs a token"),
    ("remove_device", "needs a token"),
    ("list_factors", "needs a token"),
    ("remove_totp", "takes 256 random bits; uses them up"),
    ("renew_recovery_codes", "takes 256 random bits; uses them up"),
    ("list_sessions", "needs a token"),
    ("name_session", "needs a token"),
    ("end_session", "needs a token"),
    ("end_sessions", "needs a token"),
];

/// Every operation of the document: its path, its method, and what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    });
    of_path.collect()
}

#[tokio::test]
async fn l15_every_operation_that_verifies_a_password_passes_the_gate() {
    let bank = TestBank::new().await;
    let document = serde_json::to_value(crate::openapi()).unwrap();
    let mut found = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        if operation["tags"] != json!(["identity"]) {
            assert!(
                !operation.to_string().contains("password"),
                "{path} is not tagged"
            );
            continue;
        }
        let id = operation["operationId"].as_str().unwrap();
        found.insert(id);
        if NOTHING_TO_GUESS.iter().any(|(known, _)| *known == id) {
            continue;
        }
        let customer = bank.customer(id).await;
        let name = &customer.email;
        let method: Method = method.to_uppercase().parse().unwrap();
        let attempt = async |number: usize, password: &str| {
            let (body, wrong) =
                verifying(id, name, password).unwrap_or_else(|| panic!("does {id} pass the gate?"));
            let call = bank.call(method.clone(), path).by(&customer).json(&body);
            let address = format!("10.0.{}.{number}", found.len());
            (call.header("x-forwarded-for", &address).send().await, wrong)
        };
        for number in 0..5 {
            let (answer, wrong) = attempt(number, WRONG).await;
            assert_eq!(answer.status, wrong, "{id}: {}", answer.json);
        }
        assert_too_many(&attempt(5, PASSWORD).await.0);
        // What is counted there is counted everywhere.
        assert_too_many(&login_elsewhere(&bank, 9, name, PASSWORD).await);
    }
    for (known, _) in NOTHING_TO_GUESS {
        assert!(found.contains(known), "{known} is no operation any more");
    }
}

#[tokio::test]
async fn a_right_password_of_a_change_forgets_the_failures_before() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    fail_elsewhere(&bank, 4, &alice.email).await;
    let new = "a quartz lagoon at noon";
    let change = json!({"current_password": PASSWORD, "new_password": new});
    let changed = bank.post("/api/v1/me/password").by(&alice).json(&change);
    changed.send().await.assert_status(204);
    fail_elsewhere(&bank, 4, &alice.email).await;
    login_elsewhere(&bank, 9, &alice.email, new)
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_device_that_is_known_is_hashed_for_before_everybody_else() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let cookie = device_cookie(&bank.login("alice@example.com", PASSWORD).await);
    let (_, state) = process(&bank);
    let priority = |cookie: &str, name: &str| {
        let request = http::Request::builder()
            .header("cookie", cookie)
            .body(())
            .unwrap();
        let visitor = Visitor::new(&request.into_parts().0, name);
        state.identity.gate.priority(&visitor)
    };
    assert_eq!(priority(&cookie, "Alice@example.com"), Priority::Trusted);
    assert_eq!(priority(&cookie, "bob@example.com"), Priority::LogIn);
    assert_eq!(priority("a=b", "alice@example.com"), Priority::LogIn);
    assert_eq!(
        priority(&format!("{cookie}x"), "alice@example.com"),
        Priority::LogIn
    );
}

#[tokio::test]
async fn l16_addresses_inside_one_network_are_one_and_no_address_is_one_too() {
    let bank = TestBank::new().await;
    let rotating = |number: usize| format!("2001:db8:0:1::{number:x}");
    let spoofed = |number: usize| format!("198.51.100.{number}, 203.0.113.7");
    let addresses: [&dyn Fn(usize) -> String; 2] = [&rotating, &spoofed];
    for (place, address) in addresses.into_iter().enumerate() {
        for number in 0..10 {
            let name = format!("name{place}.{number}@example.com");
            let answer = login_from(&bank, &address(number), &name, WRONG).await;
            answer.assert_problem(401, "invalid-credentials");
        }
        let next = login_from(&bank, &address(10), "another@example.com", WRONG).await;
        assert_too_many(&next);
    }
    let told = "SELECT network::text FROM control.block ORDER BY 1";
    assert_eq!(db::texts(&bank.owner, told).await, ["2001:db8:0:1::/64"]);
    login_from(&bank, "2001:db8:0:2::1", "another@example.com", WRONG)
        .await
        .assert_problem(401, "invalid-credentials");
}

#[tokio::test]
async fn a_verification_that_takes_too_long_is_no_guess_and_tells_nothing() {
    let bank = TestBank::new().await;
    let (_, state) = process(&bank);
    let gate = &state.identity.gate;
    let visitor = || {
        let request = http::Request::builder().body(()).unwrap();
        Visitor::new(&request.into_parts().0, "alice@example.com")
    };
    let passes = [
        gate.enter(&state.db, visitor()).await.unwrap(),
        gate.enter(&state.db, visitor()).await.unwrap(),
    ];
    move_clock(&bank, 11).await;
    let [one, other] = passes;
    assert_eq!(gate.fail(&state.db, one).await.unwrap_err().status(), 503);
    assert_eq!(gate.succeed(&state.db, other).await.unwrap_err().status(), 503);
    let left = "SELECT count(*) FROM core.gate_counter";
    assert_eq!(db::number(&bank.owner, left).await, 0);
}

#[tokio::test]
async fn without_its_counters_no_password_is_looked_at() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    db::execute(&bank.owner, "ALTER TABLE core.gate_counter RENAME TO gone")
        .await
        .unwrap();
    bank.login("alice@example.com", WRONG)
        .await
        .assert_problem(500, "internal");
    db::execute(&bank.owner, "ALTER TABLE core.gone RENAME TO gate_counter")
        .await
        .unwrap();
    // Nor with one that somebody damaged.
    fail_elsewhere(&bank, 1, "alice@example.com").await;
    let damage = r#"UPDATE core.gate_counter SET state = '{"failures": -1}' WHERE kind = 'name'"#;
    db::execute(&bank.owner, damage).await.unwrap();
    bank.login("alice@example.com", PASSWORD)
        .await
        .assert_problem(500, "internal");
    assert_eq!(verified(&bank).await, 1);
}

#[tokio::test]
async fn an_operator_unlocks_a_name_and_the_trail_says_so() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    let (_, state) = process(&bank);
    let unlock = async |name: &str| {
        let gate = &state.identity.gate;
        gate.unlock(&state.db, name, "cli").await.unwrap()
    };
    assert!(unlock("Alice@example.com").await);
    assert!(!unlock("nobody@example.com").await);
    login_elsewhere(&bank, 9, "alice@example.com", PASSWORD)
        .await
        .assert_status(200);
    let trail =
        "SELECT count(*) FROM core.audit_event WHERE action = 'account.unlocked' AND outcome = 'operator'";
    assert_eq!(db::number(&bank.owner, trail).await, 2);
}

async fn devices(bank: &TestBank, customer: &Customer) -> Vec<Value> {
    let answer = bank.get("/api/v1/me/devices").by(customer).send().await;
    answer.assert_status(200).json["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn people_see_and_remove_their_own_devices_and_nobody_elses() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let phone = bank
        .post("/api/v1/auth/login")
        .header("user-agent", "Phone 9")
        .json(&json!({"email": alice.email, "password": PASSWORD}))
        .send()
        .await;
    let cookie = device_cookie(&phone);
    let seen = devices(&bank, &alice).await;
    assert_eq!(seen.len(), 2);
    let id = seen[0]["id"].as_str().unwrap();
    assert!(id.starts_with("dev_"), "{id}");
    assert_eq!(seen[0]["description"], "Phone 9");
    let path = format!("/api/v1/me/devices/{id}");
    let remove = async |customer: &Customer| bank.call(Method::DELETE, &path).by(customer).send().await;
    remove(&bob).await.assert_problem(404, "not-found");
    remove(&alice).await.assert_status(204);
    remove(&alice).await.assert_problem(404, "not-found");
    assert_eq!(devices(&bank, &alice).await.len(), 1);
    fail_elsewhere(&bank, 5, &alice.email).await;
    assert_too_many(&login_on(&bank, &cookie, &alice.email, PASSWORD).await);
}

#[tokio::test]
async fn whoever_ends_every_session_trusts_no_device_any_more() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let cookie = device_cookie(&bank.login(&alice.email, PASSWORD).await);
    let end = async |query: &str| {
        let path = format!("/api/v1/me/sessions{query}");
        let ended = bank.call(Method::DELETE, &path).by(&alice).send().await;
        ended.assert_status(200);
    };
    end("?keep=current").await;
    assert_eq!(devices(&bank, &alice).await.len(), 2);
    end("").await;
    let trail = "SELECT DISTINCT outcome FROM core.audit_event WHERE action = 'device.distrusted'";
    assert_eq!(db::texts(&bank.owner, trail).await, ["sessions_ended"]);
    fail_elsewhere(&bank, 5, &alice.email).await;
    assert_too_many(&login_on(&bank, &cookie, &alice.email, PASSWORD).await);
}

#[tokio::test]
async fn of_more_than_twenty_devices_the_one_used_least_recently_is_trusted_no_more() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let mut cookies = Vec::new();
    for _ in 0..21 {
        cookies.push(device_cookie(&bank.login("alice@example.com", PASSWORD).await));
    }
    let kept = "SELECT count(*) FROM core.trusted_device";
    assert_eq!(db::number(&bank.owner, kept).await, 20);
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    assert_too_many(&login_on(&bank, &cookies[0], "alice@example.com", PASSWORD).await);
    login_on(&bank, &cookies[20], "alice@example.com", PASSWORD)
        .await
        .assert_status(200);
    // Half a year without it, and it is as any other.
    move_clock(&bank, 180 * 86_400 + 60).await;
    fail_elsewhere(&bank, 5, "alice@example.com").await;
    assert_too_many(&login_on(&bank, &cookies[20], "alice@example.com", PASSWORD).await);
}

#[tokio::test]
async fn counters_and_devices_that_say_nothing_any_more_are_removed() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    bank.login("alice@example.com", PASSWORD).await.assert_status(200);
    fail_elsewhere(&bank, 1, "alice@example.com").await;
    let (pool, shutdown) = (Pool::from(bank.db.pool_as("portico_core")), Shutdown::new());
    let left =
        "SELECT string_agg(kind, ' ' ORDER BY kind) || ' ' || (SELECT count(*) FROM core.trusted_device)
                  FROM core.gate_counter";
    purge::purge_once(&pool, &shutdown).await.unwrap();
    assert_eq!(db::texts(&bank.owner, left).await, ["name network pair 1"]);
    move_clock(&bank, 3 * 86_400).await;
    purge::purge_once(&pool, &shutdown).await.unwrap();
    assert_eq!(db::texts(&bank.owner, left).await, ["name 1"]);
    move_clock(&bank, 200 * 86_400).await;
    purge::purge_once(&pool, &shutdown).await.unwrap();
    assert_eq!(db::texts(&bank.owner, left).await, ["name 0"]);
}

#[tokio::test]
async fn other_rules_of_the_policy_are_carried_out_from_the_next_attempt_on() {
    let bank = TestBank::new().await;
    bank.register("alice@example.com").await;
    let (served, state) = process(&bank);
    let mut rules = Rules::default();
    rules.name.after = 2;
    state.identity.gate.rules.store(std::sync::Arc::new(rules));
    fail_elsewhere(&served, 2, "alice@example.com").await;
    assert_too_many(&login_elsewhere(&served, 9, "alice@example.com", PASSWORD).await);
}
