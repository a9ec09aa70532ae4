//! `GET /internal/keys/history`: what was done to a ring, by whom.

use axum::extract::State;
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
    events: Vec<EventRow>,
}

/// Lists what was done to a ring.
pub(crate) async fn show_history(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
) -> Result<Json<History>, Problem> {
    let mut conn = state.db.acquire().await.map_err(KeyError::from)?;
    let events = store::history(&mut conn, ring, MOST)
        .await
        .map_err(KeyError::from)?;
    Ok(Json(History { ring, events }))
}
