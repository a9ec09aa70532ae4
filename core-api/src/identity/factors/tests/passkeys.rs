//! Adding, naming and removing passkeys.

use super::authenticator::Authenticator;
use super::*;

const PASSKEYS: &str = "/api/v1/me/factors/passkeys";

/// Begins with a password.
pub(super) async fn begin_with(bank: &TestBank, customer: &Customer, password: &str) -> Answer {
    let body = json!({"password": password});
    bank.post(PASSKEYS).by(customer).json(&body).send().await
}

pub(super) async fn answer_new(
    bank: &TestBank,
    customer: &Customer,
    begun: &Answer,
    credential: &Value,
) -> Answer {
    let body = json!({"ceremony": begun.text("ceremony"), "name": "My phone", "credential": credential});
    let path = format!("{PASSKEYS}/confirm");
    bank.post(&path).by(customer).json(&body).send().await
}

/// Somebody with a passkey as the first second factor.
pub(super) async fn with_passkey(bank: &TestBank, name: &str) -> (Customer, Authenticator, Answer) {
    let customer = bank.customer(name).await;
    let mut authenticator = Authenticator::new();
    let begun = begin_with(bank, &customer, PASSWORD).await;
    begun.assert_status(200);
    let credential = authenticator.create(&begun.json["public_key"]);
    let added = answer_new(bank, &customer, &begun, &credential).await;
    added.assert_status(200);
    (customer, authenticator, added)
}

/// Asks for a confirmation of an operation, and answers.
pub(super) async fn confirmed_by(
    bank: &TestBank,
    customer: &Customer,
    authenticator: &mut Authenticator,
    operation: &Value,
) -> Answer {
    let path = "/api/v1/me/step-up/passkey";
    let asked = bank.post(path).by(customer).json(operation).send().await;
    asked.assert_status(200);
    let credential = authenticator.get(&asked.json["public_key"]);
    let mut body = operation.clone();
    body["passkey"] = json!({"ceremony": asked.text("ceremony"), "credential": credential});
    bank.post("/api/v1/me/step-up")
        .by(customer)
        .json(&body)
        .send()
        .await
}

#[tokio::test]
async fn a_passkey_is_added_with_the_password_and_what_its_authenticator_answers() {
    let bank = TestBank::new().await;
    let alice = bank.customer("alice").await;
    let other = bank.login(&alice.email, PASSWORD).await.text("access_token");
    begin_with(&bank, &alice, "not the password")
        .await
        .assert_problem(403, "wrong-password");
    let nothing = bank.post(PASSKEYS).by(&alice).json(&json!({})).send().await;
    assert_eq!(
        nothing.faults(),
        [("/password".to_owned(), "missing_field".to_owned())]
    );

    let begun = begin_with(&bank, &alice, PASSWORD).await;
    begun.assert_status(200);
    assert_eq!(begun.headers["cache-control"], "no-store");
    let options = &begun.json["public_key"];
    assert_eq!(options["rp"]["id"], "bank.example");
    assert_eq!(options["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(options["authenticatorSelection"]["residentKey"], "required");
    // It protects nothing yet.
    bank.login(&alice.email, PASSWORD).await.assert_status(200);
    let mut authenticator = Authenticator::new();
    let credential = authenticator.create(options);
    let elsewhere = Customer {
        access: other.clone(),
        ..alice.clone()
    };
    answer_new(&bank, &elsewhere, &begun, &credential)
        .await
        .assert_problem(403, "invalid-challenge");

    let added = answer_new(&bank, &alice, &begun, &credential).await;
    added.assert_status(200);
    assert_eq!(added.json["recovery_codes"].as_array().unwrap().len(), 10);
    let listed = bank.get("/api/v1/me/factors").by(&alice).send().await;
    assert_eq!(listed.json["data"][0]["kind"], "passkey");
    assert_eq!(listed.json["data"][0]["id"], added.json["id"]);
    assert_eq!(listed.json["data"][0]["name"], "My phone");
    assert_eq!(listed.json["data"][0]["is_backed_up"], false);
    assert_eq!(listed.json["recovery_codes_left"], 10);
    // What was opened without it is over, and the password alone opens nothing more.
    let me = bank.get("/api/v1/me").bearer(&other).send().await;
    me.assert_problem(401, "session-ended");
    let half = bank.login(&alice.email, PASSWORD).await;
    half.assert_problem(401, "mfa-required");
    assert_eq!(half.json["factors"], json!(["totp", "passkey", "recovery_code"]));
    answer_new(&bank, &alice, &begun, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    assert_eq!(trail(&bank, "^passkey").await, ["passkey.added done"]);
    let mails = db::texts(
        &bank.owner,
        "SELECT kind FROM core.mail_job WHERE kind ~ 'passkey'",
    )
    .await;
    assert_eq!(mails, ["passkey_added"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_new_passkey_adds_nothing_and_uses_the_ceremony_up() {
    let bank = TestBank::new().await;
    let (alice, mut hers, _) = with_passkey(&bank, "alice").await;
    let bob = bank.customer("bob").await;
    let lies: [fn(&mut Authenticator); 3] = [
        |liar| "https://bank.example.org".clone_into(&mut liar.origin),
        |liar| "example".clone_into(&mut liar.rp_id),
        |liar| liar.is_verifying = false,
    ];
    for lie in lies {
        let begun = begin_with(&bank, &bob, PASSWORD).await;
        let mut liar = Authenticator::new();
        lie(&mut liar);
        let credential = liar.create(&begun.json["public_key"]);
        answer_new(&bank, &bob, &begun, &credential)
            .await
            .assert_problem(403, "passkey-refused");
        let honest = Authenticator::new().create(&begun.json["public_key"]);
        answer_new(&bank, &bob, &begun, &honest)
            .await
            .assert_problem(403, "invalid-challenge");
    }
    // The answer to another ceremony, and the credential of somebody else.
    let (first, second) = (
        begin_with(&bank, &bob, PASSWORD).await,
        begin_with(&bank, &bob, PASSWORD).await,
    );
    let credential = Authenticator::new().create(&first.json["public_key"]);
    answer_new(&bank, &bob, &second, &credential)
        .await
        .assert_problem(403, "passkey-refused");
    answer_new(&bank, &bob, &first, &credential)
        .await
        .assert_problem(403, "invalid-challenge");
    let begun = begin_with(&bank, &bob, PASSWORD).await;
    let stolen = Authenticator::new()
        .with_id_of(&hers)
        .create(&begun.json["public_key"]);
    answer_new(&bank, &bob, &begun, &stolen)
        .await
        .assert_problem(403, "passkey-refused");
    assert_eq!(
        db::number(&bank.owner, "SELECT count(*) FROM core.passkey").await,
        1
    );
    bank.login(&bob.email, PASSWORD).await.assert_status(200);
    // The same authenticator twice.
    let token = confirmed_by(
        &bank,
        &alice,
        &mut hers,
        &json!({"method": "POST", "path": PASSKEYS, "body": {}}),
    )
    .await;
    let again = bank
        .post(PASSKEYS)
        .by(&alice)
        .header("x-step-up", &token.text("token"));
    let again = again.json(&json!({})).send().await;
    let known = &again.json["public_key"]["excludeCredentials"];
    assert_eq!(known.as_array().unwrap().len(), 1, "{known}");
    let credential = hers.create(&again.json["public_key"]);
    answer_new(&bank, &alice, &again, &credential)
        .await
        .assert_problem(403, "passkey-refused");
}

#[tokio::test]
async fn another_factor_is_added_with_one_that_is_there_and_the_recovery_codes_stay() {
    let bank = TestBank::new().await;
    let (alice, mut first, added) = with_passkey(&bank, "alice").await;
    begin_with(&bank, &alice, PASSWORD)
        .await
        .assert_problem(403, "step-up-required");
    begin(&bank, &alice).await.assert_problem(403, "step-up-required");
    let operation = json!({"method": "POST", "path": PASSKEYS, "body": {}});
    let token = confirmed_by(&bank, &alice, &mut first, &operation)
        .await
        .text("token");
    let begun = bank.post(PASSKEYS).by(&alice).header("x-step-up", &token);
    let begun = begun.json(&json!({})).send().await;
    begun.assert_status(200);
    let credential = Authenticator::new().create(&begun.json["public_key"]);
    let second = answer_new(&bank, &alice, &begun, &credential).await;
    assert_eq!(second.assert_status(200).json["recovery_codes"], json!([]));

    let path = "/api/v1/me/factors/totp";
    let operation = json!({"method": "POST", "path": path, "body": {}});
    let token = confirmed_by(&bank, &alice, &mut first, &operation)
        .await
        .text("token");
    let totp = bank.post(path).by(&alice).header("x-step-up", &token);
    let totp = totp.json(&json!({"password": PASSWORD})).send().await;
    let secret = Secret::from_bytes(&decoded(&totp.assert_status(200).text("secret"))).unwrap();
    let code = secret.code_at(now_ms(&bank).await);
    let totp = confirm(&bank, &alice, &code).await;
    assert_eq!(totp.assert_status(200).json["recovery_codes"], json!([]));
    let listed = bank.get("/api/v1/me/factors").by(&alice).send().await;
    assert_eq!(listed.json["data"].as_array().unwrap().len(), 3);
    assert_eq!(listed.json["recovery_codes_left"], 10);
    let challenge = bank.login(&alice.email, PASSWORD).await.text("challenge");
    let body = json!({"challenge": challenge, "recovery_code": added.json["recovery_codes"][0]});
    let back = bank.post("/api/v1/auth/login/factor").json(&body).send().await;
    back.assert_status(200);
}

#[tokio::test]
async fn nobody_has_more_than_ten() {
    let bank = TestBank::new().await;
    let (alice, mut first, _) = with_passkey(&bank, "alice").await;
    let filled = "INSERT INTO core.passkey (passkey_id, user_id, credential_id, credential, sign_count, is_backed_up, name, created_at)
        SELECT gen_random_uuid(), k.user_id, decode(lpad(number::text, 32, '0'), 'hex'), k.credential, 0, false, 'More', k.created_at
          FROM core.passkey k, generate_series(1, 8) number";
    db::execute(&bank.owner, filled).await.unwrap();
    let operation = json!({"method": "POST", "path": PASSKEYS, "body": {}});
    let mut begun = Vec::new();
    for _ in 0..2 {
        let token = confirmed_by(&bank, &alice, &mut first, &operation)
            .await
            .text("token");
        let call = bank.post(PASSKEYS).by(&alice).header("x-step-up", &token);
        let answer = call.json(&json!({})).send().await;
        if begun.is_empty() {
            let credential = Authenticator::new().create(&answer.json["public_key"]);
            answer_new(&bank, &alice, &answer, &credential)
                .await
                .assert_status(200);
        }
        begun.push(answer);
    }
    begun[1].assert_problem(409, "too-many-passkeys");
}

#[tokio::test]
async fn a_removed_passkey_opens_nothing_and_the_last_one_takes_the_recovery_codes_along() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, added) = with_passkey(&bank, "alice").await;
    let other = passkey_log_in::log_in(&bank, &mut authenticator).await;
    let path = format!("{PASSKEYS}/{}", added.text("id"));
    let call = |method: Method| bank.call(method, &path).by(&alice);
    let named = call(Method::PATCH)
        .json(&json!({"name": "The old one"}))
        .send()
        .await;
    named.assert_status(204);
    let hidden = call(Method::PATCH)
        .json(&json!({"name": "a\u{202e}b"}))
        .send()
        .await;
    hidden.assert_problem(422, "validation-failed");
    call(Method::DELETE)
        .send()
        .await
        .assert_problem(403, "step-up-required");
    // Somebody else's is nobody's.
    let (bob, mut his, _) = with_passkey(&bank, "bob").await;
    let operation = json!({"method": "DELETE", "path": path});
    let token = confirmed_by(&bank, &bob, &mut his, &operation)
        .await
        .text("token");
    let foreign = bank
        .call(Method::DELETE, &path)
        .by(&bob)
        .header("x-step-up", &token);
    foreign.send().await.assert_problem(404, "not-found");
    let foreign = bank.call(Method::PATCH, &path).by(&bob);
    let foreign = foreign.json(&json!({"name": "Mine"})).send().await;
    foreign.assert_problem(404, "not-found");

    let token = confirmed_by(&bank, &alice, &mut authenticator, &operation)
        .await
        .text("token");
    let removed = call(Method::DELETE).header("x-step-up", &token).send().await;
    removed.assert_status(204);
    let me = bank
        .get("/api/v1/me")
        .bearer(&other.text("access_token"))
        .send()
        .await;
    me.assert_problem(401, "session-ended");
    passkey_log_in::log_in(&bank, &mut authenticator)
        .await
        .assert_problem(403, "passkey-refused");
    bank.login(&alice.email, PASSWORD).await.assert_status(200);
    let listed = bank.get("/api/v1/me/factors").by(&alice).send().await;
    assert_eq!(listed.json, json!({"data": [], "recovery_codes_left": 0}));
    let mails = db::texts(
        &bank.owner,
        "SELECT kind FROM core.mail_job WHERE kind ~ 'removed'",
    )
    .await;
    assert_eq!(mails, ["factor_removed"]);
}

#[tokio::test]
async fn an_operator_removes_the_passkeys_of_whoever_lost_them() {
    let bank = TestBank::new().await;
    let (alice, mut authenticator, _) = with_passkey(&bank, "alice").await;
    let (settings, clock) = (settings(), Clock::system());
    let pool: Pool = bank.db.pool_as("portico_core").into();
    let reset = async || {
        reset_factors(&settings, &pool, &clock, &alice.email)
            .await
            .unwrap()
    };
    assert_eq!(reset().await, FactorReset::Done);
    assert_eq!(reset().await, FactorReset::NoFactor);
    passkey_log_in::log_in(&bank, &mut authenticator)
        .await
        .assert_problem(403, "passkey-refused");
    bank.login(&alice.email, PASSWORD).await.assert_status(200);
}

#[tokio::test]
async fn a_bank_without_an_origin_has_no_passkeys_and_says_so() {
    let mut without = settings();
    without.passkeys = None;
    let bank = TestBank::with(without).await;
    bank.activate_key(&SigningKey::generate(Algorithm::EdDSA).unwrap())
        .await;
    let alice = bank.customer("alice").await;
    begin_with(&bank, &alice, PASSWORD)
        .await
        .assert_problem(409, "passkeys-off");
    let begun = bank.post("/api/v1/auth/passkey").send().await;
    begun.assert_problem(409, "passkeys-off");
    let operation = json!({"method": "POST", "path": "/p"});
    let step_up = bank
        .post("/api/v1/me/step-up/passkey")
        .by(&alice)
        .json(&operation);
    step_up.send().await.assert_problem(409, "passkeys-off");
}
