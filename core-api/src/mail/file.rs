//! Mails as files, for development: one `.eml` each, that any mail program opens.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;

use super::transport::{Letter, Refusal};

/// A directory of mails.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Makes the directory where it is missing.
    pub(super) fn make(path: &Path) -> anyhow::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }

    /// Writes a letter. Twice is once: the same mail has the same name.
    pub(super) async fn keep(&self, letter: &Letter) -> Result<(), Refusal> {
        self.write(letter).await.map_err(|error| {
            tracing::warn!(%error, directory = %self.0.display(), "a mail cannot be written");
            Refusal::Later("directory".to_owned())
        })
    }

    async fn write(&self, letter: &Letter) -> std::io::Result<()> {
        // Renamed into place: a reader sees the whole mail or none.
        let draft = self.0.join(format!(".{}.new", letter.name));
        let mut options = tokio::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&draft).await?;
        file.write_all(&letter.bytes).await?;
        file.flush().await?;
        drop(file);
        tokio::fs::rename(&draft, self.0.join(format!("{}.eml", letter.name))).await
    }
}
