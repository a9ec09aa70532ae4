//! `GET /internal/keyset`: what verifiers hold, pushed to them by a long poll.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyring::{KeySet, KeyState, PublicKey, RingName};
use problem::Problem;
use serde::Deserialize;
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use super::error::KeyError;
use super::store;
use super::store::PublishedRow;
use crate::announcements;
use crate::extract::{Json, Query, fresh};
use crate::state::AppState;

/// Longest wait of one request, seconds; a longer `wait_s` counts as this.
const LONGEST_WAIT_S: u64 = 60;
/// The channel on which the database announces a ring that has changed.
const CHANNEL: &str = "portico_key_ring";
/// How often the database is asked when no announcement comes: an upper bound for a lost one.
const POLL: Duration = Duration::from_secs(1);

/// What a verifier asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeySetQuery {
    /// The `seq` it holds; none when it holds nothing.
    after: Option<i64>,
    /// Seconds to wait for a newer one, 0 to 60.
    #[serde(default)]
    wait_s: u64,
}

/// Gives the key set if it is newer than `after`; otherwise waits up to `wait_s` seconds for one, then 204.
///
/// 503 while there is no key set: an empty one is never served, it would refuse every token. 409 `keyset-ahead` when the
/// caller holds a newer set than the database.
pub(crate) async fn show_keyset(
    State(state): State<AppState>,
    Query(query): Query<KeySetQuery>,
) -> Result<Response, Problem> {
    let deadline = Instant::now() + Duration::from_secs(query.wait_s.min(LONGEST_WAIT_S));
    let mut known = state.seq.clone();
    loop {
        // Marked as seen before reading: a change during the read ends the wait below at once.
        known.mark_unchanged();
        let set = key_set(&mut *state.db.acquire().await.map_err(KeyError::from)?).await?;
        let seq = i64::try_from(set.seq).unwrap_or(i64::MAX);
        match query.after {
            Some(after) if after > seq => return Err(KeyError::KeySetAhead { after, seq }.into()),
            Some(after) if after == seq => {}
            _ => return Ok(fresh(Json(set))),
        }
        let changed = tokio::select! {
            () = state.shutdown.cancelled() => false,
            change = timeout_at(deadline, known.changed()) => matches!(change, Ok(Ok(()))),
        };
        if !changed {
            return Ok(fresh(StatusCode::NO_CONTENT));
        }
    }
}

/// Reads the key set and checks it as a verifier would: a wrong set is not published.
pub(crate) async fn key_set(conn: &mut PgConnection) -> Result<KeySet, KeyError> {
    let rows = store::published_keys(conn, RingName::Access).await?;
    let seq = rows.first().map(|row| row.seq).ok_or(KeyError::NotInitialised)?;
    let mut set = KeySet {
        seq: u64::try_from(seq).map_err(|_| KeyError::Inconsistent("a negative seq".to_owned()))?,
        keys: Vec::new(),
        revoked_kids: Vec::new(),
    };
    for row in rows {
        add(&mut set, row)?;
    }
    set.validate()
        .map_err(|error| KeyError::Inconsistent(error.to_string()))?;
    Ok(set)
}

fn add(set: &mut KeySet, row: PublishedRow) -> Result<(), KeyError> {
    let (Some(kid), Some(algorithm), Some(state), Some(public)) =
        (row.kid, row.algorithm, row.state, row.public_key)
    else {
        // The outer join of a ring without keys.
        return Ok(());
    };
    let unknown = || KeyError::Inconsistent(format!("key {kid} has an unknown state or algorithm"));
    let state: KeyState = state.parse().map_err(|_| unknown())?;
    if state == KeyState::Revoked {
        set.revoked_kids.push(kid);
        return Ok(());
    }
    let algorithm = algorithm.parse().map_err(|_| unknown())?;
    let key = PublicKey {
        sign_until: row.sign_until,
        verify_until: row.verify_until,
        ..PublicKey::new(algorithm, &public, state)
    };
    if key.kid != kid {
        return Err(KeyError::Inconsistent(format!(
            "the kid {kid} is not the thumbprint of its key"
        )));
    }
    set.keys.push(key);
    Ok(())
}

/// Follows the `seq` of the ring until shutdown: by announcement, and by asking every second in case one was lost.
pub(crate) async fn follow(state: AppState, changes: watch::Sender<i64>) {
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listener: Option<PgListener> = None;
    let mut was_reachable = true;
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
            is_alive = announcements::next(&mut listener) => if !is_alive { listener = None },
        }
        let read = read_seq(&state, &mut listener).await;
        was_reachable = note_reachable(was_reachable, read.as_ref().err());
        if let Ok(seq) = read {
            changes.send_if_modified(|known| std::mem::replace(known, seq) != seq);
        }
    }
}

/// Listens first, then reads: a change between the two is announced.
async fn read_seq(state: &AppState, listener: &mut Option<PgListener>) -> sqlx::Result<i64> {
    if listener.is_none() {
        *listener = Some(announcements::listen(&state.db, &[CHANNEL]).await?);
    }
    let mut conn = state.db.acquire().await?;
    Ok(store::seq(&mut conn, RingName::Access).await?.unwrap_or(0))
}

/// Says once when the ring goes out of reach, not every second.
fn note_reachable(was_reachable: bool, error: Option<&sqlx::Error>) -> bool {
    if let (true, Some(error)) = (was_reachable, error) {
        tracing::warn!(%error, "the key ring cannot be followed; verifiers keep what they hold");
    }
    error.is_none()
}
