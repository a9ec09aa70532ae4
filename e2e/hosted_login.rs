//! The hosted log-in in a real Chromium, through the gateway: the whole of it with JavaScript switched off and the keyboard alone,
//! passkeys with it, and what the pages look like to those who read them otherwise.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trial::System;

use crate::chromium::{Browser, ENTER, TAB};
use crate::second_factors::Authenticator;
use crate::stage::Stage;

const EMAIL: &str = "ada@customers.example";
const PASSWORD: &str = "a quartz lagoon at noon";

fn url(system: &System, path: &str) -> String {
    format!("{}{path}", system.endpoints().gateway_https)
}

/// The code of the newest mail, which stands there alone on its line.
async fn code_of_mail(folder: &Path) -> String {
    let look = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        loop {
            ticks.tick().await;
            let mut mails: Vec<_> = std::fs::read_dir(folder)
                .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
                .unwrap_or_default();
            mails.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|kind| kind == "eml"));
            mails.sort();
            if let Some(newest) = mails.last() {
                let content = std::fs::read(newest).unwrap();
                let mail = mail_parser::MessageParser::default().parse(&content).unwrap();
                let text = mail.body_text(0).unwrap().into_owned();
                let (link, _) = text.split_once('#').expect("a link");
                assert!(link.ends_with("/account/verify-email"), "{text}");
                let code = text.lines().map(str::trim).find(|line| line.len() == 43);
                return code.expect("the code on a line of its own").to_owned();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap()
}

/// Types into the fields of a page as they follow each other, and presses Enter in the last one.
async fn type_in_turn(browser: &Browser, first: &str, texts: &[&str]) {
    browser.focus(first).await;
    for (place, text) in texts.iter().enumerate() {
        let next = if place + 1 == texts.len() { ENTER } else { TAB };
        browser.press(&format!("{text}{next}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_javascript_one_registers_logs_in_with_two_factors_and_ends_sessions() {
    let stage = Stage::new();
    let variables = vec![("CORE_API__AUTO_ACTIVATE", "false".to_owned())];
    let (system, door) = stage.start_with(variables).await;
    let browser = Browser::without_javascript(stage.path()).await;
    browser.go(&url(&system, "/account/register")).await;
    // What is for passkeys says so, and nothing else needs a script.
    type_in_turn(&browser, "#full_name", &["Ada", "no address", "short"]).await;
    browser.until_title("Error: Open an account").await;
    assert!(
        browser
            .text("#password-faults")
            .await
            .contains("at least 15 characters")
    );
    assert_eq!(browser.focused().await, "email", "the first fault has the focus");
    browser.clear("#email").await;
    type_in_turn(&browser, "#email", &[EMAIL, PASSWORD]).await;
    browser.until_text(".said", "Look into your mailbox").await;

    // Nobody is let in before the address is verified, with the code that the mail shows.
    type_in_turn(&browser, "#email", &[EMAIL, PASSWORD]).await;
    browser.until_text(".refused", "is wrong").await;
    let code = code_of_mail(&stage.data_dir().join("mail")).await;
    browser.go(&url(&system, "/account/verify-email")).await;
    type_in_turn(&browser, "#token", &[&code]).await;
    browser.until_text(".said", "Your address is verified").await;

    // With the keyboard alone, from the top of the page: past the link to the content.
    browser.go(&url(&system, "/account/log-in")).await;
    assert!(
        browser
            .text("noscript, main")
            .await
            .contains("Passkeys need JavaScript")
    );
    browser
        .press(&format!("{TAB}{TAB}{EMAIL}{TAB}{PASSWORD}{TAB}{ENTER}"))
        .await;
    browser.until_title("Your account – Portico").await;

    let authenticator = add_authenticator(&browser, &system).await;
    log_in_with_code(&browser, authenticator).await;
    end_others(&browser, &door).await;
    drop(browser);
    system.stop().await.unwrap();
}

/// Adds an authenticator, keeps the codes, and logs out.
async fn add_authenticator(browser: &Browser, system: &System) -> Authenticator {
    browser.go(&url(system, "/account/authenticator")).await;
    type_in_turn(browser, "#password", &[PASSWORD]).await;
    browser.until_text("main", "Enter this key in the app").await;
    let secret = browser.text(".secret code").await;
    let mut authenticator = Authenticator::new(&secret);
    type_in_turn(browser, "#code", &[&authenticator.code()]).await;
    browser.until_title("Keep your recovery codes – Portico").await;
    assert_eq!(browser.count(".codes li").await, 10);
    browser.click("main .button").await;
    browser.until_title("Your account – Portico").await;
    browser.click("header button").await;
    browser.until_text(".said", "You have logged out").await;
    authenticator
}

async fn log_in_with_code(browser: &Browser, mut authenticator: Authenticator) {
    type_in_turn(browser, "#email", &[EMAIL, PASSWORD]).await;
    browser.until_title("Confirm that it is you – Portico").await;
    type_in_turn(browser, "#code", &["000000"]).await;
    browser.until_text(".refused", "The code is wrong").await;
    type_in_turn(browser, "#code", &[&authenticator.code()]).await;
    browser.until_title("Your account – Portico").await;
}

/// A session of the API beside the browser's is seen there, and ends from there.
async fn end_others(browser: &Browser, door: &trial::FrontDoor) {
    // It was there before the second factor was.
    assert_eq!(browser.count("#sessions + .entries > li").await, 1);
    let credentials = json!({"email": EMAIL, "password": PASSWORD});
    let half = door.post("/api/v1/auth/login", &credentials).await.unwrap();
    assert_eq!(half.status, 401, "{}", half.body);
    let recovery = json!({"challenge": half.body["challenge"], "code": "000000"});
    let refused = door.post("/api/v1/auth/login/factor", &recovery).await.unwrap();
    assert_eq!(refused.status, 403, "{}", refused.body);
    browser.click("header button").await;
    browser.until_text(".said", "You have logged out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_is_added_and_logs_in_under_the_policy_of_the_pages() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let browser = Browser::open(stage.path()).await;
    browser.plug_authenticator_in().await;
    browser.go(&url(&system, "/account/log-in")).await;
    type_in_turn(&browser, "#email", &[&customer.email]).await;
    browser.until_text(".refused", "is wrong").await;
    browser.focus("#password").await;
    browser.press(&format!("{}{ENTER}", customer.password)).await;
    browser.until_title("Your account – Portico").await;

    // The session of the API is seen from here, and ends from here.
    assert_eq!(browser.count("#sessions + .entries > li").await, 2);
    let me = customer.get("/api/v1/me").await.unwrap();
    assert_eq!(me.status, 200, "{}", me.body);
    browser.click("form[action='/account/sessions/end'] button").await;
    browser.until_text(".said", "The session has ended").await;
    let me = customer.get("/api/v1/me").await.unwrap();
    assert_eq!(me.status, 401, "{}", me.body);

    browser.go(&url(&system, "/account/passkeys/add")).await;
    type_in_turn(&browser, "#password", &[&customer.password]).await;
    browser.until_text("main", "Give it a name").await;
    browser.click("form[data-passkey] button").await;
    browser.until_title("Keep your recovery codes – Portico").await;
    browser.click("main .button").await;
    browser.until_text("#factors + .entries", "My device").await;
    browser.click("header button").await;
    browser.until_text(".said", "You have logged out").await;

    // Without a name and a password.
    browser.click("form[action='/account/passkey'] button").await;
    browser.until_title("Your account – Portico").await;

    // A script that somebody got into a page would not run, nor talk to anybody.
    let injected = "
        const script = document.createElement('script'); script.textContent = 'window.pwned = true';
        document.body.append(script); const style = document.createElement('style'); style.textContent = '* {display: none}';
        document.body.append(style);
        let fetched = true; try { await fetch('/api/v1/me') } catch { fetched = false }
        return [window.pwned ?? false, getComputedStyle(document.body).display, fetched]";
    let before = browser.complaints().await;
    assert_eq!(real(&before), Vec::<&String>::new(), "the browser complains");
    assert_eq!(browser.call(injected, &[]).await, json!([false, "flex", false]));
    assert!(!browser.complaints().await.is_empty());
    drop(browser);
    system.stop().await.unwrap();
}

/// What a browser says of statuses of errors is no complaint about pages.
fn real(complaints: &[String]) -> Vec<&String> {
    let of_status = |complaint: &&String| {
        complaint.contains("the server responded with a status of 401")
            && complaint.contains("/account/log-in")
    };
    complaints
        .iter()
        .filter(|complaint| !of_status(complaint))
        .collect()
}

/// What every page must have, whoever reads it and in whatever light: found out in the page itself.
const LOOK: &str = "
    const faults = [];
    const fault = (what, element) => faults.push(what + ': ' + (element?.outerHTML ?? '').slice(0, 120));
    const shown = element => element.checkVisibility({visibilityProperty: true}) && !element.closest('.spoken, .skip');
    const parsed = color => { const [r, g, b, a = 1] = color.match(/[\\d.]+/g).map(Number); return {r, g, b, a}; };
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const color = parsed(getComputedStyle(at).backgroundColor);
            if (color.a === 1) return color;
        }
        return {r: 255, g: 255, b: 255, a: 1};
    };
    const luminance = ({r, g, b}) => [r, g, b].map(part => part / 255)
        .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const contrast = (a, b) => {
        const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
        return (light + 0.05) / (dark + 0.05);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
        const element = text.parentElement;
        if (!text.data.trim() || !shown(element)) continue;
        const found = contrast(parsed(getComputedStyle(element).color), behind(element));
        if (found < 4.5) fault('contrast ' + found.toFixed(2), element);
    }
    for (const field of document.querySelectorAll('input:not([type=hidden])')) {
        if (!field.labels.length) fault('no label', field);
        if (field.type !== 'hidden' && !field.autocomplete) fault('no autocomplete', field);
        const found = contrast(parsed(getComputedStyle(field).borderTopColor), behind(field.parentElement));
        if (shown(field) && found < 3) fault('border ' + found.toFixed(2), field);
        for (const id of (field.getAttribute('aria-describedby') ?? '').split(' ').filter(Boolean)) {
            if (!document.getElementById(id)) fault('describes nothing: ' + id, field);
        }
    }
    const ids = [...document.querySelectorAll('[id]')].map(element => element.id);
    if (new Set(ids).size !== ids.length) fault('an id comes twice');
    for (const element of document.querySelectorAll('a, button, summary')) {
        if (!element.textContent.trim()) fault('no name', element);
        const {width, height} = element.getBoundingClientRect();
        if (shown(element) && (width < 24 || height < 24)) fault('small', element);
    }
    if (document.querySelectorAll('h1').length !== 1) fault('not one h1');
    for (const mark of ['main', 'header', 'footer', 'title']) if (!document.querySelector(mark)) fault('no ' + mark);
    if (!document.documentElement.lang) fault('no language');
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) fault('wider than the window: ' + root.scrollWidth);
    return faults;";

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_readable_in_light_and_dark_wide_and_narrow_and_in_every_language() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let browser = Browser::open(stage.path()).await;
    let outside = [
        "log-in",
        "register",
        "forgot-password",
        "verify-email",
        "reset-password",
        "second-factor",
    ];
    for language in ["en", "es", "fr", "de"] {
        browser.go(&url(&system, "/account/log-in")).await;
        browser.click(&format!("button[value='{language}']")).await;
        browser
            .until(&format!("return document.documentElement.lang === '{language}'"))
            .await;
        for page in outside {
            browser.go(&url(&system, &format!("/account/{page}"))).await;
            look(&browser, &format!("{language}-{page}")).await;
        }
    }
    browser.go(&url(&system, "/account/register")).await;
    browser.click("main form button[type=submit]").await;
    browser
        .until("return document.querySelectorAll('.faults li').length > 2")
        .await;
    look(&browser, "de-register-refused").await;
    browser.go(&url(&system, "/account/log-in")).await;
    type_in_turn(&browser, "#email", &[&customer.email]).await;
    browser.until("return !!document.querySelector('.refused')").await;
    look(&browser, "de-log-in-refused").await;
    browser.focus("#password").await;
    browser.press(&format!("{}{ENTER}", customer.password)).await;
    browser
        .until("return !!document.querySelector('#sessions')")
        .await;
    for page in ["", "/password", "/authenticator", "/passkeys/add"] {
        browser.go(&url(&system, &format!("/account{page}"))).await;
        look(&browser, &format!("de-account{}", page.replace('/', "-"))).await;
    }
    drop(browser);
    system.stop().await.unwrap();
}

/// Looks at a page in both lights and three widths, and keeps pictures of it.
async fn look(browser: &Browser, name: &str) {
    for light in ["light", "dark"] {
        for width in [1_280, 360, 320] {
            browser.show_in(light, width).await;
            let faults = browser.call(LOOK, &[]).await;
            assert_eq!(faults, Value::Array(Vec::new()), "{name} {light} {width}");
            if width > 320 {
                browser
                    .screenshot(&format!("hosted-{name}-{light}-{width}.png"))
                    .await;
            }
        }
    }
}
