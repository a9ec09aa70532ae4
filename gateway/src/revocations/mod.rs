//! What the control plane has revoked: tokens, sessions, subjects, clients, keys, and networks of clients.
//!
//! **Invariant:** what was stated as revoked stays so until a newer statement is without it, however long the control plane
//! is silent. Across a restart too: `fleet` keeps the statements, and puts them in force again.

mod denied;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use keyring::{RevocationError, RevocationList};
use tokio::sync::watch;

use self::denied::Denied;
pub(crate) use self::denied::{Marks, Revoked};
use crate::fleet::fingerprint;
use crate::last_heard::LastHeard;
use crate::metrics::METRICS;

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

/// Holds the lists in force.
pub(crate) struct Revocations {
    stated: Mutex<Stated>,
    denied: ArcSwap<Denied>,
    last_heard: LastHeard,
    changes: watch::Sender<u64>,
}

impl Revocations {
    /// Nothing is revoked yet, and nobody has said so: see [`Revocations::silence`].
    pub(crate) fn none_yet() -> Self {
        Self {
            stated: Mutex::default(),
            denied: ArcSwap::default(),
            last_heard: LastHeard::never(),
            changes: watch::Sender::new(0),
        }
    }

    /// Changes with every list: what was checked with one must be checked again with another.
    pub(crate) fn generation(&self) -> u64 {
        self.denied.load().generation()
    }

    /// Takes over the list of a signed statement.
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
        let (seq, entries) = (denied.seq_metric(), denied.count_metric());
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
    pub(crate) fn denies(&self, marks: Marks<'_>) -> Option<Revoked> {
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

    /// For how many seconds clients with this address may not sign in; `None` when they may.
    pub(crate) fn blocks_sign_in(&self, client: IpAddr, now_unix: i64) -> Option<u64> {
        self.denied.load().sign_in(client, now_unix)
    }

    /// Tells of every other list.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How long ago the control plane last answered; `None` when it has not since the start.
    pub(crate) fn silence(&self) -> Option<Duration> {
        self.last_heard.silence()
    }

    /// Whether the control plane has said within this time what is revoked.
    pub(crate) fn are_known(&self, within: Duration) -> bool {
        self.silence().is_some_and(|silence| silence <= within)
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
