//! Why a private key cannot be sealed or opened.

use keyring::{SealError, SigningError};
use secrets::Fault;

/// Why a private key cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyError {
    /// The key is another one, or something was changed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What a key should sign, or how.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// What keeps a signing key did not do as it was asked.
    #[error("the signing key: {0}")]
    Signer(#[source] Fault),
    /// The key is of another algorithm than its row says.
    #[error("the signing key is of another algorithm")]
    Algorithm,
    /// What keeps this version of the key-encryption key did not do as it was asked.
    #[error("version {version} of the key-encryption key: {fault}")]
    Provider {
        /// The version.
        version: i32,
        /// What it said.
        fault: Fault,
    },
}

impl CustodyError {
    /// Whether nobody answered, so that the same may work in a moment.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        match self {
            Self::Seal(_) | Self::Signing(_) | Self::Algorithm => false,
            Self::Signer(fault) | Self::Provider { fault, .. } => fault.is_transient(),
        }
    }
}
