//! The control plane's half of what it and the gateways say to each other; the other half and the rules are in the crate
//! `fleet`.
//!
//! `publish.rs` signs what is to be stated, `board.rs` holds in memory where every stream stands, `stream.rs` and `blobs.rs`
//! tell the gateways, `envelopes.rs` has at hand what they fetch, `report.rs` listens to them, `member.rs` says who is
//! speaking, `trust.rs` keeps what the roots have signed, `nodes.rs` answers operators, `denials/` is what is revoked and
//! blocked, `store.rs` holds the SQL.
//!
//! **Invariant:** what a gateway is told about was signed and committed before; what a gateway says changes its own rows
//! and no others.

mod blobs;
mod board;
mod denials;
mod envelopes;
mod error;
mod export;
mod listen;
mod member;
mod metrics;
mod nodes;
mod policy;
mod publish;
mod report;
mod routes;
mod settings;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod trust;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use ::fleet::Roots;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use board::follow;
pub(crate) use error::FleetError;
pub(crate) use listen::serve_members;
pub(crate) use policy::{NewPolicy, is_policy_due, oldest_gateway, recall_policy, state_policy};
pub(crate) use routes::{for_members, for_operators};
pub use settings::FleetSettings;
pub(crate) use store::record;
pub(crate) use trust::is_trusted_to_sign;

use board::Board;
use envelopes::Envelopes;

/// What the slice keeps in memory.
#[derive(Debug)]
pub(crate) struct Fleet {
    /// None where this control plane has no fleet: nothing is signed then.
    settings: Option<FleetSettings>,
    roots: Option<Roots>,
    /// What every gateway should hold, as the database has it.
    board: watch::Sender<Board>,
    envelopes: Envelopes,
    /// The streams of each gateway, the oldest first.
    streams: Mutex<HashMap<String, VecDeque<CancellationToken>>>,
}

impl Fleet {
    /// The environment of its gateways; none where there is no fleet.
    pub(crate) fn environment(&self) -> Option<&str> {
        self.settings
            .as_ref()
            .map(|settings| settings.environment.as_str())
    }

    /// The state of a process that has read nothing yet.
    ///
    /// # Errors
    ///
    /// When the roots are no keys.
    pub(crate) fn new(settings: Option<FleetSettings>) -> Result<Arc<Self>, ::fleet::RootsError> {
        let roots = settings.as_ref().map(FleetSettings::roots).transpose()?.flatten();
        Ok(Arc::new(Self {
            settings,
            roots,
            board: watch::Sender::new(Board::default()),
            envelopes: Envelopes::default(),
            streams: Mutex::new(HashMap::new()),
        }))
    }
}
