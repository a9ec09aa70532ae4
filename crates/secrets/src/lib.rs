//! Secrets by reference: where a secret is, how it is fetched, kept fresh and held in memory, and keys that never leave
//! Vault or AWS.
//!
//! **Invariant:** a secret is never written in a setting, an error, a log line or a `Debug` output. What this crate says
//! of a secret is its reference.

#![warn(missing_docs)]

mod age_file;
mod aws;
mod document;
mod fault;
mod http_client;
mod lease;
mod providers;
mod reference;
mod secret;
mod settings;
mod signer;
mod signing_place;
mod source;
mod vault;
mod wrapper;
mod wrapping_key;

pub use age_file::{make_identity, seal_file};
pub use aws::{Aws, KmsSigner, KmsWrapper};
pub use fault::Fault;
pub use lease::Lease;
pub use providers::{Fetched, Providers};
pub use reference::{Reference, ReferenceError};
pub use secret::{Secret, SecretBytes, variable};
pub use settings::{AgeSettings, AwsCredentials, AwsSettings, ProviderSettings, VaultAuth, VaultSettings};
pub use signer::{RemoteSigner, SignatureAlgorithm};
pub use signing_place::{RemoteSigningKey, SigningPlace};
pub use source::{Freshness, Resolved, Source, SourceStatus, providers_at_hand, resolve};
pub use vault::{TransitSigner, TransitWrapper, Vault};
pub use wrapper::{Context, KeyWrapper};
pub use wrapping_key::{RemoteKey, WrappingKey};
