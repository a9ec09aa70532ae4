//! `GET /internal/fleet/export`: what a gateway needs to begin while nobody can be asked.

use axum::extract::State;
use fleet::Exported;

use super::error::FleetError;
use super::store;
use crate::extract::Json;
use crate::state::AppState;

/// Gives the trust document in force, and whole what a gateway is told that no roll-out has assigned anything. 404 while
/// nothing is stated.
pub(super) async fn export(State(state): State<AppState>) -> Result<Json<Exported>, FleetError> {
    let nothing = || FleetError::NotFound("nothing is stated yet");
    let pointers = state.fleet.board.borrow().for_everybody();
    if pointers.is_empty() {
        return Err(nothing());
    }
    let mut conn = state.db.acquire().await?;
    let trust = store::trust(&mut conn).await?.ok_or_else(nothing)?;
    let mut statements = Vec::new();
    for pointer in pointers {
        let envelope = store::envelope(&mut conn, pointer.digest.as_bytes()).await?;
        statements.push(text(envelope.ok_or_else(nothing)?)?);
    }
    Ok(Json(Exported {
        trust: text(trust)?,
        statements,
    }))
}

fn text(envelope: Vec<u8>) -> Result<String, FleetError> {
    String::from_utf8(envelope).map_err(|error| FleetError::Inconsistent(error.to_string()))
}
