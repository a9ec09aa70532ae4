//! Every rule of verification, each by the id it has in `docs/key-rotation.md`.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{Algorithm, ClaimsForm, KeyState, PublicKey, ScopesClaim, SigningKey};

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://api.bank.example";

fn expectations() -> Expectations {
    Expectations {
        issuer: ISSUER.to_owned(),
        audiences: vec!["core-api".to_owned()],
        clients: Vec::new(),
        algorithms: vec![TokenAlgorithm::EdDSA, TokenAlgorithm::ES256],
        token_type: "at+jwt".to_owned(),
        max_lifetime_s: 900,
        leeway_s: 30,
        form: ClaimsForm::default(),
    }
}

fn payload() -> Value {
    json!({
        "iss": ISSUER, "aud": "core-api", "sub": "usr_1", "sid": "ses_1", "tid": "ten_1", "jti": "tok_1",
        "iat": NOW, "exp": NOW + 600, "scope": "accounts:read transfers:write",
    })
}

/// A payload with one member replaced, or removed when `value` is `None`.
fn with(name: &str, value: impl Into<Option<Value>>) -> Value {
    let mut payload = payload();
    let members = payload.as_object_mut().unwrap();
    match value.into() {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
    payload
}

/// One active key of the algorithm, and a verifier that knows it.
struct Issuer {
    key: SigningKey,
    verifier: Verifier,
}

impl Issuer {
    fn new(algorithm: Algorithm) -> Self {
        let key = SigningKey::generate(algorithm).unwrap();
        let verifier = verifier_of(vec![key.public_key(KeyState::Active)]);
        Self { key, verifier }
    }

    fn header(&self) -> BTreeMap<String, Value> {
        [
            ("alg", self.key.algorithm().as_str()),
            ("kid", self.key.kid()),
            ("typ", "at+jwt"),
        ]
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .into()
    }

    /// The standard header with one member replaced, or removed when `value` is null.
    fn header_with(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        if value.is_null() {
            header.remove(name)
        } else {
            header.insert(name.to_owned(), value)
        };
        serde_json::to_string(&header).unwrap()
    }

    fn sign_raw(&self, header: &str, payload: &[u8]) -> String {
        self.key
            .sign_parts(&URL_SAFE_NO_PAD.encode(header), payload)
            .unwrap()
    }

    /// Verifies genuine signatures over this header.
    fn verify_header(&self, name: &str, value: Value) -> Result<Claims, TokenRefusal> {
        let token = self.sign_raw(&self.header_with(name, value), payload().to_string().as_bytes());
        self.verifier.verify(&token, &expectations(), NOW)
    }

    /// Verifies a genuine signature over these claims.
    fn verify_payload(&self, payload: &Value) -> Result<Claims, TokenRefusal> {
        self.verifier
            .verify(&self.key.sign(payload).unwrap(), &expectations(), NOW)
    }

    fn refusal_of_payload(&self, payload: &Value) -> TokenRefusal {
        self.verify_payload(payload).unwrap_err()
    }

    fn refusal(&self, token: &str) -> TokenRefusal {
        self.verifier.verify(token, &expectations(), NOW).unwrap_err()
    }
}

fn verifier_of(keys: Vec<PublicKey>) -> Verifier {
    Verifier::new(KeySet {
        seq: 1,
        keys,
        revoked_kids: Vec::new(),
    })
    .unwrap()
}

fn issuer() -> Issuer {
    Issuer::new(Algorithm::EdDSA)
}

fn parts(token: &str) -> [&str; 3] {
    token.split('.').collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn a_genuine_token_is_accepted_with_either_algorithm() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let claims = Issuer::new(algorithm).verify_payload(&payload()).unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.sid.as_deref()),
            ("usr_1", Some("ses_1"))
        );
        assert_eq!((claims.iat, claims.exp, claims.nbf), (NOW, NOW + 600, None));
        assert_eq!(claims.scope, ["accounts:read", "transfers:write"]);
        // What was read is written again as the same token payload.
        assert_eq!(serde_json::to_value(&claims).unwrap(), payload());
    }
}

#[test]
fn a_private_key_survives_its_document() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let Issuer { key, verifier } = Issuer::new(algorithm);
        let again = SigningKey::from_pkcs8(algorithm, &key.to_pkcs8().unwrap()).unwrap();
        assert_eq!(again.kid(), key.kid());
        assert!(
            verifier
                .verify(&again.sign(&payload()).unwrap(), &expectations(), NOW)
                .is_ok()
        );
        assert!(!format!("{key:?}").contains("pair"));
        assert!(SigningKey::from_pkcs8(algorithm, b"junk").is_err());
    }
}

#[test]
fn j02_more_than_eight_kibibytes_is_refused() {
    let issuer = issuer();
    let padded = |length: usize| {
        let filler = "x".repeat(length);
        issuer.key.sign(&with("filler", json!(filler))).unwrap()
    };
    let room = 8 * 1024 - padded(0).len();
    let fits = padded(room / 4 * 3 - 3);
    assert!(fits.len() <= MAX_TOKEN_BYTES && issuer.verifier.verify(&fits, &expectations(), NOW).is_ok());
    let large = padded(room / 4 * 3 + 6);
    assert!(large.len() > MAX_TOKEN_BYTES);
    assert_eq!(issuer.refusal(&large), TokenRefusal::Malformed);
}

#[test]
fn j03_only_three_parts_of_base64url_characters() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    let [header, payload, signature] = parts(&token);
    let bad = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{token}."),
        format!(".{token}"),
        format!("{token}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}. {payload}.{signature}"),
        format!("{header}.{payload}\0.{signature}"),
        format!("{header}.{payload}é.{signature}"),
        token.replace('-', "+").replace('_', "/") + "+",
    ];
    for token in bad {
        assert_eq!(issuer.refusal(&token), TokenRefusal::Malformed, "{token:?}");
    }
}

#[test]
fn j04_unused_bits_must_be_zero() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    // 64 signature bytes leave four unused bits in the last of 86 characters.
    let mut sloppy = token.clone();
    let last = sloppy.pop().unwrap();
    let alphabet: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['-', '_'])
        .collect();
    let value = alphabet.iter().position(|c| *c == last).unwrap();
    assert_eq!(value % 16, 0);
    sloppy.push(alphabet[value + 1]);
    assert_eq!(issuer.refusal(&sloppy), TokenRefusal::Malformed);
}

#[test]
fn j05_header_and_payload_are_strict_objects() {
    let issuer = issuer();
    let good = issuer.header_with("x", Value::Null);
    let (alg, kid) = (issuer.key.algorithm(), issuer.key.kid());
    for header in [
        format!(r#"{{"alg":"{alg}","alg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#),
        format!(r#"{{"alg":"none","\u0061lg":"{alg}","kid":"{kid}","typ":"at+jwt"}}"#),
        format!("[{good}]"),
        format!("{good} x"),
        format!("\u{feff}{good}"),
        "null".to_owned(),
    ] {
        let token = issuer.sign_raw(&header, payload().to_string().as_bytes());
        assert_eq!(issuer.refusal(&token), TokenRefusal::Malformed, "{header}");
    }
    let text = payload().to_string();
    let twice = format!(r#"{},"exp":{}}}"#, text.strip_suffix('}').unwrap(), NOW + 60);
    let nested = with("x", json!({"deep": [[[[[[[1]]]]]]]})).to_string();
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [
        twice.as_bytes(),
        nested.as_bytes(),
        b"[]",
        b"\"x\"",
        b"",
        utf16.as_slice(),
    ] {
        let token = issuer.sign_raw(&good, bytes);
        assert_eq!(issuer.refusal(&token), TokenRefusal::Malformed);
    }
}

#[test]
fn j06_json_serialisation_and_encrypted_tokens_are_refused() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    let [header, payload, signature] = parts(&token);
    let json = json!({"payload": payload, "protected": header, "signature": signature}).to_string();
    assert_eq!(issuer.refusal(&json), TokenRefusal::Malformed);
    assert_eq!(issuer.refusal("e30.e30.e30.e30.e30"), TokenRefusal::Malformed);
}

#[test]
fn j07_only_listed_algorithms_by_exact_name() {
    let issuer = issuer();
    for name in [
        "none", "None", "nOnE", "eddsa", "EDDSA", "Ed25519", "HS256", "RS256", "PS256", "ES384", "",
    ] {
        assert_eq!(
            issuer.verify_header("alg", json!(name)),
            Err(TokenRefusal::Algorithm),
            "{name}"
        );
    }
    for value in [json!(["EdDSA"]), json!(1), Value::Null] {
        assert_eq!(issuer.verify_header("alg", value), Err(TokenRefusal::Algorithm));
    }
    let only_es256 = Expectations {
        algorithms: vec![TokenAlgorithm::ES256],
        ..expectations()
    };
    let token = issuer.key.sign(&payload()).unwrap();
    assert_eq!(
        issuer.verifier.verify(&token, &only_es256, NOW),
        Err(TokenRefusal::Algorithm)
    );
}

#[test]
fn j08_the_header_must_agree_with_the_key() {
    let issuer = issuer();
    assert_eq!(
        issuer.verify_header("alg", json!("ES256")),
        Err(TokenRefusal::Algorithm)
    );
    let issuer = Issuer::new(Algorithm::ES256);
    assert_eq!(
        issuer.verify_header("alg", json!("EdDSA")),
        Err(TokenRefusal::Algorithm)
    );
}

#[test]
fn j09_a_public_key_is_never_a_mac_secret() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let issuer = Issuer::new(algorithm);
        for alg in ["HS256", algorithm.as_str()] {
            let header = URL_SAFE_NO_PAD.encode(issuer.header_with("alg", json!(alg)));
            let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload().to_string()));
            let tag = hmac::sign(
                &hmac::Key::new(hmac::HMAC_SHA256, issuer.key.public()),
                input.as_bytes(),
            );
            let refusal = issuer.refusal(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag)));
            assert!(
                matches!(refusal, TokenRefusal::Algorithm | TokenRefusal::Signature),
                "{refusal}"
            );
        }
    }
}

#[test]
fn j10_crit_is_refused() {
    let issuer = issuer();
    for value in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!("x"),
        json!(false),
    ] {
        assert_eq!(issuer.verify_header("crit", value), Err(TokenRefusal::Critical));
    }
    assert_eq!(
        issuer.verify_header("b64", json!(false)),
        Err(TokenRefusal::Critical)
    );
}

#[test]
fn j11_the_type_must_be_that_of_an_access_token() {
    let issuer = issuer();
    for name in ["at+jwt", "AT+JWT", "application/at+jwt", "APPLICATION/at+JWT"] {
        assert!(issuer.verify_header("typ", json!(name)).is_ok(), "{name}");
    }
    for value in [
        json!("JWT"),
        json!("jwt"),
        json!("logout+jwt"),
        json!("at+jwt2"),
        json!("application/"),
        json!("text/at+jwt"),
        json!("application/application/at+jwt"),
        json!(""),
        json!(["at+jwt"]),
        Value::Null,
    ] {
        assert_eq!(
            issuer.verify_header("typ", value.clone()),
            Err(TokenRefusal::Type),
            "{value}"
        );
    }
}

#[test]
fn j12_a_token_cannot_bring_its_own_key() {
    let issuer = issuer();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(issuer.key.public())});
    for (name, value) in [
        ("jwk", jwk),
        ("jku", json!("https://169.254.169.254/keys")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("x5t", json!("abc")),
        ("x5t#S256", json!("abc")),
    ] {
        assert_eq!(
            issuer.verify_header(name, value),
            Err(TokenRefusal::Malformed),
            "{name}"
        );
    }
}

#[test]
fn j13_nested_compressed_and_encrypted_content_is_refused() {
    let issuer = issuer();
    assert_eq!(issuer.verify_header("cty", json!("JWT")), Err(TokenRefusal::Type));
    assert_eq!(
        issuer.verify_header("zip", json!("DEF")),
        Err(TokenRefusal::Malformed)
    );
    assert_eq!(
        issuer.verify_header("enc", json!("A256GCM")),
        Err(TokenRefusal::Malformed)
    );
}

#[test]
fn j14_the_kid_is_required_short_and_only_looked_up() {
    let issuer = issuer();
    let long = "a".repeat(129);
    for bad in [
        "",
        "a' OR 1=1 --",
        "a\0b",
        "a b",
        "https://x/?y",
        "ключ",
        long.as_str(),
    ] {
        assert_eq!(
            issuer.verify_header("kid", json!(bad)),
            Err(TokenRefusal::Malformed),
            "{bad:?}"
        );
    }
    for value in [Value::Null, json!(7), json!(["k"])] {
        assert_eq!(issuer.verify_header("kid", value), Err(TokenRefusal::Malformed));
    }
    for unknown in [
        "a",
        "key.1",
        "../../etc/passwd",
        "https://x/",
        "gA+b/c=",
        &"a".repeat(128),
    ] {
        assert_eq!(
            issuer.verify_header("kid", json!(unknown)),
            Err(TokenRefusal::UnknownKey),
            "{unknown}"
        );
    }
}

#[test]
fn j15_keys_of_the_wrong_length_curve_or_encoding_are_refused() {
    let set = |key: PublicKey| KeySet {
        seq: 1,
        keys: vec![key],
        revoked_kids: Vec::new(),
    };
    let mut off_curve = [7_u8; 65];
    off_curve[0] = 4;
    for (algorithm, bytes) in [
        (Algorithm::EdDSA, vec![1; 31]),
        (Algorithm::EdDSA, vec![1; 33]),
        (Algorithm::EdDSA, Vec::new()),
        (Algorithm::ES256, off_curve.to_vec()),
        (Algorithm::ES256, vec![0; 65]),
        (Algorithm::ES256, vec![2; 33]),
    ] {
        let refused = Verifier::new(set(PublicKey::new(algorithm, &bytes, KeyState::Active)));
        assert!(
            matches!(refused, Err(KeySetError::InvalidKey(_))),
            "{algorithm} {bytes:?}"
        );
    }
    // A key under the other algorithm's name.
    let mut key = issuer().key.public_key(KeyState::Active);
    key.algorithm = Algorithm::ES256;
    assert!(matches!(Verifier::new(set(key)), Err(KeySetError::InvalidKey(_))));
    let mut key = issuer().key.public_key(KeyState::Active);
    key.public.push('=');
    assert!(matches!(Verifier::new(set(key)), Err(KeySetError::InvalidKey(_))));
}

#[test]
fn j16_a_set_with_a_duplicate_or_borrowed_kid_is_refused_whole() {
    let (one, two) = (
        issuer().key.public_key(KeyState::Active),
        issuer().key.public_key(KeyState::Published),
    );
    let set = |keys| KeySet {
        seq: 1,
        keys,
        revoked_kids: Vec::new(),
    };
    assert!(set(vec![one.clone(), two.clone()]).validate().is_ok());
    assert!(matches!(
        set(vec![one.clone(), one.clone()]).validate(),
        Err(KeySetError::DuplicateKid(_))
    ));
    let borrowed = PublicKey {
        kid: one.kid.clone(),
        ..two
    };
    assert!(matches!(
        set(vec![borrowed]).validate(),
        Err(KeySetError::WrongKid(_))
    ));
    assert_eq!(set(Vec::new()).validate(), Err(KeySetError::Empty));
    let many = (0..51)
        .map(|_| issuer().key.public_key(KeyState::Published))
        .collect();
    assert_eq!(set(many).validate(), Err(KeySetError::TooManyKeys));
    let revoked = KeySet {
        revoked_kids: vec!["a b".to_owned()],
        ..set(vec![one])
    };
    assert_eq!(revoked.validate(), Err(KeySetError::InvalidRevokedKid));
}

#[test]
fn j16_states_and_times_of_a_set_must_agree() {
    let key = issuer().key.public_key(KeyState::Active);
    let states = [
        KeyState::Generated,
        KeyState::Retired,
        KeyState::Revoked,
        KeyState::Retiring,
    ];
    for bad in states
        .map(|state| PublicKey { state, ..key.clone() })
        .into_iter()
        .chain([
            PublicKey {
                verify_until: Some(NOW),
                ..key.clone()
            },
            PublicKey {
                state: KeyState::Retiring,
                sign_until: Some(NOW),
                ..key.clone()
            },
            PublicKey {
                state: KeyState::Retiring,
                sign_until: Some(2),
                verify_until: Some(1),
                ..key.clone()
            },
        ])
    {
        let set = KeySet {
            seq: 1,
            keys: vec![bad.clone()],
            revoked_kids: Vec::new(),
        };
        assert!(
            matches!(set.validate(), Err(KeySetError::InvalidState(_))),
            "{bad:?}"
        );
    }
}

#[test]
fn j17_a_private_part_in_a_published_set_is_refused() {
    let key = serde_json::to_value(issuer().key.public_key(KeyState::Active)).unwrap();
    let read =
        |key: &Value| serde_json::from_value::<KeySet>(json!({"seq": 1, "keys": [key], "revoked_kids": []}));
    assert!(read(&key).is_ok());
    for private in ["d", "p", "k", "sealed_private_key"] {
        let mut leaking = key.clone();
        leaking[private] = json!("AAAA");
        assert!(read(&leaking).is_err(), "{private}");
    }
}

#[test]
fn j17_a_jwk_set_holds_public_members_only() {
    let keys = [Algorithm::EdDSA, Algorithm::ES256].map(|algorithm| Issuer::new(algorithm).key);
    let mut set = KeySet {
        seq: 9,
        keys: keys
            .iter()
            .map(|key| key.public_key(KeyState::Published))
            .collect(),
        revoked_kids: Vec::new(),
    };
    let jwks = set.to_jwks();
    let members = |index: usize| {
        jwks["keys"][index]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let mut okp = members(0);
    okp.sort();
    assert_eq!(okp, ["alg", "crv", "kid", "kty", "use", "x"]);
    let mut ec = members(1);
    ec.sort();
    assert_eq!(ec, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    let point: Vec<u8> = ["x", "y"]
        .into_iter()
        .flat_map(|name| {
            URL_SAFE_NO_PAD
                .decode(jwks["keys"][1][name].as_str().unwrap())
                .unwrap()
        })
        .collect();
    assert_eq!(point, keys[1].public()[1..]);
    assert_eq!(jwks["keys"][0]["use"], "sig");

    set.remember_revoked([keys[0].kid().to_owned(), keys[0].kid().to_owned()]);
    assert_eq!(set.revoked_kids.len(), 1);
    assert_eq!(set.to_jwks()["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn j19_claims_are_not_read_before_the_signature_holds() {
    let (issuer, other) = (issuer(), issuer());
    // Everything else is wrong too; the answer must be about the signature.
    let junk = json!({"iss": "evil", "exp": 0});
    let header = URL_SAFE_NO_PAD.encode(issuer.header_with("x", Value::Null));
    let token = other
        .key
        .sign_parts(&header, junk.to_string().as_bytes())
        .unwrap();
    assert_eq!(issuer.refusal(&token), TokenRefusal::Signature);
    let token = other.key.sign_parts(&header, b"not json").unwrap();
    assert_eq!(issuer.refusal(&token), TokenRefusal::Signature);
}

#[test]
fn j20_ecdsa_signatures_are_two_numbers_in_range_and_never_der() {
    let issuer = Issuer::new(Algorithm::ES256);
    let token = issuer.key.sign(&payload()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let order: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (r, s) = raw.split_at(32);
    let mut der = vec![0x30, 68, 2, 32];
    der.extend_from_slice(r);
    der.extend_from_slice(&[2, 32]);
    der.extend_from_slice(s);
    for bad in [
        vec![0; 64],
        [&[0; 32], s].concat(),
        [r, &[0; 32]].concat(),
        [order.as_slice(), s].concat(),
        [r, order.as_slice()].concat(),
        [s, r].concat(),
        raw[..63].to_vec(),
        [raw.as_slice(), &[0]].concat(),
        der,
    ] {
        let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&bad));
        assert_eq!(issuer.refusal(&forged), TokenRefusal::Signature, "{bad:?}");
    }
}

#[test]
fn j22_an_rsa_name_or_a_shared_secret_does_nothing_to_another_key() {
    // No length of a secret can be wrong where none is accepted.
    for issuer in [Issuer::new(Algorithm::EdDSA), Issuer::new(Algorithm::ES256)] {
        for name in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512",
        ] {
            assert_eq!(
                issuer.verify_header("alg", json!(name)),
                Err(TokenRefusal::Algorithm),
                "{name}"
            );
            assert!(name.parse::<Algorithm>().is_err());
        }
    }
}

#[test]
fn j33_two_names_for_the_client_must_be_one() {
    let issuer = issuer();
    let client = |changes: &[(&str, Value)]| {
        let mut payload = payload();
        for (name, value) in changes {
            payload[*name] = value.clone();
        }
        issuer.verify_payload(&payload).map(|claims| claims.client_id)
    };
    let app = || json!("app");
    assert_eq!(client(&[]), Ok(None));
    for names in [
        &[("client_id", app())][..],
        &[("azp", app())],
        &[("client_id", app()), ("azp", app())],
    ] {
        assert_eq!(client(names), Ok(Some("app".to_owned())));
    }
    for names in [
        &[("client_id", app()), ("azp", json!("other"))][..],
        &[("client_id", json!(["app"]))],
        &[("azp", json!(""))],
    ] {
        assert_eq!(client(names), Err(TokenRefusal::Claims));
    }
}

#[test]
fn j33_where_the_verifier_names_programs_only_their_tokens_are_accepted() {
    let issuer = issuer();
    let expectations = Expectations {
        clients: vec!["app".to_owned(), "reports".to_owned()],
        ..expectations()
    };
    for (claims, refusal) in [
        (json!({"client_id": "app"}), None),
        (json!({"azp": "reports"}), None),
        (json!({"client_id": "App"}), Some(TokenRefusal::Client)),
        (json!({"client_id": "apps"}), Some(TokenRefusal::Client)),
        (json!({}), Some(TokenRefusal::Client)),
    ] {
        let mut payload = payload();
        let members = payload.as_object_mut().unwrap();
        members.extend(claims.as_object().unwrap().clone());
        let token = issuer.key.sign(&payload).unwrap();
        let found = issuer.verifier.examine(&token, &expectations, NOW);
        assert_eq!(found.err(), refusal, "{claims}");
    }
}

#[test]
fn j45_an_answer_says_how_long_it_holds() {
    let Issuer { key, .. } = issuer();
    let mut claims = payload();
    claims["nbf"] = json!(NOW + 10);
    let token = key.sign(&claims).unwrap();
    let retiring = PublicKey {
        sign_until: Some(NOW + 5),
        verify_until: Some(NOW + 300),
        ..key.public_key(KeyState::Retiring)
    };
    for (published, good) in [
        (key.public_key(KeyState::Active), NOW - 20..NOW + 630),
        (retiring, NOW - 20..NOW + 301),
    ] {
        let verifier = verifier_of(vec![published]);
        let verified = verifier.examine(&token, &expectations(), NOW).unwrap();
        assert_eq!(
            (verified.good.clone(), verified.kid.as_ref()),
            (good.clone(), key.kid())
        );
        for (now, is_good) in [
            (good.start - 1, false),
            (good.start, true),
            (good.end - 1, true),
            (good.end, false),
        ] {
            let found = verifier.verify(&token, &expectations(), now);
            assert_eq!(found.is_ok(), is_good, "{}", now - NOW);
        }
    }
}

#[test]
fn j23_an_ed25519_signature_has_one_form() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    // S + L is the same number modulo the group order L, little endian.
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0_u16;
    for (byte, add) in raw[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&raw));
    assert_eq!(issuer.refusal(&forged), TokenRefusal::Signature);
}

#[test]
fn j24_exp_is_a_whole_number_and_required() {
    let issuer = issuer();
    for value in [
        json!((NOW + 600).to_string()),
        json!(true),
        json!(-1),
        json!([NOW + 600]),
        json!({}),
        json!(1.5),
        json!(u64::MAX),
        Value::Null,
    ] {
        assert_eq!(
            issuer.refusal_of_payload(&with("exp", Some(value.clone()))),
            TokenRefusal::Claims,
            "{value}"
        );
    }
    assert_eq!(
        issuer.refusal_of_payload(&with("exp", None)),
        TokenRefusal::Claims
    );
    let text = payload().to_string().replace(&(NOW + 600).to_string(), "1e400");
    let token = issuer.sign_raw(&issuer.header_with("x", Value::Null), text.as_bytes());
    assert_eq!(issuer.refusal(&token), TokenRefusal::Malformed);
    let text = payload()
        .to_string()
        .replace(&(NOW + 600).to_string(), "1.8000006e9");
    let token = issuer.sign_raw(&issuer.header_with("x", Value::Null), text.as_bytes());
    assert_eq!(issuer.refusal(&token), TokenRefusal::Claims);
}

#[test]
fn j25_nbf_and_iat_are_enforced() {
    let issuer = issuer();
    for name in ["nbf", "iat"] {
        for value in [json!("1"), json!(-5), Value::Null, json!(0.5)] {
            assert_eq!(
                issuer.refusal_of_payload(&with(name, Some(value))),
                TokenRefusal::Claims,
                "{name}"
            );
        }
    }
    assert_eq!(
        issuer.refusal_of_payload(&with("iat", None)),
        TokenRefusal::Claims
    );
    assert!(issuer.verify_payload(&with("nbf", json!(NOW + 30))).is_ok());
    assert_eq!(
        issuer.refusal_of_payload(&with("nbf", json!(NOW + 31))),
        TokenRefusal::NotYetValid
    );
    assert!(issuer.verify_payload(&with("iat", json!(NOW + 30))).is_ok());
    assert_eq!(
        issuer.refusal_of_payload(&with("iat", json!(NOW + 31))),
        TokenRefusal::IssuedInFuture
    );
}

#[test]
fn j26_the_leeway_applies_once_and_is_capped() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    let verify = |leeway_s, now| {
        issuer
            .verifier
            .verify(
                &token,
                &Expectations {
                    leeway_s,
                    ..expectations()
                },
                now,
            )
            .map(|claims| claims.exp)
    };
    let exp = NOW + 600;
    assert_eq!(verify(0, exp - 1), Ok(exp));
    assert_eq!(verify(0, exp), Err(TokenRefusal::Expired));
    assert_eq!(verify(30, exp + 29), Ok(exp));
    assert_eq!(verify(30, exp + 30), Err(TokenRefusal::Expired));
    assert_eq!(verify(u32::MAX, exp + 119), Ok(exp));
    assert_eq!(verify(u32::MAX, exp + 120), Err(TokenRefusal::Expired));
    assert_eq!(verify(u32::MAX, NOW - 121), Err(TokenRefusal::IssuedInFuture));
    assert_eq!(verify(30, i64::MAX), Err(TokenRefusal::Expired));
    assert_eq!(verify(30, i64::MIN), Err(TokenRefusal::IssuedInFuture));
}

#[test]
fn j27_no_token_lives_longer_than_the_verifier_allows() {
    let issuer = issuer();
    assert!(issuer.verify_payload(&with("exp", json!(NOW + 900))).is_ok());
    for exp in [NOW + 901, i64::MAX, NOW, NOW - 1] {
        assert_eq!(
            issuer.refusal_of_payload(&with("exp", json!(exp))),
            TokenRefusal::Lifetime,
            "{exp}"
        );
    }
}

#[test]
fn j28_the_issuer_is_one_exact_string() {
    let issuer = issuer();
    for value in [
        json!("https://api.bank.example/"),
        json!("https://API.bank.example"),
        json!("https://api.bank.exаmple"),
        json!(""),
        json!([ISSUER]),
        json!(null),
    ] {
        assert_eq!(
            issuer.refusal_of_payload(&with("iss", Some(value))),
            TokenRefusal::Issuer
        );
    }
    assert_eq!(
        issuer.refusal_of_payload(&with("iss", None)),
        TokenRefusal::Issuer
    );
}

#[test]
fn j29_the_audience_has_one_exact_member() {
    let issuer = issuer();
    assert!(
        issuer
            .verify_payload(&with("aud", json!(["other", "core-api"])))
            .is_ok()
    );
    for value in [
        json!("core-api2"),
        json!("core"),
        json!("core-api other"),
        json!(" core-api"),
        json!([]),
        json!(["other"]),
        json!(["core-api", 1]),
        json!({"core-api": 1}),
        json!(null),
    ] {
        assert_eq!(
            issuer.refusal_of_payload(&with("aud", Some(value.clone()))),
            TokenRefusal::Audience,
            "{value}"
        );
    }
    assert_eq!(
        issuer.refusal_of_payload(&with("aud", None)),
        TokenRefusal::Audience
    );
}

#[test]
fn j30_j31_sub_and_jti_are_required_and_sid_and_tid_are_texts() {
    let issuer = issuer();
    let long = "a".repeat(256);
    for name in ["sub", "jti", "sid", "tid"] {
        for value in [
            json!(""),
            json!(long),
            json!(7),
            json!("a b"),
            json!("a\r\nx-auth-subject: root"),
            json!("é"),
        ] {
            assert_eq!(
                issuer.refusal_of_payload(&with(name, Some(value))),
                TokenRefusal::Claims,
                "{name}"
            );
        }
        assert_eq!(
            issuer.refusal_of_payload(&with(name, Some(Value::Null))),
            TokenRefusal::Claims
        );
        assert!(issuer.verify_payload(&with(name, json!("a".repeat(255)))).is_ok());
    }
    for name in ["sub", "jti"] {
        assert_eq!(issuer.refusal_of_payload(&with(name, None)), TokenRefusal::Claims);
    }
    for name in ["sid", "tid"] {
        assert!(issuer.verify_payload(&with(name, None)).is_ok());
    }
}

#[test]
fn j31_where_the_issuer_writes_no_jti_a_token_may_be_without_and_one_that_is_there_is_read() {
    let issuer = issuer();
    let without_jti = Expectations {
        form: ClaimsForm {
            requires_jti: false,
            ..ClaimsForm::default()
        },
        ..expectations()
    };
    let jti = |value: Option<Value>| {
        let token = issuer.key.sign(&with("jti", value)).unwrap();
        issuer
            .verifier
            .verify(&token, &without_jti, NOW)
            .map(|claims| claims.jti)
    };
    assert_eq!(jti(None), Ok(None));
    assert_eq!(jti(Some(json!("tok_9"))), Ok(Some("tok_9".to_owned())));
    for malformed in [json!(""), json!(7), Value::Null] {
        assert_eq!(jti(Some(malformed)), Err(TokenRefusal::Claims));
    }
}

#[test]
fn j32_scopes_are_read_from_the_claim_that_the_issuer_writes_and_no_other() {
    let issuer = issuer();
    let scopes = |claim, payload: &Value| {
        let expectations = Expectations {
            form: ClaimsForm {
                scopes: claim,
                ..ClaimsForm::default()
            },
            ..expectations()
        };
        let token = issuer.key.sign(payload).unwrap();
        issuer
            .verifier
            .verify(&token, &expectations, NOW)
            .map(|claims| claims.scope.join(","))
    };
    for (claim, name) in [(ScopesClaim::Scp, "scp"), (ScopesClaim::Roles, "roles")] {
        for (written, read) in [
            (json!("Orders.Read Orders.Write"), "Orders.Read,Orders.Write"),
            (json!(["Orders.Read", "Orders.Write"]), "Orders.Read,Orders.Write"),
            (json!([]), ""),
            (json!(""), ""),
        ] {
            let read = Ok(read.to_owned());
            assert_eq!(
                scopes(claim, &with(name, written.clone())),
                read,
                "{name}: {written}"
            );
            // Where the provider says nothing, they are not there.
            let of_scope = scopes(ScopesClaim::Scope, &with(name, written));
            assert_eq!(of_scope, Ok("accounts:read,transfers:write".to_owned()));
        }
        // `scope`, which the payload has, does not count.
        assert_eq!(scopes(claim, &payload()), Ok(String::new()));
        for malformed in [
            json!([["a"]]),
            json!(["a b"]),
            json!(["a", 1]),
            json!([""]),
            json!({"a": true}),
            json!(1),
            Value::Null,
        ] {
            let refused = scopes(claim, &with(name, malformed.clone()));
            assert_eq!(refused, Err(TokenRefusal::Claims), "{name}: {malformed}");
        }
    }
}

#[test]
fn j32_scopes_match_whole_tokens() {
    let issuer = issuer();
    let claims = issuer.verify_payload(&payload()).unwrap();
    assert!(claims.has_scope("transfers:write"));
    for scope in [
        "transfers:write2",
        "transfers",
        "accounts:read transfers:write",
        "",
    ] {
        assert!(!claims.has_scope(scope), "{scope}");
    }
    for value in [
        json!(["a"]),
        json!("a  b"),
        json!(" a"),
        json!("a\tb"),
        json!("a\"b"),
        json!(1),
        Value::Null,
    ] {
        assert_eq!(
            issuer.refusal_of_payload(&with("scope", Some(value.clone()))),
            TokenRefusal::Claims,
            "{value}"
        );
    }
    assert!(
        issuer
            .verify_payload(&with("scope", None))
            .unwrap()
            .scope
            .is_empty()
    );
}

/// The hash of these bytes as a certificate, and in a token.
const HASH: &str = "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";

fn bound_to(issuer: &Issuer, cnf: &Value, form: ClaimsForm) -> Result<Option<CertificateHash>, TokenRefusal> {
    let token = issuer.key.sign(&with("cnf", cnf.clone())).unwrap();
    let expectations = Expectations {
        form,
        ..expectations()
    };
    let examined = issuer.verifier.examine(&token, &expectations, NOW);
    assert!(
        issuer.verifier.verify(&token, &expectations, NOW).is_err(),
        "it is no bearer token"
    );
    examined.map(|token| token.bound_to)
}

#[test]
fn j33_a_token_bound_to_a_certificate_names_it_and_is_no_bearer_token() {
    let issuer = issuer();
    let hash = CertificateHash::of(b"abc");
    assert_eq!(hash.to_string(), HASH);
    let found = bound_to(&issuer, &json!({"x5t#S256": HASH}), ClaimsForm::default());
    assert_eq!(found, Ok(Some(hash)));
}

#[test]
fn j32_a_token_whose_scopes_are_narrowed_in_words_that_nobody_reads_is_refused() {
    let issuer = issuer();
    let narrowed =
        json!([{"type": "payment_initiation", "instructedAmount": {"currency": "EUR", "amount": "1.00"}}]);
    for details in [narrowed, json!([]), json!({}), Value::Null] {
        let refusal = issuer.refusal_of_payload(&with("authorization_details", details.clone()));
        assert_eq!(refusal, TokenRefusal::Claims, "{details}");
    }
}

#[test]
fn j33_a_token_bound_in_a_way_that_nobody_here_checks_is_refused() {
    let issuer = issuer();
    for cnf in [
        json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"jwk": {"kty": "OKP"}}),
        json!({"kid": "a"}),
        json!({"x5t#S256": HASH, "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        json!({"x5t": HASH}),
        json!({"X5T#S256": HASH}),
        json!({}),
        json!([{"x5t#S256": HASH}]),
        json!({"x5t#S256": [HASH]}),
        json!({"x5t#S256": ""}),
        json!({"x5t#S256": format!("{HASH}=")}),
        // One unused bit is set: another spelling of the same hash.
        json!({"x5t#S256": "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa1"}),
        json!({"x5t#S256": HASH.get(..40)}),
        json!({"x5t#S256": format!("{HASH}AAAA")}),
        json!(HASH),
        json!(true),
        Value::Null,
    ] {
        let found = bound_to(&issuer, &cnf, ClaimsForm::default());
        assert_eq!(found, Err(TokenRefusal::Binding), "{cnf}");
    }
}

#[test]
fn j33_where_the_verifier_asks_for_it_a_token_without_cnf_is_refused() {
    let issuer = issuer();
    let form = ClaimsForm {
        requires_cnf: true,
        ..ClaimsForm::default()
    };
    let hash = CertificateHash::of(b"abc");
    assert_eq!(
        bound_to(&issuer, &json!({"x5t#S256": HASH}), form),
        Ok(Some(hash))
    );
    let bearer = issuer.key.sign(&payload()).unwrap();
    let expectations = Expectations {
        form,
        ..expectations()
    };
    let found = issuer.verifier.examine(&bearer, &expectations, NOW);
    assert_eq!(found, Err(TokenRefusal::Binding));
}

#[test]
fn a_revoked_key_never_verifies_even_if_it_is_listed_as_active() {
    let issuer = issuer();
    let token = issuer.key.sign(&payload()).unwrap();
    let mut set = KeySet {
        seq: 2,
        keys: vec![issuer.key.public_key(KeyState::Active)],
        revoked_kids: Vec::new(),
    };
    set.remember_revoked([issuer.key.kid().to_owned()]);
    let verifier = Verifier::new(set).unwrap();
    assert_eq!(
        verifier.verify(&token, &expectations(), NOW),
        Err(TokenRefusal::RevokedKey)
    );
    assert_eq!(verifier.seq(), 2);
}

#[test]
fn a_retiring_key_verifies_what_it_signed_and_only_for_a_while() {
    let Issuer { key, .. } = issuer();
    let retiring = PublicKey {
        sign_until: Some(NOW + 5),
        verify_until: Some(NOW + 665),
        ..key.public_key(KeyState::Retiring)
    };
    let verifier = verifier_of(vec![retiring]);
    let verify = |iat: i64, now: i64| {
        let mut claims = with("iat", json!(iat));
        claims["exp"] = json!(iat + 600);
        verifier
            .verify(&key.sign(&claims).unwrap(), &expectations(), now)
            .map(|claims| claims.iat)
    };
    assert_eq!(verify(NOW, NOW + 1), Ok(NOW));
    assert_eq!(verify(NOW + 35, NOW + 634), Ok(NOW + 35));
    assert_eq!(verify(NOW + 35, NOW + 664), Ok(NOW + 35));
    // INV-3: signed after the switch, whatever else is wrong with the token.
    assert_eq!(
        verify(NOW + 36, NOW + 40),
        Err(TokenRefusal::SignedAfterRetirement)
    );
    assert_eq!(
        verify(NOW + 10_000, NOW + 40),
        Err(TokenRefusal::SignedAfterRetirement)
    );
    // INV-2: nothing after `verify_until`, and the key is not even tried.
    assert_eq!(verify(NOW + 65, NOW + 666), Err(TokenRefusal::RetiredKey));
}

#[test]
fn a_published_key_verifies_before_it_is_active_everywhere() {
    let Issuer { key, .. } = issuer();
    let verifier = verifier_of(vec![key.public_key(KeyState::Published)]);
    assert!(
        verifier
            .verify(&key.sign(&payload()).unwrap(), &expectations(), NOW)
            .is_ok()
    );
}

#[test]
fn an_unverified_token_is_judged_by_every_rule_but_the_signature() {
    let issuer = issuer();
    let good = issuer.key.sign(&payload()).unwrap();
    let [header, claims, _] = parts(&good);
    let other_signature = URL_SAFE_NO_PAD.encode([1_u8; 64]);
    let unsigned = UnverifiedToken::read(
        &format!("{header}.{claims}.{other_signature}"),
        ClaimsForm::default(),
    )
    .unwrap();
    assert_eq!(unsigned.claims().sub, "usr_1");
    assert_eq!(unsigned.suppose_signed(&expectations(), NOW), Ok(None));

    for (changed, now, refusal) in [
        (
            with("iss", json!("https://other.example")),
            NOW,
            TokenRefusal::Issuer,
        ),
        (with("aud", json!("payroll")), NOW, TokenRefusal::Audience),
        (with("exp", json!(NOW + 901)), NOW, TokenRefusal::Lifetime),
        (payload(), NOW + 631, TokenRefusal::Expired),
        (payload(), NOW - 31, TokenRefusal::IssuedInFuture),
    ] {
        let token = issuer.key.sign(&changed).unwrap();
        let judged = UnverifiedToken::read(&token, ClaimsForm::default()).unwrap();
        assert_eq!(judged.suppose_signed(&expectations(), now), Err(refusal));
        assert_eq!(issuer.verifier.verify(&token, &expectations(), now), Err(refusal));
    }
    for (member, value, refusal) in [
        ("typ", json!("JWT"), TokenRefusal::Type),
        ("alg", json!("none"), TokenRefusal::Algorithm),
        ("crit", json!(["exp"]), TokenRefusal::Critical),
    ] {
        let token = issuer.sign_raw(
            &issuer.header_with(member, value),
            payload().to_string().as_bytes(),
        );
        let judged = UnverifiedToken::read(&token, ClaimsForm::default()).unwrap();
        assert_eq!(
            judged.suppose_signed(&expectations(), NOW),
            Err(refusal),
            "{member}"
        );
    }
    for shape in ["", "a.b.c", &good.replace('.', "")] {
        assert_eq!(
            UnverifiedToken::read(shape, ClaimsForm::default()).err(),
            Some(TokenRefusal::Malformed),
            "{shape}"
        );
    }
}

#[test]
fn a_verifier_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Verifier>();
    shared::<SigningKey>();
}

proptest! {
    #[test]
    fn a_changed_token_never_verifies(
        es256 in any::<bool>(),
        at in any::<prop::sample::Index>(),
        replacement in "[ -~]",
        kind in 0_u8..4,
    ) {
        let issuer = Issuer::new(if es256 { Algorithm::ES256 } else { Algorithm::EdDSA });
        let token = issuer.key.sign(&payload()).unwrap();
        let index = at.index(token.len());
        let mut changed = token.clone();
        match kind {
            0 => changed.replace_range(index..=index, &replacement),
            1 => changed.insert_str(index, &replacement),
            2 => { changed.remove(index); }
            _ => changed.truncate(index),
        }
        prop_assume!(changed != token);
        prop_assert!(issuer.verifier.verify(&changed, &expectations(), NOW).is_err());
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "\\PC{0,300}", dots in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        let issuer = issuer();
        prop_assert!(issuer.verifier.verify(&text, &expectations(), NOW).is_err());
        prop_assert!(issuer.verifier.verify(&dots, &expectations(), NOW).is_err());
    }

    #[test]
    fn what_is_signed_is_what_is_read(
        sub in "[!-~]{1,40}", jti in "[!-~]{1,40}", sid in proptest::option::of("[!-~]{1,40}"),
        scope in proptest::collection::vec("[a-z:]{1,12}", 0..6), life in 1_i64..=900, age in 0_i64..900,
    ) {
        prop_assume!(age < life);
        let issuer = issuer();
        let claims = Claims {
            iss: ISSUER.to_owned(), sub, aud: vec!["core-api".to_owned()], exp: NOW + life, iat: NOW, nbf: None, jti: Some(jti),
            sid, tid: None, client_id: None, scope,
        };
        let token = issuer.key.sign(&claims).unwrap();
        prop_assert_eq!(issuer.verifier.verify(&token, &expectations(), NOW + age).unwrap(), claims);
    }
}

/// Prints the time of one verification: `cargo nextest run -p keyring --run-ignored only --no-capture`.
#[test]
#[ignore = "a measurement, not a check"]
fn measure_verification() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let issuer = Issuer::new(algorithm);
        let token = issuer.key.sign(&payload()).unwrap();
        let rounds = 20_000_u32;
        let start = std::time::Instant::now();
        for _ in 0..rounds {
            assert!(issuer.verifier.verify(&token, &expectations(), NOW).is_ok());
        }
        println!("{algorithm}: {:?} per token", start.elapsed() / rounds);
    }
}
