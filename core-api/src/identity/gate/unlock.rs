//! Lifting a lock before its time: by the link of a mail, a new password by mail, or an operator.

use axum::extract::State;
use axum::http::request::Parts;
use database::Pool;
use http::{HeaderMap, StatusCode};
use problem::Problem;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::counting::{Attempt, Shown};
use super::{Email, Gate, Visitor, store};
use crate::database_problem;
use crate::extract::Json;
use crate::identity::caller;
use crate::identity::error::TicketErrors;
use crate::identity::store::login_candidate;
use crate::identity::tickets::{self, Accepted, Address, TicketUse};
use crate::mail::{Kind, Post};
use crate::settings::Settings;
use crate::state::AppState;

/// Who lifted a lock, as a word of the audit trail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum UnlockedBy {
    /// An operator, at the command line.
    Operator,
    /// The owner, by the link of a mail.
    Mail,
    /// The owner, who set a new password by mail.
    PasswordReset,
}

impl UnlockedBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Mail => "mail",
            Self::PasswordReset => "password_reset",
        }
    }
}

/// Why no device of a person is trusted any more, as a word of the audit trail.
#[derive(Debug, Clone, Copy)]
pub(in crate::identity) enum DistrustedBy {
    /// A new password by mail.
    PasswordReset,
    /// Every session was ended, that of the request too.
    SessionsEnded,
}

impl DistrustedBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::PasswordReset => "password_reset",
            Self::SessionsEnded => "sessions_ended",
        }
    }
}

impl Gate {
    /// Forgets every failure at a name, and every wrong code of its owner, for an operator, and says so in the audit trail, or
    /// neither. Twice is once, and a second line there. False when nobody has the name; what was counted is forgotten all the
    /// same.
    ///
    /// # Errors
    /// 503 without the database.
    pub(crate) async fn unlock(&self, db: &Pool, name: &str, request_id: &str) -> Result<bool, Problem> {
        let attempt = self.nobodys_attempt(name, request_id);
        let mut tx = db.begin().await.map_err(database_problem)?;
        self.forget(&mut tx, &attempt).await?;
        let is_known = say(&mut tx, &attempt, UnlockedBy::Operator).await?;
        if let Some(user) = owner_of(&mut tx, &attempt).await? {
            self.forget_codes(&mut tx, user).await?;
        }
        tx.commit().await.map_err(database_problem)?;
        Ok(is_known)
    }

    /// The same for the owner of a name, in the transaction in which that was shown. Where nothing was counted, nothing is said.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn unlock_owner(
        &self,
        tx: &mut PgConnection,
        name: &str,
        by: UnlockedBy,
        request_id: &str,
    ) -> Result<(), Problem> {
        let attempt = self.nobodys_attempt(name, request_id);
        if self.forget(tx, &attempt).await? {
            say(tx, &attempt, by).await?;
        }
        Ok(())
    }

    /// Trusts no device of a user any more: one of them may be the thief's. It locks the user: before his sessions are, as
    /// everywhere.
    ///
    /// # Errors
    /// 503 without the database.
    pub(in crate::identity) async fn distrust_all(
        &self,
        tx: &mut PgConnection,
        user: Uuid,
        by: DistrustedBy,
        request_id: &str,
    ) -> Result<(), Problem> {
        store::distrust_devices(tx, user, by.as_str(), request_id)
            .await
            .map(drop)
            .map_err(database_problem)
    }

    /// An attempt of which only the name matters.
    pub(super) fn nobodys_attempt(&self, name: &str, request_id: &str) -> Attempt {
        Attempt {
            keys: self.keys.of(name, None),
            shown: Shown::Nothing,
            id: 0,
            email: Email::parse(name),
            request_id: request_id.to_owned(),
        }
    }
}

/// Who has the name.
async fn owner_of(tx: &mut PgConnection, attempt: &Attempt) -> Result<Option<Uuid>, Problem> {
    let Some(email) = &attempt.email else {
        return Ok(None);
    };
    let candidate = login_candidate(tx, email.as_str())
        .await
        .map_err(database_problem)?;
    Ok(candidate.map(|candidate| candidate.user_id))
}

/// Says in the audit trail that a name is unlocked; false when nobody has it.
async fn say(tx: &mut PgConnection, attempt: &Attempt, by: UnlockedBy) -> Result<bool, Problem> {
    let email = attempt.email.as_ref().map(Email::as_str);
    let is_known = store::record(
        tx,
        email,
        "account.unlocked",
        by.as_str(),
        json!({}),
        &attempt.request_id,
    )
    .await
    .map_err(database_problem)?;
    tracing::info!(
        event = "auth.account.unlocked",
        by = by.as_str(),
        "a name is unlocked"
    );
    Ok(is_known)
}

/// Lifts the lock of a name for an operator at the command line; false when nobody has it.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn unlock(settings: &Settings, db: &Pool, name: &str) -> anyhow::Result<bool> {
    let post = Post::new(settings.derivation_secrets());
    let gate = Gate::new(settings.password.pepper.expose().as_bytes(), post);
    let request_id = format!("cli:{}", Uuid::now_v7());
    gate.unlock(db, name, &request_id)
        .await
        .map_err(|problem| anyhow::anyhow!("{}", problem.kind().title()))
}

/// Ask for a mail that unlocks
///
/// Sends a mail with a token that lifts the lock after failed log-ins, when the address has an account. The answer is the same
/// for every address. One address gets one such mail in ten minutes and five in a day.
#[utoipa::path(
    post, path = "/api/v1/auth/unlock/send", tag = "identity", operation_id = "send_unlock",
    request_body = Address,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted))
)]
pub(super) async fn send_unlock(
    State(state): State<AppState>,
    parts: Parts,
    Json(address): Json<Address>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    tickets::send_to(&state, &parts, Kind::Unlock, &address).await
}

/// Unlock
///
/// Uses the token of a mail, once, within an hour. Failed log-ins so far are forgotten, and the client that sends this is
/// trusted as if it had logged in: guesses elsewhere lock it out no more. It logs in with the password, as ever.
#[utoipa::path(
    post, path = "/api/v1/auth/unlock", tag = "identity", operation_id = "unlock",
    request_body = TicketUse,
    responses(
        (status = NO_CONTENT, description = "The lock is lifted",
         headers(("Set-Cookie" = String, description = "`__Host-dev`: the device is known again by it"),
                 ("X-Device-Token" = String, description = "The same for whoever sent `X-Device-Token`"))),
        TicketErrors
    )
)]
pub(in crate::identity) async fn use_unlock(
    State(state): State<AppState>,
    parts: Parts,
    Json(ticket): Json<TicketUse>,
) -> Result<(StatusCode, HeaderMap), Problem> {
    let hash = tickets::hash_of(&ticket.token).ok_or_else(tickets::not_good)?;
    let (gate, request_id) = (&state.identity.gate, caller::request_id(&parts));
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let owner = store::use_unlock_ticket(&mut *tx, &hash)
        .await
        .map_err(database_problem)?
        .ok_or_else(tickets::not_good)?;
    gate.unlock_owner(&mut tx, &owner.email, UnlockedBy::Mail, &request_id)
        .await?;
    tx.commit().await.map_err(database_problem)?;
    let visitor = Visitor::new(&parts, &owner.email);
    let device = gate.trust_visitor(&state.db, owner.user_id, visitor).await?;
    Ok((StatusCode::NO_CONTENT, device.into_iter().collect()))
}
