//! How long the phases of a request took: one reading of the clock at each border, and nothing that is kept beyond it.

use std::time::{Duration, Instant};

use crate::metrics::METRICS;

/// Times of the phases that a request came to.
#[derive(Debug, Default)]
pub(super) struct Phases {
    /// From the first byte of its head to the last; unknown in HTTP/2, where heads of many requests come together.
    pub(super) head: Option<Duration>,
    /// The policy, with the token and the limits of this gateway; with the body where a limit counts by it.
    pub(super) evaluate: Option<Duration>,
    /// The store of shared limits.
    pub(super) store: Option<Duration>,
    /// A new connection to the upstream, TLS included; nothing for a kept one.
    pub(super) connect: Option<Duration>,
    attempt_began: Option<Instant>,
}

impl Phases {
    /// Of a request whose head took so long to come, where that is known.
    pub(super) fn after(head: Option<Duration>) -> Self {
        Self {
            head,
            ..Self::default()
        }
    }

    /// An attempt to reach an address begins.
    pub(super) fn begin_attempt(&mut self, now: Instant) {
        self.attempt_began = Some(now);
        self.connect = None;
    }

    /// A new connection was made.
    pub(super) fn connected(&mut self) {
        self.connect = self.attempt_began.map(|began| began.elapsed());
    }

    /// Counts them.
    pub(super) fn observe(&self) {
        let phases = &METRICS.phases;
        for (phase, time) in [
            (&phases.head, self.head),
            (&phases.evaluate, self.evaluate),
            (&phases.store, self.store),
            (&phases.connect, self.connect),
        ] {
            if let Some(time) = time {
                phase.observe(time.as_secs_f64());
            }
        }
    }
}
