//! Second factors on pages: adding an authenticator, logging in with it, with a recovery code, and what changes it.

use aws_lc_rs::hmac;

use super::*;

/// The code of a secret in base32 (RFC 6238), now or some steps later.
async fn code(bank: &TestBank, secret: &str, steps: i64) -> String {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for letter in secret.chars() {
        let value = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".find(letter).unwrap();
        held = (held << 5 | u32::try_from(value).unwrap()) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).unwrap());
        }
    }
    let now_ms = db::number(&bank.owner, "SELECT core.gate_time_ms()").await;
    let step = now_ms / 30_000 + steps;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag[19] & 15);
    let four = <[u8; 4]>::try_from(&tag[offset..offset + 4]).unwrap();
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}

/// Adds an authenticator on the pages; gives its secret and the recovery codes.
async fn add_authenticator(browser: &mut Browser<'_>) -> (String, Vec<String>) {
    let asked = browser
        .submit(
            "/account/authenticator",
            "/account/authenticator",
            &[("password", PASSWORD)],
        )
        .await;
    asked.assert_status(200);
    let page = html(&asked);
    let secret = hidden(&page, "secret");
    assert!(page.contains("href=\"otpauth:&#x2f;&#x2f;totp&#x2f;"), "{page}");
    let fields = |code: &str| {
        [
            ("secret", secret.clone()),
            ("uri", "javascript:alert(1)".to_owned()),
            ("code", code.to_owned()),
        ]
    };
    let wrong = fields("000000");
    let wrong: Vec<_> = wrong
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let token = form_token(&asked);
    let answer = browser
        .send_form("/account/authenticator/confirm", &token, &wrong)
        .await;
    answer.assert_status(403);
    let again = html(&answer);
    assert!(
        hidden(&again, "secret") == secret && again.contains("The code is wrong"),
        "{again}"
    );
    assert!(!again.contains("javascript"), "{again}");
    let right = fields(&code(browser.bank, &secret, 0).await);
    let right: Vec<_> = right
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let before = browser.cookies[SESSION].clone();
    let added = browser
        .send_form("/account/authenticator/confirm", &token, &right)
        .await;
    added.assert_status(200);
    assert_ne!(
        browser.cookies[SESSION], before,
        "a change of factors gives another cookie"
    );
    let codes = html(&added);
    let codes: Vec<String> = codes
        .split("<li><code>")
        .skip(1)
        .map(|rest| rest.split('<').next().unwrap().to_owned())
        .collect();
    assert_eq!(codes.len(), 10);
    (secret, codes)
}

#[tokio::test]
async fn an_authenticator_is_added_and_asked_for_at_the_next_log_in() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let (secret, recovery) = add_authenticator(&mut browser).await;
    assert!(browser.is_in().await);
    let page = html(&browser.get("/account").await);
    assert!(page.contains("10 recovery codes are left."), "{page}");

    let mut other = Browser::new(&bank);
    let first = other.log_in(&email, PASSWORD).await;
    assert_eq!(target(&first), "/account/second-factor");
    assert!(!other.cookies.contains_key(SESSION) && !other.is_in().await);
    let step = "/account/second-factor";
    let wrong = other.submit(step, step, &[("code", "000000")]).await;
    wrong.assert_status(403);
    assert!(html(&wrong).contains("The code is wrong"));
    // The code of the step that is used is good no more; the next one is.
    let next = code(&bank, &secret, 1).await;
    let (first, last) = next.split_at(3);
    let spaced = format!("{first} {last}");
    let right = other.submit(step, step, &[("code", &spaced)]).await;
    assert_eq!(target(&right), "/account");
    assert!(other.is_in().await);
    assert!(!other.cookies.contains_key("__Host-challenge"), "it is used up");
    assert_eq!(target(&other.get(step).await), "/account/log-in");

    let mut third = Browser::new(&bank);
    third.log_in(&email, PASSWORD).await;
    let by_recovery = third.submit(step, step, &[("recovery_code", &recovery[0])]).await;
    assert_eq!(target(&by_recovery), "/account");
}

#[tokio::test]
async fn a_log_in_with_too_many_wrong_codes_begins_anew() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    add_authenticator(&mut browser).await;
    let mut other = Browser::new(&bank);
    other.log_in(&email, PASSWORD).await;
    let step = "/account/second-factor";
    for _ in 0..5 {
        other
            .submit(step, step, &[("code", "000000")])
            .await
            .assert_status(403);
    }
    let over = other.submit(step, step, &[("code", "000000")]).await;
    over.assert_status(403);
    let page = html(&over);
    assert!(
        page.contains("Log in again.") && page.contains("action=\"/account/log-in\""),
        "{page}"
    );
    assert!(!other.cookies.contains_key("__Host-challenge"));
}

#[tokio::test]
async fn a_factor_is_removed_with_a_code_and_not_without() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = signed_in(&bank, &email).await;
    let (_, recovery) = add_authenticator(&mut browser).await;
    let remove = "/account/authenticator/remove";
    let without = browser.submit("/account", remove, &[("code", "")]).await;
    without.assert_status(403);
    assert!(html(&without).contains("Confirm this with a code"));
    let wrong = browser.submit("/account", remove, &[("code", "000000")]).await;
    wrong.assert_status(403);
    let removed = browser
        .submit("/account", remove, &[("code", &recovery[1])])
        .await;
    assert_eq!(target(&removed), "/account?said=factor-removed");
    let mut other = Browser::new(&bank);
    assert_eq!(target(&other.log_in(&email, PASSWORD).await), "/account");
}

#[tokio::test]
async fn a_passkey_is_asked_for_in_a_page_that_fetches_nothing() {
    let bank = TestBank::new().await;
    let email = registered(&bank, "ada").await;
    let mut browser = Browser::new(&bank);
    let asked = browser.submit("/account/log-in", "/account/passkey", &[]).await;
    asked.assert_status(200);
    let page = html(&asked);
    assert!(
        page.contains("data-passkey=\"get\" data-options=\"{&quot;"),
        "{page}"
    );
    let fields = [("ceremony", "x"), ("credential", "no credential")];
    let token = form_token(&asked);
    let refused = browser
        .send_form("/account/passkey/finish", &token, &fields)
        .await;
    refused.assert_status(400);

    let mut browser = signed_in(&bank, &email).await;
    let add = "/account/passkeys/add";
    let wrong = browser
        .submit(add, add, &[("password", "not the password")])
        .await;
    wrong.assert_status(403);
    assert!(html(&wrong).contains("The current password is wrong."));
    let nothing = browser.submit(add, add, &[("password", "")]).await;
    nothing.assert_status(422);
    assert!(html(&nothing).contains("Enter your password."));
    let asked = browser.submit(add, add, &[("password", PASSWORD)]).await;
    let page = html(&asked);
    assert!(page.contains("data-passkey=\"create\""), "{page}");
}
