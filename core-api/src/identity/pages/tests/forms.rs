//! Forms: where they may come from, what is said when they are refused, and in which language.

use super::*;

#[tokio::test]
async fn a_form_from_elsewhere_changes_nothing() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let mut other = signed_in(&bank, &email).await;
    let (ours, of_another) = (
        form_token(&browser.get("/account").await),
        form_token(&other.get("/account").await),
    );
    assert_ne!(ours, of_another);
    let attempts: [(&str, Vec<(&'static str, String)>); 7] = [
        ("", vec![]),
        ("AAAA", vec![]),
        (&of_another, vec![]),
        (&ours, vec![("sec-fetch-site", "cross-site".to_owned())]),
        (&ours, vec![("sec-fetch-site", "same-site".to_owned())]),
        (&ours, vec![("origin", "https://evil.example".to_owned())]),
        (&ours, vec![("origin", "null".to_owned())]),
    ];
    for (token, fields) in attempts {
        browser.fields = fields;
        let answer = browser.send_form("/account/log-out", token, &[]).await;
        answer.assert_status(403);
        assert!(
            html(&answer).contains("Nothing was done."),
            "{:?}",
            browser.fields
        );
    }
    browser.fields = vec![
        ("sec-fetch-site", "same-origin".to_owned()),
        ("origin", format!("https://{HOST}")),
    ];
    assert!(browser.is_in().await);
    let out = browser.send_form("/account/log-out", &ours, &[]).await;
    out.assert_status(303);
}

#[tokio::test]
async fn nobody_is_logged_in_by_a_form_of_somebody_else() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let (mut victim, mut attacker) = (Browser::new(&bank), Browser::new(&bank));
    victim.get("/account/log-in").await;
    let planted = form_token(&attacker.get("/account/log-in").await);
    let fields = [("email", email.as_str()), ("password", PASSWORD)];
    let answer = victim.send_form("/account/log-in", &planted, &fields).await;
    answer.assert_status(403);
    assert!(!victim.cookies.contains_key(SESSION));
    // Nor by one that is not urlencoded.
    let token = form_token(&victim.get("/account/log-in").await);
    let body = json!({"email": email, "password": PASSWORD, "form_token": token});
    let as_json = bank
        .post("/account/log-in")
        .header(
            "cookie",
            &format!("__Host-form={}", victim.cookies["__Host-form"]),
        )
        .json(&body)
        .send()
        .await;
    as_json.assert_status(400);
}

/// A page without what the visitor typed into it.
fn without(answer: &Answer, email: &str) -> String {
    html(answer).replace(email, "NAME")
}

#[tokio::test]
async fn a_name_that_is_known_and_one_that_is_not_get_the_same_pages() {
    let bank = TestBank::new().await;
    let known = registered(&bank, "ada").await;
    let unknown = "nobody@example.com";
    let mut browser = Browser::new(&bank);
    let (page, wrong) = ("/account/log-in", "not the password at all");
    let mut answers = Vec::new();
    for email in [known.as_str(), unknown] {
        let fields = [("email", email), ("password", wrong)];
        let answer = browser.submit(page, page, &fields).await;
        answer.assert_status(401);
        assert!(html(&answer).contains("The e-mail address or the password is wrong."));
        assert!(html(&answer).contains(&format!("value=\"{email}\"")));
        assert!(!html(&answer).contains(wrong), "a password comes back");
        answers.push(without(&answer, email));
    }
    assert_eq!(answers[0], answers[1]);
    for page in [
        "/account/forgot-password",
        "/account/resend-verification",
        "/account/send-unlock",
    ] {
        for email in [known.as_str(), unknown] {
            let answer = browser.submit(page, page, &[("email", email)]).await;
            assert_eq!(target(&answer), "/account/log-in?said=mail-sent");
        }
    }
    for email in [known.as_str(), unknown] {
        let fields = [("email", email), ("full_name", "Ada"), ("password", PASSWORD)];
        let answer = browser
            .submit("/account/register", "/account/register", &fields)
            .await;
        assert_eq!(target(&answer), "/account/log-in?said=registered");
    }
}

#[tokio::test]
async fn a_lock_is_told_with_its_time_and_not_for_whom() {
    let bank = TestBank::new().await;
    let known = registered(&bank, "ada").await;
    let mut pages = Vec::new();
    for email in [known.as_str(), "nobody@example.com"] {
        let mut browser = Browser::new(&bank);
        for _ in 0..5 {
            browser
                .log_in(email, "not the password at all")
                .await
                .assert_status(401);
        }
        let locked = browser.log_in(email, PASSWORD).await;
        locked.assert_status(429);
        let seconds: u32 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
        let page = html(&locked);
        let told = format!("Try again in {seconds} seconds.");
        assert!(
            page.contains("There were too many attempts.") && page.contains(&told),
            "{seconds} {page}"
        );
        let token = form_token(&locked);
        pages.push(without(&locked, email).replace(&token, "TOKEN"));
    }
    assert_eq!(pages[0], pages[1]);
}

#[tokio::test]
async fn faults_stand_beside_their_fields_and_what_was_typed_is_kept() {
    let bank = TestBank::new().await;
    let mut browser = Browser::new(&bank);
    let fields = [
        ("email", "no \"address\""),
        ("full_name", "Ada"),
        ("password", "short"),
    ];
    let answer = browser
        .submit("/account/register", "/account/register", &fields)
        .await;
    answer.assert_status(422);
    let page = html(&answer);
    for part in [
        "<title>Error:",
        "value=\"no &quot;address&quot;\"",
        "value=\"Ada\"",
        "Enter an e-mail address such as alice@example.com.",
        "It needs at least 15 characters.",
        "aria-describedby=\"email-faults email-hint\"",
        "aria-describedby=\"password-faults password-hint\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(!page.contains("short"), "a password comes back");
    assert_eq!(page.matches(" autofocus").count(), 1, "{page}");
    let (_, email) = page.split_once("id=\"email\"").unwrap();
    assert!(email.split('>').next().unwrap().contains("autofocus"));
    assert_eq!(page.matches("aria-invalid=\"true\"").count(), 2);
}

#[tokio::test]
async fn a_ticket_that_is_not_good_is_told_on_its_page() {
    let bank = TestBank::new().await;
    let mut browser = Browser::new(&bank);
    for page in ["/account/verify-email", "/account/unlock", "/account/keep-email"] {
        let answer = browser.submit(page, page, &[("token", &"A".repeat(43))]).await;
        answer.assert_status(403);
        assert!(html(&answer).contains("not valid, or not any more"), "{page}");
    }
    let fields = [("token", "x"), ("password", "correct horse battery")];
    let answer = browser
        .submit("/account/reset-password", "/account/reset-password", &fields)
        .await;
    answer.assert_status(403);
    assert!(!html(&answer).contains("correct horse"));
}

#[tokio::test]
async fn pages_are_in_the_language_that_was_chosen_or_asked_for() {
    let bank = TestBank::new().await;
    let mut browser = Browser::new(&bank);
    for (asked, code, title) in [
        ("fr-CA, en;q=0.5", "fr", "Connectez-vous à votre compte"),
        ("de", "de", "Bei Ihrem Konto anmelden"),
        ("es", "es", "Inicia sesión en tu cuenta"),
        ("nl", "en", "Log in to your account"),
    ] {
        browser.languages = asked;
        let answer = browser.get("/account/log-in").await;
        let page = html(&answer);
        assert!(
            page.contains(&format!("<html lang=\"{code}\">")) && page.contains(title),
            "{page}"
        );
        assert_eq!(answer.headers[header::CONTENT_LANGUAGE], code);
    }
    let choice = |path: &'static str| [("language", "de"), ("path", path)];
    let chosen = browser
        .submit(
            "/account/register",
            "/account/language",
            &choice("/account/register"),
        )
        .await;
    assert_eq!(target(&chosen), "/account/register");
    assert!(html(&browser.get("/account/register").await).contains("<html lang=\"de\">"));
    // A wrong password is told in it, too.
    let refused = browser.log_in("nobody@example.com", PASSWORD).await;
    assert!(html(&refused).contains("Die E-Mail-Adresse oder das Passwort ist falsch."));
    // No other place is a target.
    for elsewhere in ["https://evil.example/", "//evil.example", "/docs", ""] {
        let chosen = browser
            .submit("/account/log-in", "/account/language", &choice(elsewhere))
            .await;
        assert_eq!(target(&chosen), "/account/log-in", "{elsewhere}");
    }
    // What is said comes from a list.
    let page = html(&browser.get("/account/log-in?said=%3Cb%3Epwned").await);
    assert!(!page.contains("pwned") && !page.contains("role=\"status\""));
}

#[tokio::test]
async fn a_person_is_spoken_to_in_the_language_of_the_registration() {
    let bank = TestBank::new().await;
    let mut browser = Browser::new(&bank);
    browser.languages = "fr";
    let fields = [
        ("email", "ada@example.com"),
        ("full_name", "Ada"),
        ("password", PASSWORD),
    ];
    browser
        .submit("/account/register", "/account/register", &fields)
        .await
        .assert_status(303);
    let mut elsewhere = signed_in(&bank, "ada@example.com").await;
    assert_eq!(elsewhere.languages, "en");
    let page = html(&elsewhere.get("/account").await);
    assert!(
        page.contains("<html lang=\"fr\">") && page.contains("Où vous êtes connecté"),
        "{page}"
    );
    let chosen = [("language", "es"), ("path", "/account")];
    let chosen = elsewhere.submit("/account", "/account/language", &chosen).await;
    assert_eq!(target(&chosen), "/account");
    assert!(html(&elsewhere.get("/account").await).contains("<html lang=\"es\">"));
}

fn for_good(answer: &Answer) -> bool {
    answer.headers[header::CACHE_CONTROL] == "public, max-age=31536000, immutable"
}

#[tokio::test]
async fn assets_are_asked_for_with_the_hash_of_their_content() {
    let bank = TestBank::new().await;
    let mut browser = Browser::new(&bank);
    let page = html(&browser.get("/account/log-in").await);
    for (attribute, kind) in [
        ("<link rel=\"stylesheet\" href=\"", "text/css; charset=utf-8"),
        ("<script src=\"", "text/javascript; charset=utf-8"),
        (
            "<link rel=\"icon\" type=\"image/svg+xml\" href=\"",
            "image/svg+xml",
        ),
    ] {
        let path = page.split_once(attribute).unwrap().1.split('"').next().unwrap();
        let asset = browser.get(path).await;
        asset.assert_status(200);
        assert_eq!(asset.headers[header::CONTENT_TYPE], kind);
        assert!(for_good(&asset));
        let version = path.split_once("?v=").unwrap().1;
        browser
            .get(&path.replace(version, "AAAAAAAAAAAAAAAA"))
            .await
            .assert_status(404);
    }
}
