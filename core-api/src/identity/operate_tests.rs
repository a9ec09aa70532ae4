//! What operators do to accounts, as their owners see it.

use database::Pool;
use futures::future::join_all;
use serde_json::json;

use super::operate::{AccountDeed, AccountDone, operate};
use crate::tests::bank::{Answer, Customer, PASSWORD, TestBank, settings};
use crate::tests::store as db;

async fn done(bank: &TestBank, name: &str, deed: AccountDeed) -> Option<AccountDone> {
    let pool: Pool = bank.db.pool_as("portico_core").into();
    operate(&settings(), &pool, name, deed).await.unwrap()
}

const fn made(is_changed: bool, sessions: i64) -> Option<AccountDone> {
    Some(AccountDone { is_changed, sessions })
}

async fn refresh(bank: &TestBank, customer: &Customer) -> Answer {
    let body = json!({"refresh_token": customer.refresh});
    bank.post("/api/v1/auth/refresh").json(&body).send().await
}

async fn is_out(bank: &TestBank, customer: &Customer) {
    let me = bank.get("/api/v1/me").by(customer).send().await;
    me.assert_problem(401, "session-ended");
    refresh(bank, customer).await.assert_problem(401, "session-ended");
}

async fn signed_in(bank: &TestBank, email: &str) -> Customer {
    let answer = bank.login(email, PASSWORD).await;
    answer.assert_status(200);
    Customer {
        email: email.to_owned(),
        access: answer.text("access_token"),
        refresh: answer.text("refresh_token"),
    }
}

const TRAIL: &str = "SELECT action || ' ' || outcome FROM core.audit_event WHERE action ~ '^(account|session.revoked)' ORDER BY 1";

#[tokio::test]
async fn whose_phone_is_stolen_is_signed_out_everywhere_and_comes_back_with_the_password() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let (phone, bob) = (signed_in(&bank, &alice.email).await, bank.customer("bob").await);
    let body = json!({"email": "thief@example.com", "password": PASSWORD});
    let asked = bank.post("/api/v1/me/email").by(&phone).json(&body).send().await;
    asked.assert_status(202);
    assert_eq!(
        done(&bank, &alice.email.to_uppercase(), AccountDeed::SignOut).await,
        made(false, 2)
    );
    is_out(&bank, &alice).await;
    is_out(&bank, &phone).await;
    let told = "SELECT count(*) FROM control.revocation WHERE kind = 'session'";
    assert_eq!(
        db::number(&bank.owner, told).await,
        2,
        "gateways are told of both"
    );
    let devices = "SELECT count(*) FROM core.trusted_device d JOIN core.user u USING (user_id) WHERE u.email ~ '^alice'";
    assert_eq!(db::number(&bank.owner, devices).await, 0);
    signed_in(&bank, &alice.email).await;
    assert_eq!(refresh(&bank, &bob).await.status, 200, "nobody else is");
    assert_eq!(
        done(&bank, "nobody@example.com", AccountDeed::SignOut).await,
        None
    );
    assert_eq!(done(&bank, "no address", AccountDeed::Disable).await, None);
    assert_eq!(
        db::texts(&bank.owner, TRAIL).await,
        [
            "account.signed_out operator",
            "session.revoked operator",
            "session.revoked operator"
        ]
    );
    let by_users =
        "SELECT count(*) FROM core.audit_event WHERE request_id ~ '^cli:' AND actor_id IS NOT NULL";
    assert_eq!(db::number(&bank.owner, by_users).await, 0);
    let distrusted =
        "SELECT count(*) FROM core.audit_event WHERE action = 'device.distrusted' AND outcome = 'operator'";
    assert!(db::number(&bank.owner, distrusted).await > 0);
    let waiting = "SELECT count(*) FROM core.ticket WHERE kind = 'change_email'";
    assert_eq!(db::number(&bank.owner, waiting).await, 0, "the thief's address");
}

#[tokio::test]
async fn a_disabled_account_is_out_and_stays_out_and_its_old_sessions_are_over_when_it_is_enabled() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    assert_eq!(
        done(&bank, &alice.email, AccountDeed::Enable).await,
        made(false, 0)
    );
    assert_eq!(
        done(&bank, &alice.email, AccountDeed::Disable).await,
        made(true, 1)
    );
    is_out(&bank, &alice).await;
    let refused = bank.login(&alice.email, PASSWORD).await;
    refused.assert_problem(401, "invalid-credentials");
    assert_eq!(
        done(&bank, &alice.email, AccountDeed::Disable).await,
        made(false, 0)
    );
    assert_eq!(
        done(&bank, &alice.email, AccountDeed::Enable).await,
        made(true, 0)
    );
    is_out(&bank, &alice).await;
    signed_in(&bank, &alice.email).await;
    let accounts = "SELECT action || ' ' || outcome FROM core.audit_event WHERE action ~ '^account' ORDER BY audit_event_id";
    assert_eq!(
        db::texts(&bank.owner, accounts).await,
        [
            "account.enabled operator_nothing",
            "account.disabled operator",
            "account.disabled operator_nothing",
            "account.enabled operator"
        ]
    );
    let others_hear = "SELECT kind FROM core.outbox_event WHERE kind ~ '^account' ORDER BY outbox_event_id";
    assert_eq!(
        db::texts(&bank.owner, others_hear).await,
        ["account.disabled", "account.enabled"]
    );
}

#[tokio::test]
async fn an_account_whose_address_was_never_verified_is_not_ready_when_it_is_enabled() {
    let mut settings = settings();
    settings.auto_activate = false;
    let bank = TestBank::with(settings).await;
    bank.register("alice@example.com").await.assert_status(202);
    let status = "SELECT status FROM core.user";
    for (deed, expected) in [
        (AccountDeed::Disable, "disabled"),
        (AccountDeed::Enable, "pending"),
    ] {
        done(&bank, "alice@example.com", deed).await.unwrap();
        assert_eq!(db::texts(&bank.owner, status).await, [expected]);
    }
    // Its mailbox is verified while it is disabled.
    done(&bank, "alice@example.com", AccountDeed::Disable)
        .await
        .unwrap();
    let verified = "UPDATE core.user SET email_verified_at = now()";
    db::execute(&bank.owner, verified).await.unwrap();
    done(&bank, "alice@example.com", AccountDeed::Enable)
        .await
        .unwrap();
    assert_eq!(db::texts(&bank.owner, status).await, ["active"]);
}

#[tokio::test]
async fn whoever_logs_in_while_the_account_is_disabled_is_out_afterwards() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let log_ins = join_all((0..4).map(|_| bank.login(&alice.email, PASSWORD)));
    let (answers, disabled) = tokio::join!(log_ins, done(&bank, &alice.email, AccountDeed::Disable));
    assert!(disabled.is_some_and(|disabled| disabled.is_changed));
    for answer in answers.iter().filter(|answer| answer.status == 200) {
        let customer = Customer {
            email: alice.email.clone(),
            access: answer.text("access_token"),
            refresh: answer.text("refresh_token"),
        };
        is_out(&bank, &customer).await;
    }
    let live = "SELECT count(*) FROM core.session WHERE revoked_at IS NULL";
    assert_eq!(db::number(&bank.owner, live).await, 0);
}
