//! The trust document: which keys of the bundle ring may sign statements, as the offline roots have signed it.

use axum::extract::{Request, State};
use chrono::{DateTime, Utc};
use fleet::Trust;
use keyring::{Algorithm, thumbprint};
use problem::Problem;
use serde::Serialize;
use sqlx::PgConnection;

use super::error::FleetError;
use super::store;
use crate::extract::{Actor, Json, body};
use crate::policies;
use crate::state::AppState;

/// What a tool needs to make the next document, and what is in force.
#[derive(Debug, Serialize)]
pub(crate) struct TrustStanding {
    /// The fleet that a document must name; null where the settings have no `fleet`.
    fleet: Option<String>,
    /// The keys of the bundle ring that may still sign.
    bundle_keys: Vec<BundleKey>,
    /// Keys that the document in force lets sign now although they have retired or were revoked.
    former_keys: Vec<String>,
    /// Whether the roots must sign another document: a key is not named, or not for long, or for longer than it signs.
    needs_another: bool,
    /// The highest version that was accepted; 0 before there is one.
    version: i64,
    /// The document in force, read; null before there is one, and when other roots have signed it than those of today.
    trust: Option<Trust>,
    /// Who handed it over, and when.
    author: Option<String>,
    accepted_at: Option<DateTime<Utc>>,
}

/// A key that the next document should name.
#[derive(Debug, Serialize)]
struct BundleKey {
    keyid: String,
    /// 32 bytes Ed25519, base64url.
    public: String,
    state: String,
    /// Of one that retires: until when it signs, Unix seconds. The next document lets it sign until then.
    sign_until: Option<i64>,
    /// Whether the document in force names it for this moment.
    is_trusted: bool,
    /// Whether it names it for less than [`Trust::NOTICE_S`] longer.
    ends_soon: bool,
    /// Whether it lets it sign for longer than its ring does: who steals it then has a key that gateways believe.
    outlives: bool,
}

impl BundleKey {
    fn new(row: &store::BundleKeyRow, trust: Option<&Trust>, now: i64) -> Self {
        let key = fleet::TrustedKey::new(&row.public_key, now, now);
        let entry = trust.and_then(|trust| trust.key(&key.keyid));
        Self {
            is_trusted: entry.is_some_and(|entry| entry.covers(now)),
            ends_soon: entry.is_some_and(|entry| ends_soon(entry.not_after, now)),
            outlives: entry
                .zip(row.sign_until)
                .is_some_and(|(entry, until)| entry.not_after > until),
            sign_until: row.sign_until,
            keyid: key.keyid,
            public: key.public,
            state: row.state.clone(),
        }
    }

    const fn needs_another(&self) -> bool {
        match self.sign_until {
            Some(_) => self.outlives,
            None => !self.is_trusted || self.ends_soon,
        }
    }
}

/// Shows what is in force and what the next document should name.
pub(super) async fn show_standing(State(state): State<AppState>) -> Result<Json<TrustStanding>, FleetError> {
    let mut conn = state.db.acquire().await?;
    let now = store::database_time(&mut conn).await?.timestamp();
    let version = store::trust_version(&mut conn).await?.unwrap_or(0);
    let trust = believed(&state, &mut conn).await?;
    let bundle_keys: Vec<BundleKey> = store::bundle_keys(&mut conn)
        .await?
        .iter()
        .map(|row| BundleKey::new(row, trust.as_ref(), now))
        .collect();
    let former_keys = former_keys(&mut conn, trust.as_ref(), now).await?;
    let record = store::trust_record(&mut conn).await?;
    Ok(Json(TrustStanding {
        fleet: state
            .fleet
            .settings
            .as_ref()
            .map(|settings| settings.name.clone()),
        needs_another: !former_keys.is_empty() || bundle_keys.iter().any(BundleKey::needs_another),
        bundle_keys,
        former_keys,
        version,
        trust,
        author: record.as_ref().map(|record| record.author.clone()),
        accepted_at: record.map(|record| record.created_at),
    }))
}

/// Keys that have retired or were revoked, and that a document lets sign nevertheless.
async fn former_keys(
    conn: &mut PgConnection,
    trust: Option<&Trust>,
    now: i64,
) -> Result<Vec<String>, FleetError> {
    let Some(trust) = trust else { return Ok(Vec::new()) };
    let mut former = store::former_bundle_keys(conn).await?;
    former.retain(|keyid| covers(trust, keyid, now));
    Ok(former)
}

/// The keys of the bundle ring that the document in force lets sign for longer than their ring does.
pub(super) async fn trusted_too_long(
    state: &AppState,
    conn: &mut PgConnection,
    now: i64,
) -> Result<Vec<String>, FleetError> {
    let trust = believed(state, conn).await?;
    let mut keys = former_keys(conn, trust.as_ref(), now).await?;
    let rows = store::bundle_keys(conn).await?;
    let standing = rows.iter().map(|row| BundleKey::new(row, trust.as_ref(), now));
    keys.extend(standing.filter(|key| key.outlives).map(|key| key.keyid));
    Ok(keys)
}

/// Takes a document that the pinned roots have signed for this fleet, with a higher version than the one in force. The same
/// one twice is once; 409 `trust-refused` otherwise, and when it does not name the key that signs now: whoever wants to be
/// rid of that key rotates or revokes it first.
pub(super) async fn take_trust(
    State(state): State<AppState>,
    actor: Actor,
    request: Request,
) -> Result<Json<Trust>, Problem> {
    let envelope = body(request, &state).await?;
    Ok(Json(accept(&state, &actor, &envelope).await?))
}

async fn accept(state: &AppState, actor: &Actor, envelope: &[u8]) -> Result<Trust, FleetError> {
    let mut tx = state.db.begin().await?;
    let before = store::trust(&mut tx).await?;
    let version = store::trust_version(&mut tx).await?.unwrap_or(0);
    let is_the_same = before.is_some_and(|before| before == envelope);
    let at_least = if is_the_same {
        version
    } else {
        version.saturating_add(1)
    };
    let trust = read(state, envelope, u64::try_from(at_least).unwrap_or(u64::MAX))?;
    if !is_the_same {
        let now = store::database_time(&mut tx).await?.timestamp();
        for key in store::bundle_keys(&mut tx)
            .await?
            .iter()
            .filter(|key| key.state == "active")
        {
            if !covers(&trust, &thumbprint(Algorithm::EdDSA, &key.public_key), now) {
                return Err(FleetError::TrustWithoutSigner);
            }
        }
        let version = i64::try_from(trust.version)
            .map_err(|_| FleetError::Invalid("the version of a trust document is a small whole number"))?;
        // The next document may not name a key that was revoked a moment ago: what it signed must be signed anew before.
        policies::state_again_in_time(state, &mut tx).await?;
        store::insert_trust(&mut tx, version, envelope, actor.name()).await?;
        store::record(&mut tx, actor, "trust.accepted", &format!("version {version}")).await?;
        tx.commit().await?;
        tracing::info!(
            version,
            actor = actor.name(),
            keys = trust.keys.len(),
            "another trust document is in force"
        );
    }
    Ok(trust)
}

fn read(state: &AppState, envelope: &[u8], at_least: u64) -> Result<Trust, FleetError> {
    let (Some(roots), Some(settings)) = (&state.fleet.roots, &state.fleet.settings) else {
        return Err(FleetError::NoRoots);
    };
    Ok(roots.read(envelope, &settings.name, at_least)?)
}

/// The document in force, checked again against the roots of today; none when there is none, or nobody could check it.
pub(super) async fn in_force(state: &AppState, conn: &mut PgConnection) -> Result<Option<Trust>, FleetError> {
    match store::trust(conn).await? {
        Some(envelope) if state.fleet.roots.is_some() => read(state, &envelope, 0).map(Some),
        _ => Ok(None),
    }
}

/// Every document that the roots of today have signed, the one in force first. Keys that were revoked count in that one alone:
/// what gateways believe still. A document of other roots counts for nothing.
pub(super) async fn ever_in_force(
    state: &AppState,
    conn: &mut PgConnection,
) -> Result<Vec<Trust>, FleetError> {
    let revoked = store::revoked_bundle_keys(conn).await?;
    let mut documents = Vec::new();
    for (place, envelope) in store::trust_documents(conn).await?.iter().enumerate() {
        let mut trust = match read(state, envelope, 0) {
            Ok(trust) => trust,
            Err(FleetError::Trust(_)) => continue,
            Err(error) => return Err(error),
        };
        if place > 0 {
            trust.keys.retain(|key| !revoked.contains(&key.keyid));
        }
        documents.push(trust);
    }
    Ok(documents)
}

/// The one in force, and none for one that the roots of today have not signed: whoever asks must have another signed.
async fn believed(state: &AppState, conn: &mut PgConnection) -> Result<Option<Trust>, FleetError> {
    match in_force(state, conn).await {
        Err(FleetError::Trust(_)) => Ok(None),
        read => read,
    }
}

/// Whether the document names the key for this moment, Unix seconds.
pub(super) fn covers(trust: &Trust, keyid: &str, moment: i64) -> bool {
    trust.key(keyid).is_some_and(|key| key.covers(moment))
}

/// Whether a key that may sign until a moment needs another document now.
pub(super) const fn ends_soon(until: i64, now: i64) -> bool {
    until.saturating_sub(now) < Trust::NOTICE_S
}

/// The last moment in which the key that signs now may do so, Unix seconds; none where no document in force names it.
pub(super) async fn signs_until(
    state: &AppState,
    conn: &mut PgConnection,
) -> Result<Option<i64>, FleetError> {
    let Some(trust) = believed(state, conn).await? else {
        return Ok(None);
    };
    let keys = store::bundle_keys(conn).await?;
    let signer = keys.iter().find(|key| key.state == "active");
    let keyid = signer.map(|key| thumbprint(Algorithm::EdDSA, &key.public_key));
    Ok(keyid.and_then(|keyid| Some(trust.key(&keyid)?.not_after)))
}

/// Whether a key of the bundle ring may become the one that signs: gateways believe no other than those that the trust
/// document in force names. Always where there is no fleet.
///
/// # Errors
///
/// When the database cannot say.
pub(crate) async fn is_trusted_to_sign(
    state: &AppState,
    conn: &mut PgConnection,
    public_key: &[u8],
) -> Result<bool, FleetError> {
    if state.fleet.roots.is_none() || store::trust_version(conn).await?.is_none() {
        return Ok(true);
    }
    let now = store::database_time(conn).await?.timestamp();
    let trust = believed(state, conn).await?;
    let keyid = thumbprint(Algorithm::EdDSA, public_key);
    Ok(trust.is_some_and(|trust| covers(&trust, &keyid, now)))
}
