//! `GET /internal/fleet/export`: what a gateway needs to begin while nobody can be asked.

use axum::extract::State;
use fleet::{Digest, Envelope, Exported, Statement};

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
    let (mut statements, mut pages) = (Vec::new(), Vec::new());
    for pointer in pointers {
        let envelope = store::blob(&mut conn, pointer.digest.as_bytes()).await?;
        let envelope = envelope.ok_or_else(nothing)?;
        for digest in pages_of(&envelope)? {
            let page = store::blob(&mut conn, digest.as_bytes()).await?;
            pages.push(text(page.ok_or_else(nothing)?)?);
        }
        statements.push(text(envelope)?);
    }
    Ok(Json(Exported {
        trust: text(trust)?,
        statements,
        pages,
    }))
}

/// The pages that a statement names.
fn pages_of(envelope: &[u8]) -> Result<Vec<Digest>, FleetError> {
    let inconsistent = |error: &dyn std::fmt::Display| FleetError::Inconsistent(error.to_string());
    let envelope = Envelope::parse(envelope).map_err(|error| inconsistent(&error))?;
    let statement: Statement =
        serde_json::from_slice(&envelope.payload).map_err(|error| inconsistent(&error))?;
    let pages = statement.pages().map_err(|error| inconsistent(&error))?;
    Ok(pages.iter().map(|page| page.digest).collect())
}

fn text(envelope: Vec<u8>) -> Result<String, FleetError> {
    String::from_utf8(envelope).map_err(|error| FleetError::Inconsistent(error.to_string()))
}
