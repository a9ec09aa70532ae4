//! The last good set of an issuer on disk, with the time when it was fetched.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use policy::KeyUrl;
use serde::{Deserialize, Serialize};

use crate::durable_file::write_atomically;

/// A set of 64 KiB as a JSON string, and some room.
const MAX_BYTES: u64 = 256 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    url: String,
    /// Unix seconds.
    fetched_at: i64,
    document: String,
}

/// One file for each address.
pub(super) fn path(state_dir: &Path, url: &KeyUrl) -> PathBuf {
    let hash = digest(&SHA256, url.to_string().as_bytes());
    let name: String = hash
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    state_dir.join(format!("issuer-keys-{name}.json"))
}

/// Reads the document and the time of its fetch; `None` when there is no file.
pub(super) fn read(path: &Path, url: &KeyUrl) -> anyhow::Result<Option<(Vec<u8>, i64)>> {
    let reading = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut text)
        .with_context(reading)?;
    let copy: Copy = serde_json::from_slice(&text).with_context(reading)?;
    ensure!(
        copy.url == url.to_string(),
        "{} is a copy of {}",
        path.display(),
        copy.url
    );
    Ok(Some((copy.document.into_bytes(), copy.fetched_at)))
}

/// Writes a set so that a crash leaves either the old file or the new one.
pub(super) fn write(path: &Path, url: &KeyUrl, document: &[u8], fetched_at: i64) -> anyhow::Result<()> {
    let copy = Copy {
        url: url.to_string(),
        fetched_at,
        document: String::from_utf8(document.to_vec()).context("a key set that is not UTF-8")?,
    };
    write_atomically(path, &serde_json::to_vec(&copy)?)
}
