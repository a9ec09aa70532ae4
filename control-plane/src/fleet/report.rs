//! What gateways say of themselves: how far they are with a statement, that they live, and what they really run.

use std::collections::HashSet;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use fleet::{Acknowledgement, Heartbeat, LATENCY_BOUNDS_US, Stage, Stream};
use http::{HeaderName, HeaderValue, StatusCode};

use super::error::FleetError;
use super::member::{Boot, Member};
use super::store;
use super::store::{ActiveRows, LifeRow, StageRow};
use crate::extract::Json;
use crate::state::AppState;

/// The time of the database, Unix milliseconds, in the answer to a heartbeat.
const TIME: HeaderName = HeaderName::from_static("x-time");
/// Longest word that a gateway says, in bytes: a boot, a fingerprint, the code of an objection.
const MAX_WORD_BYTES: usize = 128;
/// Most sides of listeners that a gateway names.
const MAX_SIDES: usize = 256;
/// Longest text of an objection, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Notes how far a gateway is. Twice is once, and what is older than what it said before changes nothing.
pub(super) async fn take_acknowledgement(
    State(state): State<AppState>,
    Member(node): Member,
    Boot(boot_id): Boot,
    Json(said): Json<Acknowledgement>,
) -> Result<StatusCode, FleetError> {
    check_acknowledgement(&said)?;
    let objection = said.objection.as_ref().map(serde_json::to_value).transpose();
    let objection = objection.map_err(|error| FleetError::Inconsistent(error.to_string()))?;
    let (epoch, seq) = store::numbers(said.position)?;
    let mut conn = state.db.acquire().await?;
    match store::knows(
        &mut conn,
        said.stream.as_str(),
        epoch,
        seq,
        said.digest.as_bytes(),
    )
    .await?
    {
        Some(true) => {}
        // It was replaced and taken away since: nobody asks how far a gateway came with it.
        None => return Ok(StatusCode::NO_CONTENT),
        Some(false) => {
            return Err(FleetError::Invalid(
                "this stream never stood there with this digest",
            ));
        }
    }
    let row = StageRow {
        stage: said.stage.as_str(),
        epoch,
        seq,
        shadow: said.shadow,
        digest: said.digest.as_bytes(),
        objection,
    };
    store::note_stage(&mut conn, &node, said.stream.as_str(), &row).await?;
    if let (Stream::Keyset, Stage::Active | Stage::Healthy, Some(boot_id)) =
        (said.stream, said.stage, boot_id)
    {
        store::note_keyset(&mut conn, &node, &boot_id, (epoch, seq)).await?;
    }
    if let Some(objection) = &said.objection {
        tracing::warn!(
            node,
            stream = said.stream.as_str(),
            position = %said.position,
            code = objection.code,
            message = objection.message,
            "a gateway refuses a statement"
        );
    }
    Ok(StatusCode::NO_CONTENT)
}

fn check_acknowledgement(said: &Acknowledgement) -> Result<(), FleetError> {
    if (said.stage == Stage::Refused) != said.objection.is_some() {
        return Err(FleetError::Invalid(
            "an objection comes with `refused`, and with nothing else",
        ));
    }
    if said.shadow && said.stream != Stream::Policy {
        return Err(FleetError::Invalid("only a policy can be in shadow"));
    }
    let is_long = said.objection.as_ref().is_some_and(|objection| {
        objection.code.len() > MAX_WORD_BYTES
            || objection.message.len() > MAX_TEXT_BYTES
            || objection
                .path
                .as_ref()
                .is_some_and(|path| path.len() > MAX_TEXT_BYTES)
    });
    if is_long {
        return Err(FleetError::Invalid(
            "an objection has a code of at most 128 bytes and texts of at most 8192",
        ));
    }
    Ok(())
}

/// Notes that a gateway lives and what it runs. The answer says what time it is, so that the gateway knows its clock to be right
/// or wrong.
pub(super) async fn take_heartbeat(
    State(state): State<AppState>,
    Member(node): Member,
    Json(said): Json<Heartbeat>,
) -> Result<Response, FleetError> {
    check_heartbeat(&said)?;
    let active = active(&said)?;
    let inconsistent = |error: serde_json::Error| FleetError::Inconsistent(error.to_string());
    let traffic = serde_json::to_value(&said.traffic).map_err(inconsistent)?;
    let shadow = said
        .shadow
        .map(serde_json::to_value)
        .transpose()
        .map_err(inconsistent)?;
    let mut tx = state.db.begin().await?;
    let version = said.version.to_string();
    let life = LifeRow {
        version: &version,
        boot_id: &said.boot_id,
        clock_unix_ms: said.clock_unix_ms,
        waiting: &said.waiting,
    };
    store::note_life(&mut tx, &node, life).await?;
    let keyset = keyset(&said)?;
    let follows_keyset = said.follows.contains(&Stream::Keyset);
    store::note_process(&mut tx, &node, &said.boot_id, keyset, follows_keyset).await?;
    store::note_traffic(&mut tx, &node, &traffic, shadow.as_ref()).await?;
    store::note_active(&mut tx, &node, &active).await?;
    let now = store::database_time(&mut tx).await?;
    tx.commit().await?;
    let time = HeaderValue::from(now.timestamp_millis());
    Ok((StatusCode::NO_CONTENT, [(TIME, time)]).into_response())
}

fn check_heartbeat(said: &Heartbeat) -> Result<(), FleetError> {
    let streams: HashSet<_> = said.active.iter().map(|active| active.stream).collect();
    if streams.len() != said.active.len() {
        return Err(FleetError::Invalid("a stream stands in `active` once"));
    }
    if said
        .active
        .iter()
        .any(|active| active.position.is_some() != active.digest.is_some())
    {
        return Err(FleetError::Invalid("position and digest go together"));
    }
    let words = said
        .active
        .iter()
        .map(|active| &active.fingerprint)
        .chain([&said.boot_id]);
    if words
        .into_iter()
        .any(|word| word.is_empty() || word.len() > MAX_WORD_BYTES)
    {
        return Err(FleetError::Invalid(
            "boot_id and fingerprints have 1 to 128 bytes",
        ));
    }
    let is_side = |side: &String| (1..=MAX_WORD_BYTES).contains(&side.len());
    if said.waiting.len() > MAX_SIDES || !said.waiting.iter().all(is_side) {
        return Err(FleetError::Invalid(
            "`waiting` names at most 256 sides of listeners, of 1 to 128 bytes",
        ));
    }
    if said.traffic.latency.len() > LATENCY_BOUNDS_US.len() + 1 {
        return Err(FleetError::Invalid(
            "latency has one count for each bound, and one for the rest",
        ));
    }
    Ok(())
}

/// The key set in the memory of the process that speaks.
fn keyset(said: &Heartbeat) -> Result<Option<(i64, i64)>, FleetError> {
    let active = said.active.iter().find(|active| active.stream == Stream::Keyset);
    active
        .and_then(|active| active.position)
        .map(store::numbers)
        .transpose()
}

/// One row for each stream: what is not named is not in force.
fn active(said: &Heartbeat) -> Result<ActiveRows, FleetError> {
    let mut rows = ActiveRows::default();
    for stream in Stream::ALL {
        let active = said.active.iter().find(|active| active.stream == stream);
        let position = active
            .and_then(|active| active.position)
            .map(store::numbers)
            .transpose()?;
        rows.streams.push(stream.as_str().to_owned());
        rows.followed.push(said.follows.contains(&stream));
        rows.epochs.push(position.map(|(epoch, _)| epoch));
        rows.seqs.push(position.map(|(_, seq)| seq));
        rows.digests.push(
            active
                .and_then(|active| active.digest)
                .map(|digest| digest.as_bytes().to_vec()),
        );
        rows.fingerprints
            .push(active.map(|active| active.fingerprint.clone()));
    }
    Ok(rows)
}
