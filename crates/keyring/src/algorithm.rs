//! The two signature algorithms Portico accepts, and the names of keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A signature algorithm by its JWS name (RFC 7518 §3.1, RFC 8037 §3.1). There is no HMAC and no `none` (J7, J9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032): the default.
    EdDSA,
    /// ECDSA on P-256 with SHA-256, signatures as `r || s`: for verifiers that lack Ed25519.
    ES256,
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
            "none", "None", "NONE", "eddsa", "EDDSA", "HS256", "RS256", "ES256 ", "es256", "ES384", "",
        ] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name:?}");
        }
        for algorithm in [Algorithm::EdDSA, Algorithm::ES256] {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
        }
    }
}
