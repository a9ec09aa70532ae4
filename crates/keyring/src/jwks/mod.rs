//! Key sets of other issuers: a JWK Set (RFC 7517 §5), read strictly.
//!
//! What is wrong refuses the set whole, so that a holder keeps the one it has (J16). What is only for somebody else, such
//! as an encryption key or an algorithm that is not accepted here, is left out and named (J18).

mod rsa;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::{Json, Object};
use crate::keyset::{is_kid_of_any_issuer, parse_public};
use crate::verification_key::PreparedKey;
use crate::verify::VerificationKey;
use crate::{Algorithm, KeySetError, MAX_KEYS, TokenAlgorithm};

/// Longest JWK Set that is read, in bytes (J35).
pub const MAX_JWKS_BYTES: usize = 64 * 1024;

/// Members that only private and shared keys have: RFC 7518 §6.2.2, §6.3.2, §6.4, and `priv` of post-quantum keys.
const PRIVATE_MEMBERS: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// The keys of a JWK Set that can verify, and those that cannot.
pub(crate) struct Jwks {
    pub(crate) keys: Vec<(String, VerificationKey)>,
    /// One sentence for each key that was left out.
    pub(crate) skipped: Vec<String>,
}

impl Jwks {
    /// Reads a whole set (J15 to J18).
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let malformed = KeySetError::Malformed;
        if document.len() > MAX_JWKS_BYTES {
            return Err(malformed("it is larger than 64 KiB"));
        }
        let mut set = Object::parse(document).ok_or(malformed(
            "it is not one JSON object in which no member stands twice",
        ))?;
        let Some(Json::Array(entries)) = set.take("keys") else {
            return Err(malformed("it has no list `keys`"));
        };
        if entries.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut jwks = Self {
            keys: Vec::new(),
            skipped: Vec::new(),
        };
        let mut kids = HashSet::new();
        for (position, entry) in (1_usize..).zip(&entries) {
            let Json::Object(entry) = entry else {
                return Err(malformed("one of its keys is not an object"));
            };
            let kid = entry.text("kid").filter(|kid| is_kid_of_any_issuer(kid));
            let name = kid.map_or_else(|| format!("number {position}"), str::to_owned);
            if PRIVATE_MEMBERS.iter().any(|member| entry.contains(member)) {
                return Err(KeySetError::PrivatePart(name));
            }
            // Also among keys for others: nobody can say which of two was meant.
            if kid.is_some_and(|kid| !kids.insert(kid)) {
                return Err(KeySetError::DuplicateKid(name));
            }
            match algorithm(entry).ok_or_else(|| KeySetError::InvalidKey(name.clone()))? {
                For::Others(why) => jwks.skipped.push(format!("{name}: {why}")),
                For::Us(_) if kid.is_none() => return Err(KeySetError::NoKid(name)),
                For::Us(algorithm) => {
                    let parsed =
                        public_key(entry, algorithm).ok_or_else(|| KeySetError::InvalidKey(name.clone()))?;
                    jwks.keys
                        .push((name, VerificationKey::unbounded(algorithm, parsed)));
                }
            }
        }
        if jwks.keys.is_empty() {
            return Err(KeySetError::NothingVerifies);
        }
        Ok(jwks)
    }
}

/// Whom a key is for.
enum For {
    Us(TokenAlgorithm),
    Others(&'static str),
}

/// The one algorithm of a key (J8), from its type and curve; `use`, `key_ops` and `alg` must agree (J15). `None` when one
/// of these members has the wrong form.
///
/// The type of an RSA key leaves its algorithm open: it is the one in `alg`, and RS256 without one, as OpenID Connect
/// Discovery 1.0 §3 has it.
fn algorithm(key: &Object) -> Option<For> {
    let algorithm = match (key.text("kty")?, key.text("crv")) {
        ("OKP", Some("Ed25519")) => TokenAlgorithm::EdDSA,
        ("EC", Some("P-256")) => TokenAlgorithm::ES256,
        ("RSA", _) if key.text("alg") == Some("PS256") => TokenAlgorithm::PS256,
        ("RSA", _) => TokenAlgorithm::RS256,
        _ => return Some(For::Others("only Ed25519, P-256 and RSA keys verify here")),
    };
    let is_for = |member: &str, wanted: &str| match key.get(member) {
        None => Some(true),
        Some(Json::String(text)) => Some(text == wanted),
        Some(_) => None,
    };
    let verifies = match key.get("key_ops") {
        None => true,
        Some(Json::Array(operations)) => operations.contains(&Json::String("verify".to_owned())),
        Some(_) => return None,
    };
    Some(if !is_for("use", "sig")? {
        For::Others("its `use` is not `sig`")
    } else if !verifies {
        For::Others("its `key_ops` lack `verify`")
    } else if !is_for("alg", algorithm.as_str())? {
        For::Others("its `alg` is not one that is accepted for its type and curve")
    } else {
        For::Us(algorithm)
    })
}

/// The key of its members: 32 bytes Ed25519 (RFC 8037 §2), a point (RFC 7518 §6.2.1), or modulus and exponent
/// (RFC 7518 §6.3.1). `None` when a member is missing, has another length, is not canonical base64url, or makes no key.
fn public_key(key: &Object, algorithm: TokenAlgorithm) -> Option<PreparedKey> {
    let bytes = |member: &str| URL_SAFE_NO_PAD.decode(key.text(member)?).ok();
    let coordinate = |member: &str| <[u8; 32]>::try_from(bytes(member)?).ok();
    match algorithm {
        TokenAlgorithm::EdDSA => parse_public(Algorithm::EdDSA, &coordinate("x")?),
        TokenAlgorithm::ES256 => {
            let point = [&[0x04][..], &coordinate("x")?, &coordinate("y")?].concat();
            parse_public(Algorithm::ES256, &point)
        }
        TokenAlgorithm::RS256 => rsa::parse(&RSA_PKCS1_2048_8192_SHA256, &bytes("n")?, &bytes("e")?),
        TokenAlgorithm::PS256 => rsa::parse(&RSA_PSS_2048_8192_SHA256, &bytes("n")?, &bytes("e")?),
    }
}
