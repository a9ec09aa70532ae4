//! Secrets in request bodies: wiped from memory when dropped.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Reads a JSON string as a secret.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

/// Reads a JSON string as a secret that may be left out.
pub(super) fn deserialize_optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    deserialize(deserializer).map(Some)
}
