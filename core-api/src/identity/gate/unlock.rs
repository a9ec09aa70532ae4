//! Lifting a lock before its time. An operator does it here; a link that was mailed and a new password go the same way.

use database::Pool;
use problem::Problem;
use serde_json::json;

use super::counting::{Attempt, Shown};
use super::{Email, Gate, store};
use crate::database_problem;
use crate::settings::Settings;

/// Who lifted a lock, as a word of the audit trail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UnlockedBy {
    /// An operator, at the command line.
    Operator,
}

impl UnlockedBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
        }
    }
}

impl Gate {
    /// Forgets every failure at a name, and says so in the audit trail, or neither. Twice is once, and a second line there.
    /// False when nobody has the name; what was counted is forgotten all the same.
    ///
    /// # Errors
    /// 503 without the database.
    pub(crate) async fn unlock(
        &self,
        db: &Pool,
        name: &str,
        by: UnlockedBy,
        request_id: &str,
    ) -> Result<bool, Problem> {
        let attempt = Attempt {
            keys: self.keys.of(name, None),
            shown: Shown::Nothing,
            id: 0,
            email: Email::parse(name),
            request_id: request_id.to_owned(),
        };
        let email = attempt.email.as_ref().map(Email::as_str);
        let mut tx = db.begin().await.map_err(database_problem)?;
        self.forget(&mut tx, &attempt).await?;
        let is_known = store::record(
            &mut *tx,
            email,
            "account.unlocked",
            by.as_str(),
            json!({}),
            request_id,
        )
        .await
        .map_err(database_problem)?;
        tx.commit().await.map_err(database_problem)?;
        tracing::info!(
            event = "auth.account.unlocked",
            by = by.as_str(),
            "a name is unlocked"
        );
        Ok(is_known)
    }
}

/// Lifts the lock of a name for an operator at the command line; false when nobody has it.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn unlock(settings: &Settings, db: &Pool, name: &str) -> anyhow::Result<bool> {
    let gate = Gate::new(settings.password.pepper.expose().as_bytes());
    let request_id = format!("cli:{}", uuid::Uuid::now_v7());
    gate.unlock(db, name, UnlockedBy::Operator, &request_id)
        .await
        .map_err(|problem| anyhow::anyhow!("{}", problem.kind().title()))
}
