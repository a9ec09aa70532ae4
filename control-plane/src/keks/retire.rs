//! `POST /internal/kek/retire`: a version that nothing needs any more ends.

use axum::extract::State;
use problem::Problem;
use serde::{Deserialize, Serialize};

use super::{KekError, store};
use crate::extract::{Actor, Json, Query};
use crate::state::AppState;

/// Which version.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfVersion {
    version: i32,
}

/// A version at its end.
#[derive(Debug, Serialize)]
pub(crate) struct RetiredKek {
    version: i32,
    /// Whether this request did it; false when it had been done before.
    changed: bool,
}

/// Retires a version: it seals nothing ever again, and its secret may be destroyed.
///
/// 404 for a version that never was; 409 `kek-in-use` while it seals, or a private key is sealed under it. The database
/// refuses it, too, whatever happens in between.
pub(crate) async fn retire_kek(
    State(state): State<AppState>,
    Query(OfVersion { version }): Query<OfVersion>,
    actor: Actor,
) -> Result<Json<RetiredKek>, Problem> {
    let changed = retire(&state, version, &actor).await?;
    if changed {
        tracing::info!(actor = actor.name(), version, "a key-encryption key was retired");
    }
    Ok(Json(RetiredKek { version, changed }))
}

async fn retire(state: &AppState, version: i32, actor: &Actor) -> Result<bool, KekError> {
    let mut tx = state.db.begin().await?;
    let found = store::lock(&mut tx, version).await?;
    match found.as_deref() {
        None => return Err(KekError::Unknown { version }),
        Some("retired") => return Ok(false),
        Some("active") => return Err(KekError::Seals { version }),
        Some(_) => {}
    }
    let sealed = store::sealed_under(&mut tx, version).await?;
    if sealed > 0 {
        return Err(KekError::InUse { version, sealed });
    }
    store::retire(&mut tx, version).await?;
    store::record(&mut tx, actor, "kek.retired", version).await?;
    tx.commit().await?;
    Ok(true)
}
