//! Names of counters in the store: a prefix, who is counted as a keyed hash, and the name of the limit.

use std::path::Path;

use anyhow::{Context as _, ensure};
use aws_lc_rs::hmac;
use policy::Charge;

/// A hash key of fewer bytes could be found by trying.
const LEAST_KEY_BYTES: usize = 32;
/// Bytes of a hash that are kept: enough that no two clients share a counter.
const HASH_BYTES: usize = 16;

/// The same on every gateway that shares a store, and known to nobody else: without the key, a hash of an address is
/// found by trying all addresses.
pub(super) struct Keys {
    hash: hmac::Key,
    prefix: String,
}

impl Keys {
    pub(super) fn read(file: &Path, prefix: &str) -> anyhow::Result<Self> {
        let key = std::fs::read(file)
            .with_context(|| format!("limit_store.hash_key_file: cannot read {}", file.display()))?;
        ensure!(
            key.trim_ascii().len() >= LEAST_KEY_BYTES,
            "limit_store.hash_key_file: {} has fewer than {LEAST_KEY_BYTES} bytes",
            file.display()
        );
        Ok(Self {
            hash: hmac::Key::new(hmac::HMAC_SHA256, key.trim_ascii()),
            prefix: prefix.to_owned(),
        })
    }

    /// Who is counted. In braces it is the hash tag of Redis Cluster: counters with the same one lie in one slot.
    pub(super) fn tag(&self, charge: &Charge) -> String {
        let hash = hmac::sign(&self.hash, charge.counted_by());
        let kept = hash.as_ref().iter().take(HASH_BYTES);
        kept.map(|byte| format!("{byte:02x}")).collect()
    }

    /// A counter of the store's own.
    pub(super) fn probe(&self) -> String {
        format!("{}:{{probe}}:probe", self.prefix)
    }

    /// Who counts in the store.
    pub(super) fn members(&self) -> String {
        format!("{}:{{members}}:members", self.prefix)
    }

    /// `portico:{3f…}:per-address`.
    pub(super) fn of(&self, charge: &Charge) -> String {
        format!("{}:{{{}}}:{}", self.prefix, self.tag(charge), charge.limit.name)
    }
}
