//! The policy stream: it follows no table, but is stated by roll-outs.

use fleet::{Envelope, Member, PolicyContent, PolicyFile, Refusal, Stream, Version, readmit};
use policy::SourceFile;
use policy::language::oldest_reader;
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

/// The oldest gateway that knows every key of a policy and of its cases.
pub(crate) fn oldest_gateway(content: &PolicyContent) -> Version {
    let read = |file: &PolicyFile| SourceFile::from_bytes(&file.name, file.text.as_bytes());
    let files: Vec<_> = content.files.iter().chain(&content.cases).map(read).collect();
    let (major, minor, patch) = oldest_reader(&files);
    Version(major, minor, patch)
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
        policy: Some(policy.content.digest()),
        source_seq: 0,
        features: Vec::new(),
        change_id: policy.change_id.to_owned(),
        author: policy.author.to_owned(),
        approvers: policy.approvers.to_vec(),
        min_version: oldest_gateway(policy.content),
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

/// The content of a policy that was stated, from its envelope as the database has it. Whoever can write to the database must
/// not have the control plane sign what nobody signed before: the envelope is believed as a gateway believes it, by the trust
/// document in force or an earlier one.
///
/// # Errors
///
/// [`FleetError::NotAsSigned`] when that is not so, [`FleetError::SignerRevoked`] when its key was revoked since; when there is no fleet, or the database does not answer.
pub(crate) async fn recall_policy(
    state: &AppState,
    conn: &mut PgConnection,
    envelope: &[u8],
    (epoch, seq): (i64, i64),
) -> Result<PolicyContent, FleetError> {
    let settings = state.fleet.settings.as_ref().ok_or(FleetError::NoRoots)?;
    let version = env!("CARGO_PKG_VERSION").parse();
    let member = Member {
        fleet: &settings.name,
        environment: &settings.environment,
        name: "",
        version: version.map_err(|error: &str| FleetError::Inconsistent(error.to_owned()))?,
        features: &[],
    };
    let position = store::position(epoch, seq)?;
    let refused = |why: String| FleetError::NotAsSigned { position, why };
    let mut read = Err(Refusal::Unsigned);
    for trust in trust::ever_in_force(state, conn).await? {
        read = readmit(envelope, Stream::Policy, &trust, &member);
        // An earlier document may know the key, or know it for another time.
        if !matches!(read, Err(Refusal::Unsigned | Refusal::KeyTime(_))) {
            break;
        }
    }
    if matches!(read, Err(Refusal::Unsigned))
        && let Some(keyid) = revoked_signer(conn, envelope).await?
    {
        return Err(FleetError::SignerRevoked { position, keyid });
    }
    let statement = read.map_err(|error| refused(error.to_string()))?;
    if statement.position != position {
        return Err(refused(format!("it was signed for {}", statement.position)));
    }
    serde_json::from_str(statement.content.get()).map_err(|error| refused(error.to_string()))
}

/// The revoked key in whose name an envelope is signed. That the signature is not its own would change nothing.
async fn revoked_signer(conn: &mut PgConnection, envelope: &[u8]) -> Result<Option<String>, FleetError> {
    let Ok(envelope) = Envelope::parse(envelope) else {
        return Ok(None);
    };
    let revoked = store::revoked_bundle_keys(conn).await?;
    let mut signers = envelope.signatures.into_iter().map(|signature| signature.keyid);
    Ok(signers.find(|keyid| revoked.contains(keyid)))
}

/// Whether the policy in force must be stated again, because its statement is half-way to its expiry, of an earlier epoch,
/// signed by a key that gateways no longer believe, or by one that has retired or was revoked: as long as they believe that one
/// still, what it signed can be told from what a thief signs. A newer statement that was halted in shadow says nothing of it, but one that no
/// key of ours has signed does: a gateway that took it is only brought back by a newer one.
///
/// # Errors
///
/// When the database does not answer.
pub(crate) async fn is_policy_due(
    state: &AppState,
    conn: &mut PgConnection,
    in_force: (i64, i64),
) -> Result<bool, FleetError> {
    let Some(trust) = trust::in_force(state, conn).await? else {
        return Ok(false);
    };
    let stands = store::standing_at(conn, Stream::Policy.as_str(), in_force).await?;
    let now = stands.now.timestamp();
    let former = store::former_bundle_keys(conn).await?;
    let is_believed =
        |keyid: &str| trust::covers(&trust, keyid, now) && former.iter().all(|former| former != keyid);
    let newest = store::latest(conn, Stream::Policy.as_str()).await?.statement;
    Ok(is_due(&stands, 0, is_believed) || newest.is_some_and(|newest| !is_believed(&newest.keyid)))
}
