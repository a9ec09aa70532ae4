//! The keys and the words of an issuer, in the hands of somebody who may do anything with them.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// What an issuer signs with, by its JWS name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    EdDSA,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 §3.4).
    ES256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3).
    RS256,
}

impl Algorithm {
    /// As `alg` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDSA => "EdDSA",
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
        }
    }
}

/// A private key.
pub enum Key {
    /// For EdDSA.
    Ed25519(Ed25519KeyPair),
    /// For ES256.
    P256(EcdsaKeyPair),
    /// For RS256.
    Rsa(RsaKeyPair),
}

impl Key {
    /// Makes a new one; of RSA, with 2,048 bits.
    ///
    /// # Errors
    /// When the library has no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Unspecified> {
        Ok(match algorithm {
            Algorithm::EdDSA => Self::Ed25519(Ed25519KeyPair::generate()?),
            Algorithm::ES256 => Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Algorithm::RS256 => Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?),
        })
    }

    /// Reads one that somebody else has made.
    ///
    /// # Errors
    /// When the document is no such key.
    pub fn from_pkcs8(algorithm: Algorithm, document: &[u8]) -> Result<Self, KeyRejected> {
        Ok(match algorithm {
            Algorithm::EdDSA => Self::Ed25519(Ed25519KeyPair::from_pkcs8(document)?),
            Algorithm::ES256 => Self::P256(EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                document,
            )?),
            Algorithm::RS256 => Self::Rsa(RsaKeyPair::from_pkcs8(document)?),
        })
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDSA,
            Self::P256(_) => Algorithm::ES256,
            Self::Rsa(_) => Algorithm::RS256,
        }
    }

    /// A signature of these bytes.
    pub(super) fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Ed25519(key) => Ok(key.try_sign(input)?.as_ref().to_vec()),
            Self::P256(key) => Ok(key.sign(&SystemRandom::new(), input)?.as_ref().to_vec()),
            Self::Rsa(key) => rsa(key, &RSA_PKCS1_SHA256, input),
        }
    }

    /// A signature with the other padding of RSA; `None` when there is no other.
    pub(super) fn sign_with_pss(&self, input: &[u8]) -> Result<Option<Vec<u8>>, Unspecified> {
        match self {
            Self::Rsa(key) => rsa(key, &RSA_PSS_SHA256, input).map(Some),
            Self::Ed25519(_) | Self::P256(_) => Ok(None),
        }
    }

    /// 32 bytes of Ed25519, 65 of P-256, an `RSAPublicKey`.
    pub(super) fn public(&self) -> &[u8] {
        match self {
            Self::Ed25519(key) => key.public_key().as_ref(),
            Self::P256(key) => key.public_key().as_ref(),
            Self::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// The `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    pub(super) fn document(&self) -> Result<Vec<u8>, Unspecified> {
        let document: PublicKeyX509Der<'_> = match self {
            Self::Ed25519(key) => key.public_key().as_der()?,
            Self::P256(key) => key.public_key().as_der()?,
            Self::Rsa(key) => key.public_key().as_der()?,
        };
        Ok(document.as_ref().to_vec())
    }

    /// The members of a JWK that are the key itself.
    fn jwk(&self) -> Value {
        let public = self.public();
        match self {
            Self::Ed25519(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}),
            Self::P256(_) => {
                let (x, y) = public.split_at_checked(33).unwrap_or_default();
                let x = x.get(1..).unwrap_or_default();
                json!({"kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y)})
            }
            Self::Rsa(_) => {
                // Behind nine bytes the modulus, and at the end the exponent 65537 (RFC 8017 §A.1.1).
                let modulus = public.strip_suffix(&[0x02, 3, 1, 0, 1]).unwrap_or_default();
                json!({"kty": "RSA", "n": base64url(modulus.get(9..).unwrap_or_default()), "e": "AQAB"})
            }
        }
    }
}

fn rsa(key: &RsaKeyPair, padding: &'static dyn RsaEncoding, input: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), input, &mut signature)?;
    Ok(signature)
}

/// An issuer, and what it says of its customer.
pub struct Issuer {
    pub(super) key: Key,
    pub(super) kid: String,
    pub(super) claims: Value,
    pub(super) now: i64,
}

impl Issuer {
    /// One of the claims of a good token; null when there is no such.
    pub(super) fn claim(&self, name: &str) -> &Value {
        self.claims.get(name).unwrap_or(&Value::Null)
    }

    /// With the claims of a good token, and the Unix time at which it is one.
    #[must_use]
    pub const fn new(key: Key, kid: String, claims: Value, now: i64) -> Self {
        Self {
            key,
            kid,
            claims,
            now,
        }
    }

    pub(super) const fn algorithm(&self) -> &'static str {
        self.key.algorithm().as_str()
    }

    /// The public key as an entry of a JWK Set.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = self.key.jwk();
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), json!(self.kid));
            members.insert("alg".to_owned(), json!(self.algorithm()));
            members.insert("use".to_owned(), json!("sig"));
        }
        jwk
    }

    /// The public key as a `PUBLIC KEY` (RFC 7468 §13).
    ///
    /// # Errors
    /// When the library cannot write it.
    pub fn pem(&self) -> Result<String, Unspecified> {
        let text = STANDARD.encode(self.key.document()?);
        let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
        for (at, letter) in text.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                pem.push('\n');
            }
            pem.push(letter);
        }
        pem.push_str("\n-----END PUBLIC KEY-----\n");
        Ok(pem)
    }

    /// A token that is good in every way.
    ///
    /// # Errors
    /// When the library has no randomness.
    pub fn token(&self) -> Result<String, Unspecified> {
        self.claiming(&json!({}))
    }

    /// The header of a good token.
    pub(super) fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "kid": self.kid, "typ": "at+jwt"})
    }

    /// The header with one member changed, or taken away by null.
    pub(super) fn header_with(&self, member: &str, value: Value) -> String {
        with(&self.header(), member, value).to_string()
    }

    /// Genuinely signed, with a header that has one member changed, or taken away by null.
    pub(super) fn heading(&self, member: &str, value: Value) -> Result<String, Unspecified> {
        self.signed(&self.header_with(member, value), &self.payload())
    }

    /// Genuinely signed, with some claims changed, or taken away by null.
    pub(super) fn claiming(&self, changes: &Value) -> Result<String, Unspecified> {
        let mut claims = self.claims.clone();
        for (name, value) in changes.as_object().into_iter().flatten() {
            claims = with(&claims, name, value.clone());
        }
        self.signed(&self.header().to_string(), claims.to_string().as_bytes())
    }

    /// Genuinely signed, whatever it is.
    pub(super) fn signed(&self, header: &str, payload: &[u8]) -> Result<String, Unspecified> {
        let input = input(header, payload);
        Ok(token(&input, &self.key.sign(input.as_bytes())?))
    }

    /// A good token whose signature is made from the genuine one.
    pub(super) fn resigned(
        &self,
        change: impl FnOnce(&[u8], &[u8]) -> Vec<u8>,
    ) -> Result<String, Unspecified> {
        let input = input(&self.header().to_string(), &self.payload());
        let signature = self.key.sign(input.as_bytes())?;
        let (first, second) = signature.split_at(signature.len() / 2);
        Ok(token(&input, &change(first, second)))
    }

    /// An HMAC with SHA-256 in the place of the signature.
    pub(super) fn authenticated(&self, alg: &str, kid: &str, secret: &[u8]) -> String {
        let header = json!({"alg": alg, "kid": kid, "typ": "at+jwt"}).to_string();
        let input = input(&header, &self.payload());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        token(&input, tag.as_ref())
    }

    pub(super) fn payload(&self) -> Vec<u8> {
        self.claims.to_string().into_bytes()
    }
}

/// The object with one member changed, or taken away by null.
fn with(object: &Value, member: &str, value: Value) -> Value {
    let mut members = object.as_object().cloned().unwrap_or_default();
    if value.is_null() {
        members.remove(member);
    } else {
        members.insert(member.to_owned(), value);
    }
    Value::Object(members)
}

/// What a signature is made of (RFC 7515 §5.1).
pub(super) fn input(header: &str, payload: &[u8]) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(payload))
}

pub(super) fn token(input: &str, signature: &[u8]) -> String {
    format!("{input}.{}", base64url(signature))
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
