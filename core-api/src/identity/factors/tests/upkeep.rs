//! Changes of factors, by their owner and by operators, and what is kept of them.

use super::*;

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
        "SELECT count(*) FROM core.audit_event WHERE request_id ~ '^cli:' AND actor_id IS NOT NULL";
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
