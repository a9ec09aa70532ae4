//! Deposits and withdrawals through the router.

use keyring::{Algorithm, SigningKey};
use serde_json::json;

use crate::tests::bank::{TestBank, settings};
use crate::tests::store;

#[tokio::test]
async fn cash_goes_in_and_out_and_not_below_zero() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "EUR").await;
    let deposited = bank.deposit(&alice, &account, "EUR", 10_000, "d1").await;
    deposited.assert_status(201);
    assert_eq!(
        (
            &deposited.json["kind"],
            &deposited.json["status"],
            &deposited.json["account_id"]
        ),
        (&json!("deposit"), &json!("posted"), &json!(account))
    );

    let path = format!("/api/v1/accounts/{account}/withdrawals");
    let withdraw = |amount: i64, key: &str| {
        bank.post(&path)
            .by(&alice)
            .key(key)
            .json(&json!({"amount": amount, "currency": "EUR", "reference": "Cash"}))
            .send()
    };
    withdraw(10_001, "w1")
        .await
        .assert_problem(422, "insufficient-funds");
    let out = withdraw(10_000, "w2").await;
    assert_eq!(out.assert_status(201).json["kind"], "withdrawal");
    withdraw(1, "w3").await.assert_problem(422, "insufficient-funds");
    assert_eq!(bank.posted(&alice, &account).await, 0);
    bank.assert_invariants().await;
    let trail = store::texts(&bank.owner, "SELECT action || ' ' || outcome FROM core.audit_event WHERE action ~ '^(dep|wit)' ORDER BY audit_event_id").await;
    assert_eq!(
        trail,
        [
            "deposit.created done",
            "withdrawal.created insufficient_funds",
            "withdrawal.created done",
            "withdrawal.created insufficient_funds"
        ]
    );
}

#[tokio::test]
async fn nobody_but_the_owner_moves_cash_on_an_account() {
    let bank = TestBank::new().await;
    let (alice, mallory) = (bank.customer("alice").await, bank.customer("mallory").await);
    let account = bank.funded(&alice, "EUR", 1_000).await;
    bank.deposit(&mallory, &account, "EUR", 1, "m1")
        .await
        .assert_problem(404, "account-not-found");
    let path = format!("/api/v1/accounts/{account}/withdrawals");
    let order = json!({"amount": 1, "currency": "EUR"});
    bank.post(&path)
        .by(&mallory)
        .key("m2")
        .json(&order)
        .send()
        .await
        .assert_problem(404, "account-not-found");
    assert_eq!(bank.posted(&alice, &account).await, 1_000);
}

#[tokio::test]
async fn an_account_takes_its_own_currency_only() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "JPY").await;
    for (currency, key) in [("EUR", "c1"), ("XXX", "c2")] {
        let answer = bank.deposit(&alice, &account, currency, 5, key).await;
        answer.assert_problem(422, "currency-mismatch");
        assert_eq!(
            answer.faults(),
            [("/currency".to_owned(), "currency_mismatch".to_owned())]
        );
    }
    bank.deposit(&alice, &account, "JPY", 5, "c3")
        .await
        .assert_status(201);
}

#[tokio::test]
async fn customers_have_no_cash_scope_unless_development_grants_it() {
    let mut settings = settings();
    settings.self_service_cash = false;
    let bank = TestBank::with(settings).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "EUR").await;
    bank.deposit(&alice, &account, "EUR", 5, "d")
        .await
        .assert_problem(403, "forbidden");
    assert_eq!(bank.posted(&alice, &account).await, 0);
}

#[tokio::test]
async fn an_account_never_holds_more_than_json_can_say() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "EUR").await;
    for number in 0..9 {
        bank.deposit(
            &alice,
            &account,
            "EUR",
            1_000_000_000_000_000,
            &format!("d{number}"),
        )
        .await
        .assert_status(201);
    }
    bank.deposit(&alice, &account, "EUR", 1, "over")
        .await
        .assert_problem(422, "balance-limit-exceeded");
    assert_eq!(bank.posted(&alice, &account).await, 9_000_000_000_000_000);
    bank.assert_invariants().await;
}

#[tokio::test]
async fn only_whole_positive_amounts_move() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let account = bank.account(&alice, "EUR").await;
    let path = format!("/api/v1/accounts/{account}/deposits");
    for amount in [
        "1.0",
        "1e2",
        "\"5\"",
        "0",
        "-5",
        "1000000000000001",
        "99999999999999999999",
        "null",
        "true",
        "[]",
    ] {
        let body = format!(r#"{{"amount":{amount},"currency":"EUR"}}"#);
        let answer = bank
            .post(&path)
            .by(&alice)
            .key("k")
            .raw("application/json", body)
            .send()
            .await;
        answer.assert_problem(422, "validation-failed");
        assert_eq!(answer.faults()[0].0, "/amount", "{amount}");
    }
    // None of them used up the key.
    bank.deposit(&alice, &account, "EUR", 5, "k")
        .await
        .assert_status(201);
}
