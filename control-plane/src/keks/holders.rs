//! Which processes have which versions of the key-encryption key: cores and control planes say so as long as they live.

use std::time::Duration;

use database::Pool;
use uuid::Uuid;

use super::store;

/// Times that a process may miss to say so.
const MISSED: u32 = 3;

/// This control plane, as one that opens private keys.
#[derive(Debug)]
pub(crate) struct Holder {
    name: String,
    versions: Vec<i32>,
    live_s: i32,
}

impl Holder {
    /// Has these versions, and says so every `interval`.
    pub(crate) fn new(versions: Vec<i32>, interval: Duration) -> Self {
        let lives = interval.saturating_mul(MISSED).as_secs().max(MISSED.into());
        Self {
            name: format!("control-plane-{}", Uuid::now_v7()),
            versions,
            live_s: i32::try_from(lives).unwrap_or(i32::MAX),
        }
    }

    /// Says that it lives.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub(crate) async fn say(&self, db: &Pool) -> sqlx::Result<()> {
        store::note_holder(&mut *db.acquire().await?, &self.name, &self.versions, self.live_s).await
    }

    /// Says that it ends. One that cannot say so counts until its time is over.
    pub(crate) async fn end(&self, db: &Pool) {
        if let Ok(mut conn) = db.acquire().await {
            drop(store::note_holder(&mut conn, &self.name, &self.versions, 0).await);
        }
    }
}
