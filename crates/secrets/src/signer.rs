//! Keys that sign elsewhere: the private part never enters this process.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};

use crate::Fault;

/// What a remote key signs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// Ed25519 (RFC 8032): the key is 32 bytes, the signature 64.
    Ed25519,
    /// ECDSA on P-256 with SHA-256: the key is an uncompressed point of 65 bytes, the signature `r‖s`, 64 bytes, as JWS
    /// has it (RFC 7518 §3.4).
    P256,
}

/// A private key that is somewhere else.
#[async_trait]
pub trait RemoteSigner: fmt::Debug + Send + Sync {
    /// The algorithm of the key.
    fn algorithm(&self) -> SignatureAlgorithm;

    /// The raw public part.
    fn public(&self) -> &[u8];

    /// Signs a message. Every signature is checked before it is given out: a key that was replaced behind its name is
    /// [`Fault::Malformed`], never a token that nobody can verify.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Fault>;
}

/// Gives out a signature that the public part verifies, and nothing else.
pub(crate) fn checked(
    algorithm: SignatureAlgorithm,
    public: &[u8],
    message: &[u8],
    signature: Vec<u8>,
) -> Result<Vec<u8>, Fault> {
    let verified = match algorithm {
        SignatureAlgorithm::Ed25519 => ParsedPublicKey::new(&ED25519, public),
        SignatureAlgorithm::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public),
    }
    .is_ok_and(|key| key.verify_sig(message, &signature).is_ok());
    if verified {
        Ok(signature)
    } else {
        Err(Fault::Malformed(
            "the signature that came is not one of the key that was asked for".to_owned(),
        ))
    }
}
