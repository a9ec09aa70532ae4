//! The signature algorithms that Portico signs with and accepts, and the names of keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// An algorithm of Portico's own keys, by its JWS name (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032): the default.
    EdDSA,
    /// ECDSA on P-256 with SHA-256, signatures as `r || s`: for verifiers that lack Ed25519.
    ES256,
}

/// An algorithm that a token may be signed with: Portico's own, and those of RSA for other issuers, by their JWS names.
/// There is no HMAC and no `none` (J7, J9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenAlgorithm {
    /// Ed25519.
    EdDSA,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3): what most identity providers sign with by default.
    RS256,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes (RFC 7518 §3.5).
    PS256,
}

/// A name that is no accepted algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown signature algorithm")]
pub struct UnknownAlgorithm;

impl Algorithm {
    /// The JWS name, as it stands in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
        }
    }

    /// Length of a raw public key in bytes: 32 for Ed25519, 65 for an uncompressed P-256 point.
    #[must_use]
    pub const fn public_key_bytes(self) -> usize {
        match self {
            Self::EdDSA => 32,
            Self::ES256 => 65,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TokenAlgorithm {
    /// The JWS name, as it stands in `alg`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
        }
    }
}

impl From<Algorithm> for TokenAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::EdDSA => Self::EdDSA,
            Algorithm::ES256 => Self::ES256,
        }
    }
}

impl FromStr for TokenAlgorithm {
    type Err = UnknownAlgorithm;

    /// Reads the exact, case-sensitive JWS name (J7).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "EdDSA" => Ok(Self::EdDSA),
            "ES256" => Ok(Self::ES256),
            "RS256" => Ok(Self::RS256),
            "PS256" => Ok(Self::PS256),
            _ => Err(UnknownAlgorithm),
        }
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Reads the exact, case-sensitive JWS name (J7).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "EdDSA" => Ok(Self::EdDSA),
            "ES256" => Ok(Self::ES256),
            _ => Err(UnknownAlgorithm),
        }
    }
}

/// The RFC 7638 SHA-256 thumbprint of a raw public key (32 bytes Ed25519, 65 bytes uncompressed P-256), base64url.
///
/// It is the `kid` of every key, so that one `kid` can never name two keys. Bytes of another length get a name too, but
/// no key set accepts them.
#[must_use]
pub fn thumbprint(algorithm: Algorithm, public: &[u8]) -> String {
    // RFC 7638 §3.2: the required members only, in lexicographic order, without white space.
    let canonical = match algorithm {
        Algorithm::EdDSA => {
            format!(
                r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
                URL_SAFE_NO_PAD.encode(public)
            )
        }
        Algorithm::ES256 => {
            let (x, y) = point_coordinates(public);
            format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                URL_SAFE_NO_PAD.encode(x),
                URL_SAFE_NO_PAD.encode(y)
            )
        }
    };
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// The two coordinates of an uncompressed point `04 || x || y`.
pub(crate) fn point_coordinates(public: &[u8]) -> (&[u8], &[u8]) {
    let coordinates = public.get(1..).unwrap_or_default();
    coordinates.split_at_checked(32).unwrap_or((coordinates, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_thumbprint_is_that_of_rfc_8037() {
        // RFC 8037 appendix A.3.
        let public = URL_SAFE_NO_PAD
            .decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
            .unwrap();
        assert_eq!(
            thumbprint(Algorithm::EdDSA, &public),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }

    #[test]
    fn j07_names_are_exact_and_none_has_no_name() {
        for name in [
            "none", "None", "NONE", "eddsa", "EDDSA", "HS256", "rs256", "RS1", "RS384", "ES256 ", "es256",
            "ES384", "",
        ] {
            assert_eq!(name.parse::<TokenAlgorithm>(), Err(UnknownAlgorithm), "{name:?}");
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
        for name in ["RS256", "PS256"] {
            assert_eq!(
                name.parse::<TokenAlgorithm>().map(TokenAlgorithm::as_str),
                Ok(name)
            );
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            assert_eq!(algorithm.as_str().parse(), Ok(TokenAlgorithm::from(algorithm)));
        }
    }
}
