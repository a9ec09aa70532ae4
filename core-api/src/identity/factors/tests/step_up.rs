//! Confirmations of single operations.

use super::*;

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
async fn five_wrong_codes_in_a_row_end_the_session_that_shows_them_and_lock_nobodys_codes() {
    let mut story = Story::begin().await;
    let operation = json!({"method": "DELETE", "path": "/api/v1/me/factors/totp"});
    let stolen = story.log_in().await;
    let wrong = async |story: &Story| {
        let answer = story.step_up(&stolen, &operation, WRONG).await;
        answer.assert_problem(403, "wrong-code");
        answer.json["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("has ended"))
    };
    // A right code begins the count anew.
    for _ in 0..4 {
        assert!(!wrong(&story).await);
    }
    story.wait(MINUTE).await;
    let code = story.code().await;
    story.step_up(&stolen, &operation, &code).await.assert_status(200);
    for last in [false, false, false, false, true] {
        assert_eq!(wrong(&story).await, last);
    }
    let refused = story.step_up(&stolen, &operation, WRONG).await;
    refused.assert_problem(401, "session-ended");
    let body = json!({"refresh_token": stolen.refresh});
    let refused = story.bank.post("/api/v1/auth/refresh").json(&body).send().await;
    refused.assert_problem(401, "session-ended");
    let told = "SELECT kind FROM control.revocation";
    assert_eq!(db::texts(&story.bank.owner, told).await, ["session"]);
    assert_eq!(
        trail(&story.bank, "^session.revoked").await.last().unwrap(),
        "session.revoked wrong_codes"
    );

    // The owner's own session and codes are as they were.
    story.wait(MINUTE).await;
    story.confirmed(&operation).await;
}
