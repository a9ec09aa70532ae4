//! `/internal/revocations`: an operator revokes tokens, and takes it back.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use fleet::Stream;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::store;
use super::store::Entry;
use crate::extract::{Actor, Json, Path};
use crate::fleet::error::FleetError;
use crate::fleet::store as events;
use crate::state::AppState;

/// Longest time of an entry, seconds: 366 days.
const LONGEST_S: u32 = 366 * 24 * 3600;

/// By what tokens are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// One token, by its `jti`.
    Token,
    /// The tokens of a session, by their `sid`.
    Session,
    /// The tokens of a subject that were issued until a moment, by their `sub`.
    Subject,
    /// The tokens of a client that were issued until a moment, by their `client_id` or `azp`.
    Client,
    /// The tokens of a key, by their `kid`.
    Key,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Subject => "subject",
            Self::Client => "client",
            Self::Key => "key",
        }
    }

    /// Whether later tokens of the same name are good.
    const fn ends_with_a_moment(self) -> bool {
        matches!(self, Self::Subject | Self::Client)
    }
}

/// What is to be revoked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRevocation {
    kind: Kind,
    /// The `iss` of the tokens.
    issuer: String,
    /// The `jti`, `sid`, `sub`, `client_id` or `kid`.
    name: String,
    /// Of a subject or a client: the last `iat` that is meant, Unix seconds; now, when it is not given.
    issued_until: Option<i64>,
    /// For how long the entry stays, seconds: until the last token that is meant has expired.
    for_s: u32,
    #[serde(default)]
    reason: String,
}

/// What was revoked.
#[derive(Debug, Serialize)]
struct Revoked {
    id: i64,
    /// The `seq` of the list that has it: a gateway with this one refuses the tokens.
    seq: u64,
}

/// Everything that is revoked.
#[derive(Debug, Serialize)]
pub(crate) struct Entries {
    /// The `seq` of the list that is stated to gateways.
    seq: u64,
    revocations: Vec<EntryView>,
}

#[derive(Debug, Serialize)]
struct EntryView {
    id: i64,
    kind: String,
    issuer: String,
    name: String,
    issued_until: Option<DateTime<Utc>>,
    until: DateTime<Utc>,
    reason: String,
    author: String,
    created_at: DateTime<Utc>,
}

impl From<Entry> for EntryView {
    fn from(entry: Entry) -> Self {
        Self {
            id: entry.revocation_id,
            kind: entry.kind,
            issuer: entry.issuer,
            name: entry.name,
            issued_until: entry.issued_until,
            until: entry.until,
            reason: entry.reason,
            author: entry.author,
            created_at: entry.created_at,
        }
    }
}

/// Revokes. Twice is once; 409 `list-full` when there is no room for more entries.
pub(crate) async fn add_revocation(
    State(state): State<AppState>,
    actor: Actor,
    Json(new): Json<NewRevocation>,
) -> Result<Response, FleetError> {
    new.check()?;
    let mut tx = state.db.begin().await?;
    let now = events::database_time(&mut tx).await?;
    if new.issued_until.is_some_and(|moment| moment > now.timestamp()) {
        return Err(FleetError::Invalid(
            "issued_until lies in the future: it would refuse tokens that are not issued yet",
        ));
    }
    let issued_until = new.kind.ends_with_a_moment().then(|| {
        new.issued_until
            .and_then(|moment| DateTime::from_timestamp(moment, 0))
            .unwrap_or(now)
    });
    let id = store::revoke(&mut tx, &new.row(&actor), issued_until, i64::from(new.for_s)).await?;
    let subject = format!("{} {} of {}", new.kind.as_str(), new.name, new.issuer);
    events::record(&mut tx, &actor, "revocation.added", &subject).await?;
    let seq = super::seq(&mut tx, Stream::Revocations).await?;
    tx.commit().await?;
    tracing::info!(
        kind = new.kind.as_str(),
        issuer = new.issuer,
        actor = actor.name(),
        seq,
        "revoked"
    );
    Ok((StatusCode::CREATED, Json(Revoked { id, seq })).into_response())
}

impl NewRevocation {
    fn check(&self) -> Result<(), FleetError> {
        let is_name = |text: &str| !text.is_empty() && text.len() <= 512 && !text.contains(char::is_control);
        if !is_name(&self.issuer) || !is_name(&self.name) || self.reason.len() > 512 {
            return Err(FleetError::Invalid(
                "issuer and name have 1 to 512 bytes, a reason at most 512",
            ));
        }
        if !(1..=LONGEST_S).contains(&self.for_s) {
            return Err(FleetError::Invalid(
                "for_s is from 1 to 31622400: an entry ends when the tokens have expired",
            ));
        }
        if self.issued_until.is_some() && !self.kind.ends_with_a_moment() {
            return Err(FleetError::Invalid(
                "issued_until is for a subject or a client: the others are revoked whole",
            ));
        }
        Ok(())
    }

    fn row<'a>(&'a self, actor: &'a Actor) -> store::NewRow<'a> {
        store::NewRow {
            kind: self.kind.as_str(),
            issuer: &self.issuer,
            name: &self.name,
            reason: &self.reason,
            author: actor.name(),
        }
    }
}

/// Lists what is revoked, with who did it and why; the newest first.
pub(crate) async fn list_revocations(State(state): State<AppState>) -> Result<Json<Entries>, FleetError> {
    let mut conn = state.db.acquire().await?;
    let seq = super::seq(&mut conn, Stream::Revocations).await?;
    let entries = store::entries(&mut conn).await?;
    let revocations = entries.into_iter().map(EntryView::from).collect();
    Ok(Json(Entries { seq, revocations }))
}

/// Takes a revocation back: tokens that it refused are good again, if nothing else refuses them. 404 when there is none.
pub(crate) async fn remove_revocation(
    State(state): State<AppState>,
    actor: Actor,
    Path(id): Path<i64>,
) -> Result<StatusCode, FleetError> {
    let mut tx = state.db.begin().await?;
    let removed = store::remove_revocation(&mut tx, id).await?;
    let Some(subject) = removed else {
        return Err(FleetError::NotFound("no revocation has this id"));
    };
    events::record(&mut tx, &actor, "revocation.removed", &subject).await?;
    tx.commit().await?;
    tracing::info!(id, actor = actor.name(), "a revocation was taken back");
    Ok(StatusCode::NO_CONTENT)
}
