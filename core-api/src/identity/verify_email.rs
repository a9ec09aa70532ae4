//! Whether an address is its user's (IDN-2).

use axum::extract::State;
use axum::http::request::Parts;
use http::StatusCode;
use problem::Problem;

use super::error::TicketErrors;
use super::tickets::{self, Accepted, Address, TicketUse};
use super::{caller, store};
use crate::database_problem;
use crate::extract::Json;
use crate::mail::Kind;
use crate::state::AppState;

/// Verify an e-mail address
///
/// Uses the token of a mail, once. After a registration the account can be used from then on; after a change of the
/// address the new one takes the place of the old.
#[utoipa::path(
    post, path = "/api/v1/auth/email/verify", tag = "identity", operation_id = "verify_email",
    request_body = TicketUse,
    responses((status = NO_CONTENT, description = "The address is the user's"), TicketErrors)
)]
pub(super) async fn verify_email(
    State(state): State<AppState>,
    parts: Parts,
    Json(ticket): Json<TicketUse>,
) -> Result<StatusCode, Problem> {
    let hash = tickets::hash_of(&ticket.token).ok_or_else(tickets::not_good)?;
    let is_good = store::verify_email(&state.db, &hash, &caller::request_id(&parts))
        .await
        .map_err(database_problem)?;
    if is_good {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(tickets::not_good())
    }
}

/// Send the verification again
///
/// Sends the mail of the registration once more, with a new token in place of the old one, when the address waits to be
/// verified. The answer is the same for every address. One address gets one such mail in ten minutes and five in a day.
#[utoipa::path(
    post, path = "/api/v1/auth/email/resend", tag = "identity", operation_id = "resend_verification",
    request_body = Address,
    responses((status = ACCEPTED, description = "Accepted", body = Accepted))
)]
pub(super) async fn resend_verification(
    State(state): State<AppState>,
    parts: Parts,
    Json(address): Json<Address>,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    tickets::send_to(&state, &parts, Kind::Verification, &address).await
}
