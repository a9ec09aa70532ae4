//! `POST /internal/kek/rewrap`: what is sealed under older versions is brought to the one that seals, a batch at a time.

use axum::extract::State;
use keyring::{SealedFor, SealedPrivateKey};
use problem::Problem;
use serde::{Deserialize, Serialize};

use super::store::{Rewrapped, SealedRow};
use super::{KekError, sealing_version, store};
use crate::extract::{Json, Query};
use crate::state::AppState;

/// Keys of one batch, when nothing else is asked for.
const BATCH: i64 = 500;
/// Keys of one batch, at most: a batch is one transaction.
const LARGEST_BATCH: i64 = 5_000;

/// Where to go on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RewrapQuery {
    /// The kid after which to go on; none to begin.
    after: Option<String>,
    /// Keys to look at.
    batch: Option<i64>,
}

/// What a batch has done.
#[derive(Debug, Serialize)]
pub(crate) struct Batch {
    /// The version that seals.
    version: i32,
    /// Keys that were brought to it.
    rewrapped: usize,
    /// Keys that do not open, and stay as they are.
    failed: Vec<String>,
    /// Private keys that need an older version still.
    remaining: i64,
    /// Where the next batch begins; null after the last one.
    next: Option<String>,
}

/// Wraps the data keys of one batch anew; private parts stay sealed. A batch is one transaction, and what is done is told
/// from the rows: after a kill the work goes on where it stopped, whoever begins it again.
pub(crate) async fn rewrap_keys(
    State(state): State<AppState>,
    Query(query): Query<RewrapQuery>,
) -> Result<Json<Batch>, Problem> {
    Ok(Json(rewrap(&state, &query).await?))
}

async fn rewrap(state: &AppState, query: &RewrapQuery) -> Result<Batch, KekError> {
    let batch = query.batch.unwrap_or(BATCH).clamp(1, LARGEST_BATCH);
    let mut tx = state.db.begin().await?;
    let version = sealing_version(&mut tx, state.vault.keks()).await?;
    let after = query.after.as_deref().unwrap_or_default();
    let rows = store::sealed_under_others(&mut tx, version, after, batch).await?;
    let next = rows.last().map(|row| row.kid.clone());
    let (mut done, mut failed) = (Rewrapped::default(), Vec::new());
    for row in rows {
        match rewrapped(state, version, &row) {
            Ok(sealed) => done.push(row.kid, sealed),
            Err(error) => {
                tracing::error!(kid = row.kid, %error, "a sealed key cannot be rewrapped");
                failed.push(row.kid);
            }
        }
    }
    let rewrapped = done.kids.len();
    store::keep(&mut tx, version, &done).await?;
    let remaining = store::sealed_under_older(&mut tx, version).await?;
    tx.commit().await?;
    Ok(Batch {
        version,
        rewrapped,
        failed,
        remaining,
        next,
    })
}

fn rewrapped(state: &AppState, version: i32, row: &SealedRow) -> Result<SealedPrivateKey, KekError> {
    let algorithm = row
        .algorithm
        .parse()
        .map_err(|_| KekError::Seal(keyring::SealError::Context))?;
    let sealed_for = SealedFor {
        ring: &row.ring,
        kid: &row.kid,
        algorithm,
    };
    let sealed = SealedPrivateKey {
        kek_version: row.kek_version,
        wrapped_data_key: row.wrapped_data_key.clone(),
        ciphertext: row.sealed_private_key.clone(),
    };
    Ok(state.vault.keks().rewrap(version, sealed_for, &sealed)?)
}
