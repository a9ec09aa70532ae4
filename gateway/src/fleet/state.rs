//! Whether this gateway can take anything over: only while it knows how far each stream had come.

use std::sync::atomic::{AtomicBool, Ordering};

use fleet::Objection;

use super::blobs::objection;
use crate::metrics::METRICS;

/// What people read here and at the control plane.
const DAMAGED: &str = "the state of this gateway is damaged, so it takes nothing over, not even what is revoked: \
                       stop it, remove its folder `fleet` if the disk alone is to blame, and start it";

/// Whether what the gateway remembers of its fleet is whole. Without a fleet it is.
#[derive(Debug, Default)]
pub(crate) struct FleetState {
    is_damaged: AtomicBool,
}

impl FleetState {
    /// The disk was read.
    pub(super) fn set(&self, is_good: bool) {
        self.is_damaged.store(!is_good, Ordering::Relaxed);
        METRICS.fleet_state_ok.set(i64::from(is_good));
    }

    /// Whether the gateway should get work: what it holds may be right now, and is not from the next statement on.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.is_damaged.load(Ordering::Relaxed) {
            true => Err(DAMAGED.to_owned()),
            false => Ok(()),
        }
    }
}

/// What the control plane is told of every statement.
pub(super) fn damaged() -> Objection {
    objection("state_damaged", DAMAGED)
}
