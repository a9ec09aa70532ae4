//! The last bundle that compiled, kept so that a gateway can start while its policy directory is broken.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use policy::SourceFile;
use serde::{Deserialize, Serialize};

use crate::durable_file::write_atomically;

/// One file, so that it is whole or not there.
#[derive(Serialize, Deserialize)]
struct LastGood {
    files: Vec<StoredFile>,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    name: String,
    text: String,
}

fn last_good_path(state_dir: &Path) -> PathBuf {
    state_dir.join("policy").join("last-good.json")
}

/// Keeps a bundle that compiled.
pub(super) fn store_last_good(state_dir: &Path, files: &[SourceFile]) -> anyhow::Result<()> {
    let path = last_good_path(state_dir);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let stored = files
        .iter()
        .map(|file| StoredFile {
            name: file.name.clone(),
            text: file.text.clone(),
        })
        .collect();
    write_atomically(&path, &serde_json::to_vec(&LastGood { files: stored })?)
}

/// The bundle that compiled last, from the gateway's state directory; `None` when there never was one.
///
/// # Errors
/// When it is there and cannot be read.
pub fn load_last_good(state_dir: &Path) -> anyhow::Result<Option<Vec<SourceFile>>> {
    let path = last_good_path(state_dir);
    let text = match fs::read(&path) {
        // A folder that may not be entered is another matter.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let stored: LastGood =
        serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    Ok(Some(
        stored
            .files
            .into_iter()
            .map(|file| SourceFile::new(file.name, file.text))
            .collect(),
    ))
}
