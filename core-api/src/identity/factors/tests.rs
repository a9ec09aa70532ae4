//! Second factors through the router. Time is the database's: the tests move the clock of the gate there, and make the codes of
//! that time.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use http::Method;
use keyring::{Algorithm, SigningKey};
use serde_json::{Value, json};
use service_runtime::clock::Clock;
use service_runtime::settings::Secret as SettingsSecret;

use super::totp::Secret;
use super::*;
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store as db;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const WRONG: &str = "000000";

/// A bank, somebody with an authenticator, and how far the clock was moved.
struct Story {
    bank: TestBank,
    alice: Customer,
    secret: Secret,
    recovery_codes: Vec<String>,
    moved_s: i64,
}

/// Reads base32, as an authenticator does.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for char in text.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(char).unwrap();
        held = (held << 5 | u32::try_from(value).unwrap()) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    bytes
}

async fn begin(bank: &TestBank, customer: &Customer) -> Answer {
    bank.post("/api/v1/me/factors/totp")
        .by(customer)
        .json(&json!({"password": PASSWORD}))
        .send()
        .await
}

async fn confirm(bank: &TestBank, customer: &Customer, code: &str) -> Answer {
    bank.post("/api/v1/me/factors/totp/confirm")
        .by(customer)
        .json(&json!({"code": code}))
        .send()
        .await
}

async fn now_ms(bank: &TestBank) -> i64 {
    db::number(&bank.owner, "SELECT core.gate_time_ms()").await
}

/// What is in the middle of the trail, oldest first.
async fn trail(bank: &TestBank, actions: &str) -> Vec<String> {
    let sql = format!(
        "SELECT action || ' ' || outcome FROM core.audit_event WHERE action ~ '{actions}' ORDER BY audit_event_id"
    );
    db::texts(&bank.owner, &sql).await
}

fn claims(access: &str) -> Value {
    let payload = access.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

impl Story {
    async fn begin() -> Self {
        Self::at(TestBank::new().await).await
    }

    async fn at(bank: TestBank) -> Self {
        let alice = bank.customer("alice").await;
        let begun = begin(&bank, &alice).await;
        begun.assert_status(200);
        let secret = Secret::from_bytes(&decoded(&begun.text("secret"))).unwrap();
        let code = secret.code_at(now_ms(&bank).await);
        let confirmed = confirm(&bank, &alice, &code).await;
        confirmed.assert_status(200);
        let codes = confirmed.json["recovery_codes"].as_array().unwrap().iter();
        let recovery_codes = codes.map(|code| code.as_str().unwrap().to_owned()).collect();
        let mut story = Self {
            bank,
            alice,
            secret,
            recovery_codes,
            moved_s: 0,
        };
        // The code of the enrolment is used.
        story.wait(MINUTE).await;
        story
    }

    /// Lets time pass, by the clock of the gate.
    async fn wait(&mut self, seconds: i64) {
        self.moved_s += seconds;
        let sql = format!(
            "CREATE OR REPLACE FUNCTION core.gate_time() RETURNS timestamptz LANGUAGE sql VOLATILE
             SET search_path = pg_catalog, pg_temp AS 'SELECT clock_timestamp() + interval ''{} seconds'''",
            self.moved_s
        );
        db::execute(&self.bank.owner, &sql).await.unwrap();
    }

    /// The code of now.
    async fn code(&self) -> String {
        self.secret.code_at(now_ms(&self.bank).await)
    }

    /// The first step; gives the challenge.
    async fn challenge(&self) -> String {
        let answer = self.bank.login(&self.alice.email, PASSWORD).await;
        answer.assert_problem(401, "mfa-required");
        answer.text("challenge")
    }

    async fn second_step(&self, body: &Value) -> Answer {
        let path = "/api/v1/auth/login/factor";
        self.bank.post(path).json(body).send().await
    }

    async fn finish(&self, challenge: &str, code: &str) -> Answer {
        self.second_step(&json!({"challenge": challenge, "code": code}))
            .await
    }

    /// As many wrong codes as lock codes, five for each log-in.
    async fn lock_codes(&self) {
        for _ in 0..2 {
            let challenge = self.challenge().await;
            for _ in 0..5 {
                self.finish(&challenge, WRONG)
                    .await
                    .assert_problem(403, "wrong-code");
            }
        }
    }

    async fn recover(&self, challenge: &str, code: &str) -> Answer {
        let body = json!({"challenge": challenge, "recovery_code": code});
        self.second_step(&body).await
    }

    async fn log_in(&self) -> Customer {
        let (challenge, code) = (self.challenge().await, self.code().await);
        let answer = self.finish(&challenge, &code).await;
        answer.assert_status(200);
        Customer {
            email: self.alice.email.clone(),
            access: answer.text("access_token"),
            refresh: answer.text("refresh_token"),
        }
    }

    async fn step_up(&self, caller: &Customer, operation: &Value, code: &str) -> Answer {
        let mut body = operation.clone();
        body["code"] = json!(code);
        self.bank
            .post("/api/v1/me/step-up")
            .by(caller)
            .json(&body)
            .send()
            .await
    }

    /// A confirmation, and the time for the next code.
    async fn confirmed(&mut self, operation: &Value) -> String {
        let code = self.code().await;
        let answer = self.step_up(&self.alice, operation, &code).await;
        answer.assert_status(200);
        self.wait(MINUTE).await;
        answer.text("token")
    }

    async fn transfer(&self, order: &Value, key: &str, token: Option<&str>) -> Answer {
        let call = self.bank.post("/api/v1/transfers").by(&self.alice).key(key);
        let call = match token {
            Some(token) => call.header("x-step-up", token),
            None => call,
        };
        call.json(order).send().await
    }

    async fn change(&self, method: Method, path: &str, token: &str) -> Answer {
        let call = self.bank.call(method, &format!("/api/v1/me/factors/{path}"));
        call.by(&self.alice).header("x-step-up", token).send().await
    }

    async fn factors(&self) -> Answer {
        self.bank.get("/api/v1/me/factors").by(&self.alice).send().await
    }

    async fn mails(&self) -> Vec<String> {
        let sql =
            "SELECT kind FROM core.mail_job WHERE kind ~ 'factor|recovery' ORDER BY created_at, mail_job_id";
        db::texts(&self.bank.owner, sql).await
    }
}

#[tokio::test]
async fn an_authenticator_is_added_with_the_password_and_its_first_code() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let other = bank.login(&alice.email, PASSWORD).await.text("access_token");
    confirm(&bank, &alice, WRONG)
        .await
        .assert_problem(409, "enrolment-over");

    let begun = begin(&bank, &alice).await;
    begun.assert_status(200);
    assert_eq!(begun.headers["cache-control"], "no-store");
    let (text, uri) = (begun.text("secret"), begun.text("otpauth_uri"));
    assert!(
        uri.starts_with("otpauth://totp/Portico:alice%40example.com?"),
        "{uri}"
    );
    assert!(uri.contains(&format!("secret={text}&issuer=Portico")), "{uri}");
    // It protects nothing yet, and a second beginning takes its place.
    bank.login(&alice.email, PASSWORD).await.assert_status(200);
    let replaced = Secret::from_bytes(&decoded(&text)).unwrap();
    let text = begin(&bank, &alice).await.text("secret");
    let secret = Secret::from_bytes(&decoded(&text)).unwrap();
    let old = replaced.code_at(now_ms(&bank).await);
    confirm(&bank, &alice, &old)
        .await
        .assert_problem(403, "wrong-code");
    // Another session of the same person did not begin it.
    let elsewhere = Customer {
        access: other.clone(),
        ..alice.clone()
    };
    let code = secret.code_at(now_ms(&bank).await);
    confirm(&bank, &elsewhere, &code)
        .await
        .assert_problem(409, "enrolment-over");

    let confirmed = confirm(&bank, &alice, &code).await;
    confirmed.assert_status(200);
    assert_eq!(confirmed.json["recovery_codes"].as_array().unwrap().len(), 10);
    let listed = bank.get("/api/v1/me/factors").by(&alice).send().await;
    assert_eq!(listed.json["data"][0]["kind"], "totp");
    assert_eq!(listed.json["recovery_codes_left"], 10);
    // What was opened without it is over.
    let me = bank.get("/api/v1/me").bearer(&other).send().await;
    me.assert_problem(401, "session-ended");
    begin(&bank, &alice).await.assert_problem(409, "factor-exists");
    confirm(&bank, &alice, &code)
        .await
        .assert_problem(409, "enrolment-over");
    let plain: String = decoded(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let kept = "SELECT encode(sealed, 'hex') FROM core.totp_factor";
    let kept = db::texts(&bank.owner, kept).await;
    assert!(kept.len() == 1 && kept[0].len() == 2 * (12 + 20 + 16) && !kept[0].contains(&plain));
    assert_eq!(
        trail(&bank, "^factor").await,
        [
            "factor.begun done",
            "factor.begun done",
            "factor.added wrong_code",
            "factor.added done"
        ]
    );
}

#[tokio::test]
async fn a_wrong_password_begins_nothing_and_five_wrong_codes_end_an_enrolment() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let wrong = bank.post("/api/v1/me/factors/totp").by(&alice);
    let wrong = wrong.json(&json!({"password": "not the password"})).send().await;
    wrong.assert_problem(403, "wrong-password");
    let text = begin(&bank, &alice).await.text("secret");
    let secret = Secret::from_bytes(&decoded(&text)).unwrap();
    for bad in ["", "12345", "1234567", "abcdef", WRONG] {
        confirm(&bank, &alice, bad)
            .await
            .assert_problem(403, "wrong-code");
    }
    let code = secret.code_at(now_ms(&bank).await);
    confirm(&bank, &alice, &code)
        .await
        .assert_problem(409, "enrolment-over");
    begin(&bank, &alice).await.assert_status(200);
}

#[tokio::test]
async fn a_log_in_with_a_second_factor_has_two_steps_and_the_token_says_so() {
    let story = Story::begin().await;
    let first = story.bank.login(&story.alice.email, PASSWORD).await;
    first.assert_problem(401, "mfa-required");
    assert_eq!(first.headers["cache-control"], "no-store");
    assert!(
        !first.headers.contains_key("set-cookie"),
        "no device is trusted yet"
    );
    assert_eq!(first.json["factors"], json!(["totp", "recovery_code"]));
    assert_eq!(
        (first.text("code"), &first.json["expires_in"]),
        ("mfa_required".to_owned(), &json!(300))
    );
    let wrong = story.bank.login(&story.alice.email, "not the password").await;
    wrong.assert_problem(401, "invalid-credentials");

    let done = story.finish(&first.text("challenge"), &story.code().await).await;
    done.assert_status(200);
    assert!(done.headers.contains_key("set-cookie"), "the device is trusted");
    let said = claims(&done.text("access_token"));
    assert_eq!(
        (&said["amr"], &said["acr"]),
        (&json!(["pwd", "otp", "mfa"]), &json!("mfa"))
    );
    assert!((said["iat"].as_i64().unwrap() - said["auth_time"].as_i64().unwrap()).abs() <= 1);
    // A refresh says how and when the person signed in, not when it was refreshed.
    let refresh = json!({"refresh_token": done.text("refresh_token")});
    let refreshed = story
        .bank
        .post("/api/v1/auth/refresh")
        .json(&refresh)
        .send()
        .await;
    let again = claims(&refreshed.text("access_token"));
    assert_eq!(
        (&again["acr"], &again["auth_time"]),
        (&said["acr"], &said["auth_time"])
    );
    // And one who has no second factor.
    let bob = claims(&story.bank.customer("bob").await.access);
    assert_eq!((&bob["amr"], &bob["acr"]), (&json!(["pwd"]), &json!("pwd")));
}

#[tokio::test]
async fn t_m1_a_code_is_good_once_among_a_hundred_at_once_and_never_again() {
    let mut story = Story::begin().await;
    let code = story.code().await;
    // Five codes may be wrong of one log-in, ten of one person: so the hundred share twenty log-ins, and most are told 429.
    let challenges = join_all((0..20).map(|_| story.challenge())).await;
    let tries = (0..100).map(|number| story.finish(&challenges[number % 20], &code));
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| [200, 403, 429].contains(&answer.status))
    );
    assert_eq!(
        trail(&story.bank, "^session.opened").await.len(),
        2,
        "of the enrolment, and one"
    );
    // Also later, within its window, and for another purpose.
    story.wait(DAY + 2 * MINUTE).await;
    let code = story.code().await;
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_status(200);
    story.wait(30).await;
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_problem(403, "wrong-code");
    let operation = json!({"method": "DELETE", "path": "/p"});
    let alice = story.alice.clone();
    story
        .step_up(&alice, &operation, &code)
        .await
        .assert_problem(403, "wrong-code");
}

#[tokio::test]
async fn a_code_of_an_earlier_step_is_not_good_after_a_later_one() {
    let mut story = Story::begin().await;
    let earlier = story.code().await;
    story.wait(30).await;
    let later = story.code().await;
    story
        .finish(&story.challenge().await, &later)
        .await
        .assert_status(200);
    story
        .finish(&story.challenge().await, &earlier)
        .await
        .assert_problem(403, "wrong-code");
    // A clock that goes back makes no code good again.
    story.wait(-MINUTE).await;
    let code = story.code().await;
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_problem(403, "wrong-code");
}

#[tokio::test]
async fn a_challenge_is_good_once_for_five_minutes_five_codes_and_its_password() {
    let mut story = Story::begin().await;
    let good = story.challenge().await;
    let code = story.code().await;
    story.finish(&good, &code).await.assert_status(200);
    story.wait(30).await;
    let code = story.code().await;
    story
        .finish(&good, &code)
        .await
        .assert_problem(403, "invalid-challenge");
    for none in ["", "x", "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO"] {
        story
            .finish(none, &code)
            .await
            .assert_problem(403, "invalid-challenge");
    }
    let late = story.challenge().await;
    story.wait(5 * MINUTE).await;
    let code = story.code().await;
    story
        .finish(&late, &code)
        .await
        .assert_problem(403, "invalid-challenge");

    let guessed = story.challenge().await;
    for _ in 0..5 {
        story
            .finish(&guessed, WRONG)
            .await
            .assert_problem(403, "wrong-code");
    }
    let code = story.code().await;
    story
        .finish(&guessed, &code)
        .await
        .assert_problem(403, "invalid-challenge");
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_status(200);

    // A new password ends log-ins that the old one began.
    let waiting = story.challenge().await;
    story.wait(MINUTE).await;
    let change = json!({"current_password": PASSWORD, "new_password": "a quartz lagoon at noon"});
    let changed = story
        .bank
        .post("/api/v1/me/password")
        .by(&story.alice)
        .json(&change);
    changed.send().await.assert_status(204);
    let code = story.code().await;
    story
        .finish(&waiting, &code)
        .await
        .assert_problem(403, "invalid-challenge");
}

#[tokio::test]
async fn ten_wrong_codes_of_a_day_lock_codes_also_the_right_one_and_the_owner_is_told() {
    let mut story = Story::begin().await;
    story.lock_codes().await;
    let code = story.code().await;
    let locked = story.finish(&story.challenge().await, &code).await;
    locked.assert_problem(429, "too-many-attempts");
    let retry_after: i64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((DAY - 60..=DAY).contains(&retry_after), "{retry_after}");
    // It is one count: a confirmation is refused as well, and so it stays whatever else is tried.
    let operation = json!({"method": "DELETE", "path": "/p"});
    let alice = story.alice.clone();
    story
        .step_up(&alice, &operation, &code)
        .await
        .assert_problem(429, "too-many-attempts");
    assert_eq!(
        trail(&story.bank, "^factor.(locked|refused)")
            .await
            .last()
            .unwrap(),
        "factor.locked failures"
    );
    assert_eq!(story.mails().await, ["factor_added", "factor_locked"]);

    story.wait(DAY).await;
    let code = story.code().await;
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_recovery_code_opens_once_also_while_codes_are_locked_and_lifts_that() {
    let mut story = Story::begin().await;
    story.lock_codes().await;
    let [first, second] = [0, 1].map(|place| story.recovery_codes[place].clone());
    // Ten at once: one is let in.
    let challenges = join_all((0..10).map(|_| story.challenge())).await;
    let typed = first.to_lowercase().replace('-', " ");
    let tries = (0..10).map(|number| story.recover(&challenges[number], &typed));
    let answers = join_all(tries).await;
    let signed_in = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(signed_in.count(), 1);
    let said = answers.iter().find(|answer| answer.status == 200).unwrap();
    assert_eq!(claims(&said.text("access_token"))["acr"], "mfa");
    story.wait(MINUTE).await;
    let code = story.code().await;
    let again = story.recover(&story.challenge().await, &first).await;
    again.assert_problem(403, "wrong-code");
    let wrong = story.recover(&story.challenge().await, &code).await;
    wrong.assert_problem(403, "wrong-code");
    story
        .recover(&story.challenge().await, &second)
        .await
        .assert_status(200);
    // The lock is lifted with it.
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_status(200);
    assert_eq!(story.factors().await.json["recovery_codes_left"], 8);
    let mails = story.mails().await;
    assert_eq!(
        mails.iter().filter(|kind| *kind == "recovery_code_used").count(),
        2
    );
}

#[tokio::test]
async fn one_of_the_two_is_shown() {
    let story = Story::begin().await;
    let challenge = story.challenge().await;
    let neither = story.second_step(&json!({"challenge": challenge})).await;
    neither.assert_problem(422, "validation-failed");
    let body = json!({"challenge": challenge, "code": WRONG, "recovery_code": story.recovery_codes[0]});
    story
        .second_step(&body)
        .await
        .assert_problem(422, "validation-failed");
    story
        .recover(&challenge, &story.recovery_codes[0])
        .await
        .assert_status(200);
}

/// A story in which Alice has money, Bob an account, and what she would pay him.
async fn rich_story(amount: i64) -> (Story, Value, String) {
    let story = Story::begin().await;
    let from = story.bank.funded(&story.alice, "EUR", 9_000_000).await;
    let bob = story.bank.customer("bob").await;
    let to = story.bank.account(&bob, "EUR").await;
    let order = json!({"from_account_id": from, "to_account_id": to, "amount": amount, "currency": "EUR"});
    (story, order, from)
}

fn paying(order: &Value) -> Value {
    json!({"method": "POST", "path": "/api/v1/transfers", "body": order})
}

#[tokio::test]
async fn a_transfer_of_much_is_confirmed_and_repeated_with_its_key() {
    let (mut story, order, from) = rich_story(1_000_000).await;
    story
        .transfer(&order, "k1", None)
        .await
        .assert_problem(403, "step-up-required");
    let token = story.confirmed(&paying(&order)).await;
    let paid = story.transfer(&order, "k1", Some(&token)).await;
    paid.assert_status(201);
    // The answer was lost: the same again, also when the confirmation is over by time.
    story.wait(10 * MINUTE).await;
    let again = story.transfer(&order, "k1", Some(&token)).await;
    assert_eq!((again.status, &again.bytes), (201, &paid.bytes));
    assert!(again.replayed());
    // Another transfer needs its own.
    story
        .transfer(&order, "k2", Some(&token))
        .await
        .assert_problem(403, "step-up-required");
    assert_eq!(story.bank.posted(&story.alice, &from).await, 8_000_000);
    story.bank.assert_invariants().await;

    let mut less = order.clone();
    less["amount"] = json!(999_999);
    story.transfer(&less, "k3", None).await.assert_status(201);
}

#[tokio::test]
async fn a_confirmation_is_for_one_operation_of_one_session_once_and_for_minutes() {
    let (mut story, order, from) = rich_story(2_000_000).await;
    // Written otherwise, it is the same.
    let token = story.confirmed(&paying(&order)).await;
    for (member, value) in [
        ("amount", json!(2_000_001)),
        ("to_account_id", order["from_account_id"].clone()),
        ("reference", json!("x")),
    ] {
        let mut other = order.clone();
        other[member] = value;
        let answer = story.transfer(&other, "k1", Some(&token)).await;
        assert!([403, 422].contains(&answer.status), "{}", answer.json);
    }
    let other = story.log_in().await;
    story.wait(MINUTE).await;
    let stolen = story.bank.post("/api/v1/transfers").by(&other).key("k1");
    let stolen = stolen.header("x-step-up", &token).json(&order).send().await;
    stolen.assert_problem(403, "step-up-required");
    let tries = (0..10).map(|number| {
        let (story, order, token) = (&story, &order, &token);
        async move { story.transfer(order, &format!("k{number}"), Some(token)).await }
    });
    let answers = join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(story.bank.posted(&story.alice, &from).await, 7_000_000);

    let late = story.confirmed(&paying(&order)).await;
    story.wait(5 * MINUTE).await;
    story
        .transfer(&order, "late", Some(&late))
        .await
        .assert_problem(403, "step-up-required");
    assert_eq!(trail(&story.bank, "^step_up.given").await.len(), 2);
}

#[tokio::test]
async fn what_was_confirmed_and_refused_is_confirmed_anew_when_its_minutes_are_over() {
    let (mut story, order, from) = rich_story(9_000_001).await;
    let token = story.confirmed(&paying(&order)).await;
    for _ in 0..2 {
        let refused = story.transfer(&order, "k1", Some(&token)).await;
        refused.assert_problem(422, "insufficient-funds");
    }
    story.wait(5 * MINUTE).await;
    let late = story.transfer(&order, "k1", Some(&token)).await;
    late.assert_problem(403, "step-up-required");
    assert_eq!(story.bank.posted(&story.alice, &from).await, 9_000_000);
}

#[tokio::test]
async fn a_new_factor_confirms_changes_of_factors_alone_for_a_day() {
    let mut settings = settings();
    settings.second_factor.confirms_after_s = 86_400;
    let bank = TestBank::with(settings).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    let mut story = Story::at(bank).await;
    let alice = story.alice.clone();
    let email = json!({"method": "POST", "path": "/api/v1/me/email", "body": {"email": "a@new.example"}});
    let code = story.code().await;
    let refused = story.step_up(&alice, &email, &code).await;
    refused.assert_problem(403, "factor-too-new");
    let retry_after: i64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(
        (DAY - 2 * MINUTE..=DAY - MINUTE).contains(&retry_after),
        "{retry_after}"
    );
    // The code is not used up by that.
    let renewal = json!({"method": "POST", "path": "/api/v1/me/factors/recovery-codes"});
    story.step_up(&alice, &renewal, &code).await.assert_status(200);
    story.wait(DAY).await;
    let code = story.code().await;
    story.step_up(&alice, &email, &code).await.assert_status(200);
}

#[tokio::test]
async fn another_address_is_confirmed_by_whoever_has_a_second_factor() {
    let mut story = Story::begin().await;
    let body = json!({"email": "alice@new.example", "password": PASSWORD});
    let ask = async |story: &Story, token: Option<&str>| {
        let request = story.bank.post("/api/v1/me/email").by(&story.alice).json(&body);
        match token {
            Some(token) => request.header("x-step-up", token).send().await,
            None => request.send().await,
        }
    };
    ask(&story, None).await.assert_problem(403, "step-up-required");
    let elsewhere =
        json!({"method": "POST", "path": "/api/v1/me/email", "body": {"email": "eve@new.example"}});
    let token = story.confirmed(&elsewhere).await;
    ask(&story, Some(&token))
        .await
        .assert_problem(403, "step-up-required");
    assert_eq!(story.mails().await, ["factor_added"]);
    let meant = json!({"method": "POST", "path": "/api/v1/me/email", "body": {"email": "alice@new.example"}});
    let token = story.confirmed(&meant).await;
    ask(&story, Some(&token)).await.assert_status(202);
    ask(&story, Some(&token))
        .await
        .assert_problem(403, "step-up-required");
}

#[tokio::test]
async fn who_has_no_second_factor_confirms_nothing() {
    let bank = TestBank::new().await;
    let bob = bank.customer("bob").await;
    let body = json!({"method": "DELETE", "path": "/p", "code": WRONG});
    let answer = bank.post("/api/v1/me/step-up").by(&bob).json(&body).send().await;
    answer.assert_problem(409, "no-second-factor");
    let removal = bank.call(Method::DELETE, "/api/v1/me/factors/totp").by(&bob);
    removal.send().await.assert_problem(403, "step-up-required");
    let none = bank.get("/api/v1/me/factors").by(&bob).send().await;
    assert_eq!(none.json, json!({"data": [], "recovery_codes_left": 0}));
    let fraction = json!({"method": "POST", "path": "/p", "body": {"a": 1.5}, "code": WRONG});
    let answer = bank
        .post("/api/v1/me/step-up")
        .by(&bob)
        .json(&fraction)
        .send()
        .await;
    answer.assert_problem(422, "validation-failed");
}

#[tokio::test]
async fn a_change_of_factors_is_confirmed_and_ends_the_other_sessions() {
    let mut story = Story::begin().await;
    let other = story.log_in().await;
    story.wait(MINUTE).await;
    let removal = json!({"method": "DELETE", "path": "/api/v1/me/factors/totp"});
    let renewal = json!({"method": "POST", "path": "/api/v1/me/factors/recovery-codes"});
    let token = story.confirmed(&renewal).await;
    let refused = story.change(Method::DELETE, "totp", &token).await;
    refused.assert_problem(403, "step-up-required");
    let renewed = story.change(Method::POST, "recovery-codes", &token).await;
    renewed.assert_status(200);
    let again = story.change(Method::POST, "recovery-codes", &token).await;
    again.assert_problem(403, "step-up-required");
    let me = story.bank.get("/api/v1/me").by(&other).send().await;
    me.assert_problem(401, "session-ended");
    let old = story
        .recover(&story.challenge().await, &story.recovery_codes[0])
        .await;
    old.assert_problem(403, "wrong-code");
    let new = renewed.json["recovery_codes"][0].as_str().unwrap();
    let recovered = story.recover(&story.challenge().await, new).await;
    let other = recovered.assert_status(200).text("access_token");

    let waiting = story.challenge().await;
    let token = story.confirmed(&removal).await;
    let removed = story.change(Method::DELETE, "totp", &token).await;
    removed.assert_status(204);
    let me = story.bank.get("/api/v1/me").bearer(&other).send().await;
    me.assert_problem(401, "session-ended");
    let code = story.code().await;
    story
        .finish(&waiting, &code)
        .await
        .assert_problem(403, "invalid-challenge");
    story
        .bank
        .login(&story.alice.email, PASSWORD)
        .await
        .assert_status(200);
    assert_eq!(
        story.factors().await.json,
        json!({"data": [], "recovery_codes_left": 0})
    );
    assert_eq!(
        story.mails().await,
        [
            "factor_added",
            "recovery_codes_renewed",
            "recovery_code_used",
            "factor_removed"
        ]
    );
    // Gateways were told of each session that ended and may have tokens.
    let told = "SELECT count(*) FROM control.revocation WHERE kind = 'session'";
    assert_eq!(db::number(&story.bank.owner, told).await, 2);
}

#[tokio::test]
async fn a_session_that_began_before_the_factor_was_confirmed_is_not_opened_past_it() {
    // A log-in holds its user until its session is there: it comes before the factor and is ended with it, or after it and is
    // challenged. Both at once, often.
    let bank = TestBank::new().await;
    for number in 0..8 {
        let alice = bank.customer(&format!("alice{number}")).await;
        let text = begin(&bank, &alice).await.text("secret");
        let secret = Secret::from_bytes(&decoded(&text)).unwrap();
        let code = secret.code_at(now_ms(&bank).await);
        let log_ins = join_all((0..4).map(|_| bank.login(&alice.email, PASSWORD)));
        let (log_ins, confirmed) = futures::future::join(log_ins, confirm(&bank, &alice, &code)).await;
        confirmed.assert_status(200);
        for answer in log_ins.iter().filter(|answer| answer.status == 200) {
            let me = bank.get("/api/v1/me").bearer(&answer.text("access_token"));
            me.send().await.assert_problem(401, "session-ended");
        }
    }
}

#[tokio::test]
async fn an_operator_lifts_the_lock_of_codes_and_removes_the_factors_of_whoever_lost_them() {
    let mut story = Story::begin().await;
    story.lock_codes().await;
    let settings = settings();
    let pool: Pool = story.bank.db.pool_as("portico_core").into();
    let is_known = crate::identity::unlock(&settings, &pool, &story.alice.email).await;
    assert!(is_known.unwrap());
    let code = story.code().await;
    story
        .finish(&story.challenge().await, &code)
        .await
        .assert_status(200);

    story.wait(MINUTE).await;
    let clock = Clock::system();
    let reset = async |name: &str| reset_factors(&settings, &pool, &clock, name).await.unwrap();
    assert_eq!(reset("nobody@example.com").await, FactorReset::Nobody);
    assert_eq!(reset(&story.alice.email).await, FactorReset::Done);
    assert_eq!(reset(&story.alice.email).await, FactorReset::NoFactor);
    let me = story.bank.get("/api/v1/me").by(&story.alice).send().await;
    me.assert_problem(401, "session-ended");
    story
        .bank
        .login(&story.alice.email, PASSWORD)
        .await
        .assert_status(200);
    assert_eq!(story.mails().await.last().unwrap(), "factor_removed");
    assert_eq!(
        trail(&story.bank, "^factor.removed").await,
        ["factor.removed operator", "factor.removed operator_nothing"]
    );
    let by_users =
        "SELECT count(*) FROM core.audit_event WHERE outcome ~ '^operator' AND actor_id IS NOT NULL";
    assert_eq!(db::number(&story.bank.owner, by_users).await, 0);
}

#[tokio::test]
async fn a_secret_is_sealed_anew_when_the_pepper_has_changed() {
    let mut story = Story::begin().await;
    let before = "SELECT encode(sealed, 'hex') FROM core.totp_factor";
    let old = db::texts(&story.bank.owner, before).await;
    let mut changed = settings();
    let pepper = std::mem::replace(
        &mut changed.password.pepper,
        SettingsSecret::from("another pepper of the tests".to_owned()),
    );
    changed.password.peppers = vec![pepper];
    let pool = story.bank.db.pool_as("portico_core").into();
    let shutdown = service_runtime::shutdown::Shutdown::new();
    let state = crate::run::state(&changed, pool, Clock::system(), &shutdown).unwrap();
    let router = crate::router::router(state).unwrap();
    story.bank = story
        .bank
        .served_by(service_runtime::http::layers(router, "core-api"));
    story.log_in().await;
    assert_ne!(db::texts(&story.bank.owner, before).await, old);
    story.wait(MINUTE).await;
    story.log_in().await;
}

#[tokio::test]
async fn nobody_reads_what_opens_an_account() {
    let story = Story::begin().await;
    let hash = digest::digest(
        &digest::SHA256,
        story.recovery_codes[0].replace('-', "").as_bytes(),
    );
    let known = db::texts(
        &story.bank.owner,
        "SELECT encode(code_hash, 'hex') FROM core.recovery_code",
    )
    .await;
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(known.contains(&hex));
    let mut conn = story.bank.db.pool_as("portico_core").acquire().await.unwrap();
    for (table, column) in [
        ("totp_factor", "sealed"),
        ("recovery_code", "code_hash"),
        ("login_challenge", "token_hash"),
        ("step_up", "token_hash"),
    ] {
        let sql = format!("SELECT count({column}) FROM core.{table}");
        db::number_on(&mut conn, &sql).await.unwrap_err();
    }
    // Row-level security shows nobody's factors to whoever has not entered a session.
    let seen = db::number_on(&mut conn, "SELECT count(user_id) FROM core.totp_factor").await;
    assert_eq!(seen.unwrap(), 0);
}

#[tokio::test]
async fn what_is_over_is_removed() {
    let mut story = Story::begin().await;
    story.challenge().await;
    story.confirmed(&json!({"method": "DELETE", "path": "/p"})).await;
    let bob = story.bank.customer("bob").await;
    begin(&story.bank, &bob).await.assert_status(200);
    story.wait(3 * DAY).await;
    db::execute(&story.bank.owner, "SELECT core.purge_gate(1000)")
        .await
        .unwrap();
    let left = "SELECT (SELECT count(*) FROM core.login_challenge) + (SELECT count(*) FROM core.step_up) * 10
                     + (SELECT count(*) FROM core.totp_factor) * 100";
    assert_eq!(
        db::number(&story.bank.owner, left).await,
        100,
        "the confirmed factor alone"
    );
    story.wait(MINUTE).await;
}
