//! Log-ins in two steps, and the codes that they take.

use super::*;

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
    assert_eq!(first.json["factors"], json!(["totp", "passkey", "recovery_code"]));
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
