//! What the control plane has revoked: tokens, sessions, subjects, clients, keys, and networks of clients.
//!
//! **Invariant:** what was stated as revoked stays so until a newer statement is without it, however long the control plane
//! is silent. Across a restart too: `fleet` keeps the statements, and puts them in force again.

mod denied;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

pub(crate) use self::denied::{Denied, Entries, Marks, Revoked};
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

/// Holds the lists in force. Each is made ready for itself: a new one waits for nothing that the other says, however long that
/// is.
pub(crate) struct Revocations {
    revocations: ArcSwapOption<Denied>,
    blocks: ArcSwapOption<Denied>,
    last_heard: LastHeard,
    changes: watch::Sender<()>,
}

impl Revocations {
    /// Nothing is revoked yet, and nobody has said so: see [`Revocations::silence`].
    pub(crate) fn none_yet() -> Self {
        Self {
            revocations: ArcSwapOption::empty(),
            blocks: ArcSwapOption::empty(),
            last_heard: LastHeard::never(),
            changes: watch::Sender::new(()),
        }
    }

    /// Changes with every list of what is revoked: a token that was checked with one must be checked again with another.
    pub(crate) fn generation(&self) -> u64 {
        self.revocations
            .load()
            .as_ref()
            .map_or(0, |denied| denied.generation())
    }

    /// Takes over the list of a signed statement.
    pub(crate) fn take_over(&self, part: Part, denied: Denied) {
        let (seq, entries) = (denied.seq_metric(), denied.count_metric());
        tracing::info!(seq, entries, ?part, "another signed list of what is revoked");
        self.part(part).store(Some(Arc::new(denied)));
        if part == Part::Revocations {
            METRICS.revocations_seq.set(seq);
        }
        let both = [&self.revocations, &self.blocks].map(ArcSwapOption::load_full);
        METRICS
            .revocations
            .set(both.iter().flatten().map(|denied| denied.count_metric()).sum());
        self.changes.send_replace(());
    }

    /// Tells the list of a signed statement from every other; `None` when there is none.
    pub(crate) fn fingerprint(&self, part: Part) -> Option<String> {
        let denied = self.part(part).load_full()?;
        Some(denied.fingerprint().to_owned())
    }

    const fn part(&self, part: Part) -> &ArcSwapOption<Denied> {
        match part {
            Part::Revocations => &self.revocations,
            Part::Blocks => &self.blocks,
        }
    }

    /// By what a token is revoked, if it is.
    pub(crate) fn denies(&self, marks: Marks<'_>) -> Option<Revoked> {
        self.revocations.load().as_ref()?.token(marks)
    }

    /// Whether any client is blocked, now or for good.
    pub(crate) fn has_blocks(&self) -> bool {
        self.in_any(Denied::has_networks)
    }

    /// Whether clients with this address are blocked at `now_unix` (Unix seconds).
    pub(crate) fn blocks(&self, client: IpAddr, now_unix: i64) -> bool {
        self.in_any(|denied| denied.client(client, now_unix))
    }

    /// A list of what is revoked may name networks as well.
    fn in_any(&self, holds: impl Fn(&Denied) -> bool) -> bool {
        [&self.blocks, &self.revocations]
            .into_iter()
            .any(|list| list.load().as_ref().is_some_and(|denied| holds(denied)))
    }

    /// For how many seconds clients with this address may not sign in; `None` when they may.
    pub(crate) fn blocks_sign_in(&self, client: IpAddr, now_unix: i64) -> Option<u64> {
        let ends =
            [&self.blocks, &self.revocations].map(|list| list.load().as_ref()?.sign_in(client, now_unix));
        ends.into_iter().flatten().max()
    }

    /// Tells of every other list.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
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
