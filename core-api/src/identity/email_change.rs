//! Another address for a user: the new mailbox agrees, the old one can say no, before and after.

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::{FieldError, Problem};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::caller::{self, AccountsWrite, Caller, session_ended};
use super::client_network::ClientNetwork;
use super::error::{EmailChangeErrors, TicketErrors, WRONG_PASSWORD, hashing_busy};
use super::factors::{self, Operation, StepUpToken};
use super::gate::Visitor;
use super::hash_pool::Comparison;
use super::hash_queue::Priority;
use super::profile::Email;
use super::sessions;
use super::store::{self, EmailChange};
use super::tickets::{self, Accepted, TicketMail, TicketUse};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::mail::Kind;
use crate::state::AppState;

/// The address that a user wants.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "alice@new.example", "password": "correct horse battery"}))]
pub(super) struct NewEmail {
    /// The new address; its case does not matter.
    #[schema(format = Email, max_length = 254)]
    email: String,
    /// The caller's password: a stolen token alone changes no address.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    password: Zeroizing<String>,
}

/// Change the e-mail address
///
/// Sends a token to the new address, and a notice to the old one with a token that stops the change, also when it has
/// happened. The address changes when the new one is verified. Whether somebody else has it, the answer does not tell. A wrong
/// password is 403 and counts as a failed log-in. Whoever has a second factor confirms it (`/api/v1/me/step-up`).
#[utoipa::path(
    post, path = "/api/v1/me/email", tag = "identity", operation_id = "change_email",
    security(("bearer" = ["accounts:write"])),
    params(StepUpToken),
    request_body = NewEmail,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted), EmailChangeErrors)
)]
pub(super) async fn change_email(
    State(state): State<AppState>,
    caller: Caller<AccountsWrite>,
    parts: Parts,
    Operation { body: request, act }: Operation<NewEmail>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let email = Email::parse(&request.email).ok_or_else(tickets::no_address)?;
    let turn = state
        .identity
        .passwords
        .take(Priority::Trusted, ClientNetwork::of(&parts.headers))
        .map_err(hashing_busy)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let owner = store::own_password(&mut tx).await.map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    let old = owner.email;
    if old == email.as_str() {
        let fault = FieldError::new("/email", "invalid_value", "is the address already");
        return Err(invalid(vec![fault]));
    }
    let gate = &state.identity.gate;
    let pass = gate.enter(&state.db, Visitor::new(&parts, &old)).await?;
    let compared = turn
        .compare(pass.admitted(), request.password, Some(owner.password_hash))
        .await;
    let is_right = |comparison: &Comparison| comparison.matches;
    if !gate.end(&state.db, pass, compared, is_right).await?.matches {
        return Err(wrong_password(&state, &caller).await?);
    }
    let user = caller.user.uuid();
    // The mailbox is told of every change of factors, and is whom an operator asks.
    if factors::has_one(&state.db, user).await? {
        act.confirm(&state, &caller, Uuid::new_v4()).await?;
    }
    let change = TicketMail::new(&parts, Kind::EmailChange, email.as_str())
        .ok_or_else(tickets::no_ticket)?
        .about_address(user, email.as_str());
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    // Without a mail to the new address nothing happens: the notice to the old one would warn of nothing.
    if state.post.enqueue(&mut tx, change.as_mail(), state.now()).await? {
        let keep = TicketMail::new(&parts, Kind::EmailChangeNotice, &old)
            .ok_or_else(tickets::no_ticket)?
            .about_address(user, email.as_str());
        let wanted = EmailChange {
            session_id: caller.session.uuid(),
            user_id: user,
            tenant_id: caller.tenant.uuid(),
            password_version: owner.password_version,
            email: email.as_str(),
            change: change.as_ticket(),
            keep: keep.as_ticket(),
        };
        let noted = store::request_email_change(&mut *tx, wanted, &caller.request_id)
            .await
            .map_err(database_problem)?;
        // Over, or another address by now: the notice would go to the wrong mailbox.
        if noted.is_none_or(|noted| noted != old) {
            return Err(session_ended());
        }
        state.post.enqueue(&mut tx, keep.as_mail(), state.now()).await?;
    }
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(tickets::accepted())
}

/// Leaves a trace of a guess with a stolen token.
async fn wrong_password(state: &AppState, caller: &Caller<AccountsWrite>) -> Result<Problem, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let (session, action) = (caller.session.uuid(), "user.email_change_requested");
    store::refuse_password(&mut tx, session, action, &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Ok(Problem::new(WRONG_PASSWORD))
}

/// Keep the e-mail address
///
/// Uses the token of the notice that the old address got, once, within seven days. The user has that address again, every
/// session ends, the password is good no more, and a mail brings a token for a new one.
#[utoipa::path(
    post, path = "/api/v1/auth/email/keep", tag = "identity", operation_id = "keep_email",
    request_body = TicketUse,
    responses((status = NO_CONTENT, description = "The address stays, or is back"), TicketErrors)
)]
pub(super) async fn keep_email(
    State(state): State<AppState>,
    parts: Parts,
    Json(ticket): Json<TicketUse>,
) -> Result<StatusCode, Problem> {
    let hash = tickets::hash_of(&ticket.token).ok_or_else(tickets::not_good)?;
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let nobody = state.identity.passwords.nobody();
    let kept = store::keep_email(&mut *tx, &hash, nobody, &caller::request_id(&parts))
        .await
        .map_err(database_problem)?
        .ok_or_else(tickets::not_good)?;
    sessions::tell_gateways(&state, &mut tx, kept.ended)
        .await
        .map_err(database_problem)?;
    let mail = TicketMail::new(&parts, Kind::PasswordEnded, &kept.email).ok_or_else(tickets::no_ticket)?;
    state.post.enqueue(&mut tx, mail.as_mail(), state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(StatusCode::NO_CONTENT)
}
