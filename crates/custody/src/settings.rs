//! How settings name the versions of the key-encryption key.

use secrets::WrappingKey;
use serde::Deserialize;

/// One version of the key-encryption key, of which several are in use so that one can follow another.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionedKey {
    /// The version, from 1.
    pub version: i32,
    /// Where it is: `file:/path`, `transit://mount/key`, `awskms://key`.
    pub secret: WrappingKey,
}
