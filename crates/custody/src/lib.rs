//! Private keys at rest: each is sealed under a data key of its row, and that is wrapped by a version of the key-encryption
//! key, which is a secret of this process or stays in Vault or AWS. A private key may stay there itself.
//!
//! **Invariant:** what was opened once opens again while its provider is down, as long as the process runs.

#![warn(missing_docs)]

mod error;
mod held;
mod keks;
mod private_key;
mod settings;

pub use error::CustodyError;
pub use keks::Keks;
pub use private_key::{PrivateKey, algorithm_of};
pub use settings::VersionedKey;
