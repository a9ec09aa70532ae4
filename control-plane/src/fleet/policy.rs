//! The policy stream: it follows no table, but is stated by roll-outs.

use fleet::{PolicyContent, Stream};
use serde_json::value::to_raw_value;
use sqlx::PgConnection;

use super::error::FleetError;
use super::publish::{Draft, is_due, seal};
use super::{store, trust};
use crate::state::AppState;

/// A policy to be stated.
#[derive(Debug)]
pub(crate) struct NewPolicy<'a> {
    pub(crate) content: &'a PolicyContent,
    pub(crate) change_id: &'a str,
    pub(crate) author: &'a str,
    pub(crate) approvers: &'a [String],
    /// How long a gateway may take it over, seconds.
    pub(crate) validity_s: u32,
}

/// Signs a policy, and writes it down at the position behind the last one; nobody is told of it yet. Gives epoch and seq.
/// The caller holds the row of the fleet, so that no other takes the same position.
///
/// # Errors
///
/// When there is no fleet, when gateways would not believe the key that signs, or when the database does not answer.
pub(crate) async fn state_policy(
    state: &AppState,
    conn: &mut PgConnection,
    policy: &NewPolicy<'_>,
) -> Result<(i64, i64), FleetError> {
    let settings = state.fleet.settings.as_ref().ok_or(FleetError::NoRoots)?;
    let trust = trust::in_force(state, conn).await?.ok_or(FleetError::NoTrust)?;
    let latest = store::latest(conn, Stream::Policy.as_str()).await?;
    let content =
        to_raw_value(policy.content).map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    let draft = Draft {
        stream: Stream::Policy,
        content,
        source_seq: 0,
        change_id: policy.change_id.to_owned(),
        author: policy.author.to_owned(),
        approvers: policy.approvers.to_vec(),
        validity_s: policy.validity_s,
    };
    let stated = seal(state, settings, &latest, draft).await?;
    if !trust::covers(&trust, &stated.keyid, latest.now.timestamp()) {
        return Err(FleetError::NoTrust);
    }
    if !store::insert_statement(conn, &stated).await? {
        return Err(FleetError::Inconsistent(
            "the position of a policy was given twice".to_owned(),
        ));
    }
    Ok((stated.epoch, stated.seq))
}

/// Whether the newest policy must be stated again, because it is half-way to its expiry, of an earlier epoch, or signed by
/// a key that gateways no longer believe.
///
/// # Errors
///
/// When the database does not answer.
pub(crate) async fn is_policy_due(state: &AppState, conn: &mut PgConnection) -> Result<bool, FleetError> {
    let Some(trust) = trust::in_force(state, conn).await? else {
        return Ok(false);
    };
    let latest = store::latest(conn, Stream::Policy.as_str()).await?;
    let now = latest.now.timestamp();
    Ok(latest.statement.is_some() && is_due(&latest, 0, |keyid| trust::covers(&trust, keyid, now)))
}
