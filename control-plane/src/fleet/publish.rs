//! Publication: what the database says is signed, and committed as exact bytes before anybody is told of it.

use std::collections::HashSet;

use fleet::{
    Digest, Envelope, Page, Signature, StatedList, Statement, Stream, Target, Trust, Version, to_be_signed,
};
use keyring::{RevocationList, RingName};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::PgConnection;

use super::error::FleetError;
use super::store::{Latest, NewStatement};
use super::{FleetSettings, denials, store, trust};
use crate::signing_keys;
use crate::state::AppState;

/// The streams that follow the tables of the database, and go to everybody at once.
const FOLLOWING: [Stream; 3] = [Stream::Revocations, Stream::Blocks, Stream::Keyset];
/// How often a statement is tried to be made when others make the same: each time means that another was quicker.
const ATTEMPTS: usize = 8;

/// Publishes what is due: a stream whose content is newer than its last statement, or whose last statement is half-way to
/// its expiry, or is signed by a key that is not trusted any more.
///
/// Several control planes do this at once: the position of a statement is given once, and who comes second looks again.
/// Nothing is published where there is no fleet, or before the roots have signed a trust document: no gateway would believe
/// it. False then.
///
/// # Errors
/// The first of them; every stream is tried, for the keys of an emergency must not wait for a list that cannot be read.
pub(super) async fn publish_due(state: &AppState) -> Result<bool, FleetError> {
    let Some(settings) = state.fleet.settings.clone() else {
        return Ok(false);
    };
    let Some(trust) = trust::in_force(state, &mut *state.db.acquire().await?).await? else {
        return Ok(false);
    };
    let mut outcome = Ok(true);
    for stream in FOLLOWING {
        let stated = publish_stream(state, &settings, &trust, stream).await;
        outcome = outcome.and(stated.map(|()| true));
    }
    outcome
}

async fn publish_stream(
    state: &AppState,
    settings: &FleetSettings,
    trust: &Trust,
    stream: Stream,
) -> Result<(), FleetError> {
    for _ in 0..ATTEMPTS {
        if publish_if_due(state, settings, trust, stream).await? {
            break;
        }
    }
    Ok(())
}

/// Publishes the content of the database in one stream if it is due; false when another was quicker.
async fn publish_if_due(
    state: &AppState,
    settings: &FleetSettings,
    trust: &Trust,
    stream: Stream,
) -> Result<bool, FleetError> {
    let mut conn = state.db.acquire().await?;
    // In this order: whoever states content that was read before the last statement could go back behind it.
    let latest = store::latest(&mut conn, stream.as_str()).await?;
    let source_seq = store::source_seq(&mut conn, stream.as_str()).await?;
    let now = latest.now.timestamp();
    let is_believed = |keyid: &str| trust::covers(trust, keyid, now);
    if !is_due(&latest, source_seq, is_believed) {
        return Ok(true);
    }
    let Content {
        content,
        source_seq,
        pages,
    } = content(&mut conn, stream).await?;
    drop(conn);
    let features = match pages.is_empty() {
        true => Vec::new(),
        false => vec![StatedList::FEATURE.to_owned()],
    };
    let draft = Draft {
        stream,
        content,
        policy: None,
        source_seq,
        features,
        change_id: format!("{stream}-{source_seq}"),
        author: "control-plane".to_owned(),
        approvers: Vec::new(),
        min_version: Version::FIRST,
        validity_s: settings.statement_validity_s,
    };
    let stated = seal(state, settings, &latest, draft).await?;
    if !is_believed(&stated.keyid) {
        return Err(FleetError::Inconsistent(format!(
            "the trust document in force does not name {}, which signs: `portico trust sign`",
            stated.keyid
        )));
    }
    let mut tx = state.db.begin().await?;
    let is_first = store::insert_statement(&mut tx, &stated).await?;
    if is_first {
        let new = write_pages(&mut tx, &stated, pages).await?;
        tx.commit().await?;
        tracing::info!(
            stream = stream.as_str(),
            epoch = stated.epoch,
            seq = stated.seq,
            "stated"
        );
        // Every gateway asks for it now, and for what it does not hold of the pages.
        for page in new {
            state.fleet.envelopes.keep(page.name.digest, page.bytes.into());
        }
        state.fleet.envelopes.keep(stated.digest, stated.envelope.into());
    }
    Ok(is_first)
}

/// Has the pages belong to the statement that names them; most of them are there already. Those that were not.
async fn write_pages(
    conn: &mut PgConnection,
    statement: &NewStatement,
    mut pages: Vec<Page>,
) -> Result<Vec<Page>, FleetError> {
    if pages.is_empty() {
        return Ok(pages);
    }
    let digests: Vec<Vec<u8>> = pages
        .iter()
        .map(|page| page.name.digest.as_bytes().to_vec())
        .collect();
    let held: HashSet<_> = store::carry_pages(conn, statement, &digests)
        .await?
        .into_iter()
        .collect();
    pages.retain(|page| !held.contains(page.name.digest.as_bytes().as_slice()));
    for page in &pages {
        store::insert_page(conn, statement, page.name.digest.as_bytes(), &page.bytes).await?;
    }
    Ok(pages)
}

/// Whether a stream needs another statement.
pub(super) fn is_due(latest: &Latest, source_seq: i64, is_believed: impl Fn(&str) -> bool) -> bool {
    let Some(statement) = &latest.statement else {
        return true;
    };
    let half_way = statement.created_at + (statement.expires_at - statement.created_at) / 2;
    statement.epoch < latest.epoch
        || statement.source_seq < source_seq
        || half_way <= latest.now
        || !is_believed(&statement.keyid)
}

/// What a stream is to say.
struct Content {
    content: Box<RawValue>,
    /// The `seq` of its source.
    source_seq: i64,
    /// What it names and does not say itself.
    pages: Vec<Page>,
}

async fn content(conn: &mut PgConnection, stream: Stream) -> Result<Content, FleetError> {
    match stream {
        Stream::Revocations => in_pages(denials::revocations(conn).await?).await,
        Stream::Blocks => in_pages(denials::blocks(conn).await?).await,
        Stream::Keyset => {
            let set = signing_keys::key_set(conn)
                .await
                .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
            Ok(Content {
                content: raw(&set)?,
                source_seq: i64::try_from(set.seq).unwrap_or(i64::MAX),
                pages: Vec::new(),
            })
        }
        Stream::Policy => Err(FleetError::Inconsistent("a policy follows no table".to_owned())),
    }
}

/// A full list is some megabytes of JSON: no thread that answers does that.
async fn in_pages(list: RevocationList) -> Result<Content, FleetError> {
    let source_seq = low_bits(list.seq);
    let paged = tokio::task::spawn_blocking(|| StatedList::paginate(list)).await;
    let (stated, pages) = paged
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    Ok(Content {
        content: raw(&stated)?,
        source_seq,
        pages,
    })
}

/// The `seq` of a list without the epoch in front of it.
fn low_bits(seq: u64) -> i64 {
    i64::from(u32::try_from(seq & u64::from(u32::MAX)).unwrap_or(u32::MAX))
}

fn raw<T: Serialize>(content: &T) -> Result<Box<RawValue>, FleetError> {
    to_raw_value(content).map_err(|error| FleetError::Inconsistent(error.to_string()))
}

/// What is to be stated next in a stream.
pub(super) struct Draft {
    pub(super) stream: Stream,
    pub(super) content: Box<RawValue>,
    /// The digest of a policy.
    pub(super) policy: Option<Digest>,
    /// The `seq` of the ring or list whose content it is; 0 for a policy.
    pub(super) source_seq: i64,
    /// What a gateway must be able to do beyond the first version.
    pub(super) features: Vec<String>,
    pub(super) change_id: String,
    pub(super) author: String,
    pub(super) approvers: Vec<String>,
    /// The oldest gateway that can apply it.
    pub(super) min_version: Version,
    /// How long a gateway may take it over, seconds.
    pub(super) validity_s: u32,
}

/// Signs what is to be stated at the position behind the last statement.
pub(super) async fn seal(
    state: &AppState,
    settings: &FleetSettings,
    latest: &Latest,
    draft: Draft,
) -> Result<NewStatement, FleetError> {
    let (epoch, seq) = latest.next();
    let position = store::position(epoch, seq)?;
    let validity = chrono::TimeDelta::seconds(i64::from(draft.validity_s));
    let expires_at = latest.now + validity;
    let statement = Statement {
        stream: draft.stream,
        position,
        previous: latest
            .statement
            .as_ref()
            .map(|before| store::digest(&before.digest))
            .transpose()?,
        created_at: latest.now.timestamp(),
        expires_at: expires_at.timestamp(),
        target: Target {
            fleet: settings.name.clone(),
            environment: settings.environment.clone(),
            nodes: Vec::new(),
        },
        schema: Statement::SCHEMA,
        min_version: draft.min_version,
        features: draft.features,
        change_id: draft.change_id.clone(),
        author: draft.author.clone(),
        approvers: draft.approvers.clone(),
        content: draft.content,
    };
    let payload =
        serde_json::to_vec(&statement).map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    let payload_type = draft.stream.payload_type();
    let (keyid, sig) = signing_keys::sign(state, RingName::Bundle, &to_be_signed(payload_type, &payload))
        .await
        .map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    let envelope = Envelope {
        payload_type: payload_type.to_owned(),
        payload,
        signatures: vec![Signature {
            keyid: keyid.clone(),
            sig,
        }],
    }
    .to_bytes();
    if envelope.len() > fleet::MAX_ENVELOPE_BYTES {
        return Err(FleetError::Inconsistent(format!(
            "a statement of {} bytes",
            envelope.len()
        )));
    }
    Ok(NewStatement {
        stream: draft.stream.as_str(),
        epoch,
        seq,
        digest: Digest::of(&envelope),
        source_seq: draft.source_seq,
        keyid,
        envelope,
        change_id: draft.change_id,
        author: draft.author,
        approvers: draft.approvers,
        created_at: latest.now,
        expires_at,
        policy: draft.policy,
    })
}

impl Latest {
    /// The position behind the last statement, in the epoch of the database.
    fn next(&self) -> (i64, i64) {
        match &self.statement {
            Some(statement) if statement.epoch >= self.epoch => {
                (statement.epoch, statement.seq.saturating_add(1))
            }
            _ => (self.epoch, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::fleet::store::LatestStatement;

    fn latest(age_s: i64) -> Latest {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        Latest {
            epoch: 2,
            now,
            statement: Some(LatestStatement {
                epoch: 2,
                seq: 7,
                digest: vec![0; 32],
                source_seq: 5,
                keyid: "k".to_owned(),
                created_at: now - TimeDelta::seconds(age_s),
                expires_at: now - TimeDelta::seconds(age_s) + TimeDelta::seconds(100),
            }),
        }
    }

    #[test]
    fn a_stream_is_stated_again_when_it_must_be_and_not_before() {
        let is_believed = |keyid: &str| keyid == "k";
        assert!(!is_due(&latest(49), 5, is_believed));
        assert!(is_due(&latest(50), 5, is_believed), "half-way to its expiry");
        assert!(is_due(&latest(0), 6, is_believed), "its source went on");
        assert!(
            is_due(&latest(0), 5, |_| false),
            "its key is not trusted any more"
        );
        let restored = Latest {
            epoch: 3,
            ..latest(0)
        };
        assert!(is_due(&restored, 5, is_believed), "the database was restored");
        assert_eq!((latest(0).next(), restored.next()), ((2, 8), (3, 1)));
        let nothing = Latest {
            statement: None,
            ..latest(0)
        };
        assert!(is_due(&nothing, 0, is_believed));
        assert_eq!(nothing.next(), (2, 1));
    }
}
