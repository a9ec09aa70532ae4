//! The lists as gateways hold them.

use fleet::Stream;
use keyring::{Revocation, RevocationList};
use sqlx::{Connection as _, PgConnection, PgTransaction};

use super::store;
use super::store::{BlockRow, RevocationRow};
use crate::fleet::error::FleetError;

/// How long an entry outlives the last token that it is about: gateways allow clocks to differ.
const SWEEP_AFTER_S: i64 = 120;
/// Bits of a `seq` below the epoch. A database that was restored goes on in the next epoch, beyond everything that was told
/// before.
const SEQ_BITS: u32 = 32;

/// The `seq` of the list that a stream states.
pub(super) async fn seq(conn: &mut PgConnection, stream: Stream) -> Result<u64, FleetError> {
    let seqs = store::seqs(conn).await?;
    let seq = match stream {
        Stream::Blocks => seqs.blocks,
        _ => seqs.revocations,
    };
    compose(seqs.epoch, seq)
}

/// What is revoked, in one snapshot with its `seq`.
pub(in crate::fleet) async fn revocations(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let mut snapshot = snapshot(conn).await?;
    let seq = seq(&mut snapshot, Stream::Revocations).await?;
    let rows = store::revocations(&mut snapshot).await?;
    snapshot.commit().await?;
    checked(seq, rows.into_iter().filter_map(revocation).collect())
}

/// What is blocked, in one snapshot with its `seq`.
pub(in crate::fleet) async fn blocks(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let mut snapshot = snapshot(conn).await?;
    let seq = seq(&mut snapshot, Stream::Blocks).await?;
    let rows = store::blocks(&mut snapshot).await?;
    snapshot.commit().await?;
    checked(seq, rows.iter().filter_map(network).collect())
}

/// Two statements instead of one that joins them: of the join, PostgreSQL sorts a full list on its disk.
async fn snapshot(conn: &mut PgConnection) -> sqlx::Result<PgTransaction<'_>> {
    conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await
}

fn compose(epoch: i64, seq: i64) -> Result<u64, FleetError> {
    let out_of_range = |_| FleetError::Inconsistent("an epoch or seq out of range".to_owned());
    let epoch = u64::try_from(epoch).map_err(out_of_range)?;
    let seq = u32::try_from(seq).map_err(out_of_range)?;
    Ok((epoch << SEQ_BITS) | u64::from(seq))
}

/// A list as a gateway would check it: a wrong one is not told to anybody.
fn checked(seq: u64, revocations: Vec<Revocation>) -> Result<RevocationList, FleetError> {
    let list = RevocationList { seq, revocations };
    list.validate()
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    Ok(list)
}

fn revocation(row: RevocationRow) -> Option<Revocation> {
    let RevocationRow {
        kind,
        issuer,
        name,
        issued_until,
        until,
    } = row;
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

fn network(row: &BlockRow) -> Option<Revocation> {
    let (address, prefix) = row.network.split_once('/')?;
    let (address, prefix, until) = (address.parse().ok()?, prefix.parse().ok()?, row.until);
    Some(match row.scope.as_str() {
        "sign_in" => Revocation::SignIn {
            address,
            prefix,
            until,
        },
        _ => Revocation::Network {
            address,
            prefix,
            until,
        },
    })
}

/// Takes away what means nothing any more, so that the lists stay small.
pub(in crate::fleet) async fn sweep(conn: &mut PgConnection) -> Result<(), FleetError> {
    store::sweep_revocations(conn, SWEEP_AFTER_S).await?;
    store::sweep_blocks(conn, SWEEP_AFTER_S).await?;
    Ok(())
}
