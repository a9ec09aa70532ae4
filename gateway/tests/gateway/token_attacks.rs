//! The corpus of attacks on tokens: each through the front door, each refused in general words, each counted under the
//! reason that it should have.
//!
//! Where an attack leaves the signature alone, a genuine key signs it: only the rule in question can refuse it.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use keyring::{Algorithm, KeyState, PublicKey, SigningKey};
use serde_json::{Value, json};

use crate::authentication::base64url;
use crate::clients::{assert_dressed, problem};
use crate::gateway_process::{GatewayProcess, eventually, now};
use crate::key_service::claims;

/// What an attacker has who has stolen both keys and the words of the issuer.
struct Forge {
    ed: (Ed25519KeyPair, SigningKey),
    ec: (EcdsaKeyPair, SigningKey),
}

impl Forge {
    /// The key of the gateway's control plane, and one more for ES256, which is published.
    async fn new(gateway: &GatewayProcess) -> Self {
        let document = |key: &SigningKey| key.to_pkcs8().unwrap();
        let again = |key: &SigningKey| SigningKey::from_pkcs8(key.algorithm(), &document(key)).unwrap();
        let ec = SigningKey::generate(Algorithm::ES256).unwrap();
        gateway
            .keys
            .publish(|set| set.keys.push(ec.public_key(KeyState::Published)));
        let forge = Self {
            ed: (
                Ed25519KeyPair::from_pkcs8(&document(&gateway.keys.key)).unwrap(),
                again(&gateway.keys.key),
            ),
            ec: (
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document(&ec)).unwrap(),
                again(&ec),
            ),
        };
        let control = forge.ec(&forge.header_ec(), &claims(&json!({})).to_string());
        eventually("both keys are known", || async {
            gateway.get_with("/api/v1/me", &control).await.status() == 200
        })
        .await;
        forge
    }

    fn header(&self) -> Value {
        json!({"alg": "EdDSA", "kid": self.ed.1.kid(), "typ": "at+jwt"})
    }

    fn header_ec(&self) -> String {
        json!({"alg": "ES256", "kid": self.ec.1.kid(), "typ": "at+jwt"}).to_string()
    }

    /// A header with one member changed, or taken away by null; genuinely signed.
    fn head(&self, member: &str, value: Value) -> String {
        let mut header = self.header();
        if value.is_null() {
            header.as_object_mut().unwrap().remove(member);
        } else {
            header[member] = value;
        }
        self.ed(&header.to_string(), claims(&json!({})).to_string().as_bytes())
    }

    /// Claims with some changed; genuinely signed.
    fn claims(&self, changes: &Value) -> String {
        self.ed(&self.header().to_string(), claims(changes).to_string().as_bytes())
    }

    fn ed(&self, header: &str, payload: &[u8]) -> String {
        let input = format!("{}.{}", base64url(header.as_bytes()), base64url(payload));
        let signature = self.ed.0.sign(input.as_bytes());
        format!("{input}.{}", base64url(signature.as_ref()))
    }

    fn ec(&self, header: &str, payload: &str) -> String {
        let (input, signature) = self.ec_parts(header, payload);
        format!("{input}.{}", base64url(&signature))
    }

    fn ec_parts(&self, header: &str, payload: &str) -> (String, Vec<u8>) {
        let input = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(payload.as_bytes())
        );
        let signature = self.ec.0.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        (input, signature.as_ref().to_vec())
    }

    /// An ES256 token whose signature is made from a genuine one.
    fn ec_with(&self, change: impl Fn(&[u8], &[u8]) -> Vec<u8>) -> String {
        let (input, signature) = self.ec_parts(&self.header_ec(), &claims(&json!({})).to_string());
        let (r, s) = signature.split_at(32);
        format!("{input}.{}", base64url(&change(r, s)))
    }

    /// An HMAC with a public key as its secret.
    fn mac(&self, alg: &str, kid: &str, secret: &[u8]) -> String {
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
        let payload = claims(&json!({})).to_string();
        let input = format!(
            "{}.{}",
            base64url(header.as_bytes()),
            base64url(payload.as_bytes())
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", base64url(tag.as_ref()))
    }

    fn unsigned(&self, alg: &str) -> String {
        let header = json!({"alg": alg, "kid": self.ed.1.kid(), "typ": "at+jwt"}).to_string();
        let payload = claims(&json!({})).to_string();
        format!(
            "{}.{}.",
            base64url(header.as_bytes()),
            base64url(payload.as_bytes())
        )
    }
}

/// The rule, what is tried, the token, and the reason that it must be refused for.
type Attack = (&'static str, &'static str, String, &'static str);

#[rustfmt::skip]
fn shapes(forge: &Forge) -> Vec<Attack> {
    let good = forge.claims(&json!({}));
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    let json_form = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    let text = claims(&json!({})).to_string();
    let twice = |member: &str| format!("{},{member}}}", text.strip_suffix('}').unwrap());
    let good_header = forge.header().to_string();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let alg_twice = good_header.replacen('{', "{\"alg\":\"none\",", 1);
    vec![
        ("J2", "more than 8 KiB", format!("{}{good}", "A".repeat(9_000)), "malformed"),
        ("J3", "no signature", format!("{header}.{payload}."), "malformed"),
        ("J3", "two parts", format!("{header}.{payload}"), "malformed"),
        ("J3", "one part", header.to_owned(), "malformed"),
        ("J3", "an empty payload", format!("{header}..{signature}"), "malformed"),
        ("J3", "four parts", format!("{good}.{signature}"), "malformed"),
        ("J3", "padding", format!("{good}=="), "malformed"),
        ("J3", "padding inside", format!("{header}=.{payload}.{signature}"), "malformed"),
        ("J3", "a space inside", format!("{header}. {payload}.{signature}"), "malformed"),
        ("J3", "standard base64", format!("{header}.{payload}.+/{signature}"), "malformed"),
        ("J4", "unused bits", with_unused_bit(&good), "malformed"),
        ("J5", "alg twice", forge.ed(&alg_twice, text.as_bytes()), "malformed"),
        ("J5", "exp twice", forge.ed(&good_header, twice("\"exp\":9999999999").as_bytes()), "malformed"),
        ("J5", "aud twice", forge.ed(&good_header, twice("\"aud\":\"core-api\"").as_bytes()), "malformed"),
        ("J5", "exp as 1e400", forge.ed(&good_header, text.replace(&(now().timestamp() + 540).to_string(), "1e400").as_bytes()), "malformed"),
        ("J5", "UTF-16", forge.ed(&good_header, &utf16), "malformed"),
        ("J5", "a byte order mark", forge.ed(&good_header, format!("\u{feff}{text}").as_bytes()), "malformed"),
        ("J5", "bytes behind the object", forge.ed(&good_header, format!("{text} {{}}").as_bytes()), "malformed"),
        ("J5", "an array", forge.ed(&good_header, format!("[{text}]").as_bytes()), "malformed"),
        ("J6", "JSON serialisation", json_form, "malformed"),
        ("J6", "JSON in base64url", base64url(b"{\"payload\":\"e30\",\"signature\":\"\"}"), "malformed"),
        ("J6", "an encrypted token", format!("{header}.{payload}.{signature}.{payload}.{signature}"), "malformed"),
    ]
}

#[rustfmt::skip]
fn headers(forge: &Forge) -> Vec<Attack> {
    let (ed_kid, ec_kid) = (forge.ed.1.kid(), forge.ec.1.kid());
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(forge.ed.1.public())});
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        base64url(forge.ec.1.public())
    );
    let mut attacks = vec![
        ("J8", "ES256 with an Ed25519 key", forge.head("alg", json!("ES256")), "algorithm"),
        ("J9", "HMAC with the raw public key", forge.mac("HS256", ed_kid, forge.ed.1.public()), "algorithm"),
        ("J9", "HMAC with the point", forge.mac("HS256", ec_kid, forge.ec.1.public()), "algorithm"),
        ("J9", "HMAC with a PEM", forge.mac("HS256", ec_kid, pem.as_bytes()), "algorithm"),
        ("J20", "an HMAC in the place of a signature", forge.mac("ES256", ec_kid, forge.ec.1.public()), "signature"),
        ("J10", "an unknown critical extension", forge.head("crit", json!(["policy"])), "critical"),
        ("J10", "a known name as critical", forge.head("crit", json!(["exp"])), "critical"),
        ("J10", "an empty crit", forge.head("crit", json!([])), "critical"),
        ("J10", "b64", forge.head("b64", json!(false)), "critical"),
        ("J11", "an ID token", forge.head("typ", json!("JWT")), "type"),
        ("J11", "a refresh token", forge.head("typ", json!("rt+jwt")), "type"),
        ("J11", "a logout token", forge.head("typ", json!("logout+jwt")), "type"),
        ("J11", "no type", forge.head("typ", Value::Null), "type"),
        ("J12", "an embedded key", forge.head("jwk", jwk), "malformed"),
        ("J12", "jku to cloud metadata", forge.head("jku", json!("http://169.254.169.254/keys")), "malformed"),
        ("J12", "x5u", forge.head("x5u", json!("https://evil.example/chain.pem")), "malformed"),
        ("J12", "x5c", forge.head("x5c", json!(["MIIB"])), "malformed"),
        ("J13", "a token in a token", forge.head("cty", json!("JWT")), "type"),
        ("J13", "compression", forge.head("zip", json!("DEF")), "malformed"),
        ("J14", "a path as kid", forge.head("kid", json!("../../../../dev/null")), "unknown_key"),
        ("J14", "SQL as kid", forge.head("kid", json!("x' UNION SELECT 'secret")), "malformed"),
        ("J14", "a null byte in kid", forge.head("kid", json!(format!("{ed_kid}\0"))), "malformed"),
        ("J14", "a huge kid", forge.head("kid", json!("k".repeat(4_000))), "malformed"),
        ("J14", "no kid", forge.head("kid", Value::Null), "malformed"),
        ("J14", "a kid that nobody has", forge.head("kid", json!("nobody")), "unknown_key"),
    ];
    for alg in ["none", "None", "NONE", "nOnE"] {
        attacks.push(("J7", "alg none with a signature", forge.head("alg", json!(alg)), "algorithm"));
        attacks.push(("J7", "alg none without one", forge.unsigned(alg), "malformed"));
    }
    for alg in [
        "", "eddsa", "Ed25519", "HS256", "RS256", "PS256", "ES384", "ES256K",
    ] {
        attacks.push(("J7", "another algorithm", forge.head("alg", json!(alg)), "algorithm"));
    }
    attacks.push(("J7", "a list of algorithms", forge.head("alg", json!(["EdDSA"])), "algorithm"));
    attacks.push(("J7", "no algorithm", forge.head("alg", Value::Null), "algorithm"));
    attacks
}

#[rustfmt::skip]
fn signatures(forge: &Forge) -> Vec<Attack> {
    let mine = SigningKey::generate(Algorithm::EdDSA).unwrap();
    let foreign = mine.sign(&claims(&json!({}))).unwrap();
    let good = forge.claims(&json!({}));
    let other = forge.claims(&json!({"sub": "usr_mallory"}));
    let swapped = format!(
        "{}.{}",
        other.rsplit_once('.').unwrap().0,
        good.rsplit_once('.').unwrap().1
    );
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = |r: &[u8], s: &[u8]| [&[0x30, 68, 2, 32], r, &[2, 32], s].concat();
    vec![
        ("J14", "a key of my own", foreign, "unknown_key"),
        ("J19", "the signature of another payload", swapped, "signature"),
        ("J20", "the psychic signature", forge.ec_with(|_, _| vec![0; 64]), "signature"),
        ("J20", "r is zero", forge.ec_with(|_, s| [&[0; 32], s].concat()), "signature"),
        ("J20", "s is zero", forge.ec_with(|r, _| [r, &[0; 32]].concat()), "signature"),
        ("J20", "r and s swapped", forge.ec_with(|r, s| [s, r].concat()), "signature"),
        ("J20", "r is the order", forge.ec_with(|_, s| [&order[..], s].concat()), "signature"),
        ("J20", "s is the order", forge.ec_with(|r, _| [r, &order[..]].concat()), "signature"),
        ("J20", "DER", forge.ec_with(der), "signature"),
        ("J20", "a byte more", forge.ec_with(|r, s| [r, s, &[0]].concat()), "signature"),
        ("J20", "a byte less", forge.ec_with(|r, s| [r, &s[..31]].concat()), "signature"),
    ]
}

#[rustfmt::skip]
fn contents(forge: &Forge) -> Vec<Attack> {
    let now = now().timestamp();
    let with = |changes: Value| forge.claims(&changes);
    vec![
        ("J24", "expired", with(json!({"exp": now - 2})), "expired"),
        ("J24", "no exp", with(json!({"exp": null})), "claims"),
        ("J24", "exp as a text", with(json!({"exp": "9999999999"})), "claims"),
        ("J24", "exp as a fraction", with(json!({"exp": 9_999_999_999.5})), "claims"),
        ("J24", "exp below zero", with(json!({"exp": -1})), "claims"),
        ("J24", "exp as a list", with(json!({"exp": [now + 60]})), "claims"),
        ("J25", "nbf to come", with(json!({"nbf": now + 60})), "not_yet_valid"),
        ("J25", "nbf as a text", with(json!({"nbf": "0"})), "claims"),
        ("J25", "iat to come", with(json!({"iat": now + 60, "exp": now + 120})), "issued_in_future"),
        ("J25", "no iat", with(json!({"iat": null})), "claims"),
        ("J27", "a long life", with(json!({"exp": now + 100_000})), "lifetime"),
        ("J27", "a life that is none", with(json!({"iat": now, "exp": now})), "lifetime"),
        ("J28", "another issuer", with(json!({"iss": "https://evil.example"})), "issuer"),
        ("J28", "a slash behind the issuer", with(json!({"iss": "https://api.bank.example/"})), "issuer"),
        ("J28", "a look-alike issuer", with(json!({"iss": "https://api.bank.exаmple"})), "issuer"),
        ("J28", "a list of issuers", with(json!({"iss": ["https://api.bank.example"]})), "issuer"),
        ("J28", "no issuer", with(json!({"iss": null})), "issuer"),
        ("J29", "another audience", with(json!({"aud": "payroll"})), "audience"),
        ("J29", "a longer audience", with(json!({"aud": "core-api-2"})), "audience"),
        ("J29", "audiences in one text", with(json!({"aud": "payroll core-api"})), "audience"),
        ("J29", "audiences with spaces", with(json!({"aud": [" core-api", "core-api "]})), "audience"),
        ("J29", "an audience that is no text", with(json!({"aud": ["core-api", 1]})), "audience"),
        ("J29", "no audience", with(json!({"aud": null})), "audience"),
        ("J30", "no subject", with(json!({"sub": null})), "claims"),
        ("J30", "a subject that ends a header", with(json!({"sub": "a\r\nx-auth-subject: root"})), "claims"),
        ("J30", "a long subject", with(json!({"sub": "u".repeat(256)})), "claims"),
        ("J31", "no jti", with(json!({"jti": null})), "claims"),
        ("J32", "scopes as a list", with(json!({"scope": ["transfers:write"]})), "claims"),
        ("J33", "bound to a key of DPoP", with(json!({"cnf": {"jkt": "x"}})), "binding"),
        ("J33", "bound in two ways", with(json!({"cnf": {"jkt": "x", "x5t#S256": "A".repeat(43)}})), "binding"),
        ("J33", "bound to no hash", with(json!({"cnf": {"x5t#S256": "A"}})), "binding"),
        ("J33", "bound to nothing", with(json!({"cnf": {}})), "binding"),
        ("J33", "bound to a certificate that nobody shows", with(json!({"cnf": {"x5t#S256": "A".repeat(43)}})), "unproven"),
        ("J33", "two clients", with(json!({"client_id": "app", "azp": "other"})), "claims"),
    ]
}

/// The token with an unused bit of its last letter set.
fn with_unused_bit(token: &str) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    let last = letters.pop().unwrap();
    letters.push(char::from_u32(u32::from(last) + 1).unwrap());
    letters.into_iter().collect()
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
    let forge = Forge::new(&gateway).await;
    assert_eq!(
        gateway
            .get_with("/api/v1/me", &forge.claims(&json!({})))
            .await
            .status(),
        200,
        "the control"
    );
    let seen = gateway.core.seen().len();
    let attacks: Vec<Attack> = [
        shapes(&forge),
        headers(&forge),
        signatures(&forge),
        contents(&forge),
    ]
    .concat();
    assert!(attacks.len() >= 100, "{}", attacks.len());
    let mut reasons: BTreeMap<&str, i64> = BTreeMap::new();
    for (_, _, _, reason) in &attacks {
        reasons.entry(reason).or_default();
    }
    for (reason, count) in &mut reasons {
        *count = -counted(&gateway, reason).await;
    }
    for (rule, what, token, reason) in &attacks {
        let before = counted(&gateway, reason).await;
        refused(&gateway, &format!("{rule}: {what}"), token).await;
        assert_eq!(
            counted(&gateway, reason).await,
            before + 1,
            "{rule}: {what} is not refused as {reason}"
        );
    }
    for (reason, count) in &mut reasons {
        *count += counted(&gateway, reason).await;
    }
    let total = attacks.len();
    assert_eq!(
        reasons.values().sum::<i64>(),
        i64::try_from(total).unwrap(),
        "{reasons:?}"
    );
    assert_eq!(
        gateway.core.seen().len(),
        seen,
        "nothing of this reached the core"
    );
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
