//! The last copy of the key set on disk.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::Context as _;
use keyring::KeySet;

use crate::durable_file::write_atomically;

/// A key set of 50 keys is far smaller than this (J35).
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a key set; `None` when there is no file.
pub(super) fn read_key_set(path: &Path) -> anyhow::Result<Option<KeySet>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .with_context(|| format!("reading {}", path.display()))?;
    let set = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(Some(set))
}

/// Writes a key set so that a crash leaves either the old file or the new one.
pub(super) fn write_key_set(path: &Path, set: &KeySet) -> anyhow::Result<()> {
    write_atomically(path, &serde_json::to_vec(set)?)
}
