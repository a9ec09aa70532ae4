//! `GET /internal/keys/history`: what was done to a ring, by whom.

use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::RingName;
use problem::Problem;
use serde::Serialize;

use super::error::KeyError;
use super::store::EventRow;
use super::{OfRing, store};
use crate::extract::{Json, Query};
use crate::state::AppState;

/// Events that one answer holds, at most.
const MOST: i64 = 500;

/// The newest 500 events of a ring, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    ring: RingName,
    events: Vec<KeyEvent>,
}

/// Something that was done to a key.
#[derive(Debug, Serialize)]
struct KeyEvent {
    /// When, by the database's clock.
    at: DateTime<Utc>,
    /// `control-plane`, `operator` or `operator:<name>`.
    actor: String,
    /// Like `signing_key.activated`.
    action: String,
    kid: String,
    /// Why, in the words of whoever did it.
    reason: Option<String>,
    request_id: Option<String>,
}

impl From<EventRow> for KeyEvent {
    fn from(row: EventRow) -> Self {
        Self {
            at: row.created_at,
            actor: row.actor,
            action: row.action,
            kid: row.kid,
            reason: row.reason,
            request_id: row.request_id,
        }
    }
}

/// Lists what was done to a ring.
pub(crate) async fn show_history(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
) -> Result<Json<History>, Problem> {
    let mut conn = state.db.acquire().await.map_err(KeyError::from)?;
    let rows = store::history(&mut conn, ring, MOST)
        .await
        .map_err(KeyError::from)?;
    let events = rows.into_iter().map(KeyEvent::from).collect();
    Ok(Json(History { ring, events }))
}
