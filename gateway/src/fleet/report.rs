//! What a gateway says of itself: acknowledgements as they come, and every three seconds what it really runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use fleet::{ActiveStatement, Heartbeat, Stream};
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Fleet;
use super::link::Link;
use crate::metrics::METRICS;
use crate::revocations::Part;
use crate::since_boot::since_boot;

const HEARTBEAT: Duration = Duration::from_secs(3);
/// After this long without a word of the control plane an operator is told, once.
const STALE: Duration = Duration::from_secs(300);

/// Reports from the moment on in which this process speaks for the gateway, until another one does.
pub(super) async fn report(fleet: Arc<Fleet>, handed_over: CancellationToken) {
    let mut link = None;
    let mut is_stale = false;
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_beat = tokio::select! {
            () = handed_over.cancelled() => return,
            _ = beats.tick() => fleet.speaks().await,
            // One that failed waits for the next beat.
            () = fleet.outbox.news(), if link.is_some() => false,
        };
        if !is_beat && link.is_none() {
            continue;
        }
        let told = async {
            if is_beat {
                is_stale = fleet.report_silence(is_stale);
                let heartbeat = fleet.heartbeat();
                fleet.post(&mut link, "/fleet/v1/heartbeats", &heartbeat).await?;
            }
            fleet.empty_outbox(&mut link).await
        };
        let told = tokio::select! {
            () = handed_over.cancelled() => return,
            told = told => told,
        };
        if let Err(error) = told {
            tracing::debug!(error = format!("{error:#}"), "the control plane cannot be told");
            link = None;
        }
    }
}

impl Fleet {
    async fn empty_outbox(&self, link: &mut Option<Link>) -> anyhow::Result<()> {
        while let Some(first) = self.outbox.first() {
            self.post(link, "/fleet/v1/acknowledgements", &first).await?;
            self.outbox.remove(&first);
        }
        Ok(())
    }

    /// Posts over the connection that is open, or a new one. What the control plane does not want is dropped: it would not
    /// want it the next time either.
    async fn post<T: Serialize>(
        &self,
        link: &mut Option<Link>,
        target: &str,
        what: &T,
    ) -> anyhow::Result<()> {
        let link = match link {
            Some(link) => link,
            None => link.insert(self.dialler.control_plane().await?),
        };
        let asked = since_boot();
        let (status, time) = link.post(target, serde_json::to_vec(what)?).await?;
        if let Some(unix_ms) = time {
            self.time.heard(unix_ms, asked);
        }
        if status.is_server_error() {
            bail!("the control plane answers {status}");
        }
        if !status.is_success() {
            tracing::warn!(target, %status, "the control plane does not take what it is told");
        }
        Ok(())
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            version: self.version,
            boot_id: self.boot_id.clone(),
            clock_unix_ms: self.clock.now().timestamp_millis(),
            follows: Stream::ALL
                .into_iter()
                .filter(|stream| self.gateway.follows(*stream))
                .collect(),
            active: Stream::ALL
                .into_iter()
                .filter_map(|stream| self.active(stream))
                .collect(),
            waiting: self.waiting(),
            traffic: self.traffic.told(),
            shadow: self.shadow.counts(),
        }
    }

    /// What is in memory, by its fingerprint; where it came from, if it is the control plane.
    fn active(&self, stream: Stream) -> Option<ActiveStatement> {
        let fingerprint = match stream {
            Stream::Policy => self.policies()?.current().plan.hash().to_owned(),
            Stream::Keyset => self.keys.current()?.fingerprint().to_owned(),
            Stream::Revocations => self.revocations.fingerprint(Part::Revocations)?,
            Stream::Blocks => self.revocations.fingerprint(Part::Blocks)?,
        };
        let in_force = self.in_force(stream);
        Some(ActiveStatement {
            stream,
            position: in_force.map(|it| it.position),
            digest: in_force.map(|it| it.digest),
            fingerprint,
        })
    }

    /// Sets the metrics of silence; whether the control plane has been silent for too long.
    fn report_silence(&self, was_stale: bool) -> bool {
        self.heard.report(&METRICS.fleet_heard_seconds);
        let is_stale = self.heard.silence().is_some_and(|silence| silence > STALE);
        if is_stale && !was_stale {
            tracing::warn!(
                "nothing was heard of the control plane for five minutes: the policy in force stays"
            );
        }
        is_stale
    }
}
