//! The corpus of attacks on tokens: each through the front door, each refused in general words, each counted under the
//! reason that it should have.
//!
//! The attacks are the table of `crates/strictness/src/tokens/`, which also goes to other servers.

use keyring::{Algorithm, KeyState, PublicKey, SigningKey};
use serde_json::json;
use strictness::tokens::{self, Issuer, Key};

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, eventually, now};
use crate::key_service::claims;

/// An issuer in wrong hands: somebody holds this key of the gateway's control plane.
fn stolen(key: &SigningKey) -> Issuer {
    let algorithm = match key.algorithm() {
        Algorithm::EdDSA => tokens::Algorithm::EdDSA,
        Algorithm::ES256 => tokens::Algorithm::ES256,
    };
    let stolen = Key::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
    Issuer::new(
        stolen,
        key.kid().to_owned(),
        claims(&json!({})),
        now().timestamp(),
    )
}

/// Refused in words that say nothing of the reason (J43).
async fn refused(gateway: &GatewayProcess, what: &str, token: &str) {
    let answer = gateway.get_with("/api/v1/me", token).await;
    assert_eq!(answer.status(), 401, "{what}");
    assert_dressed(&answer);
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Bearer error=\"invalid_token\"",
        "{what}"
    );
    let document = problem(answer, 401, "unauthenticated").await;
    let detail = document["detail"].as_str().unwrap();
    let general = [
        "the bearer token is not accepted",
        "the Authorization header is not one bearer token",
    ];
    assert!(general.contains(&detail), "{what}: {detail}");
    let members: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert!(members.len() <= 6, "{what}: {members:?}");
}

async fn counted(gateway: &GatewayProcess, reason: &str) -> i64 {
    let line = format!("portico_tokens_total{{issuer=\"customers\",reason=\"{reason}\",result=\"refused\"}}");
    gateway.metric(&line).await.unwrap()
}

#[tokio::test]
async fn j43_j48_every_attack_is_refused_in_general_words_and_counted_for_its_reason() {
    let gateway = GatewayProcess::start().await;
    let second = SigningKey::generate(Algorithm::ES256).unwrap();
    gateway
        .keys
        .publish(|set| set.keys.push(second.public_key(KeyState::Published)));
    let mut total = 0;
    for issuer in [stolen(&gateway.keys.key), stolen(&second)] {
        let control = issuer.token().unwrap();
        eventually("the control", || async {
            gateway.get_with("/api/v1/me", &control).await.status() == 200
        })
        .await;
        let seen = gateway.core.seen().len();
        let attacks = tokens::attacks(&issuer).unwrap();
        for attack in &attacks {
            let what = format!("{}: {}", attack.rule, attack.name);
            let before = counted(&gateway, attack.reason).await;
            refused(&gateway, &what, &attack.token).await;
            assert_eq!(
                counted(&gateway, attack.reason).await,
                before + 1,
                "{what} is not refused as {}",
                attack.reason
            );
        }
        total += attacks.len();
        let reached = gateway.core.seen().len() - seen;
        assert_eq!(reached, 0, "nothing of this reached the core");
    }
    assert!(total >= 270, "{total}");
}

#[tokio::test]
async fn j01_a_token_comes_in_one_authorization_header_and_nowhere_else() {
    let gateway = GatewayProcess::start().await;
    let good = gateway.keys.token();
    let ask = |fields: String| {
        format!("GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n")
    };
    for (what, fields, status) in [
        ("the control", format!("Authorization: Bearer {good}\r\n"), 200),
        ("another case", format!("Authorization: bEARER {good}\r\n"), 200),
        (
            "two fields",
            format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n"),
            400,
        ),
        (
            "two schemes",
            format!("Authorization: Basic QQ==\r\nAuthorization: Bearer {good}\r\n"),
            400,
        ),
        (
            "two tokens",
            format!("Authorization: Bearer {good}, Bearer {good}\r\n"),
            401,
        ),
        ("two spaces", format!("Authorization: Bearer  {good}\r\n"), 401),
        ("a tab", format!("Authorization: Bearer\t{good}\r\n"), 401),
        ("no scheme", format!("Authorization: {good}\r\n"), 401),
        ("another scheme", format!("Authorization: DPoP {good}\r\n"), 401),
        ("no token", "Authorization: Bearer\r\n".to_owned(), 401),
        (
            "a proxy's field",
            format!("Proxy-Authorization: Bearer {good}\r\n"),
            401,
        ),
        ("a cookie", format!("Cookie: access_token={good}\r\n"), 401),
        ("nothing", String::new(), 401),
    ] {
        let answer = gateway.raw(ask(fields).as_bytes()).await;
        assert_eq!(answer.status(), status, "{what}");
    }
    let in_query = gateway.get(&format!("/api/v1/me?access_token={good}")).await;
    assert_eq!(in_query.status(), 401);
    assert_eq!(gateway.core.seen().len(), 2);
}

#[tokio::test]
async fn j26_a_clock_that_is_set_forth_and_back_gets_the_answer_of_its_time() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    let hour = chrono::TimeDelta::hours(1);
    let ask = async || gateway.get_with("/api/v1/me", &token).await.status().as_u16();
    assert_eq!(ask().await, 200);
    gateway.clock.advance(hour);
    assert_eq!(ask().await, 401, "expired");
    gateway.clock.advance(-hour);
    assert_eq!(ask().await, 200);
    gateway.clock.advance(-hour);
    assert_eq!(ask().await, 401, "not issued yet");
    gateway.clock.advance(hour);
    assert_eq!(ask().await, 200);
    assert_eq!(
        (
            counted(&gateway, "expired").await,
            counted(&gateway, "issued_in_future").await
        ),
        (1, 1)
    );
}

#[tokio::test]
async fn a_key_that_has_stopped_signing_or_verifying_is_told_apart() {
    let gateway = GatewayProcess::start().await;
    let now = now().timestamp();
    let [stopped, over] = [(); 2].map(|()| SigningKey::generate(Algorithm::EdDSA).unwrap());
    let retiring = |key: &SigningKey, sign_until, verify_until| PublicKey {
        sign_until: Some(sign_until),
        verify_until: Some(verify_until),
        ..key.public_key(KeyState::Retiring)
    };
    gateway.keys.publish(|set| {
        set.keys.push(retiring(&stopped, now - 30, now + 600));
        set.keys.push(retiring(&over, now - 600, now - 1));
    });
    let early = stopped.sign(&claims(&json!({}))).unwrap();
    eventually("the retiring keys are known", || async {
        gateway.get_with("/api/v1/me", &early).await.status() == 200
    })
    .await;
    let late = stopped.sign(&claims(&json!({"iat": now - 20}))).unwrap();
    refused(&gateway, "INV-3: signed after the key was retired", &late).await;
    refused(
        &gateway,
        "INV-2: a key whose time is over",
        &over.sign(&claims(&json!({}))).unwrap(),
    )
    .await;
    assert_eq!(counted(&gateway, "signed_after_retirement").await, 1);
    assert_eq!(counted(&gateway, "retired_key").await, 1);
}
