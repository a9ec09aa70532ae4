//! Files: written so that a crash leaves either the old one or the new one, and read so that none can hold us up.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};

/// Writes a file of mode 0600 by way of a draft, synced, and renamed over the old one.
pub(crate) fn write_atomically(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    written().with_context(|| format!("writing {}", path.display()))
}

/// Reads a regular file of at most `max` bytes.
///
/// # Errors
/// When it cannot be read, is larger, or is no regular file: opening a pipe would wait for its other end, and a device
/// has no end at all. The message names it.
pub(crate) fn read_bounded(path: &Path, max: u64) -> anyhow::Result<Vec<u8>> {
    let reading = || format!("reading {}", path.display());
    if !fs::metadata(path).with_context(reading)?.is_file() {
        bail!("{}: not a regular file", path.display());
    }
    let file = File::open(path).with_context(reading)?;
    let mut content = Vec::new();
    file.take(max.saturating_add(1))
        .read_to_end(&mut content)
        .with_context(reading)?;
    if u64::try_from(content.len())? > max {
        bail!("{}: larger than {max} bytes", path.display());
    }
    Ok(content)
}
