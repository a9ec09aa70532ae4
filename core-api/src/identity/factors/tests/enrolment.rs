//! Adding an authenticator.

use super::*;

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
