//! Tokens: every rule of J1 to J46 that a client can break, through the front door.

use keyring::{Algorithm, KeyState, SigningKey};
use serde_json::{Value, json};

use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, eventually, now};
use crate::key_service::claims;

/// 401 with a challenge that says nothing about the reason (J43).
async fn refused(gateway: &GatewayProcess, rule: &str, token: &str) {
    let answer = gateway.get_with("/api/v1/me", token).await;
    assert_eq!(answer.status(), 401, "{rule} is not enforced");
    assert_eq!(
        answer.headers()["www-authenticate"],
        "Bearer error=\"invalid_token\"",
        "{rule}"
    );
    let document = problem(answer, 401, "unauthenticated").await;
    assert_eq!(document["detail"], "the bearer token is not accepted", "{rule}");
}

/// A compact JWS of these parts; the signature is that of a good token.
fn forged(gateway: &GatewayProcess, header: &Value, payload: &Value) -> String {
    let encode = |value: &Value| base64url(value.to_string().as_bytes());
    let good = gateway.keys.token();
    format!(
        "{}.{}.{}",
        encode(header),
        encode(payload),
        good.rsplit('.').next().unwrap()
    )
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for index in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(word >> (18 - 6 * index) & 63) as usize]));
        }
    }
    text
}

#[tokio::test]
async fn claims_that_break_a_rule_are_refused() {
    let gateway = GatewayProcess::start().await;
    let now = now().timestamp();
    let cases = [
        ("J24 exp is past", json!({"exp": now - 2})),
        ("J24 exp is missing", json!({"exp": null})),
        ("J24 exp is a text", json!({"exp": "9999999999"})),
        ("J25 nbf is in the future", json!({"nbf": now + 60})),
        (
            "J25 iat is in the future",
            json!({"iat": now + 60, "exp": now + 120}),
        ),
        ("J27 lives too long", json!({"exp": now + 100_000})),
        ("J28 another issuer", json!({"iss": "https://evil.example"})),
        (
            "J28 issuer with a slash",
            json!({"iss": "https://api.bank.example/"}),
        ),
        (
            "J28 issuer as an array",
            json!({"iss": ["https://api.bank.example"]}),
        ),
        ("J29 another audience", json!({"aud": "payroll"})),
        ("J29 audience as a part of a text", json!({"aud": "core-api-2"})),
        ("J29 no audience", json!({"aud": null})),
        ("J30 no subject", json!({"sub": null})),
        ("J31 no jti", json!({"jti": null})),
        (
            "J33 bound to a key that nobody checks",
            json!({"cnf": {"jkt": "x"}}),
        ),
    ];
    for (rule, changes) in cases {
        refused(&gateway, rule, &gateway.keys.token_with(&changes)).await;
    }
    assert_eq!(gateway.core.seen().len(), 0);
    assert_eq!(
        gateway
            .get_with("/api/v1/me", &gateway.keys.token())
            .await
            .status(),
        200,
        "the control"
    );
}

#[tokio::test]
async fn headers_that_break_a_rule_are_refused() {
    let gateway = GatewayProcess::start().await;
    let kid = gateway.keys.key.kid();
    let payload = claims(&json!({}));
    let good = json!({"alg": "EdDSA", "kid": kid, "typ": "at+jwt"});
    let with = |name: &str, value: Value| {
        let mut header = good.clone();
        header[name] = value;
        header
    };
    let cases = [
        ("J7 alg none", with("alg", json!("none"))),
        ("J7 alg nOnE", with("alg", json!("nOnE"))),
        ("J9 HMAC with a public key", with("alg", json!("HS256"))),
        ("J8 the algorithm of another key", with("alg", json!("ES256"))),
        ("J10 an unknown critical extension", with("crit", json!(["exp"]))),
        ("J10 b64", with("b64", json!(false))),
        ("J11 an id token", with("typ", json!("JWT"))),
        ("J12 a key of its own", with("jwk", json!({"kty": "OKP"}))),
        (
            "J12 a key elsewhere",
            with("jku", json!("https://evil.example/jwks.json")),
        ),
        ("J13 a token in a token", with("cty", json!("JWT"))),
        ("J14 an unknown kid", with("kid", json!("nobody"))),
        ("J14 a path as kid", with("kid", json!("../../etc/passwd"))),
        ("J14 no kid", with("kid", json!(null))),
        ("J19 the signature of another payload", good.clone()),
    ];
    for (rule, header) in cases {
        let mut payload = payload.clone();
        payload["sub"] = json!("usr_mallory");
        refused(&gateway, rule, &forged(&gateway, &header, &payload)).await;
    }
    assert_eq!(gateway.core.seen().len(), 0);
}

#[tokio::test]
async fn shapes_that_are_no_token_are_refused() {
    let gateway = GatewayProcess::start().await;
    let good = gateway.keys.token();
    let unsigned = good.rsplit_once('.').unwrap().0;
    refused(&gateway, "J3 no signature", &format!("{unsigned}.")).await;
    refused(&gateway, "J3 two parts", unsigned).await;
    refused(&gateway, "J6 five parts", &format!("{good}.a.b")).await;
    refused(&gateway, "J3 padding", &format!("{good}==")).await;
    refused(&gateway, "J2 too long", &format!("{}{good}", "A".repeat(9_000))).await;

    let bearer = format!("Authorization: Bearer {good}\r\n");
    let twice = format!("GET /api/v1/me HTTP/1.1\r\nHost: localhost\r\n{bearer}{bearer}\r\n");
    gateway
        .raw(twice.as_bytes())
        .await
        .assert_refused(400, "J1 two Authorization headers");
    let in_query = gateway.get(&format!("/api/v1/me?access_token={good}")).await;
    assert_eq!(in_query.status(), 401, "J1 a token in the query");
}

#[tokio::test]
async fn a_key_counts_from_the_moment_it_is_published() {
    let gateway = GatewayProcess::start().await;
    let fresh = SigningKey::generate(Algorithm::ES256).unwrap();
    let token = fresh.sign(&claims(&json!({}))).unwrap();
    refused(&gateway, "J14 not published yet", &token).await;

    gateway
        .keys
        .publish(|set| set.keys.push(fresh.public_key(KeyState::Published)));
    eventually("the new key is accepted", || async {
        gateway.get_with("/api/v1/me", &token).await.status() == 200
    })
    .await;
    // A rotation without a 401: the old key is as good as before.
    assert_eq!(
        gateway
            .get_with("/api/v1/me", &gateway.keys.token())
            .await
            .status(),
        200
    );
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_moments() {
    let gateway = GatewayProcess::start().await;
    let token = gateway.keys.token();
    assert_eq!(gateway.get_with("/api/v1/me", &token).await.status(), 200);

    let (revoked, successor) = (
        gateway.keys.key.kid().to_owned(),
        SigningKey::generate(Algorithm::EdDSA).unwrap(),
    );
    gateway.keys.publish(|set| {
        set.keys = vec![successor.public_key(KeyState::Active)];
        set.revoked_kids = vec![revoked];
    });
    eventually("the revoked key is refused", || async {
        gateway.get_with("/api/v1/me", &token).await.status() == 401
    })
    .await;
    assert_eq!(
        gateway
            .metric(r#"portico_tokens_total{issuer="customers",reason="revoked_key",result="refused"}"#)
            .await,
        Some(1)
    );
}

#[tokio::test]
async fn j32_scopes_are_compared_whole() {
    let gateway = GatewayProcess::start().await;
    let client = gateway.client();
    for (scope, status) in [
        ("transfers:write", 200),
        ("transfers:write2", 403),
        ("transfers", 403),
        ("", 403),
    ] {
        let token = gateway.keys.token_with(&json!({"scope": scope}));
        let post = client
            .post(gateway.url("/api/v1/transfers"))
            .bearer_auth(token)
            .json(&json!({}));
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status(), status, "{scope:?}");
        assert_dressed(&answer);
    }
}
