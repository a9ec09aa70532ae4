//! The JWS and JWK vectors of Wycheproof (C2SP/wycheproof, commit dac1dd4, Apache-2.0), private parts of its keys removed.
//!
//! Their payloads are no access tokens, so what is asked is the part of a verification before the claims. Deviations are
//! all on the strict side, and each has its reason below.

use serde_json::{Value, json};

use super::*;

const SIGNATURES: &str = include_str!("wycheproof/signatures.json");
const KEYS: &str = include_str!("wycheproof/keys.json");

const ALL: [TokenAlgorithm; 4] = [
    TokenAlgorithm::EdDSA,
    TokenAlgorithm::ES256,
    TokenAlgorithm::RS256,
    TokenAlgorithm::PS256,
];

/// Whether a signature holds with this key set: every rule before that of the type and the claims.
fn holds(keys: &Value, jws: &str) -> Result<(), String> {
    let set = json!({ "keys": keys }).to_string();
    let (verifier, _) = Verifier::from_jwks(set.as_bytes()).map_err(|error| error.to_string())?;
    let verified = || {
        let compact = Compact::parse(jws)?;
        check_members(&compact.header)?;
        let algorithm = named_algorithm(&compact.header, &ALL)?;
        let (_, key) = verifier.key(&compact.header, algorithm, 0)?;
        let signature = compact.signature(algorithm)?;
        let is_good = key
            .prepared
            .has_signed(compact.signing_input.as_bytes(), &signature);
        is_good.then_some(()).ok_or(TokenRefusal::Signature)
    };
    verified().map_err(|refusal| refusal.to_string())
}

/// Why Portico refuses what the vectors call valid.
fn deviation(keys: &Value, jws: &str, comment: &str) -> Option<&'static str> {
    let header = Compact::parse(jws).map(|compact| compact.header);
    let names = |name: &&str| {
        header
            .as_ref()
            .is_ok_and(|header| header.text("alg") == Some(*name))
    };
    let has = |member: &str, value: &str| keys.as_array().unwrap().iter().any(|key| key[member] == value);
    if has("kty", "oct") {
        Some("shared secrets are refused, and a set that holds one as a whole (J9, J17, J22)")
    } else if ["RS384", "RS512", "PS384", "PS512"].iter().any(names) {
        Some("RSA signs with SHA-256 (J18)")
    } else if has("crv", "P-521") {
        Some("P-256 is the only curve for ECDSA (J18)")
    } else if comment == "emptyPayload" {
        Some("a token has claims (J5)")
    } else {
        None
    }
}

/// Number of vectors, and the ids of those whose signature holds.
fn run(vectors: &str) -> (usize, Vec<u64>) {
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let (mut count, mut accepted) = (0, Vec::new());
    for group in vectors["groups"].as_array().unwrap() {
        for test in group["tests"].as_array().unwrap() {
            let what = format!("{} {} {}", group["comment"], test["tcId"], test["comment"]);
            let found = holds(&group["keys"], test["jws"].as_str().unwrap());
            match test["result"].as_str().unwrap() {
                "invalid" => assert!(found.is_err(), "{what}: accepted"),
                "valid" if found.is_err() => {
                    assert!(
                        deviation(
                            &group["keys"],
                            test["jws"].as_str().unwrap(),
                            test["comment"].as_str().unwrap()
                        )
                        .is_some(),
                        "{what}: {found:?}"
                    );
                }
                "valid" => accepted.push(test["tcId"].as_u64().unwrap()),
                other => panic!("{what}: {other}"),
            }
            count += 1;
        }
    }
    (count, accepted)
}

#[test]
fn j20_the_signature_vectors_of_wycheproof_hold() {
    assert_eq!(
        run(SIGNATURES),
        (
            401,
            vec![18, 33, 260, 261, 262, 263, 273, 274, 275, 287, 288, 345, 349, 378]
        )
    );
}

#[test]
fn j15_j16_j17_the_key_vectors_of_wycheproof_hold() {
    assert_eq!(run(KEYS), (26, vec![5]));
}
