//! The envelopes and pages that gateways fetch now, in memory: a whole fleet asks for the same bytes at the same moment.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use fleet::{Digest, MAX_ENVELOPE_BYTES};

use super::error::FleetError;
use super::store;
use crate::state::AppState;

/// Most that is kept: one of the largest for each stream.
const MOST_BYTES: usize = 4 * MAX_ENVELOPE_BYTES;

/// Envelopes and pages by their digests, the newest last.
#[derive(Debug, Default)]
pub(super) struct Envelopes {
    kept: Mutex<VecDeque<(Digest, Bytes)>>,
    /// Held while one is read from the database: of many who ask for the same, one reads it.
    reading: tokio::sync::Mutex<()>,
}

impl Envelopes {
    /// Keeps one, in the place of the oldest ones when there is no room.
    pub(super) fn keep(&self, digest: Digest, envelope: Bytes) {
        let mut kept = self.lock();
        kept.retain(|(known, _)| *known != digest);
        kept.push_back((digest, envelope));
        let size = |kept: &VecDeque<(Digest, Bytes)>| -> usize { kept.iter().map(|(_, it)| it.len()).sum() };
        while kept.len() > 1 && size(&kept) > MOST_BYTES {
            kept.pop_front();
        }
    }

    fn get(&self, digest: Digest) -> Option<Bytes> {
        let kept = self.lock();
        let found = kept.iter().find(|(known, _)| *known == digest);
        found.map(|(_, envelope)| envelope.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Digest, Bytes)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The exact bytes of a statement, or of a page of a list; none when there are no such.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn blob(state: &AppState, digest: Digest) -> Result<Option<Bytes>, FleetError> {
    let envelopes = &state.fleet.envelopes;
    if let Some(kept) = envelopes.get(digest) {
        return Ok(Some(kept));
    }
    let reading = envelopes.reading.lock().await;
    if let Some(kept) = envelopes.get(digest) {
        return Ok(Some(kept));
    }
    let mut conn = state.db.acquire().await?;
    let read = store::blob(&mut conn, digest.as_bytes()).await?.map(Bytes::from);
    if let Some(read) = &read {
        envelopes.keep(digest, read.clone());
    }
    drop(reading);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_no_more_than_there_is_room_for() {
        let envelopes = Envelopes::default();
        let large = |byte: u8| Bytes::from(vec![byte; MAX_ENVELOPE_BYTES]);
        let digests: Vec<_> = (0..6_u8).map(|byte| Digest::of(&[byte])).collect();
        for (byte, digest) in (0..6_u8).zip(&digests) {
            envelopes.keep(*digest, large(byte));
        }
        let kept: Vec<_> = digests
            .iter()
            .map(|digest| envelopes.get(*digest).is_some())
            .collect();
        assert_eq!(kept, [false, false, true, true, true, true]);
        assert_eq!(envelopes.get(digests[5]), Some(large(5)));
    }
}
