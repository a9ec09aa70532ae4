//! What the control plane has revoked: tokens, sessions, subjects, clients, keys, and networks of clients.
//!
//! **Invariant:** `seq` never goes backwards, and what was heard of as revoked stays so until a newer list is without it:
//! across a restart too, and however long the control plane is silent.

mod denied;
mod follow;
#[cfg(test)]
mod tests;

pub(crate) use follow::follow;

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use keyring::{RevocationError, RevocationList};
use tokio::sync::watch;

use self::denied::Denied;
pub(crate) use self::denied::{Marks, Revoked};
use crate::durable_file::write_atomically;
use crate::fleet::fingerprint;
use crate::last_heard::LastHeard;
use crate::metrics::METRICS;

/// The longest list that is read: 20,000 entries of about 200 bytes, and some room.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a signed statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Tokens, sessions, subjects, clients and keys.
    Revocations,
    /// Networks.
    Blocks,
}

/// The lists of signed statements, which are in force together.
#[derive(Debug, Default)]
struct Stated {
    revocations: Option<RevocationList>,
    blocks: Option<RevocationList>,
}

/// Holds the list in force.
pub(crate) struct Revocations {
    stated: Mutex<Stated>,
    denied: ArcSwap<Denied>,
    file: PathBuf,
    last_heard: LastHeard,
    changes: watch::Sender<u64>,
}

impl Revocations {
    /// Opens the store with the last copy on disk. A damaged copy is reported; without one, nothing is revoked yet, and
    /// nobody can say otherwise: see [`Revocations::silence`].
    pub(crate) fn open(state_dir: &Path) -> Self {
        let file = state_dir.join("revocations.json");
        let list = match read(&file) {
            Ok(list) => list.unwrap_or_default(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the last copy of what is revoked is damaged");
                RevocationList::default()
            }
        };
        let opened = Self::empty(file);
        opened.put(Denied::new(list));
        opened
    }

    /// Opens the store of a gateway that is told what is revoked by signed statements: the copy on disk is signed by nobody.
    pub(crate) fn open_for_statements(state_dir: &Path) -> Self {
        Self::empty(state_dir.join("revocations.json"))
    }

    fn empty(file: PathBuf) -> Self {
        Self {
            stated: Mutex::default(),
            denied: ArcSwap::default(),
            file,
            last_heard: LastHeard::never(),
            changes: watch::Sender::new(0),
        }
    }

    /// The `seq` of the list in force; 0 when there is none.
    pub(crate) fn seq(&self) -> u64 {
        self.denied.load().seq()
    }

    /// Changes with every list: what was checked with one must be checked again with another.
    pub(crate) fn generation(&self) -> u64 {
        self.denied.load().generation()
    }

    /// Takes over a list if it is newer, and writes it down; whether it was.
    ///
    /// # Errors
    /// When the list is not valid; the old one stays.
    pub(crate) fn adopt(&self, list: RevocationList) -> Result<bool, RevocationError> {
        list.validate()?;
        if list.seq <= self.seq() {
            return Ok(false);
        }
        let written = serde_json::to_vec(&list)
            .map_err(anyhow::Error::from)
            .and_then(|text| write_atomically(&self.file, &text));
        if let Err(error) = written {
            // Serving goes on: only a restart without the control plane would miss this list.
            let error = format!("{error:#}");
            tracing::error!(error, "what is revoked cannot be written to disk");
        }
        let denied = Denied::new(list);
        tracing::info!(
            seq = denied.seq(),
            entries = denied.count_metric(),
            "another list of what is revoked"
        );
        self.put(denied);
        Ok(true)
    }

    /// Takes over the list of a signed statement, whatever its `seq`: the position of the statement was compared.
    ///
    /// # Errors
    /// When the list is not valid; the old one stays.
    pub(crate) fn take_over(&self, part: Part, list: RevocationList) -> Result<(), RevocationError> {
        list.validate()?;
        let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        match part {
            Part::Revocations => stated.revocations = Some(list),
            Part::Blocks => stated.blocks = Some(list),
        }
        let both = [&stated.revocations, &stated.blocks].map(Clone::clone);
        let [revocations, blocks] = both.map(Option::unwrap_or_default);
        let mut all = revocations;
        all.revocations.extend(blocks.revocations);
        let denied = Denied::new(all);
        let (seq, entries) = (denied.seq(), denied.count_metric());
        tracing::info!(seq, entries, ?part, "another signed list of what is revoked");
        self.put(denied);
        Ok(())
    }

    /// Tells the list of a signed statement from every other; `None` when there is none.
    pub(crate) fn fingerprint(&self, part: Part) -> Option<String> {
        let stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        let list = match part {
            Part::Revocations => &stated.revocations,
            Part::Blocks => &stated.blocks,
        };
        list.as_ref().map(fingerprint)
    }

    fn put(&self, denied: Denied) {
        METRICS.revocations_seq.set(denied.seq_metric());
        METRICS.revocations.set(denied.count_metric());
        let generation = denied.generation();
        self.denied.store(Arc::new(denied));
        self.changes.send_replace(generation);
    }

    /// By what a token is revoked, if it is.
    pub(crate) fn denies(&self, marks: &Marks) -> Option<Revoked> {
        self.denied.load().token(marks)
    }

    /// Whether any client is blocked, now or for good.
    pub(crate) fn has_blocks(&self) -> bool {
        self.denied.load().has_networks()
    }

    /// Whether clients with this address are blocked at `now_unix` (Unix seconds).
    pub(crate) fn blocks(&self, client: IpAddr, now_unix: i64) -> bool {
        self.denied.load().client(client, now_unix)
    }

    /// Tells of every other list.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How long ago the control plane last answered; `None` when it has not since the start.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.last_heard.silence()
    }

    /// Sets the metric of [`Revocations::silence`].
    pub(crate) fn report_age(&self) {
        self.last_heard.report(&METRICS.revocations_heard_seconds);
    }

    /// The control plane says that this is what is revoked.
    pub(crate) fn heard(&self) {
        self.last_heard.now();
    }
}

/// Reads the copy on disk; `None` when there is no file.
fn read(path: &Path) -> anyhow::Result<Option<RevocationList>> {
    let reading = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(reading),
    };
    let mut text = Vec::new();
    file.take(u64::try_from(MAX_BYTES)?)
        .read_to_end(&mut text)
        .with_context(reading)?;
    let list: RevocationList = serde_json::from_slice(&text).with_context(reading)?;
    list.validate().with_context(reading)?;
    Ok(Some(list))
}
