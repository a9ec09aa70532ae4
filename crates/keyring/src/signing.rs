//! Private keys that sign tokens.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::{Algorithm, KeyState, PublicKey, thumbprint};

/// The `typ` of the access tokens that Portico signs (RFC 9068 §2.1).
const TOKEN_TYPE: &str = "at+jwt";

/// A private key and its name. The library wipes the key material when it is dropped; it is never printed.
pub struct SigningKey {
    pair: Pair,
    kid: String,
    /// The encoded protected header, the same in every token of this key.
    header: String,
}

enum Pair {
    EdDSA(Ed25519KeyPair),
    ES256(EcdsaKeyPair),
}

/// Why a key cannot be made, read or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The document is no private key of this algorithm.
    #[error("not a PKCS#8 private key of this algorithm")]
    InvalidKey,
    /// The cryptographic library failed.
    #[error("the cryptographic library refused")]
    Library,
    /// The claims cannot be written as JSON.
    #[error("the claims cannot be written as JSON")]
    Claims,
}

impl SigningKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] when the library has no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, SigningError> {
        let pair = match algorithm {
            Algorithm::EdDSA => Pair::EdDSA(Ed25519KeyPair::generate().map_err(|_| SigningError::Library)?),
            Algorithm::ES256 => Pair::ES256(
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                    .map_err(|_| SigningError::Library)?,
            ),
        };
        Ok(Self::new(pair))
    }

    /// Reads a key that [`SigningKey::to_pkcs8`] wrote.
    ///
    /// # Errors
    ///
    /// [`SigningError::InvalidKey`] when the document is anything else.
    pub fn from_pkcs8(algorithm: Algorithm, document: &[u8]) -> Result<Self, SigningError> {
        let invalid = |_| SigningError::InvalidKey;
        let pair = match algorithm {
            Algorithm::EdDSA => Pair::EdDSA(Ed25519KeyPair::from_pkcs8(document).map_err(invalid)?),
            Algorithm::ES256 => Pair::ES256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document).map_err(invalid)?,
            ),
        };
        Ok(Self::new(pair))
    }

    fn new(pair: Pair) -> Self {
        let (algorithm, public) = pair.public();
        let kid = thumbprint(algorithm, public);
        Self {
            header: header(algorithm, &kid),
            kid,
            pair,
        }
    }

    /// The PKCS#8 document of the private key, to be sealed; wiped when dropped.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] when the library cannot write it.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let document = match &self.pair {
            Pair::EdDSA(pair) => pair.to_pkcs8(),
            Pair::ES256(pair) => pair.to_pkcs8v1(),
        };
        document
            .map(|document| Zeroizing::new(document.as_ref().to_vec()))
            .map_err(|_| SigningError::Library)
    }

    /// The name of the key: the thumbprint of its public part.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The algorithm of the key.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.pair.public().0
    }

    /// The raw public part: 32 bytes Ed25519, 65 bytes uncompressed P-256.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public().1
    }

    /// The public part as an entry of a key set, in this state.
    #[must_use]
    pub fn public_key(&self, state: KeyState) -> PublicKey {
        PublicKey::new(self.algorithm(), self.public(), state)
    }

    /// Signs claims: a compact JWS (RFC 7515 §7.1) with the header `alg`, `kid`, `typ: at+jwt`.
    ///
    /// # Errors
    ///
    /// [`SigningError::Claims`] when the claims are no JSON, [`SigningError::Library`] when signing fails.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, SigningError> {
        self.sign_parts(&self.header, &payload(claims)?)
    }

    /// Signs bytes as they are: for what is no token.
    ///
    /// # Errors
    ///
    /// [`SigningError::Library`] when signing fails.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Result<Vec<u8>, SigningError> {
        self.pair.sign(bytes).map(|signature| signature.as_ref().to_vec())
    }

    /// Signs an encoded header and a raw payload.
    pub(crate) fn sign_parts(&self, header: &str, payload: &[u8]) -> Result<String, SigningError> {
        let token = UnsignedToken::of(header, payload);
        let signature = self.pair.sign(token.bytes())?;
        Ok(token.signed(signature.as_ref()))
    }
}

/// A token whose signature is made elsewhere.
#[derive(Debug)]
pub struct UnsignedToken(String);

impl UnsignedToken {
    /// The token of these claims, for the key of this name.
    ///
    /// # Errors
    ///
    /// [`SigningError::Claims`] when the claims are no JSON.
    pub fn new(algorithm: Algorithm, kid: &str, claims: &impl Serialize) -> Result<Self, SigningError> {
        Ok(Self::of(&header(algorithm, kid), &payload(claims)?))
    }

    fn of(header: &str, payload: &[u8]) -> Self {
        Self(format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload)))
    }

    /// What is to be signed (RFC 7515 §5.1).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The token with its signature, in the form of its algorithm.
    #[must_use]
    pub fn signed(self, signature: &[u8]) -> String {
        let Self(mut token) = self;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}

/// The encoded protected header.
fn header(algorithm: Algorithm, kid: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!(
        r#"{{"alg":"{algorithm}","kid":"{kid}","typ":"{TOKEN_TYPE}"}}"#
    ))
}

fn payload(claims: &impl Serialize) -> Result<Vec<u8>, SigningError> {
    serde_json::to_vec(claims).map_err(|_| SigningError::Claims)
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

impl Pair {
    fn public(&self) -> (Algorithm, &[u8]) {
        match self {
            Self::EdDSA(pair) => (Algorithm::EdDSA, pair.public_key().as_ref()),
            Self::ES256(pair) => (Algorithm::ES256, pair.public_key().as_ref()),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<impl AsRef<[u8]> + use<>, SigningError> {
        match self {
            Self::EdDSA(pair) => pair.try_sign(message),
            Self::ES256(pair) => pair.sign(&SystemRandom::new(), message),
        }
        .map_err(|_| SigningError::Library)
    }
}
