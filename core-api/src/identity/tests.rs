//! Identity through the router: the stories, every refusal, the rotation table, the races.

use custody::PrivateKey;
use futures::future::join_all;
use keyring::{Algorithm, SigningKey};
use serde_json::json;

use crate::settings::Settings;
use crate::tests::bank::{Customer, PASSWORD, TestBank, keks, settings};
use crate::tests::store;

async fn refresh(bank: &TestBank, token: &str, key: Option<&str>) -> crate::tests::bank::Answer {
    let call = bank
        .post("/api/v1/auth/refresh")
        .json(&json!({"refresh_token": token}));
    match key {
        Some(key) => call.key(key).send().await,
        None => call.send().await,
    }
}

async fn me(bank: &TestBank, access: &str) -> u16 {
    bank.get("/api/v1/me").bearer(access).send().await.status
}

/// Moves the consumption of every used refresh token into the past.
async fn age_consumption(bank: &TestBank, seconds: u32) {
    let sql = format!(
        "UPDATE core.refresh_token SET consumed_at = consumed_at - interval '{seconds} seconds' WHERE consumed_at IS NOT NULL"
    );
    assert!(store::execute(&bank.owner, &sql).await.unwrap() > 0);
}

#[tokio::test]
async fn a_person_registers_logs_in_looks_and_logs_out() {
    let bank = TestBank::new().await;
    let registered = bank.register("Alice@Example.com").await;
    assert_eq!(registered.assert_status(202).json, json!({"status": "accepted"}));

    let login = bank.login("alice@example.COM", PASSWORD).await;
    login.assert_status(200);
    assert_eq!(
        (&login.json["token_type"], &login.json["expires_in"]),
        (&json!("Bearer"), &json!(600))
    );
    assert_eq!(login.headers["cache-control"], "no-store");
    let access = login.text("access_token");

    let me = bank.get("/api/v1/me").bearer(&access).send().await;
    assert_eq!(me.assert_status(200).json["email"], "alice@example.com");
    assert!(me.text("id").starts_with("usr_"), "{}", me.json);
    assert_eq!(me.json["tenant"]["name"], "Default");

    bank.post("/api/v1/auth/logout")
        .bearer(&access)
        .send()
        .await
        .assert_status(204);
    // At once, although the token itself is still good.
    bank.get("/api/v1/me")
        .bearer(&access)
        .send()
        .await
        .assert_problem(401, "session-ended");
    bank.post("/api/v1/auth/logout")
        .bearer(&access)
        .send()
        .await
        .assert_problem(401, "session-ended");
    refresh(&bank, &login.text("refresh_token"), None)
        .await
        .assert_problem(401, "session-ended");

    let trail = store::texts(
        &bank.owner,
        "SELECT action || ' ' || outcome FROM core.audit_event ORDER BY audit_event_id",
    )
    .await;
    assert_eq!(
        trail,
        [
            "user.registered done",
            "session.opened done",
            "device.trusted done",
            "session.revoked logout"
        ]
    );
    let events = store::texts(
        &bank.owner,
        "SELECT kind FROM core.outbox_event ORDER BY outbox_event_id",
    )
    .await;
    assert_eq!(events, ["user.registered", "session.opened", "session.revoked"]);
}

/// What gateways are told of sessions that have ended.
async fn ended_sessions(bank: &TestBank) -> Vec<String> {
    let sql = "SELECT name || ' of ' || issuer FROM control.revocation
                WHERE kind = 'session' AND until BETWEEN now() + interval '9 min' AND now() + interval '11 min'";
    store::texts(&bank.owner, sql).await
}

#[tokio::test]
async fn gateways_are_told_of_a_session_that_has_ended_unless_their_list_is_half_full() {
    let bank = TestBank::new().await;
    let log_out = async |customer: &Customer| {
        let call = bank.post("/api/v1/auth/logout").bearer(&customer.access);
        call.send().await.assert_status(204);
    };
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let claims = bank.claims(&alice);
    log_out(&alice).await;
    let ended = format!("{} of {}", claims.sid.unwrap(), claims.iss);
    assert_eq!(ended_sessions(&bank).await, [ended]);

    let full = "UPDATE control.denial_list SET most_entries = 2 WHERE list = 'revocations'";
    store::execute(&bank.owner, full).await.unwrap();
    log_out(&bob).await;
    assert_eq!(me(&bank, &bob.access).await, 401, "the core needs no list");
    assert_eq!(ended_sessions(&bank).await.len(), 1);
}

#[tokio::test]
async fn a_known_address_gets_the_same_answer_and_changes_nothing() {
    let bank = TestBank::new().await;
    let first = bank.register("bob@example.com").await;
    let body = json!({"email": "BOB@example.com", "full_name": "Mallory", "password": "another long secret"});
    let second = bank.post("/api/v1/auth/register").json(&body).send().await;
    assert_eq!((first.status, &first.bytes), (second.status, &second.bytes));
    bank.login("bob@example.com", PASSWORD).await.assert_status(200);
    bank.login("bob@example.com", "another long secret")
        .await
        .assert_problem(401, "invalid-credentials");
}

#[tokio::test]
async fn every_fault_of_a_registration_is_told_at_once() {
    let bank = TestBank::new().await;
    let body = json!({"email": "nobody", "full_name": "Em \u{202e}gnp.exe", "password": "aaa"});
    let answer = bank.post("/api/v1/auth/register").json(&body).send().await;
    answer.assert_problem(422, "validation-failed");
    let wanted = [
        ("/email", "invalid_value"),
        ("/full_name", "invalid_value"),
        ("/password", "too_short"),
        ("/password", "low_diversity"),
        ("/password", "too_guessable"),
    ];
    assert_eq!(
        answer.faults(),
        wanted.map(|(pointer, code)| (pointer.to_owned(), code.to_owned()))
    );
    assert_eq!(answer.json["errors"][2]["params"], json!({"min": 15}));

    let named = json!({"email": "carol@example.com", "full_name": "Carol", "password": "my name is Carol!"});
    let answer = bank.post("/api/v1/auth/register").json(&named).send().await;
    assert_eq!(
        answer.faults(),
        [("/password".to_owned(), "contains_context".to_owned())]
    );
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.user").await,
        0
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_by_kind() {
    let bank = TestBank::new().await;
    let login = || bank.post("/api/v1/auth/login");
    login()
        .raw("application/json", "{")
        .send()
        .await
        .assert_problem(400, "malformed-request");
    login()
        .raw("application/json", vec![0xff, 0xfe])
        .send()
        .await
        .assert_problem(400, "malformed-request");
    login()
        .raw("text/plain", "{}")
        .send()
        .await
        .assert_problem(415, "unsupported-media-type");
    login().send().await.assert_problem(415, "unsupported-media-type");
    login()
        .raw("application/json", vec![b' '; 65_537])
        .send()
        .await
        .assert_problem(413, "payload-too-large");
    let unknown = login()
        .json(&json!({"email": "a@b.c", "password": "x", "otp": "1"}))
        .send()
        .await;
    unknown.assert_problem(422, "validation-failed");
    assert_eq!(
        unknown.faults(),
        [("/otp".to_owned(), "unknown_field".to_owned())]
    );
    bank.get("/api/v1/auth/login")
        .send()
        .await
        .assert_problem(405, "method-not-allowed");
    bank.get("/api/v1/nothing")
        .send()
        .await
        .assert_problem(404, "not-found");
}

#[tokio::test]
async fn nobody_learns_why_a_login_failed() {
    let bank = TestBank::new().await;
    bank.register("known@example.com").await;
    bank.register("pending@example.com").await;
    bank.register("disabled@example.com").await;
    store::execute(
        &bank.owner,
        "UPDATE core.user SET status = split_part(email, '@', 1) WHERE email ~ '^(pending|disabled)@'",
    )
    .await
    .unwrap();
    let mut answers = Vec::new();
    for (email, password) in [
        ("known@example.com", "a wrong password"),
        ("unknown@example.com", PASSWORD),
        ("pending@example.com", PASSWORD),
        ("disabled@example.com", PASSWORD),
        ("not an address", PASSWORD),
        ("known@example.com", &"long ".repeat(400)),
        ("known@example.com", ""),
    ] {
        let answer = bank.login(email, password).await;
        answer.assert_problem(401, "invalid-credentials");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let mut json = answer.json;
        json["instance"] = json!(null);
        answers.push(json);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(
        store::number(
            &bank.owner,
            "SELECT count(*) FROM core.audit_event WHERE action = 'login.refused'"
        )
        .await,
        7
    );
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.session").await,
        0
    );
}

#[tokio::test]
async fn without_auto_activation_a_new_user_is_pending() {
    let mut settings = settings();
    settings.auto_activate = false;
    let bank = TestBank::with(settings).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    bank.register("new@example.com").await.assert_status(202);
    bank.login("new@example.com", PASSWORD)
        .await
        .assert_problem(401, "invalid-credentials");
}

#[tokio::test]
async fn a_refresh_token_is_used_once() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let next = refresh(&bank, &alice.refresh, None).await;
    next.assert_status(200);
    assert_ne!(next.text("refresh_token"), alice.refresh);
    assert_eq!(me(&bank, &next.text("access_token")).await, 200);

    // A moment later: another tab. It is refused, and nothing else happens.
    let again = refresh(&bank, &alice.refresh, None).await;
    again.assert_problem(401, "refresh-superseded");
    assert_eq!(again.json["code"], "refresh_superseded");
    let third = refresh(&bank, &next.text("refresh_token"), None).await;
    third.assert_status(200);

    // Later: theft. The whole family goes.
    age_consumption(&bank, 11).await;
    let reused = refresh(&bank, &alice.refresh, None).await;
    reused.assert_problem(401, "refresh-reused");
    assert_eq!(reused.json["code"], "refresh_reused");
    assert_eq!(me(&bank, &third.text("access_token")).await, 401);
    refresh(&bank, &third.text("refresh_token"), None)
        .await
        .assert_problem(401, "session-ended");
    let reason = store::texts(
        &bank.owner,
        "SELECT outcome FROM core.audit_event WHERE action = 'session.revoked'",
    )
    .await;
    assert_eq!(reason, ["refresh_reused"]);
    assert_eq!(ended_sessions(&bank).await.len(), 1, "gateways are told");
}

#[tokio::test]
async fn the_very_same_refresh_gets_the_very_same_answer() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let first = refresh(&bank, &alice.refresh, Some("try-1")).await;
    assert!(!first.replayed());
    assert!(refresh(&bank, &alice.refresh, Some("try-1")).await.replayed());
    first.assert_status(200);
    assert_eq!(
        refresh(&bank, &alice.refresh, Some("try-1")).await.bytes,
        first.bytes
    );
    // Also after the ten seconds, up to the sixty.
    age_consumption(&bank, 40).await;
    assert_eq!(
        refresh(&bank, &alice.refresh, Some("try-1")).await.bytes,
        first.bytes
    );
    // Once the successor has been used, the repetition is none any more.
    refresh(&bank, &first.text("refresh_token"), Some("try-2"))
        .await
        .assert_status(200);
    refresh(&bank, &alice.refresh, Some("try-1"))
        .await
        .assert_problem(401, "refresh-reused");
}

#[tokio::test]
async fn another_key_or_a_late_repetition_is_no_repetition() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    refresh(&bank, &alice.refresh, Some("try-1"))
        .await
        .assert_status(200);
    refresh(&bank, &alice.refresh, Some("try-2"))
        .await
        .assert_problem(401, "refresh-superseded");
    age_consumption(&bank, 61).await;
    refresh(&bank, &alice.refresh, Some("try-1"))
        .await
        .assert_problem(401, "refresh-reused");
}

#[tokio::test]
async fn tokens_that_are_no_refresh_tokens_are_refused() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    let secret_of_bob = bob.refresh.rsplit_once('.').unwrap().1;
    let wrong_secret = format!("{}.{secret_of_bob}", alice.refresh.rsplit_once('.').unwrap().0);
    for token in [
        "",
        "rt1",
        "rt2.x.y",
        &alice.access,
        &wrong_secret,
        &format!("{}.x", alice.refresh),
    ] {
        refresh(&bank, token, None)
            .await
            .assert_problem(401, "invalid-refresh-token");
    }
    // None of that touched the session.
    refresh(&bank, &alice.refresh, None).await.assert_status(200);
    let malformed = bank
        .post("/api/v1/auth/refresh")
        .key("a b")
        .json(&json!({"refresh_token": "x"}))
        .send()
        .await;
    malformed.assert_problem(400, "idempotency-key-malformed");
}

#[tokio::test]
async fn an_old_token_and_an_old_session_are_over() {
    let bank = TestBank::new().await;
    let (alice, bob) = (bank.customer("alice").await, bank.customer("bob").await);
    store::execute(&bank.owner, "UPDATE core.refresh_token SET expires_at = now() - interval '1 s' WHERE session_id IN
        (SELECT session_id FROM core.session JOIN core.user USING (user_id) WHERE email = 'alice@example.com')").await.unwrap();
    store::execute(
        &bank.owner,
        "UPDATE core.session SET absolute_expires_at = now() - interval '1 s' WHERE user_id IN
        (SELECT user_id FROM core.user WHERE email = 'bob@example.com')",
    )
    .await
    .unwrap();
    refresh(&bank, &alice.refresh, None)
        .await
        .assert_problem(401, "session-ended");
    assert_eq!(me(&bank, &alice.access).await, 200);
    refresh(&bank, &bob.refresh, None)
        .await
        .assert_problem(401, "session-ended");
    assert_eq!(me(&bank, &bob.access).await, 401);
}

#[tokio::test]
async fn a_refresh_puts_the_idle_end_off_and_never_the_end_of_the_session() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    // Six days later it is used, for the first time.
    let six_days_pass = "UPDATE core.refresh_token SET issued_at = issued_at - interval '6 days', expires_at = expires_at - interval '6 days'";
    store::execute(&bank.owner, six_days_pass).await.unwrap();
    let end = "SELECT absolute_expires_at::text FROM core.session";
    let before = store::texts(&bank.owner, end).await;
    let second = refresh(&bank, &alice.refresh, None).await;
    second.assert_status(200);
    let idle_end = "SELECT count(*) FROM core.refresh_token WHERE consumed_at IS NULL
                    AND expires_at BETWEEN now() + interval '604740 s' AND now() + interval '604800 s'";
    assert_eq!(
        store::number(&bank.owner, idle_end).await,
        1,
        "seven days from now on"
    );
    assert_eq!(store::texts(&bank.owner, end).await, before);

    // An hour before its end.
    let ages = "UPDATE core.session SET absolute_expires_at = now() + interval '1 hour'";
    store::execute(&bank.owner, ages).await.unwrap();
    let before = store::texts(&bank.owner, end).await;
    refresh(&bank, &second.text("refresh_token"), None)
        .await
        .assert_status(200);
    assert_eq!(store::texts(&bank.owner, end).await, before);
    let of_session = "SELECT count(*) FROM core.refresh_token r JOIN core.session s USING (session_id)
                       WHERE r.consumed_at IS NULL AND r.expires_at = s.absolute_expires_at";
    assert_eq!(store::number(&bank.owner, of_session).await, 1);
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    store::execute(&bank.owner, "UPDATE core.user SET status = 'disabled'")
        .await
        .unwrap();
    bank.get("/api/v1/me")
        .by(&alice)
        .send()
        .await
        .assert_problem(401, "session-ended");
    refresh(&bank, &alice.refresh, None)
        .await
        .assert_problem(401, "session-ended");
    bank.post("/api/v1/auth/logout")
        .by(&alice)
        .send()
        .await
        .assert_problem(401, "session-ended");
}

#[tokio::test]
async fn of_fifty_racing_refreshes_one_wins_and_nobody_is_logged_out() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let answers = join_all((0..50).map(|_| refresh(&bank, &alice.refresh, None))).await;
    let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(won.len(), 1);
    for lost in answers.iter().filter(|answer| answer.status != 200) {
        lost.assert_problem(401, "refresh-superseded");
    }
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.refresh_token").await,
        2
    );
    refresh(&bank, &won[0].text("refresh_token"), None)
        .await
        .assert_status(200);
}

#[tokio::test]
async fn fifty_racing_copies_of_one_refresh_all_get_its_answer() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let answers = join_all((0..50).map(|_| refresh(&bank, &alice.refresh, Some("the-one")))).await;
    for answer in &answers {
        assert_eq!(answer.assert_status(200).bytes, answers[0].bytes);
    }
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.refresh_token").await,
        2
    );
}

#[tokio::test]
async fn a_request_carries_one_bearer_token_or_is_refused() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let show = || bank.get("/api/v1/me");

    let none = show().send().await;
    none.assert_problem(401, "unauthenticated");
    assert_eq!(none.headers["www-authenticate"], "Bearer");
    show()
        .header("authorization", "Basic eDp5")
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    show()
        .header("authorization", "Bearer")
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    show()
        .by(&alice)
        .by(&alice)
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    show()
        .bearer("garbage")
        .send()
        .await
        .assert_problem(401, "unauthenticated");
}

/// A bank whose signing key the test has stolen, and a customer of it.
async fn bank_with_a_stolen_key() -> (TestBank, SigningKey, Customer) {
    let bank = TestBank::with(settings()).await;
    let key = SigningKey::generate(Algorithm::EdDSA).unwrap();
    bank.activate_key(&key).await;
    let alice = bank.customer("alice").await;
    (bank, key, alice)
}

#[tokio::test]
async fn a_token_with_any_claim_wrong_is_refused() {
    let (bank, key, alice) = bank_with_a_stolen_key().await;
    let claims = bank.claims(&alice);
    let show = || bank.get("/api/v1/me");
    let stranger = SigningKey::generate(Algorithm::EdDSA).unwrap();
    show()
        .bearer(&stranger.sign(&claims).unwrap())
        .send()
        .await
        .assert_problem(401, "unauthenticated");
    let changes: [fn(&mut keyring::Claims); 6] = [
        |claims| claims.aud = vec!["elsewhere".to_owned()],
        |claims| claims.iss = "https://evil.example".to_owned(),
        |claims| (claims.iat, claims.exp) = (claims.iat - 1_000, claims.exp - 1_000),
        |claims| claims.exp = claims.iat + 86_400,
        |claims| claims.sid = None,
        |claims| claims.sub = "usr_nobody".to_owned(),
    ];
    for change in changes {
        let mut changed = claims.clone();
        change(&mut changed);
        show()
            .bearer(&key.sign(&changed).unwrap())
            .send()
            .await
            .assert_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn only_a_good_token_of_a_live_session_gets_in() {
    let (bank, key, alice) = bank_with_a_stolen_key().await;
    let claims = bank.claims(&alice);
    let show = || bank.get("/api/v1/me");
    let mut forged = claims.clone();
    forged.sid = Some(crate::ids::SessionId::new(crate::tests::bank::ago(0)).to_string());
    show()
        .bearer(&key.sign(&forged).unwrap())
        .send()
        .await
        .assert_problem(401, "session-ended");
    let bob = bank.customer("bob").await;
    let mut foreign = claims.clone();
    foreign.sub = bank.claims(&bob).sub;
    show()
        .bearer(&key.sign(&foreign).unwrap())
        .send()
        .await
        .assert_problem(401, "session-ended");

    show()
        .by(&alice)
        .header("x-auth-subject", &claims.sub)
        .send()
        .await
        .assert_status(200);
    let other = bank.claims(&bob).sub;
    show()
        .by(&alice)
        .header("x-auth-subject", &other)
        .send()
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_without_the_scope_is_forbidden_before_anything_is_read() {
    let (bank, key, alice) = bank_with_a_stolen_key().await;
    let mut claims = bank.claims(&alice);
    claims.scope = vec!["accounts:write2".to_owned()];
    let token = key.sign(&claims).unwrap();
    let calls = [
        ("GET", "/api/v1/accounts", "accounts:read"),
        ("POST", "/api/v1/accounts", "accounts:write"),
        ("GET", "/api/v1/transfers", "transfers:read"),
        ("POST", "/api/v1/transfers", "transfers:write"),
        (
            "POST",
            "/api/v1/accounts/acc_01kafpwz0zfmx9tpr6z5qgyf0h/deposits",
            "cash:write",
        ),
        (
            "POST",
            "/api/v1/accounts/acc_01kafpwz0zfmx9tpr6z5qgyf0h/withdrawals",
            "cash:write",
        ),
        (
            "GET",
            "/api/v1/accounts/acc_01kafpwz0zfmx9tpr6z5qgyf0h",
            "accounts:read",
        ),
        (
            "GET",
            "/api/v1/accounts/acc_01kafpwz0zfmx9tpr6z5qgyf0h/entries",
            "accounts:read",
        ),
        (
            "GET",
            "/api/v1/transfers/txn_01kafpwz0zfmx9tpr6z5qgyf0h",
            "transfers:read",
        ),
        ("POST", "/api/v1/me/password", "password:write"),
        ("GET", "/api/v1/me/sessions", "sessions:read"),
        ("DELETE", "/api/v1/me/sessions", "sessions:write"),
        (
            "PATCH",
            "/api/v1/me/sessions/ses_01kafpwz0zfmx9tpr6z5qgyf0h",
            "sessions:write",
        ),
        (
            "DELETE",
            "/api/v1/me/sessions/ses_01kafpwz0zfmx9tpr6z5qgyf0h",
            "sessions:write",
        ),
    ];
    for (method, path, scope) in calls {
        let answer = bank
            .call(method.parse().unwrap(), path)
            .bearer(&token)
            .raw("text/plain", "x")
            .send()
            .await;
        answer.assert_problem(403, "forbidden");
        assert!(
            answer.headers["www-authenticate"]
                .to_str()
                .unwrap()
                .contains(&format!("scope=\"{scope}\""))
        );
    }
}

#[tokio::test]
async fn without_a_signing_key_nobody_gets_in_and_nothing_is_written() {
    let bank = TestBank::with(settings()).await;
    bank.register("alice@example.com").await.assert_status(202);
    bank.login("alice@example.com", PASSWORD)
        .await
        .assert_problem(503, "unavailable");
    bank.get("/api/v1/me")
        .bearer("a.b.c")
        .send()
        .await
        .assert_problem(503, "unavailable");
    assert_eq!(
        store::number(&bank.owner, "SELECT count(*) FROM core.session").await,
        0
    );
}

#[tokio::test]
async fn a_rotation_of_the_signing_key_refuses_nobody() {
    let bank = TestBank::new().await;
    let old = bank.customer("old").await;
    assert_eq!(me(&bank, &old.access).await, 200);
    bank.activate_key(&SigningKey::generate(Algorithm::ES256).unwrap())
        .await;
    let new = bank.customer("new").await;
    assert_ne!(old.access.split('.').next(), new.access.split('.').next());
    assert_eq!(me(&bank, &old.access).await, 200);
    assert_eq!(me(&bank, &new.access).await, 200);
    let next = refresh(&bank, &old.refresh, None).await;
    assert_eq!(me(&bank, &next.text("access_token")).await, 200);
}

#[tokio::test]
async fn too_many_logins_at_once_are_told_to_come_back() {
    let mut settings = settings();
    settings.password.memory_kib = 4_096;
    settings.password.max_parallel = 1;
    settings.password.queue = 1;
    let bank = TestBank::with(settings).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    let alice: Customer = bank.customer("alice").await;
    let answers = join_all((0..30).map(|_| bank.login(&alice.email, PASSWORD))).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(!busy.is_empty() && busy.len() < 30, "{}", busy.len());
    for answer in busy {
        answer.assert_problem(503, "auth-busy");
        assert_eq!(answer.headers["retry-after"], "2");
    }
    // Others are not kept waiting by it.
    assert_eq!(me(&bank, &alice.access).await, 200);
}

/// A Vault, and settings that have their key-encryption key there.
async fn vault() -> (std::sync::Arc<stand_ins::Transit>, stand_ins::Fake, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let (engine, vault) = stand_ins::Transit::start().await;
    let (token, file) = (folder.path().join("token"), folder.path().join("core-api.yaml"));
    std::fs::write(&token, stand_ins::TOKEN).unwrap();
    let text = format!(
        "kek: transit://transit/kek\nsecrets: {{vault: {{address: '{}', ca_file: {}, auth: {{token_file: {}}}}}}}\n",
        vault.url(),
        vault.ca.path().display(),
        token.display()
    );
    std::fs::write(&file, text).unwrap();
    let read: Settings = service_runtime::settings::load("core-api", Some(&file)).unwrap();
    let settings = Settings {
        kek: read.kek,
        providers: read.providers,
        ..settings()
    };
    // The token is read at the first question, and kept.
    settings
        .key_encryption_keys()
        .unwrap()
        .check_value(1)
        .await
        .unwrap();
    (engine, vault, settings)
}

async fn made(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::make(algorithm, None).await.unwrap()
}

#[tokio::test]
async fn tokens_are_issued_while_nobody_answers_who_has_the_key_encryption_key() {
    let (_, vault, settings) = vault().await;
    let keks = settings.key_encryption_keys().unwrap();
    let bank = TestBank::with(settings).await;
    bank.activate_key_under(&keks, &made(Algorithm::EdDSA).await)
        .await;
    bank.register("ada@example.com").await.assert_status(202);
    bank.login("ada@example.com", PASSWORD).await.assert_status(200);

    vault.set_down(true);
    bank.login("ada@example.com", PASSWORD).await.assert_status(200);
    // A key that was never opened here cannot sign, and that is over when it answers again.
    vault.set_down(false);
    bank.activate_key_under(&keks, &made(Algorithm::EdDSA).await)
        .await;
    vault.set_down(true);
    bank.login("ada@example.com", PASSWORD)
        .await
        .assert_problem(503, "unavailable");
    vault.set_down(false);
    bank.login("ada@example.com", PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_private_key_that_stays_elsewhere_signs_tokens_that_are_accepted() {
    let (engine, vault, settings) = vault().await;
    engine.rotate("tokens");
    let name = b"transit://transit/tokens?version=1";
    let key = PrivateKey::read(Algorithm::EdDSA, name, &settings.providers).await;
    let key = key.unwrap();
    let bank = TestBank::with(Settings {
        kek: crate::tests::bank::settings().kek,
        ..settings
    })
    .await;
    bank.activate_key_under(&keks(), &key).await;
    bank.register("ada@example.com").await.assert_status(202);
    let login = bank.login("ada@example.com", PASSWORD).await;
    let access = login.assert_status(200).json["access_token"].as_str().unwrap();
    assert_eq!(me(&bank, access).await, 200);
    // Nobody else can sign with it: while Vault is down, nobody does.
    vault.set_down(true);
    bank.login("ada@example.com", PASSWORD)
        .await
        .assert_problem(503, "unavailable");
    assert_eq!(me(&bank, access).await, 200);
}
