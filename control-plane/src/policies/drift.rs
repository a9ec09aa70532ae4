//! `GET /internal/policies/drift`: what each gateway has in its memory, against what it was told to have.
//!
//! The fingerprint is made by a gateway from its memory, and here by the same compiler from what was stated.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::extract::State;
use fleet::{PolicyContent, Position};
use policy::SourceFile;
use serde::Serialize;

use super::error::PolicyError;
use super::observe::position;
use super::store::MemoryRow;
use super::{bundle, store};
use crate::extract::Json;
use crate::state::AppState;

/// What every gateway has in memory.
#[derive(Debug, Serialize)]
pub(super) struct DriftView {
    /// How many have something else than they should.
    drifted: usize,
    gateways: Vec<MemoryView>,
}

/// What a gateway has in memory.
#[derive(Debug, Serialize)]
struct MemoryView {
    name: String,
    state: Memory,
    told: Option<Position>,
    active: Option<Position>,
    /// What should be in memory; null where nothing was stated.
    expected: Option<String>,
    found: Option<String>,
}

/// How what is in memory compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Memory {
    /// What was told is in memory.
    Same,
    /// Something else is, or only a part of it: `portico fleet explain` says which.
    Drifted,
    /// It has not said that it took over what it was told.
    Pending,
    /// It has refused what it was told.
    Refused,
    /// It takes its policy from a directory of its own.
    OwnDirectory,
    /// It is silent: nobody knows.
    Unknown,
}

/// Compares.
pub(super) async fn show_drift(State(state): State<AppState>) -> Result<Json<DriftView>, PolicyError> {
    let mut tx = state.db.begin().await?;
    let rows = store::memories(&mut tx).await?;
    let mut contents = HashMap::new();
    for told in rows.iter().filter_map(|row| row.told_epoch.zip(row.told_seq)) {
        if let Entry::Vacant(entry) = contents.entry(told) {
            entry.insert(bundle::stated(&state, &mut tx, told).await?);
        }
    }
    drop(tx);
    let environment = state.fleet.environment().unwrap_or_default().to_owned();
    let expected = tokio::task::spawn_blocking(move || {
        let hash = |content: &PolicyContent| hash(content, &environment);
        contents
            .iter()
            .map(|(told, content)| (*told, hash(content)))
            .collect::<HashMap<_, _>>()
    });
    let expected = expected
        .await
        .map_err(|error| PolicyError::Inconsistent(error.to_string()))?;
    let gateways: Vec<_> = rows.into_iter().map(|row| compare(row, &expected)).collect();
    Ok(Json(DriftView {
        drifted: gateways
            .iter()
            .filter(|gateway| gateway.state == Memory::Drifted)
            .count(),
        gateways,
    }))
}

/// The fingerprint of a policy in memory.
fn hash(content: &PolicyContent, environment: &str) -> Option<String> {
    let files = content.files.iter();
    let files: Vec<_> = files
        .map(|file| SourceFile::from_bytes(&file.name, file.text.as_bytes()))
        .collect();
    let plan = policy::compile(&files, environment).ok()?;
    Some(plan.hash().to_owned())
}

fn compare(row: MemoryRow, expected: &HashMap<(i64, i64), Option<String>>) -> MemoryView {
    let told = row.told_epoch.zip(row.told_seq);
    let active = row.active_epoch.zip(row.active_seq);
    let expected = told.and_then(|told| expected.get(&told).cloned().flatten());
    let has_refused = row.stage.as_deref() == Some("refused")
        && told.is_some()
        && row.stage_epoch.zip(row.stage_seq) == told;
    let state = if !row.is_live {
        Memory::Unknown
    } else if row.fingerprint.is_some() && active.is_none() {
        Memory::OwnDirectory
    } else if has_refused {
        Memory::Refused
    } else if active > told
        || (active == told && row.fingerprint.is_some() && (row.fingerprint != expected || !row.is_whole))
    {
        Memory::Drifted
    } else if active < told || row.fingerprint.is_none() && told.is_some() {
        Memory::Pending
    } else {
        Memory::Same
    };
    let at = |both: Option<(i64, i64)>| both.and_then(|(epoch, seq)| position(epoch, seq));
    MemoryView {
        name: row.node,
        state,
        told: at(told),
        active: at(active),
        expected,
        found: row.fingerprint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> MemoryRow {
        MemoryRow {
            node: "edge-1".to_owned(),
            is_live: true,
            is_whole: true,
            told_epoch: Some(1),
            told_seq: Some(5),
            active_epoch: Some(1),
            active_seq: Some(5),
            fingerprint: Some("right".to_owned()),
            stage: Some("healthy".to_owned()),
            stage_epoch: Some(1),
            stage_seq: Some(5),
        }
    }

    #[test]
    fn what_is_in_memory_decides_and_not_what_was_said() {
        let expected = HashMap::from([((1, 5), Some("right".to_owned()))]);
        let state = |edit: &dyn Fn(&mut MemoryRow)| {
            let mut row = row();
            edit(&mut row);
            compare(row, &expected).state
        };
        assert_eq!(state(&|_| {}), Memory::Same);
        assert_eq!(
            state(&|row| row.fingerprint = Some("wrong".to_owned())),
            Memory::Drifted
        );
        assert_eq!(state(&|row| row.active_seq = Some(6)), Memory::Drifted);
        assert_eq!(state(&|row| row.is_whole = false), Memory::Drifted);
        assert_eq!(state(&|row| row.active_seq = Some(4)), Memory::Pending);
        assert_eq!(state(&|row| row.fingerprint = None), Memory::Pending);
        assert_eq!(state(&|row| row.is_live = false), Memory::Unknown);
        assert_eq!(
            state(&|row| (row.active_epoch, row.active_seq) = (None, None)),
            Memory::OwnDirectory
        );
        let refuses =
            |row: &mut MemoryRow| (row.stage, row.active_seq) = (Some("refused".to_owned()), Some(4));
        assert_eq!(state(&refuses), Memory::Refused);
    }
}
