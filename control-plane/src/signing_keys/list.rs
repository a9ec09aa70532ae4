//! `GET /internal/keys`: the ring as operators see it, and whether it is fit to work.

use std::collections::BTreeSet;

use anyhow::Context as _;
use axum::extract::State;
use chrono::{DateTime, Utc};
use keyring::{KeyState, RingName};
use problem::Problem;
use serde::Serialize;
use service_runtime::health::Readiness;
use sqlx::PgConnection;

use super::error::KeyError;
use super::store::KeyRow;
use super::vault::VaultError;
use super::{OfRing, store};
use crate::extract::{Json, Query};
use crate::keks::{self, KekError};
use crate::state::AppState;

/// A ring and its keys. Never a private part, sealed or not.
#[derive(Debug, Serialize)]
pub(crate) struct RingView {
    /// Its name.
    ring: RingName,
    /// Its `seq`.
    seq: i64,
    /// The database's time when this was read.
    now: DateTime<Utc>,
    /// Seconds until the key that signs next has been published long enough; 0 when it has, null when there is none.
    rotatable_in_s: Option<i64>,
    /// The live gateways that do not know that key yet: a rotation waits for them.
    gateways_behind: Vec<String>,
    /// Its keys, newest first, 200 at most.
    keys: Vec<KeyRow>,
}

/// Lists the keys of the ring with their states and times. 503 before the ring exists.
pub(crate) async fn list_keys(
    State(state): State<AppState>,
    Query(OfRing { ring }): Query<OfRing>,
) -> Result<Json<RingView>, Problem> {
    Ok(Json(list(&state, ring).await?))
}

async fn list(state: &AppState, ring: RingName) -> Result<RingView, KeyError> {
    let mut conn = state.db.acquire().await?;
    let seq = store::seq(&mut conn, ring)
        .await?
        .ok_or(KeyError::NotInitialised)?;
    let keys = store::list(&mut conn, ring).await?;
    let now = store::database_time(&mut conn).await?;
    let dwell_s = i64::from(state.bounds.standby_dwell_s);
    let successor = store::successor(&mut conn, ring, now, dwell_s).await?;
    let gateways_behind = match &successor {
        Some(successor) => store::gateways_behind(&mut conn, ring, successor.published_seq).await?,
        None => Vec::new(),
    };
    Ok(RingView {
        ring,
        seq,
        now,
        rotatable_in_s: successor.map(|successor| successor.wait_s),
        gateways_behind,
        keys,
    })
}

/// What must hold before this process counts as ready: the database answers, and every ring has an active key and a
/// standby that both open.
pub(crate) fn readiness(state: &AppState) -> Readiness {
    let (database, ring) = (state.clone(), state.clone());
    Readiness::new()
        .check("database", move || {
            let state = database.clone();
            Box::pin(async move {
                let mut conn = state.db.acquire().await.map_err(|error| error.to_string())?;
                store::database_time(&mut conn)
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
        })
        .check("signing_keys", move || {
            let state = ring.clone();
            Box::pin(async move { check_rings(&state).await.map_err(|error| error.to_string()) })
        })
}

/// Refuses to start with key-encryption keys that are not the ones of the rings: the process could only stay unready for
/// ever. A database or a provider that is away and a ring that is not there yet are no reason, for they come.
pub(crate) async fn refuse_wrong_kek(state: &AppState) -> anyhow::Result<()> {
    if let Err(KeyError::Vault(error @ VaultError::Custody(_))) = check_rings(state).await
        && !error.is_unavailable()
    {
        return Err(error).context("kek: not the key-encryption key that the signing keys were sealed under");
    }
    let Ok(mut conn) = state.db.acquire().await else {
        return Ok(());
    };
    let proved = proved_versions(&mut conn, state).await.unwrap_or_default();
    match keks::compare(&mut conn, state.vault.keks(), &proved).await {
        Err(error @ KekError::OtherKey { .. }) => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The versions of the key-encryption key with which this process has opened a key of a ring.
async fn proved_versions(conn: &mut PgConnection, state: &AppState) -> sqlx::Result<BTreeSet<i32>> {
    let mut proved = BTreeSet::new();
    for ring in RingName::ALL {
        for wanted in [KeyState::Active, KeyState::Published] {
            let row = store::sealed_key(conn, ring, wanted).await?;
            if let Some(row) = row
                && state.vault.open(ring, &row).await.is_ok()
            {
                proved.insert(row.kek_version);
            }
        }
    }
    Ok(proved)
}

/// [`check_ring`] for every ring.
async fn check_rings(state: &AppState) -> Result<(), KeyError> {
    for ring in RingName::ALL {
        check_ring(state, ring).await?;
    }
    Ok(())
}

/// Opens the key that signs and the key that will sign next.
pub(super) async fn check_ring(state: &AppState, ring: RingName) -> Result<(), KeyError> {
    let mut conn = state.db.acquire().await?;
    for wanted in [KeyState::Active, KeyState::Published] {
        let row = store::sealed_key(&mut conn, ring, wanted).await?;
        let row = row.ok_or(KeyError::NotInitialised)?;
        state.vault.prove(ring, &row).await?;
    }
    Ok(())
}
