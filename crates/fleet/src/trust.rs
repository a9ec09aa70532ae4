//! Whose signatures count: the offline roots name the keys of the `bundle` ring, for a time.

use std::collections::HashSet;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyring::{Algorithm, thumbprint};
use serde::{Deserialize, Serialize};

use crate::envelope::{Envelope, EnvelopeError};

/// Most keys that a trust document names, and most roots.
const MAX_KEYS: usize = 16;
/// Length of an Ed25519 public key in bytes.
const PUBLIC_KEY_BYTES: usize = 32;

/// The public parts of the offline root keys, pinned in the settings of every gateway. They sign trust documents alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    keys: Vec<(String, Vec<u8>)>,
    threshold: usize,
}

/// Roots that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// A key is not 32 bytes in base64url, or stands there twice.
    #[error(
        "a root key is the 32 bytes of an Ed25519 public key in base64url, each once, 1 to {MAX_KEYS} of them"
    )]
    Key,
    /// More signatures are wanted than there are keys, or none.
    #[error("the threshold is from 1 to the number of root keys")]
    Threshold,
}

/// Which keys may sign statements, from when to when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Grows with every document; a holder never goes back to a smaller one.
    pub version: u64,
    /// The fleet it is for.
    pub fleet: String,
    /// When it was signed, Unix seconds.
    pub created_at: i64,
    /// The keys of the `bundle` ring that count.
    pub keys: Vec<TrustedKey>,
}

/// A key that may sign statements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// The RFC 7638 thumbprint of the key.
    pub keyid: String,
    /// 32 bytes Ed25519, base64url.
    pub public: String,
    /// The first moment of a statement that it may sign, Unix seconds.
    pub not_before: i64,
    /// The last moment, Unix seconds.
    pub not_after: i64,
}

/// Why a trust document is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Fewer good signatures of different roots than the threshold.
    #[error("fewer roots have signed the trust document than must")]
    Unsigned,
    /// Signed, and still not a trust document.
    #[error("not a trust document")]
    Malformed,
    /// For another fleet.
    #[error("the trust document is for another fleet")]
    Fleet,
    /// Not newer than the one in force.
    #[error("the trust document is older than the one in force")]
    Replayed,
}

impl Roots {
    /// The roots with these public keys (32 bytes Ed25519, base64url), of which `threshold` must sign.
    ///
    /// # Errors
    ///
    /// When a key is none, stands there twice, or the threshold cannot be met.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k str>, threshold: usize) -> Result<Self, RootsError> {
        let keys = keys
            .into_iter()
            .map(|key| {
                let public = decode_public(key).ok_or(RootsError::Key)?;
                Ok((thumbprint(Algorithm::EdDSA, &public), public))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let names: HashSet<_> = keys.iter().map(|(keyid, _)| keyid).collect();
        if names.len() != keys.len() || !(1..=MAX_KEYS).contains(&keys.len()) {
            return Err(RootsError::Key);
        }
        if !(1..=keys.len()).contains(&threshold) {
            return Err(RootsError::Threshold);
        }
        Ok(Self { keys, threshold })
    }

    /// Reads a trust document that enough roots have signed, for this fleet, with a version of at least `version`: 0 takes
    /// any, the one in force takes itself and what is newer.
    ///
    /// # Errors
    ///
    /// The first rule that is broken; the holder keeps the document that it has.
    pub fn read(&self, bytes: &[u8], fleet: &str, version: u64) -> Result<Trust, TrustError> {
        let envelope = Envelope::parse(bytes)?;
        let signed = envelope.signed_bytes();
        let signers: HashSet<_> = envelope
            .signatures
            .iter()
            .filter_map(|signature| {
                let (keyid, public) = self.keys.iter().find(|(keyid, _)| *keyid == signature.keyid)?;
                is_signed(public, &signed, &signature.sig).then_some(keyid)
            })
            .collect();
        if envelope.payload_type != Trust::PAYLOAD_TYPE || signers.len() < self.threshold {
            return Err(TrustError::Unsigned);
        }
        let trust: Trust = serde_json::from_slice(&envelope.payload).map_err(|_| TrustError::Malformed)?;
        if !trust.is_well_formed() {
            return Err(TrustError::Malformed);
        }
        if trust.fleet != fleet {
            return Err(TrustError::Fleet);
        }
        if trust.version < version {
            return Err(TrustError::Replayed);
        }
        Ok(trust)
    }
}

impl Trust {
    /// The `payloadType` of its envelope.
    pub const PAYLOAD_TYPE: &str = "application/vnd.portico.trust+json";
    /// How long before the end of a key's time somebody must hear of it, seconds: the holders of the roots meet. Once the key
    /// that signs is not named any more nothing new can be stated, what is revoked included.
    pub const NOTICE_S: i64 = 14 * 24 * 3_600;

    /// The key with this name.
    #[must_use]
    pub fn key(&self, keyid: &str) -> Option<&TrustedKey> {
        self.keys.iter().find(|key| key.keyid == keyid)
    }

    fn is_well_formed(&self) -> bool {
        let names: HashSet<_> = self.keys.iter().map(|key| &key.keyid).collect();
        self.version > 0
            && (1..=MAX_KEYS).contains(&self.keys.len())
            && names.len() == self.keys.len()
            && self.keys.iter().all(TrustedKey::is_well_formed)
    }
}

impl TrustedKey {
    /// The entry of a public key (32 bytes Ed25519) for these moments, Unix seconds.
    #[must_use]
    pub fn new(public: &[u8], not_before: i64, not_after: i64) -> Self {
        Self {
            keyid: thumbprint(Algorithm::EdDSA, public),
            public: URL_SAFE_NO_PAD.encode(public),
            not_before,
            not_after,
        }
    }

    /// Whether it may sign a statement of this moment (Unix seconds).
    #[must_use]
    pub const fn covers(&self, moment: i64) -> bool {
        self.not_before <= moment && moment <= self.not_after
    }

    /// Whether this is its signature over these bytes.
    pub(crate) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        decode_public(&self.public).is_some_and(|public| is_signed(&public, bytes, signature))
    }

    fn is_well_formed(&self) -> bool {
        self.not_before <= self.not_after
            && decode_public(&self.public)
                .is_some_and(|public| thumbprint(Algorithm::EdDSA, &public) == self.keyid)
    }
}

/// The 32 bytes of a public key.
pub(crate) fn decode_public(text: &str) -> Option<Vec<u8>> {
    let public = URL_SAFE_NO_PAD.decode(text).ok()?;
    (public.len() == PUBLIC_KEY_BYTES).then_some(public)
}

/// Whether this key has signed these bytes.
pub(crate) fn is_signed(public: &[u8], bytes: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public)
        .verify(bytes, signature)
        .is_ok()
}
