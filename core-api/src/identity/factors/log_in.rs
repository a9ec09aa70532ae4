//! A log-in in two steps: the password, then the second factor.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use http::{HeaderValue, header};
use lockout::OTP_PER_LOGIN;
use problem::Problem;
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::store::{self, NewChallenge};
use super::verify::{Prover, no_randomness, verify};
use super::{INVALID_CHALLENGE, MFA_REQUIRED, Presented, SecondStepErrors, WRONG_CODE};
use crate::extract::{Json, invalid};
use crate::identity::gate::Visitor;
use crate::identity::open_session::{self, Channel, LogIn};
use crate::identity::sessions::OpenedFrom;
use crate::identity::tokens::TokenPair;
use crate::identity::{caller, store as identity_store};
use crate::mail::MailToken;
use crate::state::AppState;
use crate::{database_problem, metrics};

/// How long a log-in awaits its second factor, seconds.
const CHALLENGE_S: i32 = 300;

/// A log-in whose password was right.
pub(in crate::identity) struct HalfLogIn<'a> {
    pub(in crate::identity) user: Uuid,
    pub(in crate::identity) password_version: i32,
    /// The hash of the password as it is made now, where the stored one is outdated.
    pub(in crate::identity) rehashed: Option<&'a str>,
}

/// What a log-in is told whose user has a second factor; None when he has none. The user must be held.
///
/// # Errors
/// 503 without the database.
pub(in crate::identity) async fn challenge(
    tx: &mut PgConnection,
    half: HalfLogIn<'_>,
    request_id: &str,
) -> Result<Option<Problem>, Problem> {
    let token = MailToken::generate().ok_or_else(no_randomness)?;
    let new = NewChallenge {
        user: half.user,
        password_version: half.password_version,
        token_hash: &token.hash(),
        for_s: CHALLENGE_S,
        rehashed: half.rehashed,
    };
    let is_awaited = store::challenge_login(tx, new, request_id)
        .await
        .map_err(database_problem)?;
    let text = token.to_text();
    // The same members for everybody: which factors a person has is nobody's business yet.
    let told = || {
        Problem::new(MFA_REQUIRED)
            .member("code", "mfa_required")
            .member("challenge", text.as_str())
            .member("factors", json!(["totp", "passkey", "recovery_code"]))
            .member("expires_in", CHALLENGE_S)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
    };
    Ok(is_awaited.then(told))
}

/// The second step of a log-in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"challenge": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO", "code": "287082"}))]
pub(in crate::identity) struct SecondStep {
    /// As the first step gave it.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "crate::identity::secret_text::deserialize")]
    pub(in crate::identity) challenge: Zeroizing<String>,
    /// Six digits of the authenticator; or else a recovery code.
    #[schema(max_length = 16, value_type = Option<String>, nullable = false)]
    #[serde(
        default,
        deserialize_with = "crate::identity::secret_text::deserialize_optional"
    )]
    pub(in crate::identity) code: Option<Zeroizing<String>>,
    /// A recovery code that was not used yet; case and dashes do not matter.
    #[schema(max_length = 64, value_type = Option<String>, nullable = false)]
    #[serde(
        default,
        deserialize_with = "crate::identity::secret_text::deserialize_optional"
    )]
    pub(in crate::identity) recovery_code: Option<Zeroizing<String>>,
}

/// Finish a log-in
///
/// The second step, for whoever was told `mfa-required`: sends the challenge with a code of the authenticator (RFC 6238), or with
/// a recovery code. Whoever has a passkey signs in with it at `/api/v1/auth/passkey`, without the challenge. A code is good once. Five wrong ones end the log-in, and it begins with the password again; after ten in a day
/// no code is looked at for a time (`too-many-attempts`), and the owner is told by mail. A recovery code opens then, too.
#[utoipa::path(
    post, path = "/api/v1/auth/login/factor", tag = "identity", operation_id = "complete_login",
    request_body = SecondStep,
    responses(
        (status = OK, description = "Logged in", body = TokenPair,
         headers(("Set-Cookie" = String, description = "`__Host-dev`: the device is known again by it"),
                 ("X-Device-Token" = String, description = "The same for whoever sent `X-Device-Token`"))),
        SecondStepErrors
    )
)]
pub(super) async fn complete_login(
    State(state): State<AppState>,
    parts: Parts,
    Json(step): Json<SecondStep>,
) -> Result<Response, Problem> {
    finish_log_in(&state, &parts, step, Channel::Api).await
}

/// [`complete_login`], for whoever signs in by whatever channel.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn finish_log_in(
    state: &AppState,
    parts: &Parts,
    step: SecondStep,
    channel: Channel,
) -> Result<Response, Problem> {
    let presented = Presented::one_of(step.code, step.recovery_code).map_err(invalid)?;
    let token_hash = MailToken::parse(&step.challenge).ok_or_else(not_good)?.hash();
    let request_id = caller::request_id(parts);
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let owner = store::hold_challenge(&mut tx, &token_hash, OTP_PER_LOGIN)
        .await
        .map_err(database_problem)?
        .ok_or_else(not_good)?;
    let prover = Prover {
        user: owner.user_id,
        email: &owner.email,
        session: None,
        request_id: &request_id,
        headers: &parts.headers,
    };
    let turn = state.identity.gate.hold_codes(&mut tx, owner.user_id).await?;
    let is_right = verify(state, &mut tx, &prover, turn, &presented)
        .await
        .inspect_err(|_| metrics::login("throttled"))?;
    if !is_right {
        metrics::login("refused");
        store::fail_challenge(&mut tx, &token_hash)
            .await
            .map_err(database_problem)?;
        identity_store::refuse_login(&mut *tx, Some(owner.user_id), &request_id)
            .await
            .map_err(database_problem)?;
        tx.commit().await.map_err(database_problem)?;
        state.post.wake();
        return Err(Problem::new(WRONG_CODE));
    }
    let is_first = store::use_challenge(&mut tx, &token_hash)
        .await
        .map_err(database_problem)?;
    let log_in = LogIn {
        user: owner.user_id,
        rehashed: None,
        from: &OpenedFrom::read(&parts.headers),
        amr: &["pwd", "otp", "mfa"],
        channel,
    };
    let opened = open_session::open(state, &mut tx, &log_in, &request_id).await?;
    let opened = opened.filter(|_| is_first).ok_or_else(not_good)?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    let mut response = opened.answer(state).await?;
    metrics::login("success");
    let visitor = Visitor::new(parts, &owner.email);
    let device = state
        .identity
        .gate
        .trust_visitor(&state.db, owner.user_id, visitor);
    // Without it the log-in stands: the device is only easier to lock out.
    response.headers_mut().extend(device.await.ok().flatten());
    Ok(response)
}

fn not_good() -> Problem {
    Problem::new(INVALID_CHALLENGE).detail("log in with the password again")
}
