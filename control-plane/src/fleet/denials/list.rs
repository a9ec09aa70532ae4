//! The lists as gateways hold them, and `GET /internal/revocations`: both as one, by a long poll.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use keyring::{Revocation, RevocationList};
use serde::Deserialize;
use sqlx::PgConnection;
use tokio::time::{Instant, timeout_at};

use super::store;
use super::store::{BlockRow, RevocationRow};
use crate::extract::{Json, Query, fresh};
use crate::fleet::error::FleetError;
use crate::state::AppState;

/// Longest wait of one request, seconds; a longer `wait_s` counts as this.
const LONGEST_WAIT_S: u64 = 60;
/// How long an entry outlives the last token that it is about: gateways allow clocks to differ.
const SWEEP_AFTER_S: i64 = 120;
/// Bits of a `seq` below the epoch. A database that was restored goes on in the next epoch, beyond everything that was told
/// before.
const SEQ_BITS: u32 = 32;

/// What a gateway asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// The `seq` it holds; none when it holds nothing.
    after: Option<u64>,
    /// Seconds to wait for a newer one, 0 to 60.
    #[serde(default)]
    wait_s: u64,
}

/// Gives everything that is revoked and blocked if it is newer than `after`; otherwise waits up to `wait_s` seconds, then
/// 204. 409 `revocations-ahead` when the caller holds more than the database knows.
pub(crate) async fn show_list(
    State(state): State<AppState>,
    Query(query): Query<ListQuery>,
) -> Result<Response, FleetError> {
    let deadline = Instant::now() + Duration::from_secs(query.wait_s.min(LONGEST_WAIT_S));
    let mut board = state.fleet.board.subscribe();
    loop {
        // Marked as seen before reading: a change during the read ends the wait below at once.
        board.mark_unchanged();
        let mut conn = state.db.acquire().await?;
        let seq = seq(&mut conn).await?;
        match query.after {
            Some(after) if after > seq => return Err(FleetError::RevocationsAhead { after, seq }),
            Some(after) if after == seq => drop(conn),
            _ => return Ok(fresh(Json(everything(&mut conn).await?))),
        }
        let changed = tokio::select! {
            () = state.shutdown.cancelled() => false,
            change = timeout_at(deadline, board.changed()) => matches!(change, Ok(Ok(()))),
        };
        if !changed {
            return Ok(fresh(StatusCode::NO_CONTENT));
        }
    }
}

/// The `seq` of both lists as one: neither of them ever falls, so their sum tells every change of either.
pub(in crate::fleet) async fn seq(conn: &mut PgConnection) -> Result<u64, FleetError> {
    let seqs = store::seqs(conn).await?;
    compose(seqs.epoch, seqs.revocations.saturating_add(seqs.blocks))
}

async fn everything(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let revocations = revocations(conn).await?;
    let mut list = blocks(conn).await?;
    let epoch = list.seq >> SEQ_BITS;
    let of_both = (revocations.seq & u64::from(u32::MAX)).saturating_add(list.seq & u64::from(u32::MAX));
    list.seq = (epoch << SEQ_BITS) | of_both;
    list.revocations.extend(revocations.revocations);
    checked(list)
}

/// What is revoked, in one snapshot with its `seq`.
pub(in crate::fleet) async fn revocations(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let rows = store::revocations(conn).await?;
    let first = rows.first().map(|row| (row.epoch, row.seq));
    let revocations = rows.into_iter().filter_map(revocation).collect();
    checked(list(first, revocations)?)
}

/// What is blocked, in one snapshot with its `seq`.
pub(in crate::fleet) async fn blocks(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let rows = store::blocks(conn).await?;
    let first = rows.first().map(|row| (row.epoch, row.seq));
    let revocations = rows.into_iter().filter_map(network).collect();
    checked(list(first, revocations)?)
}

fn list(first: Option<(i64, i64)>, revocations: Vec<Revocation>) -> Result<RevocationList, FleetError> {
    let (epoch, seq) = first.ok_or_else(|| FleetError::Inconsistent("a list has no row".to_owned()))?;
    Ok(RevocationList {
        seq: compose(epoch, seq)?,
        revocations,
    })
}

fn compose(epoch: i64, seq: i64) -> Result<u64, FleetError> {
    let out_of_range = |_| FleetError::Inconsistent("an epoch or seq out of range".to_owned());
    let epoch = u64::try_from(epoch).map_err(out_of_range)?;
    let seq = u32::try_from(seq).map_err(out_of_range)?;
    Ok((epoch << SEQ_BITS) | u64::from(seq))
}

/// A list as a gateway would check it: a wrong one is not told to anybody.
fn checked(list: RevocationList) -> Result<RevocationList, FleetError> {
    list.validate()
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    Ok(list)
}

/// The entry of a row; the outer join of an empty list has none.
fn revocation(row: RevocationRow) -> Option<Revocation> {
    let (kind, issuer, name, until) = (row.kind?, row.issuer?, row.name?, row.until?);
    let issued_until = row.issued_until;
    Some(match kind.as_str() {
        "token" => Revocation::Token {
            issuer,
            jti: name,
            until,
        },
        "session" => Revocation::Session {
            issuer,
            sid: name,
            until,
        },
        "key" => Revocation::Key {
            issuer,
            kid: name,
            until,
        },
        "subject" => Revocation::Subject {
            issuer,
            sub: name,
            issued_until: issued_until?,
            until,
        },
        "client" => Revocation::Client {
            issuer,
            client_id: name,
            issued_until: issued_until?,
            until,
        },
        _ => return None,
    })
}

fn network(row: BlockRow) -> Option<Revocation> {
    let network = row.network?;
    let (address, prefix) = network.split_once('/')?;
    Some(Revocation::Network {
        address: address.parse().ok()?,
        prefix: prefix.parse().ok()?,
        until: row.until?,
    })
}

/// Takes away what means nothing any more, so that the lists stay small.
pub(in crate::fleet) async fn sweep(conn: &mut PgConnection) -> Result<(), FleetError> {
    store::sweep_revocations(conn, SWEEP_AFTER_S).await?;
    store::sweep_blocks(conn, SWEEP_AFTER_S).await?;
    Ok(())
}
