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
    checked(seq, rows.into_iter().map(revocation))
}

/// What is blocked, in one snapshot with its `seq`.
pub(in crate::fleet) async fn blocks(conn: &mut PgConnection) -> Result<RevocationList, FleetError> {
    let mut snapshot = snapshot(conn).await?;
    let seq = seq(&mut snapshot, Stream::Blocks).await?;
    let rows = store::blocks(&mut snapshot).await?;
    snapshot.commit().await?;
    checked(seq, rows.iter().map(network))
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
fn checked(
    seq: u64,
    revocations: impl Iterator<Item = Result<Revocation, FleetError>>,
) -> Result<RevocationList, FleetError> {
    let revocations = revocations.collect::<Result<_, _>>()?;
    let list = RevocationList { seq, revocations };
    list.validate()
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    Ok(list)
}

/// What a newer version of Portico may have written. A list without it would let through what was denied.
fn unknown(what: &str) -> FleetError {
    FleetError::Inconsistent(format!("a denial of a kind that is not known: {what}"))
}

fn revocation(row: RevocationRow) -> Result<Revocation, FleetError> {
    let RevocationRow {
        kind,
        issuer,
        name,
        issued_until,
        until,
    } = row;
    let issued_until = || issued_until.ok_or_else(|| unknown(&kind));
    Ok(match kind.as_str() {
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
            issued_until: issued_until()?,
            until,
        },
        "client" => Revocation::Client {
            issuer,
            client_id: name,
            issued_until: issued_until()?,
            until,
        },
        _ => return Err(unknown(&kind)),
    })
}

fn network(row: &BlockRow) -> Result<Revocation, FleetError> {
    let parts = row.network.split_once('/');
    let parse = |(address, prefix): (&str, &str)| Some((address.parse().ok()?, prefix.parse().ok()?));
    let (address, prefix) = parts.and_then(parse).ok_or_else(|| unknown(&row.network))?;
    let until = row.until;
    Ok(match row.scope.as_str() {
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
