//! Key sets of other issuers: what is refused whole, and what is left out.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{ClaimsForm, Expectations, KeySet, KeyState, SigningKey, TokenRefusal, Verifier};

const NOW: i64 = 1_800_000_000;
const ALL: [TokenAlgorithm; 4] = [
    TokenAlgorithm::EdDSA,
    TokenAlgorithm::ES256,
    TokenAlgorithm::RS256,
    TokenAlgorithm::PS256,
];

/// A signing key and its JWK under another name.
fn key(algorithm: Algorithm, kid: &str) -> (SigningKey, Value) {
    let key = SigningKey::generate(algorithm).unwrap();
    let set = KeySet {
        seq: 1,
        keys: vec![key.public_key(KeyState::Active)],
        revoked_kids: Vec::new(),
    };
    let mut jwk = set.to_jwks()["keys"][0].clone();
    jwk["kid"] = json!(kid);
    (key, jwk)
}

fn jwk(algorithm: Algorithm) -> Value {
    key(algorithm, "one").1
}

/// The key with one member replaced, or removed when the value is null.
fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    if value.is_null() {
        jwk.as_object_mut().unwrap().remove(member);
    } else {
        jwk[member] = value;
    }
    jwk
}

fn read(keys: &[Value]) -> Result<(Verifier, Vec<String>), KeySetError> {
    Verifier::from_jwks(json!({ "keys": keys }).to_string().as_bytes())
}

fn refusal(keys: &[Value]) -> KeySetError {
    read(keys).expect_err("refused")
}

/// A token of this issuer that names its key by `kid`.
fn token(key: &SigningKey, kid: &str, issuer: &str) -> String {
    let header = json!({"alg": key.algorithm().as_str(), "kid": kid, "typ": "at+jwt"}).to_string();
    let payload = json!({
        "iss": issuer, "aud": "orders", "sub": "client-1", "jti": "1", "iat": NOW, "exp": NOW + 300,
    });
    key.sign_parts(&URL_SAFE_NO_PAD.encode(header), payload.to_string().as_bytes())
        .unwrap()
}

fn expectations(issuer: &str) -> Expectations {
    Expectations {
        issuer: issuer.to_owned(),
        audiences: vec!["orders".to_owned()],
        clients: Vec::new(),
        algorithms: ALL.to_vec(),
        token_type: "at+jwt".to_owned(),
        max_lifetime_s: 900,
        leeway_s: 30,
        form: ClaimsForm::default(),
    }
}

#[test]
fn a_key_verifies_under_the_name_its_issuer_gave_it() {
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let (signer, jwk) = key(algorithm, "2026-11.main");
        let (verifier, skipped) = read(&[jwk]).unwrap();
        assert_eq!((verifier.key_count(), skipped.len()), (1, 0));
        let token = token(&signer, "2026-11.main", "https://idp.example");
        let claims = verifier.verify(&token, &expectations("https://idp.example"), NOW);
        assert_eq!(claims.unwrap().sub, "client-1");
    }
}

/// An RSA key of this length, and its JWK without `alg`.
fn rsa_key(size: KeySize) -> (RsaKeyPair, Value) {
    let pair = RsaKeyPair::generate(size).unwrap();
    let n = URL_SAFE_NO_PAD.encode(rsa::tests::modulus_of(&pair));
    (
        pair,
        json!({"kty": "RSA", "kid": "r", "use": "sig", "n": n, "e": "AQAB"}),
    )
}

/// A token that says `alg` and is signed with this padding.
fn rsa_token(pair: &RsaKeyPair, alg: &str, padding: &'static dyn RsaEncoding) -> String {
    let header = json!({"alg": alg, "kid": "r", "typ": "at+jwt"}).to_string();
    let payload = json!({
        "iss": "https://idp.example", "aud": "orders", "sub": "client-1", "jti": "1", "iat": NOW, "exp": NOW + 300,
    });
    let [header, payload] = [header, payload.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
    let input = format!("{header}.{payload}");
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), input.as_bytes(), &mut signature)
        .unwrap();
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn j21_rsa_signatures_hold_with_the_padding_that_their_key_is_for() {
    let ask = |jwk: &Value, token: &str| {
        read(std::slice::from_ref(jwk))
            .unwrap()
            .0
            .verify(token, &expectations("https://idp.example"), NOW)
            .map(|claims| claims.sub)
    };
    for size in [KeySize::Rsa2048, KeySize::Rsa4096] {
        let (pair, bare) = rsa_key(size);
        let (rs256, ps256) = (
            with(bare.clone(), "alg", json!("RS256")),
            with(bare.clone(), "alg", json!("PS256")),
        );
        let pkcs1 = rsa_token(&pair, "RS256", &RSA_PKCS1_SHA256);
        let pss = rsa_token(&pair, "PS256", &RSA_PSS_SHA256);
        let good = Ok("client-1".to_owned());
        // Without `alg` a key is for RS256, as OpenID Connect has it.
        for (jwk, token) in [(&rs256, &pkcs1), (&bare, &pkcs1), (&ps256, &pss)] {
            assert_eq!(ask(jwk, token), good);
        }
        // J8: the key says which, not the token.
        for (jwk, token) in [(&ps256, &pkcs1), (&rs256, &pss), (&bare, &pss)] {
            assert_eq!(ask(jwk, token), Err(TokenRefusal::Algorithm));
        }
        // The other padding, another hash and another length do not pass under the right name.
        for (jwk, token) in [
            (&rs256, rsa_token(&pair, "RS256", &RSA_PSS_SHA256)),
            (&ps256, rsa_token(&pair, "PS256", &RSA_PKCS1_SHA256)),
            (&rs256, rsa_token(&pair, "RS256", &RSA_PKCS1_SHA512)),
            (&ps256, rsa_token(&pair, "PS256", &RSA_PSS_SHA512)),
        ] {
            assert_eq!(ask(jwk, &token), Err(TokenRefusal::Signature));
        }
        let (input, signature) = pkcs1.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for other in [
            [&signature[..], &[0]].concat(),
            [&[0], &signature[..]].concat(),
            signature[1..].to_vec(),
        ] {
            let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(other));
            assert_eq!(ask(&rs256, &forged), Err(TokenRefusal::Signature));
        }
    }
}

#[test]
fn j15_rsa_keys_that_are_too_short_or_written_in_another_way_are_refused() {
    let good = rsa_key(KeySize::Rsa2048).1;
    let n = URL_SAFE_NO_PAD.decode(good["n"].as_str().unwrap()).unwrap();
    let encode = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    for (what, bad) in [
        ("2,040 bits", with(good.clone(), "n", encode(&n[1..]))),
        (
            "8,192 bits",
            with(good.clone(), "n", rsa_key(KeySize::Rsa8192).1["n"].clone()),
        ),
        (
            "a leading zero",
            with(good.clone(), "n", encode(&[&[0], &n[..]].concat())),
        ),
        ("e = 3", with(good.clone(), "e", json!("Aw"))),
        ("no n", with(good.clone(), "n", Value::Null)),
        ("no e", with(good.clone(), "e", Value::Null)),
        ("n as a number", with(good.clone(), "n", json!(7))),
        ("padding", with(good.clone(), "e", json!("AQAB="))),
    ] {
        assert_eq!(refusal(&[bad]), KeySetError::InvalidKey("r".to_owned()), "{what}");
    }
    for alg in ["RS384", "RS512", "PS512", "RSA-OAEP", "ES256", "HS256"] {
        let other = with(good.clone(), "alg", json!(alg));
        assert_eq!(refusal(&[other]), KeySetError::NothingVerifies, "{alg}");
    }
}

#[test]
fn members_that_only_describe_are_ignored() {
    // RFC 7517 §4, §5: what is not understood must be ignored.
    let described = with(jwk(Algorithm::ES256), "x5t#S256", json!("AAAA"));
    let bare = with(with(described, "use", Value::Null), "alg", Value::Null);
    let set = json!({"keys": [bare], "issued": 17, "nested": {"a": [1]}});
    assert!(Verifier::from_jwks(set.to_string().as_bytes()).is_ok());
}

#[test]
fn j15_keys_of_the_wrong_length_curve_or_encoding_are_refused() {
    let (ed, ec) = (jwk(Algorithm::EdDSA), jwk(Algorithm::ES256));
    let encode = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
    let padded = json!(format!("{}=", ed["x"].as_str().unwrap()));
    let cases = [
        ("31 bytes", with(ed.clone(), "x", encode(&[1; 31]))),
        ("33 bytes", with(ed.clone(), "x", encode(&[1; 33]))),
        ("no x", with(ed.clone(), "x", Value::Null)),
        ("x as a list", with(ed.clone(), "x", json!([1]))),
        ("padding", with(ed, "x", padded)),
        ("no y", with(ec.clone(), "y", Value::Null)),
        ("short y", with(ec.clone(), "y", encode(&[1; 31]))),
        ("off the curve", with(ec.clone(), "y", encode(&[7; 32]))),
        ("use as a number", with(ec.clone(), "use", json!(1))),
        ("key_ops as a text", with(ec.clone(), "key_ops", json!("verify"))),
        ("no kty", with(ec, "kty", Value::Null)),
    ];
    for (what, bad) in cases {
        assert_eq!(
            refusal(&[bad]),
            KeySetError::InvalidKey("one".to_owned()),
            "{what}"
        );
    }
}

#[test]
fn j15_a_key_verifies_only_what_use_key_ops_and_alg_say() {
    let good = jwk(Algorithm::ES256);
    let other = with(jwk(Algorithm::EdDSA), "kid", json!("other"));
    for (member, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["sign"])),
        ("key_ops", json!([])),
        ("alg", json!("ES384")),
        ("alg", json!("EdDSA")),
        ("alg", json!("ECDH-ES")),
    ] {
        let (verifier, skipped) = read(&[with(good.clone(), member, value), other.clone()]).unwrap();
        assert_eq!(verifier.key_count(), 1, "{member}");
        assert!(skipped.iter().any(|line| line.contains(member)), "{skipped:?}");
    }
    let agreeing = with(good, "key_ops", json!(["verify"]));
    assert_eq!(read(&[agreeing, other]).unwrap().0.key_count(), 2);
}

#[test]
fn j16_a_duplicate_kid_refuses_the_set() {
    let twice = KeySetError::DuplicateKid("one".to_owned());
    assert_eq!(refusal(&[jwk(Algorithm::EdDSA), jwk(Algorithm::EdDSA)]), twice);
    // Under one name, a key for somebody else is a duplicate too.
    let rsa = json!({"kty": "RSA", "kid": "one", "n": "AQAB", "e": "AQAB"});
    assert_eq!(refusal(&[jwk(Algorithm::ES256), rsa]), twice);
}

#[test]
fn j17_a_private_or_shared_key_refuses_the_set() {
    for member in PRIVATE_MEMBERS {
        let leaking = with(jwk(Algorithm::ES256), member, json!("AAAA"));
        assert_eq!(
            refusal(&[leaking]),
            KeySetError::PrivatePart("one".to_owned()),
            "{member}"
        );
    }
    // Also in a key that would be left out.
    let shared = json!({"kty": "oct", "k": "AAAA"});
    let found = refusal(&[jwk(Algorithm::EdDSA), shared]);
    assert_eq!(found, KeySetError::PrivatePart("number 2".to_owned()));
}

#[test]
fn j18_unknown_types_and_curves_are_left_out() {
    let strangers = [
        json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB", "alg": "RS512", "use": "sig"}),
        json!({"kty": "EC", "crv": "P-384", "kid": "p", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "AKP", "pub": "AA"}),
    ];
    assert_eq!(refusal(&strangers), KeySetError::NothingVerifies);
    let mut keys = strangers.to_vec();
    keys.push(jwk(Algorithm::EdDSA));
    let (verifier, skipped) = read(&keys).unwrap();
    assert_eq!((verifier.key_count(), skipped.len()), (1, 4));
    assert!(
        skipped[0].starts_with("r: ") && skipped[2].starts_with("number 3: "),
        "{skipped:?}"
    );
}

#[test]
fn j14_names_in_base64_and_names_like_addresses_are_names() {
    for kid in [
        "xD0JmBjvsXyLLuvLjQz8lwEA6wqn8LfJgiaLSWThPbE=",
        "a+b/c==",
        "bilbo.baggins@hobbiton.example",
    ] {
        let (signer, jwk) = key(Algorithm::ES256, kid);
        let issuer = "https://idp.example";
        let claims = read(&[jwk])
            .unwrap()
            .0
            .verify(&token(&signer, kid, issuer), &expectations(issuer), NOW);
        assert!(claims.is_ok(), "{kid}: {claims:?}");
    }
}

#[test]
fn j14_a_key_that_no_token_can_name_refuses_the_set() {
    for kid in [
        Value::Null,
        json!(""),
        json!("key\n"),
        json!("<key>"),
        json!("a b"),
        json!(7),
        json!("k".repeat(129)),
    ] {
        let nameless = with(jwk(Algorithm::EdDSA), "kid", kid.clone());
        assert_eq!(
            refusal(&[nameless]),
            KeySetError::NoKid("number 1".to_owned()),
            "{kid}"
        );
    }
}

#[test]
fn j35_size_and_number_are_bounded() {
    let keys = |count: usize| -> Vec<Value> {
        let one = jwk(Algorithm::EdDSA);
        (0..count)
            .map(|index| with(one.clone(), "kid", json!(format!("k{index}"))))
            .collect()
    };
    assert_eq!(read(&keys(50)).unwrap().0.key_count(), 50);
    assert_eq!(refusal(&keys(51)), KeySetError::TooManyKeys);
    let mut large = json!({"keys": keys(1), "note": ""});
    large["note"] = json!("x".repeat(MAX_JWKS_BYTES));
    let found = Verifier::from_jwks(large.to_string().as_bytes());
    assert!(matches!(found, Err(KeySetError::Malformed(_))));
}

#[test]
fn j05_what_is_no_strict_json_object_is_refused() {
    let good = jwk(Algorithm::EdDSA).to_string();
    for text in [
        String::new(),
        "[]".to_owned(),
        r#"{"keys": {}}"#.to_owned(),
        r#"{"keys": ["key"]}"#.to_owned(),
        "-----BEGIN PUBLIC KEY-----".to_owned(),
        format!(r#"{{"keys": [{good}], "keys": [{good}]}}"#),
        format!(r#"{{"keys": [{good}]}} trailing"#),
        good.replacen('{', r#"{"kid": "two", "#, 1),
    ] {
        let found = Verifier::from_jwks(text.as_bytes());
        assert!(matches!(found, Err(KeySetError::Malformed(_))), "{text}");
    }
    assert_eq!(refusal(&[]), KeySetError::NothingVerifies);
}

#[test]
fn j28_keys_of_one_issuer_verify_no_other_issuers_tokens_though_they_share_a_kid() {
    let (bank, partner) = ("https://bank.example", "https://partner.example");
    for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
        let (banks_key, banks_jwk) = key(algorithm, "main");
        let (partners_key, partners_jwk) = key(algorithm, "main");
        let of_bank = read(&[banks_jwk]).unwrap().0;
        let of_partner = read(&[partners_jwk]).unwrap().0;
        let good = token(&banks_key, "main", bank);
        assert!(of_bank.verify(&good, &expectations(bank), NOW).is_ok());

        // Cross-issuer same kid: the partner signs a token in the bank's name, and the other way round.
        let forged = token(&partners_key, "main", bank);
        let refused = Err(TokenRefusal::Signature);
        assert_eq!(of_bank.verify(&forged, &expectations(bank), NOW), refused);
        assert_eq!(of_partner.verify(&good, &expectations(partner), NOW), refused);
        // And one that its own keys verify speaks for nobody but its issuer.
        let refused = Err(TokenRefusal::Issuer);
        assert_eq!(of_partner.verify(&forged, &expectations(partner), NOW), refused);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Verifier::from_jwks(&bytes));
    }

    #[test]
    fn no_members_make_the_reader_panic(kty in "OKP|EC|RSA|oct", crv in "Ed25519|P-256|P-384", x in "[A-Za-z0-9_=-]{0,50}|[A-Za-z0-9_-]{342}", kid in "\\PC{0,5}") {
        drop(read(&[json!({"kty": kty, "crv": crv, "x": x, "y": x, "n": x, "e": "AQAB", "kid": kid})]));
    }
}
