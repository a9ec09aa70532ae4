//! Beginning with what was handed over in a file: a gateway that has never spoken to its control plane.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use fleet::{Digest, Envelope, Exported, MAX_ENVELOPE_BYTES, Objection, Pointer, Stream};

use super::{Fleet, pages};
use crate::durable_file::read_bounded;

/// An envelope of each stream, and twice that for a text in a text.
const MAX_BYTES: usize = MAX_ENVELOPE_BYTES * Stream::ALL.len() * 2;

impl Fleet {
    /// Takes over, from the file of the settings, what the disk does not hold. It is believed no more than what the control
    /// plane says; and as nobody says that it is the newest, nothing is fresh by it.
    pub(super) fn begin_with_file(&self) {
        let file = &self.settings.begin_with;
        let is_complete = self.streams().all(|stream| self.in_force(stream).is_some());
        if file.as_os_str().is_empty() || is_complete {
            return;
        }
        if let Err(error) = self.try_to_begin_with_file() {
            let (error, file) = (format!("{error:#}"), file.display());
            tracing::error!(error, %file, "what this gateway was given to begin with is not usable");
        }
    }

    fn try_to_begin_with_file(&self) -> anyhow::Result<()> {
        let bytes = read_bounded(&self.settings.begin_with, u64::try_from(MAX_BYTES)?)?;
        let exported: Exported =
            serde_json::from_slice(&bytes).context("not what `portico fleet export` writes")?;
        let taken = self.take_trust(exported.trust.as_bytes());
        if self.trust().is_none() {
            return taken.context("the trust document");
        }
        let given: BTreeMap<_, _> = (exported.pages.into_iter())
            .map(|page| (Digest::of(page.as_bytes()), Bytes::from(page)))
            .collect();
        for envelope in &exported.statements {
            if let Err(error) = self.take_given(envelope.as_bytes(), &given) {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a statement that this gateway was given is not believed"
                );
            }
        }
        Ok(())
    }

    /// Takes one over, if its stream has nothing in force.
    fn take_given(&self, bytes: &[u8], pages: &BTreeMap<Digest, Bytes>) -> anyhow::Result<()> {
        let payload_type = Envelope::parse(bytes)?.payload_type;
        let stream = self
            .streams()
            .find(|stream| stream.payload_type() == payload_type);
        let Some(stream) = stream.filter(|stream| self.in_force(*stream).is_none()) else {
            return Ok(());
        };
        match self.begin_stream(stream, bytes, pages) {
            Ok(()) => Ok(()),
            Err(Objection { code, message, .. }) => bail!("{stream}: {code}: {message}"),
        }
    }

    fn begin_stream(
        &self,
        stream: Stream,
        bytes: &[u8],
        given: &BTreeMap<Digest, Bytes>,
    ) -> Result<(), Objection> {
        let statement = self.admit(stream, bytes)?;
        let pointer = Pointer {
            stream,
            position: statement.position,
            digest: Digest::of(bytes),
            bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            shadow: false,
        };
        self.refuse_given_up(&pointer)?;
        if stream != Stream::Policy {
            self.take_given_pages(stream, &pages::names(&statement)?, given)?;
            return self.take_list(&pointer, bytes, &statement);
        }
        let compiled = self.compile(&statement)?;
        self.commit(&pointer, bytes, compiled)
    }
}
