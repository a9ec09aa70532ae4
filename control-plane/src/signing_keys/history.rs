//! `GET /internal/keys/history` and `GET /internal/kek/history`: what was done to a ring, or to the versions of the
//! key-encryption key, and by whom.

use axum::extract::State;
use problem::Problem;
use serde::Serialize;

use super::error::KeyError;
use super::store::EventRow;
use super::{OfRing, store};
use crate::extract::{Json, Query};
use crate::state::AppState;

/// Events that one answer holds, at most.
const MOST: i64 = 500;

/// What events of versions of the key-encryption key have in place of a ring.
const KEK: &str = "kek";

/// The newest 500 events of a ring, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct History {
    ring: &'static str,
    events: Vec<EventRow>,
}

/// Lists what was done to a ring.
pub(crate) async fn show_history(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
) -> Result<Json<History>, Problem> {
    Ok(Json(history(&state, ring.as_str()).await?))
}

/// Lists what was done to the versions of the key-encryption key; each event has its version as `kid`.
pub(crate) async fn show_kek_history(State(state): State<AppState>) -> Result<Json<History>, Problem> {
    Ok(Json(history(&state, KEK).await?))
}

async fn history(state: &AppState, ring: &'static str) -> Result<History, KeyError> {
    let mut conn = state.db.acquire().await?;
    let events = store::history(&mut conn, ring, MOST).await?;
    Ok(History { ring, events })
}
