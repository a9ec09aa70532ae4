//! The key set that the control plane publishes and every verifier holds.

use std::collections::HashSet;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::algorithm::point_coordinates;
use crate::verification_key::{Ed25519Key, PreparedKey};
use crate::{Algorithm, KeyState, thumbprint};

/// Most keys a set may hold (J35).
pub const MAX_KEYS: usize = 50;
/// Longest `kid` (J14).
const MAX_KID_BYTES: usize = 128;

/// A published set of public keys. Unknown members are refused, so that a private part can never ride along (J17).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// Grows with every change of the ring; a holder never goes back to a smaller one.
    pub seq: u64,
    /// The keys that verify: published, active and retiring ones.
    pub keys: Vec<PublicKey>,
    /// Keys that must never verify again, whatever `keys` says.
    #[serde(default)]
    pub revoked_kids: Vec<String>,
}

/// One public key of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The RFC 7638 thumbprint of the key.
    pub kid: String,
    /// The one algorithm this key is for (J8).
    pub algorithm: Algorithm,
    /// The raw key, base64url: 32 bytes Ed25519, or the 65 bytes of an uncompressed P-256 point.
    pub public: String,
    /// Published, active or retiring.
    pub state: KeyState,
    /// Set on retiring keys, Unix seconds: tokens issued later than this are not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_until: Option<i64>,
    /// Set on retiring keys, Unix seconds: after this the key verifies nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_until: Option<i64>,
}

/// Why a key set is refused. The holder keeps the set it has (J16).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// A set without a key would refuse every token there is.
    #[error("the key set has no keys")]
    Empty,
    /// More than [`MAX_KEYS`] keys.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// Two keys have the same `kid` (J16).
    #[error("two keys have the kid {0}")]
    DuplicateKid(String),
    /// A `kid` is not the thumbprint of its key.
    #[error("the kid {0} is not the thumbprint of its key")]
    WrongKid(String),
    /// The key bytes are no key of the algorithm: wrong length, encoding, or a point off the curve (J15).
    #[error("the key {0} is not a valid public key of its algorithm")]
    InvalidKey(String),
    /// The state does not belong in a published set, or contradicts the times.
    #[error("the key {0} has a state or times that no published key has")]
    InvalidState(String),
    /// A revoked `kid` is not a possible `kid`.
    #[error("a revoked kid is malformed")]
    InvalidRevokedKid,
    /// A JWK Set that is none, or too large.
    #[error("the key set cannot be read: {0}")]
    Malformed(&'static str),
    /// A key of a JWK Set has a private part (J17). Whoever wrote it there has published it: the key is lost.
    #[error("the key {0} has a private part: withdraw it from use, and publish public members only")]
    PrivatePart(String),
    /// A key of a JWK Set has no `kid` that a token could name (J14).
    #[error("the key {0} has no kid of 1 to 128 letters, digits and `-_.~+/=:@`")]
    NoKid(String),
    /// A JWK Set whose every key is for somebody else.
    #[error("no key of the set verifies EdDSA, ES256, RS256 or PS256")]
    NothingVerifies,
}

impl KeySet {
    /// Checks the whole set (J15, J16): between 1 and [`MAX_KEYS`] valid keys, each named by its thumbprint, none twice,
    /// states and times consistent.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), KeySetError> {
        if self.keys.is_empty() {
            return Err(KeySetError::Empty);
        }
        if self.keys.len() > MAX_KEYS {
            return Err(KeySetError::TooManyKeys);
        }
        let mut kids = HashSet::new();
        for key in &self.keys {
            if !kids.insert(key.kid.as_str()) {
                return Err(KeySetError::DuplicateKid(key.kid.clone()));
            }
            key.validate()?;
        }
        if self.revoked_kids.iter().all(|kid| is_kid(kid)) {
            Ok(())
        } else {
            Err(KeySetError::InvalidRevokedKid)
        }
    }

    /// Adds revoked kids that the holder remembers. The set of revoked kids only grows, also when a restored control
    /// plane has forgotten some.
    pub fn remember_revoked<I: IntoIterator<Item = String>>(&mut self, kids: I) {
        for kid in kids {
            if !self.revoked_kids.contains(&kid) {
                self.revoked_kids.push(kid);
            }
        }
    }

    /// The set as a JWK Set (RFC 7517 §5): public members only, revoked keys left out.
    #[must_use]
    pub fn to_jwks(&self) -> Value {
        let keys: Vec<Value> = self
            .keys
            .iter()
            .filter(|key| !self.revoked_kids.contains(&key.kid))
            .map(PublicKey::to_jwk)
            .collect();
        json!({ "keys": keys })
    }
}

impl PublicKey {
    /// Describes a raw public key; `kid` is computed from it.
    #[must_use]
    pub fn new(algorithm: Algorithm, public: &[u8], state: KeyState) -> Self {
        Self {
            kid: thumbprint(algorithm, public),
            algorithm,
            public: URL_SAFE_NO_PAD.encode(public),
            state,
            sign_until: None,
            verify_until: None,
        }
    }

    /// Parses the key for verification.
    ///
    /// # Errors
    ///
    /// [`KeySetError::InvalidKey`] when the bytes are no key of the algorithm (J15).
    pub(crate) fn parse(&self) -> Result<PreparedKey, KeySetError> {
        let invalid = || KeySetError::InvalidKey(self.kid.clone());
        let raw = self.raw().ok_or_else(invalid)?;
        parse_public(self.algorithm, &raw).ok_or_else(invalid)
    }

    /// The raw key, when its encoding is canonical and its length is that of the algorithm.
    fn raw(&self) -> Option<Vec<u8>> {
        let raw = URL_SAFE_NO_PAD.decode(&self.public).ok()?;
        (raw.len() == self.algorithm.public_key_bytes()).then_some(raw)
    }

    fn validate(&self) -> Result<(), KeySetError> {
        self.parse()?;
        let raw = self.raw().unwrap_or_default();
        if thumbprint(self.algorithm, &raw) != self.kid {
            return Err(KeySetError::WrongKid(self.kid.clone()));
        }
        let consistent = match (self.state, self.sign_until, self.verify_until) {
            (KeyState::Published | KeyState::Active, None, None) => true,
            (KeyState::Retiring, Some(sign_until), Some(verify_until)) => sign_until <= verify_until,
            _ => false,
        };
        if consistent {
            Ok(())
        } else {
            Err(KeySetError::InvalidState(self.kid.clone()))
        }
    }

    fn to_jwk(&self) -> Value {
        let (kid, alg) = (&self.kid, self.algorithm.as_str());
        match self.algorithm {
            Algorithm::EdDSA => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": self.public, "kid": kid, "use": "sig", "alg": alg})
            }
            Algorithm::ES256 => {
                let raw = self.raw().unwrap_or_default();
                let (x, y) = point_coordinates(&raw);
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": alg})
            }
        }
    }
}

/// A raw public key made ready for verification; `None` when the bytes are no key of the algorithm (J15).
pub(crate) fn parse_public(algorithm: Algorithm, raw: &[u8]) -> Option<PreparedKey> {
    match algorithm {
        Algorithm::EdDSA => {
            let key = Ed25519Key::new(raw.try_into().ok()?)?;
            Some(PreparedKey::Ed25519(Box::new(key)))
        }
        Algorithm::ES256 => {
            let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, raw).ok()?;
            Some(PreparedKey::Parsed(key))
        }
    }
}

/// Whether a text can be the `kid` of a key of Portico, which stands in names of other things too.
pub(crate) fn is_kid(text: &str) -> bool {
    is_kid_of_any_issuer(text) && !text.contains(['~', '+', '/', '=', ':', '@'])
}

/// Whether a text can be a `kid` (J14): 1 to 128 characters, and no more than thumbprints, base64 and addresses are made
/// of. It is looked up in a map, and never a path, a query or an address.
pub(crate) fn is_kid_of_any_issuer(text: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=:@".contains(&byte);
    !text.is_empty() && text.len() <= MAX_KID_BYTES && text.bytes().all(is_safe)
}
