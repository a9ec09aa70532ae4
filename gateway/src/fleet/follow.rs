//! Listening to the control plane: one stream of pointers, opened again whenever it ends or falls silent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use fleet::{Pointer, Stream};
use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::events::{Events, Heard};
use super::{Fleet, lock};
use crate::metrics::METRICS;
use crate::pause::pause;

/// The control plane says something every 5 s; after this long without a word the connection is given up.
const SILENCE: Duration = Duration::from_secs(15);
/// First and longest wait between connections, of which a random half is left out: a fleet must not come back as one.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

type Pointers = BTreeMap<Stream, watch::Sender<Option<Pointer>>>;

/// Listens until `stop`.
pub(super) async fn follow(fleet: Arc<Fleet>, pointers: Pointers, stop: CancellationToken) {
    let mut backoff = BACKOFF.0;
    let mut is_failing = false;
    loop {
        let mut was_heard = false;
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            // Its connection may be dead, and what still comes out of it is old.
            () = fleet.standstill.begins() => {
                METRICS.fleet_connected.set(0);
                continue;
            }
            ended = fleet.listen(&pointers, &mut was_heard) => ended,
        };
        METRICS.fleet_connected.set(0);
        if was_heard {
            (backoff, is_failing) = (BACKOFF.0, false);
        }
        if let Err(error) = ended {
            if !was_heard {
                fleet.standstill.is_alone();
            }
            if !std::mem::replace(&mut is_failing, true) {
                let error = format!("{error:#}");
                tracing::warn!(error, "the control plane is away: what is in force stays");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = fleet.keys.news_wanted() => {}
            () = fleet.standstill.begins() => {}
            () = pause(shortened(backoff)) => {}
        }
        backoff = backoff.saturating_mul(2).min(BACKOFF.1);
    }
}

/// Between a half and the whole of it.
fn shortened(time: Duration) -> Duration {
    let mut byte = [0_u8];
    if aws_lc_rs::rand::fill(&mut byte).is_err() {
        return time;
    }
    let [random] = byte;
    let half = time / 2;
    half.saturating_add(half.saturating_mul(u32::from(random)) / 255)
}

impl Fleet {
    async fn listen(self: &Arc<Self>, pointers: &Pointers, was_heard: &mut bool) -> anyhow::Result<()> {
        let standstills = self.standstill.number();
        let mut link = self.dialler.control_plane().await?;
        if let Err(error) = self.renew_trust(&mut link).await {
            // What is trusted already goes on; what it does not cover is refused by itself.
            tracing::warn!(
                error = format!("{error:#}"),
                "no trust document from the control plane"
            );
        }
        let answer = link
            .open(&format!("/fleet/v1/stream?have={}", self.have()))
            .await?;
        if answer.status() != StatusCode::OK {
            bail!("the control plane answers {}", answer.status());
        }
        tracing::info!("connected to the control plane");
        METRICS.fleet_connected.set(1);
        self.outbox.put_last_again();
        let mut body = answer.into_body();
        let mut events = Events::default();
        loop {
            let frame = timeout(SILENCE, body.frame()).await;
            let frame = frame.context("the control plane is silent")?;
            let frame = frame
                .context("the control plane ends the stream")?
                .context("reading the stream")?;
            if let Some(bytes) = frame.data_ref() {
                events.read(bytes, |heard| {
                    *was_heard = true;
                    if heard == Heard::Comment {
                        // It comes after every pointer.
                        self.standstill.told(standstills);
                    }
                    self.hear(heard, pointers);
                })?;
            }
        }
    }

    /// Where each stream stands here: `policy:3.118,keyset:3.9001`.
    fn have(&self) -> String {
        let in_force = lock(&self.in_force);
        let each = in_force
            .iter()
            .map(|(stream, it)| format!("{stream}:{}", it.position));
        each.collect::<Vec<_>>().join(",")
    }

    fn hear(&self, heard: Heard, pointers: &Pointers) {
        if let Heard::Event { name, data } = heard
            && name == "pointer"
        {
            match serde_json::from_str::<Pointer>(&data) {
                Ok(pointer) => self.point(pointer, pointers),
                Err(error) => {
                    tracing::error!(%error, "the control plane sends a pointer that cannot be read");
                }
            }
        }
        self.heard.now();
        self.confirm_lists();
    }

    fn point(&self, pointer: Pointer, pointers: &Pointers) {
        let Some(sender) = pointers.get(&pointer.stream) else {
            return;
        };
        if !pointer.shadow {
            lock(&self.told).insert(pointer.stream, pointer.clone());
        }
        // Work that is under way for the same pointer goes on; what was refused is tried again.
        let is_under_way = self
            .in_force(pointer.stream)
            .is_some_and(|in_force| in_force.digest == pointer.digest && !in_force.is_proven);
        sender.send_if_modified(|known| {
            if is_under_way && known.as_ref() == Some(&pointer) {
                return false;
            }
            *known = Some(pointer);
            true
        });
    }

    /// The control plane speaks: what it names is what is in force, so keys and revocations are not stale.
    pub(super) fn confirm_lists(&self) {
        let is_current = |stream: Stream| {
            let told = lock(&self.told).get(&stream).map(|pointer| pointer.digest);
            told.is_none_or(|digest| self.in_force(stream).is_some_and(|it| it.digest == digest))
        };
        let follows = |stream: &Stream| self.gateway.follows(*stream);
        let has_keys = is_current(Stream::Keyset);
        if follows(&Stream::Keyset) && has_keys {
            self.keys.heard();
        }
        let mut lists = [Stream::Revocations, Stream::Blocks].into_iter().filter(follows);
        let has_lists = lists.all(is_current);
        if follows(&Stream::Revocations) && has_lists {
            self.revocations.heard();
        }
        if has_keys && has_lists {
            self.standstill.is_current();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_and_never_longer_than_said() {
        let waits: Vec<_> = (0..200).map(|_| shortened(BACKOFF.1)).collect();
        assert!(
            waits
                .iter()
                .all(|wait| (BACKOFF.1 / 2..=BACKOFF.1).contains(wait)),
            "{waits:?}"
        );
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
