//! Log-in.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use problem::Problem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::client_network::ClientNetwork;
use super::error::{INVALID_CREDENTIALS, LoginErrors, hashing_busy};
use super::factors;
use super::gate::{Pass, PasswordMark, SignedIn, Visitor};
use super::hash_pool::PoolError;
use super::open_session::{self, Channel, LogIn};
use super::profile::Email;
use super::sessions::OpenedFrom;
use super::store;
use super::tokens::TokenPair;
use crate::extract::Json;
use crate::state::AppState;
use crate::{database_problem, metrics};

/// Longest password that is looked at, in bytes; longer ones match nobody.
const MAX_PASSWORD_BYTES: usize = 1_024;

/// The two things that a person knows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"email": "alice@example.com", "password": "correct horse battery"}))]
pub(super) struct Credentials {
    /// The address given at registration.
    #[schema(format = Email, max_length = 254)]
    pub(super) email: String,
    /// The password.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    pub(super) password: Zeroizing<String>,
}

/// Log in
///
/// Opens a session. An unknown address, a wrong password and a user who is not active get the same 401, after the same
/// work. The access token lives for minutes; the refresh token gets the next pair, once.
///
/// Where the user has a second factor, a right password gets `mfa-required` with a `challenge`: send that with a code to
/// `/api/v1/auth/login/factor` within five minutes.
///
/// After five failures in a row an address is locked for a time, whether or not anybody has it: `too-many-attempts`, also with
/// the right password. A device that signed in before is not locked by failures elsewhere. Browsers are known again by a
/// cookie; an application sends `X-Device-Token`, `new` at first and then what the last answer gave.
#[utoipa::path(
    post, path = "/api/v1/auth/login", tag = "identity", operation_id = "login",
    request_body = Credentials,
    responses(
        (status = OK, description = "Logged in", body = TokenPair,
         headers(("Set-Cookie" = String, description = "`__Host-dev`: the device is known again by it"),
                 ("X-Device-Token" = String, description = "The same for whoever sent `X-Device-Token`"))),
        LoginErrors
    )
)]
pub(super) async fn login(
    State(state): State<AppState>,
    parts: Parts,
    Json(credentials): Json<Credentials>,
) -> Result<Response, Problem> {
    sign_in(&state, &parts, credentials, Channel::Api).await
}

/// [`login`], for whoever signs in by whatever channel.
///
/// # Errors
/// As there.
pub(super) async fn sign_in(
    state: &AppState,
    parts: &Parts,
    credentials: Credentials,
    channel: Channel,
) -> Result<Response, Problem> {
    let gate = &state.identity.gate;
    let visitor = Visitor::new(parts, &credentials.email);
    // A place before anything is looked up: what finds none costs no query.
    let turn = state
        .identity
        .passwords
        .take(gate.priority(&visitor), ClientNetwork::of(&parts.headers))
        .map_err(unavailable)?;
    let pass = gate.enter(&state.db, visitor).await.inspect_err(throttled)?;
    let mark = gate.mark(&credentials.password);
    let email = Email::parse(&credentials.email);
    let candidate = match &email {
        Some(email) => store::login_candidate(&state.db, email.as_str())
            .await
            .map_err(database_problem)?,
        None => None,
    };
    let password = if credentials.password.len() <= MAX_PASSWORD_BYTES {
        credentials.password
    } else {
        Zeroizing::new(String::new()) // no stored password is empty
    };
    let stored = candidate
        .as_ref()
        .map(|candidate| candidate.password_hash.clone());
    let comparison = match turn.compare(pass.admitted(), password, stored).await {
        Ok(comparison) => comparison,
        Err(error) => {
            gate.release(&state.db, pass).await;
            return Err(unavailable(error));
        }
    };
    let user_id = candidate.as_ref().map(|candidate| candidate.user_id);
    match candidate {
        Some(candidate) if comparison.matches && candidate.status == "active" => {
            let signed_in = gate.succeed_log_in(&state.db, pass).await?;
            let half = factors::HalfLogIn {
                user: candidate.user_id,
                password_version: candidate.password_version,
                rehashed: comparison.renewed.as_deref(),
            };
            let from = OpenedFrom::read(&parts.headers);
            open(state, half, (&from, channel), &signed_in).await
        }
        _ => fail(state, user_id, pass, mark).await,
    }
}

async fn fail(
    state: &AppState,
    user_id: Option<Uuid>,
    pass: Pass,
    mark: Option<PasswordMark>,
) -> Result<Response, Problem> {
    let request_id = pass.request_id().to_owned();
    state.identity.gate.fail_log_in(&state.db, pass, mark).await?;
    refuse(state, user_id, &request_id).await
}

fn throttled(problem: &Problem) {
    if problem.status() == StatusCode::TOO_MANY_REQUESTS {
        metrics::login("throttled");
    }
}

fn unavailable(error: PoolError) -> Problem {
    metrics::login("unavailable");
    hashing_busy(error)
}

async fn refuse(state: &AppState, user_id: Option<Uuid>, request_id: &str) -> Result<Response, Problem> {
    metrics::login("refused");
    store::refuse_login(&state.db, user_id, request_id)
        .await
        .map_err(database_problem)?;
    Err(Problem::new(INVALID_CREDENTIALS)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
}

async fn open(
    state: &AppState,
    half: factors::HalfLogIn<'_>,
    (from, channel): (&OpenedFrom, Channel),
    signed_in: &SignedIn,
) -> Result<Response, Problem> {
    let (user_id, rehashed) = (half.user, half.rehashed);
    let request_id = signed_in.request_id();
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let is_held = store::hold_password(&mut *tx, user_id, half.password_version)
        .await
        .map_err(database_problem)?;
    let opened = if is_held {
        // Behind the lock of the user: no session is opened past a factor that is being added.
        if let Some(challenge) = factors::challenge(&mut tx, half, request_id).await? {
            tx.commit().await.map_err(database_problem)?;
            metrics::login("challenged");
            return Err(challenge);
        }
        let log_in = LogIn {
            user: user_id,
            rehashed,
            from,
            amr: &["pwd"],
            channel,
        };
        open_session::open(state, &mut tx, &log_in, request_id).await?
    } else {
        None
    };
    tx.commit().await.map_err(database_problem)?;
    let Some(opened) = opened else {
        // Deactivated while we hashed, or the password was changed.
        return refuse(state, Some(user_id), request_id).await;
    };
    let mut response = opened.answer(state).await?;
    metrics::login("success");
    let device = state.identity.gate.trust(&state.db, user_id, signed_in).await;
    response.headers_mut().extend(device);
    Ok(response)
}

/// Tokens and secrets are for one reader: nobody may keep the answer (RFC 6749 §5.1).
pub(super) fn answer(body: impl Serialize) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        Json(body),
    )
        .into_response()
}
