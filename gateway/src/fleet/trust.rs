//! The trust document in force: whose signatures count.

use std::sync::Arc;

use anyhow::Context as _;
use fleet::Trust;

use super::Fleet;
use super::link::Link;

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
    pub(super) async fn renew_trust(&self, link: &mut Link) -> anyhow::Result<()> {
        let bytes = link.get("/fleet/v1/trust", MAX_TRUST_BYTES).await?;
        let bytes = bytes.context("the control plane has no trust document")?;
        self.take_trust(&bytes)
    }

    pub(super) fn take_trust(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let lowest = self.disk.trust_version();
        let lowest = lowest.context("the state of the fleet is damaged")?;
        let trust = self.roots.read(bytes, &self.settings.name, lowest)?;
        let known = self.trust.load();
        if known.as_ref().is_some_and(|known| **known == trust) {
            return Ok(());
        }
        self.disk.keep_trust(bytes, trust.version)?;
        tracing::info!(
            version = trust.version,
            keys = trust.keys.len(),
            "trust document in force"
        );
        self.trust.store(Some(Arc::new(trust)));
        Ok(())
    }

    /// The document in force.
    pub(super) fn trust(&self) -> Option<Arc<Trust>> {
        self.trust.load_full()
    }
}
