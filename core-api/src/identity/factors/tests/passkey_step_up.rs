//! Confirming operations with a passkey.

use super::authenticator::Authenticator;
use super::passkeys::{confirmed_by, with_passkey};
use super::*;

const BEGIN: &str = "/api/v1/me/step-up/passkey";

fn transfer(from: &str, to: &str, amount: i64) -> Value {
    json!({"from_account_id": from, "to_account_id": to, "amount": amount, "currency": "EUR"})
}

fn operation(order: &Value) -> Value {
    json!({"method": "POST", "path": "/api/v1/transfers", "body": order})
}

async fn answer(
    bank: &TestBank,
    customer: &Customer,
    (asked, operation): (&Answer, &Value),
    credential: &Value,
) -> Answer {
    let mut body = operation.clone();
    body["passkey"] = json!({"ceremony": asked.text("ceremony"), "credential": credential});
    bank.post("/api/v1/me/step-up")
        .by(customer)
        .json(&body)
        .send()
        .await
}

async fn ask(bank: &TestBank, customer: &Customer, operation: &Value) -> Answer {
    bank.post(BEGIN).by(customer).json(operation).send().await
}

#[tokio::test]
async fn whoever_has_a_passkey_alone_confirms_a_large_transfer_with_it() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, added) = with_passkey(&bank, "alice").await;
    let (from, to) = (
        bank.funded(&alice, "EUR", 5_000_000).await,
        bank.account(&alice, "EUR").await,
    );
    let order = transfer(&from, &to, 2_000_000);
    let send = async |order: &Value, token: &str| {
        let call = bank.post("/api/v1/transfers").by(&alice).key(token);
        call.header("x-step-up", token).json(order).send().await
    };
    let asked = ask(&bank, &alice, &operation(&order)).await;
    asked.assert_status(200);
    let allowed = &asked.json["public_key"]["allowCredentials"];
    assert_eq!(allowed.as_array().unwrap().len(), 1, "{allowed}");
    let credential = authenticator.get(&asked.json["public_key"]);
    let confirmed = answer(&bank, &alice, (&asked, &operation(&order)), &credential).await;
    let token = confirmed.assert_status(200).text("token");
    send(&transfer(&from, &to, 2_000_001), &token)
        .await
        .assert_problem(403, "step-up-required");
    send(&order, &token).await.assert_status(201);
    // A recovery code that came with the passkey confirms, too, and a code of no authenticator does not.
    let mut body = operation(&order);
    body["code"] = json!("123456");
    let wrong = bank
        .post("/api/v1/me/step-up")
        .by(&alice)
        .json(&body)
        .send()
        .await;
    wrong.assert_problem(403, "wrong-code");
    body["passkey"] = json!({"ceremony": "x", "credential": credential});
    let both = bank
        .post("/api/v1/me/step-up")
        .by(&alice)
        .json(&body)
        .send()
        .await;
    assert_eq!(
        both.faults(),
        [("/passkey".to_owned(), "invalid_value".to_owned())]
    );
    let mut body = operation(&order);
    body["recovery_code"] = added.json["recovery_codes"][0].clone();
    let recovered = bank
        .post("/api/v1/me/step-up")
        .by(&alice)
        .json(&body)
        .send()
        .await;
    recovered.assert_status(200);
}

#[tokio::test]
async fn an_answer_confirms_what_was_asked_for_in_this_session_and_nothing_else() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let other = passkey_log_in::log_in(&bank, &mut authenticator).await;
    let elsewhere = Customer {
        access: other.text("access_token"),
        ..alice.clone()
    };
    let (small, large) = (
        json!({"method": "POST", "path": "/small"}),
        json!({"method": "POST", "path": "/large"}),
    );
    let asked = ask(&bank, &alice, &small).await;
    let credential = authenticator.get(&asked.json["public_key"]);
    let from_elsewhere = answer(&bank, &elsewhere, (&asked, &small), &credential).await;
    from_elsewhere.assert_problem(403, "invalid-challenge");
    let for_another = answer(&bank, &alice, (&asked, &large), &credential).await;
    for_another.assert_problem(403, "passkey-refused");
    let used_up = answer(&bank, &alice, (&asked, &small), &credential).await;
    used_up.assert_problem(403, "invalid-challenge");
    // Neither the beginning of a log-in nor an older one of the same session.
    let log_in = bank.post("/api/v1/auth/passkey").send().await;
    let credential = authenticator.get(&log_in.json["public_key"]);
    let of_log_in = answer(&bank, &alice, (&log_in, &small), &credential).await;
    of_log_in.assert_problem(403, "invalid-challenge");
    let (older, newer) = (ask(&bank, &alice, &small).await, ask(&bank, &alice, &small).await);
    let credential = authenticator.get(&older.json["public_key"]);
    let replaced = answer(&bank, &alice, (&older, &small), &credential).await;
    replaced.assert_problem(403, "invalid-challenge");
    let crossed = answer(&bank, &alice, (&newer, &small), &credential).await;
    crossed.assert_problem(403, "passkey-refused");
    // Nor a beginning of this session for a log-in.
    let asked = ask(&bank, &alice, &small).await;
    let body = json!({"ceremony": asked.text("ceremony"), "credential": authenticator.get(&asked.json["public_key"])});
    let finish = bank.post("/api/v1/auth/passkey/finish").json(&body).send().await;
    finish.assert_problem(403, "invalid-challenge");
}

#[tokio::test]
async fn five_wrong_answers_in_a_row_end_the_session_and_lock_no_codes() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let operation = json!({"method": "POST", "path": "/p"});
    for _ in 0..5 {
        let asked = ask(&bank, &alice, &operation).await;
        let foreign = Authenticator::new().get(&asked.json["public_key"]);
        answer(&bank, &alice, (&asked, &operation), &foreign)
            .await
            .assert_problem(403, "passkey-refused");
    }
    ask(&bank, &alice, &operation)
        .await
        .assert_problem(401, "session-ended");
    let locked = "SELECT count(*) FROM core.gate_counter WHERE kind = 'otp' AND state <> '{}'";
    assert_eq!(db::number(&bank.owner, locked).await, 0);
    passkey_log_in::log_in(&bank, &mut authenticator)
        .await
        .assert_status(200);
}

#[tokio::test]
async fn a_new_passkey_confirms_changes_of_factors_alone_for_its_first_day() {
    let mut strict = settings();
    strict.second_factor.confirms_after_s = 86_400;
    let bank = TestBank::with(strict).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    let (alice, mut authenticator, added) = with_passkey(&bank, "alice").await;
    let too_new = confirmed_by(
        &bank,
        &alice,
        &mut authenticator,
        &json!({"method": "POST", "path": "/p"}),
    )
    .await;
    too_new.assert_problem(403, "factor-too-new");
    let path = format!("/api/v1/me/factors/passkeys/{}", added.text("id"));
    let operation = json!({"method": "DELETE", "path": path});
    confirmed_by(&bank, &alice, &mut authenticator, &operation)
        .await
        .assert_status(200);
    let bob = bank.customer("bob").await;
    let none = ask(&bank, &bob, &operation).await;
    none.assert_problem(409, "no-second-factor");
}
