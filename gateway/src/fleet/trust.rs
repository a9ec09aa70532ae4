//! The trust document in force: whose signatures count.

use std::sync::Arc;

use anyhow::Context as _;
use fleet::Trust;

use super::link::Link;
use super::{Fleet, lock};

/// Far more than sixteen keys and eight signatures need.
const MAX_TRUST_BYTES: usize = 64 * 1024;

impl Fleet {
    /// Reads the last copy on disk. A damaged one counts for nothing: then nothing on the disk is believed either.
    pub(super) fn read_trust(&self) {
        let read = self.disk.trust().and_then(|bytes| match bytes {
            Some(bytes) => Ok(Some(self.roots.read(&bytes, &self.settings.name, 0)?)),
            None => Ok(None),
        });
        match read {
            Ok(trust) => self.trust.store(trust.map(Arc::new)),
            Err(error) => tracing::error!(
                error = format!("{error:#}"),
                "the last copy of the trust document is damaged: nothing that was signed before is believed until the control plane sends another"
            ),
        }
    }

    /// Asks for the trust document, and takes it over if it is newer.
    ///
    /// # Errors
    /// Why there is none, or none to be believed.
    pub(super) async fn renew_trust(self: &Arc<Self>, link: &mut Link) -> anyhow::Result<()> {
        let bytes = link.get("/fleet/v1/trust", MAX_TRUST_BYTES).await?;
        let bytes = bytes.context("the control plane has no trust document")?;
        if let Some(trust) = self.believe(&bytes)? {
            let fleet = self.clone();
            // Whom to believe waits for no disk. Whoever is killed meanwhile starts with the document before, and asks again.
            drop(tokio::task::spawn_blocking(move || {
                fleet.write_trust(&bytes, &trust);
            }));
        }
        Ok(())
    }

    /// Takes over a trust document, and writes it down.
    ///
    /// # Errors
    /// When it is not to be believed.
    pub(super) fn take_trust(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if let Some(trust) = self.believe(bytes)? {
            self.write_trust(bytes, &trust);
        }
        Ok(())
    }

    /// Puts a document in force; none when it is already. None goes back behind one that was in force or was written down.
    fn believe(&self, bytes: &[u8]) -> anyhow::Result<Option<Arc<Trust>>> {
        let written = self.disk.trust_version();
        let written = written.context("the state of the fleet is damaged")?;
        let known = self.trust();
        let lowest = known.as_ref().map_or(written, |known| known.version.max(written));
        let trust = self.roots.read(bytes, &self.settings.name, lowest)?;
        if known.is_some_and(|known| *known == trust) {
            return Ok(None);
        }
        tracing::info!(
            version = trust.version,
            keys = trust.keys.len(),
            "trust document in force"
        );
        let trust = Arc::new(trust);
        self.trust.store(Some(trust.clone()));
        Ok(Some(trust))
    }

    /// Writes down what is in force, unless something newer is by now.
    fn write_trust(&self, bytes: &[u8], trust: &Arc<Trust>) {
        let writing = lock(&self.writing);
        let is_in_force = self.trust().is_some_and(|known| Arc::ptr_eq(&known, trust));
        if is_in_force && let Err(error) = self.disk.keep_trust(bytes, trust.version) {
            tracing::error!(
                error = format!("{error:#}"),
                "the trust document cannot be written to disk"
            );
        }
        drop(writing);
    }

    /// The document in force.
    pub(super) fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.load_full()
    }
}
