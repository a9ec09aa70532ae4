//! Passkeys in a real Chromium with a virtual authenticator, on the gateway's own page: one is registered, signs in while the
//! password is locked, and confirms operations.

use reqwest::Method;
use serde_json::{Value, json};
use trial::{Customer, FrontDoor};

use crate::chromium::Browser;
use crate::stage::Stage;

/// What a page of the bank has: a call of the API, and both ceremonies.
const PAGE: &str = "
    window.call = async (method, path, body, headers = {}) => {
        const fields = {...headers};
        if (body !== null) fields['content-type'] = 'application/json';
        if (window.token) fields.authorization = 'Bearer ' + window.token;
        const answer = await fetch(path, {method, headers: fields, body: body === null ? undefined : JSON.stringify(body)});
        const text = await answer.text();
        return {status: answer.status, body: text ? JSON.parse(text) : null};
    };
    window.create = async asked => {
        const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked.public_key);
        return (await navigator.credentials.create({publicKey})).toJSON();
    };
    window.get = async asked => {
        const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.public_key);
        return (await navigator.credentials.get({publicKey})).toJSON();
    };
    return true;";

/// A page that signs in with whatever passkey the authenticator has.
const SIGN_IN: &str = "
    window.token = null;
    const asked = await call('POST', '/api/v1/auth/passkey', null);
    if (asked.status !== 200) return asked;
    const credential = await get(asked.body);
    return call('POST', '/api/v1/auth/passkey/finish', {ceremony: asked.body.ceremony, credential});";

fn problem(answer: &Value) -> (u64, &str) {
    let kind = answer["body"]["type"].as_str().unwrap_or("no problem");
    (
        answer["status"].as_u64().unwrap(),
        kind.rsplit(':').next().unwrap(),
    )
}

#[track_caller]
fn expect(answer: &Value, status: u64) -> &Value {
    assert_eq!(answer["status"], status, "{answer}");
    &answer["body"]
}

fn claims(access: &str) -> Value {
    use base64::Engine as _;
    let payload = access.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// Adds a passkey with the password; gives its id.
async fn register(browser: &Browser, access: &str, password: &str) -> String {
    let script = "
        window.token = given[0];
        const asked = await call('POST', '/api/v1/me/factors/passkeys', {password: given[1]});
        if (asked.status !== 200) return asked;
        const credential = await create(asked.body);
        const answer = {ceremony: asked.body.ceremony, name: 'The browser', credential};
        return call('POST', '/api/v1/me/factors/passkeys/confirm', answer);";
    let added = browser.call(script, &[json!(access), json!(password)]).await;
    let added = expect(&added, 200);
    assert_eq!(added["recovery_codes"].as_array().unwrap().len(), 10);
    added["id"].as_str().unwrap().to_owned()
}

/// Guesses at the password until the name is locked, for the right one, too.
async fn lock(door: &FrontDoor, owner: &Customer) {
    let guess = json!({"email": owner.email, "password": "not the password at all"});
    for _ in 0..5 {
        let wrong = door.post("/api/v1/auth/login", &guess).await.unwrap();
        assert_eq!(wrong.status, 401, "{}", wrong.body);
    }
    let right = json!({"email": owner.email, "password": owner.password});
    let locked = door.post("/api/v1/auth/login", &right).await.unwrap();
    assert_eq!(locked.status, 429, "{}", locked.body);
}

/// Sends a request of the page's session with a confirmation by the passkey.
async fn confirmed(browser: &Browser, method: &Method, path: &str) -> Value {
    let script = "
        const operation = {method: given[0], path: given[1]};
        const asked = await call('POST', '/api/v1/me/step-up/passkey', operation);
        if (asked.status !== 200) return asked;
        const passkey = {ceremony: asked.body.ceremony, credential: await get(asked.body)};
        const confirmed = await call('POST', '/api/v1/me/step-up', {...operation, passkey});
        if (confirmed.status !== 200) return confirmed;
        return call(given[0], given[1], null, {'x-step-up': confirmed.body.token});";
    browser.call(script, &[json!(method.as_str()), json!(path)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passkey_of_a_real_browser_signs_in_while_the_password_is_locked_and_confirms() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let owner = door.sign_up().await.unwrap();
    let browser = Browser::open(stage.path()).await;
    browser
        .go(&format!("{}/docs", system.endpoints().gateway_https))
        .await;
    browser.run(PAGE).await;
    let authenticator = browser.plug_authenticator_in().await;
    let id = register(&browser, &owner.tokens.access, &owner.password).await;

    // The page signs out, and somebody guesses at the password.
    let left = browser
        .call("return call('POST', '/api/v1/auth/logout', null)", &[])
        .await;
    expect(&left, 204);
    lock(&door, &owner).await;
    let signed_in = browser.call(SIGN_IN, &[]).await;
    let access = expect(&signed_in, 200)["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(claims(&access)["acr"], "mfa");
    assert!(
        claims(&access)["amr"]
            .as_array()
            .unwrap()
            .contains(&json!("user"))
    );

    // An authenticator that does not recognise its user gives no answer.
    browser.recognise_user(&authenticator, false).await;
    let thrown = browser
        .call("try { await get((await call('POST', '/api/v1/auth/passkey', null)).body) } catch (error) { return error.name }", &[])
        .await;
    assert_eq!(thrown, "NotAllowedError");
    browser.recognise_user(&authenticator, true).await;

    // The passkey confirms what must be confirmed, and at last that it goes itself.
    let token = format!("window.token = {}; return true", json!(access));
    browser.run(&token).await;
    let path = "/api/v1/me/factors/recovery-codes";
    let refused = browser
        .call("return call('POST', given[0], null)", &[json!(path)])
        .await;
    assert_eq!(problem(&refused), (403, "step-up-required"));
    let renewed = confirmed(&browser, &Method::POST, path).await;
    assert_eq!(
        expect(&renewed, 200)["recovery_codes"].as_array().unwrap().len(),
        10
    );
    let path = format!("/api/v1/me/factors/passkeys/{id}");
    let removed = confirmed(&browser, &Method::DELETE, &path).await;
    expect(&removed, 204);
    let nobody = browser.call(SIGN_IN, &[]).await;
    assert_eq!(problem(&nobody), (403, "passkey-refused"));
    drop(browser);
    system.stop().await.unwrap();
}
