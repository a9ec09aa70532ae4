//! The last copy of the key set on disk.

use std::path::Path;

use ::fleet::MAX_ENVELOPE_BYTES;
use anyhow::Context as _;
use keyring::KeySet;

use crate::durable_file::{read_bounded, write_atomically};

/// Reads a key set; `None` when there is no file. What a statement may bring may be kept: of kids that were revoked none is ever
/// forgotten.
pub(super) fn read_key_set(path: &Path) -> anyhow::Result<Option<KeySet>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = read_bounded(path, u64::try_from(MAX_ENVELOPE_BYTES)?)?;
    let set = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(Some(set))
}

/// Writes a key set so that a crash leaves either the old file or the new one.
pub(super) fn write_key_set(path: &Path, set: &KeySet) -> anyhow::Result<()> {
    write_atomically(path, &serde_json::to_vec(set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_keys_were_revoked_all_of_them_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keyset.json");
        assert!(read_key_set(&file).unwrap().is_none());
        let set = KeySet {
            seq: 9,
            keys: Vec::new(),
            revoked_kids: (0..20_000).map(|number| format!("{number:0>43}")).collect(),
        };
        write_key_set(&file, &set).unwrap();
        assert_eq!(read_key_set(&file).unwrap(), Some(set));
    }
}
