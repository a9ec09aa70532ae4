//! What every handler may use.

use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use database::Pool;
use service_runtime::clock::Clock;

use crate::cursor::CursorKey;
use crate::identity::Identity;
use crate::ledger::Poster;
use crate::mail::Post;

/// The shared state of the API; a clone is the same state.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    /// The pool, as the role that reads through row-level security and writes through functions.
    pub(crate) db: Pool,
    /// Business time.
    pub(crate) clock: Clock,
    /// Tokens, keys, passwords.
    pub(crate) identity: Arc<Identity>,
    /// The way to the ledger.
    pub(crate) poster: Poster,
    /// The way to people's mailboxes.
    pub(crate) post: Post,
    /// Page cursors.
    pub(crate) cursors: Arc<CursorKey>,
}

impl AppState {
    /// Business time, in the microseconds that the database keeps: what an answer says now, a later read says too.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now().trunc_subsecs(6)
    }
}
