//! `POST /internal/kek/rewrap`: what is sealed under older versions is brought to the one that seals, a batch at a time.

use axum::extract::State;
use custody::CustodyError;
use futures::stream::{self, StreamExt as _};
use keyring::{SealedFor, SealedPrivateKey};
use problem::Problem;
use serde::{Deserialize, Serialize};

use super::store::{Rewrapped, SealedRow};
use super::{KekError, sealing_version, store};
use crate::extract::{Json, Query};
use crate::state::AppState;

/// Keys of one batch, when nothing else is asked for.
const BATCH: i64 = 500;
/// Keys of one batch, at most: a batch is kept by one statement.
const LARGEST_BATCH: i64 = 5_000;
/// Keys that are worked on at once: each may ask another machine.
const AT_ONCE: usize = 8;

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
    rewrapped: u64,
    /// Keys that do not open, and stay as they are.
    failed: Vec<String>,
    /// Private keys that need an older version still.
    remaining: i64,
    /// Where the next batch begins; null after the last one.
    next: Option<String>,
}

/// Wraps the data keys of one batch anew; private parts stay sealed. Nothing is locked until that is done, and what is kept is
/// told from the rows: after a kill the work goes on where it stopped, whoever begins it again, and two at once do no harm.
///
/// 503 `keys-unavailable` when nobody answers who has a version; what was done until then is kept.
pub(crate) async fn rewrap_keys(
    State(state): State<AppState>,
    Query(query): Query<RewrapQuery>,
) -> Result<Json<Batch>, Problem> {
    Ok(Json(rewrap(&state, &query).await?))
}

async fn rewrap(state: &AppState, query: &RewrapQuery) -> Result<Batch, KekError> {
    let batch = query.batch.unwrap_or(BATCH).clamp(1, LARGEST_BATCH);
    let mut conn = state.db.acquire().await?;
    let version = sealing_version(&mut conn, state.vault.keks()).await?;
    let after = query.after.as_deref().unwrap_or_default();
    let rows = store::next_sealed_under_older(&mut conn, version, after, batch).await?;
    drop(conn);
    let next = rows.last().map(|row| row.kid.clone());
    let outcomes: Vec<_> = stream::iter(rows)
        .map(|row| async move {
            let outcome = rewrapped(state, version, &row).await;
            (row.kid, outcome)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let (mut done, mut failed, mut unavailable) = (Rewrapped::default(), Vec::new(), None);
    for (kid, outcome) in outcomes {
        match outcome {
            Ok(sealed) => done.push(kid, sealed),
            Err(KekError::Custody(error)) if error.is_unavailable() => unavailable = Some(error),
            Err(error) => {
                tracing::error!(kid, %error, "a sealed key cannot be rewrapped");
                failed.push(kid);
            }
        }
    }
    let mut tx = state.db.begin().await?;
    store::lock_rings(&mut tx).await?;
    let rewrapped = store::keep(&mut tx, version, &done).await?;
    tx.commit().await?;
    if let Some(error) = unavailable {
        return Err(error.into());
    }
    let remaining = store::sealed_under_older(&mut *state.db.acquire().await?, version).await?;
    Ok(Batch {
        version,
        rewrapped,
        failed,
        remaining,
        next,
    })
}

async fn rewrapped(state: &AppState, version: i32, row: &SealedRow) -> Result<SealedPrivateKey, KekError> {
    let algorithm = row
        .algorithm
        .parse()
        .map_err(|_| CustodyError::Seal(keyring::SealError::Context))?;
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
    Ok(state.vault.keks().rewrap(version, sealed_for, &sealed).await?)
}
