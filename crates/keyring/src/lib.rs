//! Signing keys and the tokens they sign: key sets, sealing at rest, signing, and strict verification.
//!
//! The control plane makes and publishes keys, core-api signs with the active one, the gateway and core-api verify.
//! This crate knows neither clocks, nor sockets, nor databases: time is a parameter in Unix seconds.
//!
//! **Invariant:** the algorithm of a verification comes from the key, never from the token (J8); a token is refused
//! unless every rule of [`Verifier::verify`] holds.

#![warn(missing_docs)]

mod algorithm;
mod binding;
mod claims;
mod compact;
mod envelope;
mod json;
mod jwks;
mod keyset;
mod refusal;
mod revocation;
mod ring_name;
mod seal;
mod signing;
mod state;
mod verification_key;
mod verify;

pub use algorithm::{Algorithm, TokenAlgorithm, UnknownAlgorithm, thumbprint};
pub use binding::CertificateHash;
pub use claims::{Claims, ClaimsForm, ScopesClaim};
pub use envelope::{DataKey, KeyEncryptionKeys, SealedFor, SealedPrivateKey};
pub use jwks::MAX_JWKS_BYTES;
pub use keyset::{KeySet, KeySetError, MAX_KEYS, PublicKey};
pub use refusal::TokenRefusal;
pub use revocation::{MAX_REVOCATIONS, Revocation, RevocationError, RevocationList, masked};
pub use ring_name::{RingName, UnknownRing};
pub use seal::{KeyEncryptionKey, SealError, open, seal};
pub use signing::{SigningError, SigningKey, UnsignedToken};
pub use state::{Bounds, Event, KeyState, Ring, RingKey, RingRefusal, UnknownKeyState, step};
pub use verify::{
    Expectations, MAX_LEEWAY_S, MAX_TOKEN_BYTES, UnverifiedToken, VerifiedToken, Verifier, key_name,
};
