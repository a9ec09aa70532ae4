//! `GET /internal/kek`: the versions, and what is sealed under each.

use axum::extract::State;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::Serialize;

use super::{KekError, store};
use crate::extract::Json;
use crate::state::AppState;

/// The versions of the key-encryption key.
#[derive(Debug, Serialize)]
pub(crate) struct Keks {
    /// The version that seals; null before the first key.
    active: Option<i32>,
    /// Below this nothing opens any more: every lower version is retired.
    min_version: Option<i32>,
    /// The versions, lowest first.
    keks: Vec<KekView>,
}

/// One version.
#[derive(Debug, Serialize)]
struct KekView {
    version: i32,
    /// `new` (in the settings only), `active`, `retiring`, `retired`.
    state: String,
    /// Whether this control plane has its secret.
    in_settings: bool,
    /// Where it stays, when it is not a secret of this control plane.
    place: Option<String>,
    /// Private keys that need it.
    sealed_keys: i64,
    created_at: Option<DateTime<Utc>>,
    retiring_at: Option<DateTime<Utc>>,
    retired_at: Option<DateTime<Utc>>,
}

/// Lists the versions.
pub(crate) async fn show_keks(State(state): State<AppState>) -> Result<Json<Keks>, Problem> {
    Ok(Json(keks(&state).await?))
}

async fn keks(state: &AppState) -> Result<Keks, KekError> {
    let mut conn = state.db.acquire().await?;
    let known = store::all(&mut conn).await?;
    let ours = state.vault.keks();
    let unknown = ours
        .versions()
        .into_iter()
        .filter(|version| known.iter().all(|kek| kek.version != *version))
        .map(|version| KekView {
            version,
            state: "new".to_owned(),
            in_settings: true,
            place: ours.place(version).map(str::to_owned),
            sealed_keys: 0,
            created_at: None,
            retiring_at: None,
            retired_at: None,
        });
    let of_state = |state: &str| known.iter().find(|kek| kek.state == state).map(|kek| kek.version);
    let min_version = known
        .iter()
        .find(|kek| kek.state != "retired")
        .map(|kek| kek.version);
    let active = of_state("active");
    let mut keks: Vec<KekView> = known
        .iter()
        .map(|kek| KekView {
            version: kek.version,
            state: kek.state.clone(),
            in_settings: ours.has(kek.version),
            place: ours.place(kek.version).map(str::to_owned),
            sealed_keys: kek.sealed_keys,
            created_at: Some(kek.created_at),
            retiring_at: kek.retiring_at,
            retired_at: kek.retired_at,
        })
        .chain(unknown)
        .collect();
    keks.sort_by_key(|kek| kek.version);
    Ok(Keks {
        active,
        min_version,
        keks,
    })
}
