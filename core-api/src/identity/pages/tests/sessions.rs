//! Sessions of browsers: how they begin, what ends them, and what their cookies are good for.

use super::*;

#[tokio::test]
async fn one_registers_logs_in_sees_what_is_ones_own_and_logs_out() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = Browser::new(&bank);
    assert_eq!(target(&browser.get("/account").await), "/account/log-in");
    assert_eq!(target(&browser.log_in(&email, PASSWORD).await), "/account");
    let page = html(&browser.get("/account").await);
    for part in [
        "Ada &lt;Example&gt; &amp; Co",
        "ada@example.com",
        "This session",
        "192.0.2.0",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("<Example>"));
    // Whoever is in need not log in.
    assert_eq!(target(&browser.get("/account/log-in").await), "/account");

    let kept = browser.cookies[SESSION].clone();
    let out = browser.submit("/account", "/account/log-out", &[]).await;
    assert_eq!(target(&out), "/account/log-in?said=signed-out");
    assert!(!browser.cookies.contains_key(SESSION));
    browser.cookies.insert(SESSION.to_owned(), kept);
    assert_eq!(
        target(&browser.get("/account").await),
        "/account/log-in?said=ended"
    );
    assert!(!browser.cookies.contains_key(SESSION), "it is taken back");
}

#[tokio::test]
async fn the_cookie_is_for_this_host_and_goes_with_the_browser() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = Browser::new(&bank);
    let answer = browser.log_in(&email, PASSWORD).await;
    let set = answer.headers.get_all(header::SET_COOKIE).iter();
    let set: Vec<&str> = set.map(|value| value.to_str().unwrap()).collect();
    let session = set.iter().find(|set| set.starts_with(SESSION)).unwrap();
    let (secret, attributes) = session.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax");
    assert!(secret.len() > SESSION.len() + 43 + 26, "{secret}");
    // The device is trusted, as by the API.
    assert!(set.iter().any(|set| set.starts_with("__Host-dev=")), "{set:?}");
}

#[tokio::test]
async fn a_log_in_and_a_new_password_give_another_cookie() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = Browser::new(&bank);
    browser
        .cookies
        .insert(SESSION.to_owned(), "bs1.planted.by-somebody".to_owned());
    browser.log_in(&email, PASSWORD).await;
    let first = browser.cookies[SESSION].clone();
    assert_ne!(first, "bs1.planted.by-somebody");

    let mut other = signed_in(&bank, &email).await;
    let fields = [
        ("current_password", PASSWORD),
        ("new_password", "a quartz lagoon at noon"),
    ];
    let changed = browser
        .submit("/account/password", "/account/password", &fields)
        .await;
    assert_eq!(target(&changed), "/account?said=password-changed");
    assert_ne!(browser.cookies[SESSION], first);
    assert!(browser.is_in().await);
    assert!(!other.is_in().await, "another session lives on");
    browser.cookies.insert(SESSION.to_owned(), first);
    assert!(!browser.is_in().await, "the cookie of before is good");
}

#[tokio::test]
async fn whatever_ends_a_session_ends_its_browser_at_once() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let access = access_token(&bank, &email).await;
    let ends: [&[&str]; 5] = [
        &["DELETE /api/v1/me/sessions?keep=current"],
        &[
            "UPDATE core.session SET absolute_expires_at = clock_timestamp() WHERE revoked_at IS NULL AND user_agent IS NULL",
        ],
        &["UPDATE core.refresh_token SET expires_at = clock_timestamp() WHERE consumed_at IS NULL"],
        &[
            "UPDATE core.user SET status = 'disabled'",
            "UPDATE core.user SET status = 'active'",
        ],
        &["DELETE /api/v1/me/sessions"],
    ];
    for end in ends {
        let mut browser = signed_in(&bank, &email).await;
        assert!(browser.is_in().await);
        match end[0].strip_prefix("DELETE ") {
            Some(path) => {
                let ended = bank.call(Method::DELETE, path).bearer(&access).send().await;
                // After the others, the one that asks has ended, too.
                assert!([200, 401].contains(&ended.status), "{}", ended.json);
                if ended.status == 401 {
                    let again = access_token(&bank, &email).await;
                    let ended = bank.call(Method::DELETE, path).bearer(&again).send().await;
                    ended.assert_status(200);
                }
            }
            None => {
                db::execute(&bank.owner, end[0]).await.unwrap();
            }
        }
        assert!(!browser.is_in().await, "{end:?}");
        if let Some(mend) = end.get(1) {
            db::execute(&bank.owner, mend).await.unwrap();
        }
    }
}

#[tokio::test]
async fn one_ends_another_session_and_all_others_from_the_page() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let (mut browser, mut other) = (signed_in(&bank, &email).await, signed_in(&bank, &email).await);
    let page = html(&browser.get("/account").await);
    // The only one with a button to end it: that of this request has none.
    let (_, form) = page.split_once("action=\"/account/sessions/end\"").unwrap();
    let id = hidden(form, "id");
    let named = browser
        .submit(
            "/account",
            "/account/sessions/name",
            &[("id", &id), ("name", "The <old> phone")],
        )
        .await;
    assert_eq!(target(&named), "/account?said=session-named");
    let nameless = browser
        .submit(
            "/account",
            "/account/sessions/name",
            &[("id", &id), ("name", " ")],
        )
        .await;
    nameless.assert_status(422);
    assert!(html(&nameless).contains("Enter a name: 1 to 64 characters."));
    let page = html(&browser.get("/account?said=session-named").await);
    assert!(page.contains("The &lt;old&gt; phone") && page.contains("The session has its new name."));

    let ended = browser
        .submit("/account", "/account/sessions/end", &[("id", &id)])
        .await;
    assert_eq!(target(&ended), "/account?said=session-ended");
    assert!(browser.is_in().await && !other.is_in().await);
    let again = browser
        .submit("/account", "/account/sessions/end", &[("id", &id)])
        .await;
    again.assert_status(404);
    assert!(html(&again).contains("That session has ended already."));

    let access = access_token(&bank, &email).await;
    let all = browser
        .submit("/account", "/account/sessions/end-others", &[])
        .await;
    assert_eq!(target(&all), "/account?said=others-ended");
    assert!(browser.is_in().await);
    bank.get("/api/v1/me")
        .bearer(&access)
        .send()
        .await
        .assert_status(401);

    // Nobody ends the sessions of somebody else.
    let stranger = registered(&bank, "eve").await;
    let mut stranger = signed_in(&bank, &stranger).await;
    let page = html(&browser.get("/account").await);
    let own = hidden(page.split_once("/account/sessions/name").unwrap().1, "id");
    let theft = stranger
        .submit("/account", "/account/sessions/end", &[("id", &own)])
        .await;
    theft.assert_status(404);
    assert!(browser.is_in().await);
}

#[tokio::test]
async fn a_device_is_trusted_no_more() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let page = html(&browser.get("/account").await);
    let (_, form) = page.split_once("action=\"/account/devices/remove\"").unwrap();
    let id = hidden(form, "id");
    let removed = browser
        .submit("/account", "/account/devices/remove", &[("id", &id)])
        .await;
    assert_eq!(target(&removed), "/account?said=device-removed");
    let page = html(&browser.get("/account").await);
    assert!(!page.contains("/account/devices/remove"), "{page}");
}

#[tokio::test]
async fn a_cookie_is_no_refresh_token_and_its_secret_is_kept_nowhere() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let cookie = browser.cookies[SESSION].clone();
    for text in [cookie.clone(), cookie.replacen("bs1", "rt1", 1)] {
        let body = json!({"refresh_token": text});
        let answer = bank.post("/api/v1/auth/refresh").json(&body).send().await;
        answer.assert_problem(401, "invalid-refresh-token");
    }
    assert!(browser.is_in().await);
    let login = bank.login(&email, PASSWORD).await;
    let refresh = login.text("refresh_token").replacen("rt1", "bs1", 1);
    let mut thief = Browser::new(&bank);
    thief.cookies.insert(SESSION.to_owned(), refresh);
    assert!(!thief.is_in().await);

    let secret = cookie.rsplit('.').next().unwrap();
    let sql = format!(
        "SELECT count(*) FROM core.refresh_token r WHERE r::text LIKE '%' || encode(decode(translate('{secret}=', '-_', '+/'), 'base64'), 'hex') || '%'"
    );
    assert_eq!(db::number(&bank.owner, &sql).await, 0);
}

#[tokio::test]
async fn a_session_that_is_used_goes_on_and_not_past_its_end() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::bigint FROM core.refresh_token";
    let at_first = db::number(&bank.owner, left).await;
    assert!((890..=900).contains(&at_first), "{at_first}");
    let soon = "UPDATE core.refresh_token SET expires_at = clock_timestamp() + interval '5 seconds'";
    db::execute(&bank.owner, soon).await.unwrap();
    assert!(browser.is_in().await);
    let put_off = db::number(&bank.owner, left).await;
    assert!((890..=900).contains(&put_off), "{put_off}");
    let end = "UPDATE core.session SET absolute_expires_at = clock_timestamp() + interval '100 seconds'";
    db::execute(&bank.owner, end).await.unwrap();
    db::execute(&bank.owner, soon).await.unwrap();
    assert!(browser.is_in().await);
    let at_most = db::number(&bank.owner, left).await;
    assert!(at_most <= 100, "{at_most}");
}
