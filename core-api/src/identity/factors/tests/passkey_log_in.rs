//! Signing in with a passkey.

use super::authenticator::Authenticator;
use super::passkeys::with_passkey;
use super::*;

const BEGIN: &str = "/api/v1/auth/passkey";

async fn ask(bank: &TestBank) -> Answer {
    let asked = bank.post(BEGIN).send().await;
    asked.assert_status(200);
    asked
}

async fn finish(bank: &TestBank, asked: &Answer, credential: &Value) -> Answer {
    let body = json!({"ceremony": asked.text("ceremony"), "credential": credential});
    bank.post("/api/v1/auth/passkey/finish").json(&body).send().await
}

pub(super) async fn log_in(bank: &TestBank, authenticator: &mut Authenticator) -> Answer {
    let asked = ask(bank).await;
    let credential = authenticator.get(&asked.json["public_key"]);
    finish(bank, &asked, &credential).await
}

async fn move_clock(bank: &TestBank, seconds: i64) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION core.gate_time() RETURNS timestamptz LANGUAGE sql VOLATILE
         SET search_path = pg_catalog, pg_temp AS 'SELECT clock_timestamp() + interval ''{seconds} seconds'''"
    );
    db::execute(&bank.owner, &sql).await.unwrap();
}

#[tokio::test]
async fn a_passkey_signs_in_without_a_name_and_the_token_says_so_also_after_a_refresh() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let asked = ask(&bank).await;
    assert_eq!(asked.headers["cache-control"], "no-store");
    assert_eq!(asked.json["public_key"]["allowCredentials"], json!([]));
    assert_eq!(asked.json["public_key"]["userVerification"], "required");
    let credential = authenticator.get(&asked.json["public_key"]);
    let answer = finish(&bank, &asked, &credential).await;
    answer.assert_status(200);
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-dev=1."), "{cookie}");
    let first = claims(&answer.text("access_token"));
    assert_eq!(first["amr"], json!(["hwk", "user", "mfa"]));
    assert_eq!(first["acr"], "mfa");
    assert_eq!(first["sub"], claims(&alice.access)["sub"]);
    let body = json!({"refresh_token": answer.text("refresh_token")});
    let refreshed = bank.post("/api/v1/auth/refresh").json(&body).send().await;
    let second = claims(&refreshed.assert_status(200).text("access_token"));
    assert_eq!(
        (&second["amr"], &second["auth_time"]),
        (&first["amr"], &first["auth_time"])
    );
    // A beginning is good once.
    finish(&bank, &asked, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    let listed = bank.get("/api/v1/me/factors").by(&alice).send().await;
    assert!(
        listed.json["data"][0]["last_used_at"].is_string(),
        "{}",
        listed.json
    );

    let (_, mut synchronised, _) = {
        let bob = bank.customer("bob").await;
        let mut authenticator = Authenticator::new();
        authenticator.is_synchronised = true;
        let begun = passkeys::begin_with(&bank, &bob, PASSWORD).await;
        let credential = authenticator.create(&begun.json["public_key"]);
        let added = passkeys::answer_new(&bank, &bob, &begun, &credential).await;
        (bob, authenticator, added)
    };
    let answer = log_in(&bank, &mut synchronised).await;
    let token = claims(&answer.assert_status(200).text("access_token"));
    assert_eq!(token["amr"], json!(["swk", "user", "mfa"]));
}

#[tokio::test]
async fn whatever_is_wrong_with_an_answer_gets_the_same_refusal_and_uses_the_beginning_up() {
    let bank = TestBank::new().await;
    let (_, mut alices, _) = with_passkey(&bank, "alice").await;
    let (_, bobs, _) = with_passkey(&bank, "bob").await;
    let refused = async |asked: &Answer, credential: &Value| {
        let answer = finish(&bank, asked, credential).await;
        answer.assert_problem(403, "passkey-refused");
        finish(&bank, asked, credential)
            .await
            .assert_problem(403, "invalid-challenge");
        let mut told = answer.json;
        told["instance"] = json!(null);
        told
    };
    let mut told = Vec::new();
    let lies: [fn(&mut Authenticator); 3] = [
        |liar| "https://bank.example.org".clone_into(&mut liar.origin),
        |liar| "example".clone_into(&mut liar.rp_id),
        |liar| liar.is_verifying = false,
    ];
    for lie in lies {
        let asked = ask(&bank).await;
        lie(&mut alices);
        told.push(refused(&asked, &alices.get(&asked.json["public_key"])).await);
        "https://bank.example".clone_into(&mut alices.origin);
        "bank.example".clone_into(&mut alices.rp_id);
        alices.is_verifying = true;
    }
    // Another signature, another challenge, another person, another credential, and nobody's.
    let good = async |asked: &Answer, authenticator: &mut Authenticator| {
        authenticator.get(&asked.json["public_key"])
    };
    let (asked, other) = (ask(&bank).await, ask(&bank).await);
    let mut tampered = good(&asked, &mut alices).await;
    tampered["response"]["signature"] = good(&other, &mut alices).await["response"]["signature"].clone();
    told.push(refused(&asked, &tampered).await);
    let credential = good(&ask(&bank).await, &mut alices).await;
    told.push(refused(&other, &credential).await);
    let asked = ask(&bank).await;
    let mut as_bob = good(&asked, &mut alices).await;
    as_bob["response"]["userHandle"] = Authenticator::handle_of(&bobs);
    told.push(refused(&asked, &as_bob).await);
    let asked = ask(&bank).await;
    let mut nobodys = good(&asked, &mut alices).await;
    nobodys["response"]["userHandle"] = json!(null);
    told.push(refused(&asked, &nobodys).await);
    let asked = ask(&bank).await;
    let mut unknown = Authenticator::new();
    told.push(refused(&asked, &unknown.get(&asked.json["public_key"])).await);
    for answer in &told {
        assert_eq!(answer, &told[0]);
    }
    log_in(&bank, &mut alices).await.assert_status(200);
}

#[tokio::test]
async fn a_beginning_is_over_after_five_minutes_and_so_is_a_registration() {
    let bank = TestBank::new().await;
    let (_, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let bob = bank.customer("bob").await;
    let begun = passkeys::begin_with(&bank, &bob, PASSWORD).await;
    let (late, later) = (ask(&bank).await, ask(&bank).await);
    let credential = authenticator.get(&late.json["public_key"]);
    move_clock(&bank, 299).await;
    finish(&bank, &late, &credential).await.assert_status(200);
    move_clock(&bank, 301).await;
    let credential = authenticator.get(&later.json["public_key"]);
    finish(&bank, &later, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    let credential = Authenticator::new().create(&begun.json["public_key"]);
    passkeys::answer_new(&bank, &bob, &begun, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    // And what nobody answers is removed.
    ask(&bank).await;
    move_clock(&bank, 900).await;
    db::execute(&bank.owner, "SELECT core.purge_gate(1000)")
        .await
        .unwrap();
    let left = "SELECT count(*) FROM core.passkey_ceremony";
    assert_eq!(db::number(&bank.owner, left).await, 0);
}

#[tokio::test]
async fn of_many_finishes_at_once_one_opens_a_session() {
    let bank = TestBank::new().await;
    let (_, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let asked = ask(&bank).await;
    let credential = authenticator.get(&asked.json["public_key"]);
    let answers = join_all((0..16).map(|_| finish(&bank, &asked, &credential))).await;
    let opened = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(opened, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert_problem(403, "invalid-challenge");
    }
}

#[tokio::test]
async fn l4_a_passkey_signs_in_while_the_password_is_locked_and_buys_nobody_guesses() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let guess = async |number: usize| {
        let call = bank.post("/api/v1/auth/login");
        let call = call.header("x-forwarded-for", &format!("10.0.0.{number}"));
        let body = json!({"email": alice.email, "password": "not the password"});
        call.json(&body).send().await
    };
    for number in 0..5 {
        guess(number).await.assert_problem(401, "invalid-credentials");
    }
    guess(5).await.assert_problem(429, "too-many-attempts");
    log_in(&bank, &mut authenticator).await.assert_status(200);
    guess(6).await.assert_problem(429, "too-many-attempts");
    let counted =
        "SELECT coalesce(sum((state->>'untrusted')::int), 0) FROM core.gate_counter WHERE kind = 'name'";
    assert_eq!(db::number(&bank.owner, counted).await, 0, "the total begins anew");
}

#[tokio::test]
async fn a_count_that_went_back_is_told_and_refuses_nobody() {
    let bank = TestBank::new().await;
    let (_, mut authenticator, _) = with_passkey(&bank, "alice").await;
    for (count, alerts) in [(0, 0), (0, 0), (7, 0), (8, 0), (8, 1), (3, 2), (0, 3), (9, 3)] {
        authenticator.count = count;
        log_in(&bank, &mut authenticator).await.assert_status(200);
        let trail = trail(&bank, "counter_went_back").await;
        assert_eq!(trail, vec!["passkey.counter_went_back done"; alerts], "{count}");
    }
    let told = "SELECT count(*) FROM core.outbox_event WHERE kind = 'passkey.counter_went_back'";
    assert_eq!(db::number(&bank.owner, told).await, 3);
}

#[tokio::test]
async fn whoever_is_disabled_or_signed_out_signs_in_with_no_passkey_and_with_it_again() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let settings = settings();
    let pool: Pool = bank.db.pool_as("portico_core").into();
    let asked = ask(&bank).await;
    let deed = async |deed| {
        let done = crate::identity::operate(&settings, &pool, &alice.email, deed).await;
        assert!(done.unwrap().is_some());
    };
    deed(crate::identity::AccountDeed::Disable).await;
    let credential = authenticator.get(&asked.json["public_key"]);
    finish(&bank, &asked, &credential)
        .await
        .assert_problem(403, "passkey-refused");
    deed(crate::identity::AccountDeed::Enable).await;
    log_in(&bank, &mut authenticator).await.assert_status(200);
    let unverified =
        "UPDATE core.user SET status = 'pending', email_verified_at = NULL WHERE email = 'alice@example.com'";
    db::execute(&bank.owner, unverified).await.unwrap();
    log_in(&bank, &mut authenticator)
        .await
        .assert_problem(403, "passkey-refused");
}

#[tokio::test]
async fn one_network_leaves_so_many_beginnings_and_ends_its_own() {
    let bank = TestBank::new().await;
    let (_, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let from = async |address: &str| {
        let call = bank.post(BEGIN).header("x-forwarded-for", address);
        call.send().await
    };
    let (mine, flooders) = (from("192.0.2.7").await, from("203.0.113.1").await);
    for _ in 0..50 {
        from("203.0.113.1").await.assert_status(200);
    }
    let left = "SELECT count(*) FROM core.passkey_ceremony";
    assert_eq!(db::number(&bank.owner, left).await, 51);
    let credential = authenticator.get(&flooders.json["public_key"]);
    finish(&bank, &flooders, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    let credential = authenticator.get(&mine.json["public_key"]);
    finish(&bank, &mine, &credential).await.assert_status(200);
}

#[tokio::test]
async fn a_new_password_keeps_the_passkey_and_whoever_reads_the_database_learns_no_key() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let change = json!({"current_password": PASSWORD, "new_password": "a quartz lagoon at noon"});
    let changed = bank.post("/api/v1/me/password").by(&alice).json(&change);
    changed.send().await.assert_status(204);
    log_in(&bank, &mut authenticator).await.assert_status(200);
    let mut conn = bank.db.pool_as("portico_core").acquire().await.unwrap();
    for (table, column) in [
        ("passkey", "credential"),
        ("passkey", "sign_count"),
        ("passkey_ceremony", "token_hash"),
        ("passkey_ceremony", "state"),
    ] {
        let sql = format!("SELECT count({column}) FROM core.{table}");
        db::number_on(&mut conn, &sql).await.unwrap_err();
    }
    let seen = db::number_on(&mut conn, "SELECT count(user_id) FROM core.passkey").await;
    assert_eq!(seen.unwrap(), 0, "nobody's, before a session is entered");
}
