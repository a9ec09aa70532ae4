//! What operators do to the account of a person at the command line: sign it out everywhere, disable it, enable it again.

use database::Pool;
use problem::Problem;
use uuid::Uuid;

use super::profile::Email;
use super::sessions::tell_gateways_of;
use super::store::{self, AccountChange};
use crate::database_problem;
use crate::settings::Settings;

/// What is done to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountDeed {
    /// Every session ends, and no device is trusted any more.
    SignOut,
    /// As [`AccountDeed::SignOut`], and nobody signs in.
    Disable,
    /// The person may sign in again, with the password and the second factor of before.
    Enable,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountDone {
    /// Whether the account is disabled now and was not, or the other way round.
    pub is_changed: bool,
    /// Sessions that have ended.
    pub sessions: i64,
}

impl AccountDeed {
    const fn status(self) -> Option<&'static str> {
        match self {
            Self::SignOut => None,
            Self::Disable => Some("disabled"),
            Self::Enable => Some("active"),
        }
    }
}

/// Does it, tells the gateways, and says so in the audit trail, or none of it. None when nobody has the name.
///
/// # Errors
/// When the database cannot be reached, or the gateways cannot be told of one more session.
pub(crate) async fn operate(
    settings: &Settings,
    db: &Pool,
    name: &str,
    deed: AccountDeed,
) -> anyhow::Result<Option<AccountDone>> {
    try_to_operate(settings, db, name, deed)
        .await
        .map_err(|problem| anyhow::anyhow!("{}", problem.kind().title()))
}

async fn try_to_operate(
    settings: &Settings,
    db: &Pool,
    name: &str,
    deed: AccountDeed,
) -> Result<Option<AccountDone>, Problem> {
    let Some(email) = Email::parse(name) else {
        return Ok(None);
    };
    let request_id = format!("cli:{}", Uuid::now_v7());
    let lifetime_s = settings.tokens.lifetime_s;
    let mut tx = db.begin().await.map_err(database_problem)?;
    let candidate = store::login_candidate(&mut *tx, email.as_str())
        .await
        .map_err(database_problem)?;
    let Some(candidate) = candidate else {
        return Ok(None);
    };
    let change = AccountChange {
        user: candidate.user_id,
        status: deed.status(),
        used_s: i32::try_from(lifetime_s).unwrap_or(i32::MAX),
    };
    let done = store::operate_account(&mut tx, change, &request_id)
        .await
        .map_err(database_problem)?;
    tell_gateways_of(&mut tx, &settings.tokens.issuer, lifetime_s, done.with_tokens)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Ok(Some(AccountDone {
        is_changed: done.is_changed,
        sessions: done.sessions,
    }))
}
