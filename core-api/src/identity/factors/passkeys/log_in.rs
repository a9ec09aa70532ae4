//! Signing in with a passkey: no name, no password, two requests.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use problem::Problem;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::credential::Credential;
use super::store::{self, Held, LogInCeremony};
use super::verify::Right;
use super::{
    Ceremony, LogInErrors, OffErrors, PASSKEY_REFUSED, Passkeys, Purpose, not_good, passkeys, passkeys_off,
};
use crate::extract::Json;
use crate::identity::gate::Visitor;
use crate::identity::login::answer;
use crate::identity::open_session::{self, Channel, LogIn};
use crate::identity::sessions::OpenedFrom;
use crate::identity::tokens::TokenPair;
use crate::identity::{caller, store as identity_store};
use crate::mail::MailToken;
use crate::state::AppState;
use crate::{database_problem, metrics};

/// The answer of an authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "ceremony": "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO",
    "credential": {
        "id": "gB3Xx0m2o1Qm5r6n3Yx0Nw", "rawId": "gB3Xx0m2o1Qm5r6n3Yx0Nw", "type": "public-key",
        "response": {
            "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0In0", "authenticatorData": "SZYN5YgOjGh0NBcPZHZgW4_krrmihjLHmVzzuoMdl2MF",
            "signature": "MEUCIQ", "userHandle": "AZqfbnwffTqdWwwvbw88EQ"
        }
    }
}))]
pub(in crate::identity) struct PasskeyAnswer {
    /// As the beginning gave it.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "crate::identity::secret_text::deserialize")]
    pub(in crate::identity) ceremony: Zeroizing<String>,
    /// What `navigator.credentials.get()` gave, by its `toJSON()`.
    pub(in crate::identity) credential: Credential,
}

/// Begin to sign in with a passkey
///
/// Gives what a browser asks authenticators for (WebAuthn), the same for everybody: no name is sent, and no list of passkeys is
/// given. The answer goes to `/api/v1/auth/passkey/finish` within five minutes.
#[utoipa::path(
    post, path = "/api/v1/auth/passkey", tag = "identity", operation_id = "begin_passkey_login",
    responses((status = OK, description = "What the authenticator is asked", body = Ceremony), OffErrors)
)]
pub(super) async fn begin_passkey_login(
    State(state): State<AppState>,
    parts: Parts,
) -> Result<Response, Problem> {
    begin_log_in(&state, &parts).await.map(answer)
}

/// [`begin_passkey_login`], for whoever signs in by whatever channel.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn begin_log_in(state: &AppState, parts: &Parts) -> Result<Ceremony, Problem> {
    let asked = passkeys(state)
        .ok_or_else(passkeys_off)?
        .ask()
        .map_err(Problem::internal)?;
    let room = state.identity.gate.room_of(parts);
    let new = LogInCeremony {
        token_hash: &asked.token.hash(),
        network: &room.network,
        most: room.most,
        state: &asked.state,
    };
    let mut conn = state.db.acquire().await.map_err(database_problem)?;
    store::begin_log_in(&mut conn, new)
        .await
        .map_err(database_problem)?;
    Ok(Ceremony::new(&asked.token.to_text(), asked.public_key))
}

/// Sign in with a passkey
///
/// Sends the answer of the authenticator, which must have verified its user: that is both factors, and the session says `mfa`. It
/// is good while log-ins with the password are locked, and whatever the password is. A passkey that nobody has, one whose owner is
/// not active and a wrong signature get the same answer, which uses the beginning up.
#[utoipa::path(
    post, path = "/api/v1/auth/passkey/finish", tag = "identity", operation_id = "complete_passkey_login",
    request_body = PasskeyAnswer,
    responses(
        (status = OK, description = "Logged in", body = TokenPair,
         headers(("Set-Cookie" = String, description = "`__Host-dev`: the device is known again by it"),
                 ("X-Device-Token" = String, description = "The same for whoever sent `X-Device-Token`"))),
        LogInErrors
    )
)]
pub(super) async fn complete_passkey_login(
    State(state): State<AppState>,
    parts: Parts,
    Json(shown): Json<PasskeyAnswer>,
) -> Result<Response, Problem> {
    finish_log_in(&state, &parts, shown, Channel::Api).await
}

/// [`complete_passkey_login`], for whoever signs in by whatever channel.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn finish_log_in(
    state: &AppState,
    parts: &Parts,
    shown: PasskeyAnswer,
    channel: Channel,
) -> Result<Response, Problem> {
    let passkeys = passkeys(state).ok_or_else(passkeys_off)?;
    let token_hash = MailToken::parse(&shown.ceremony).ok_or_else(not_good)?.hash();
    let (gate, request_id) = (&state.identity.gate, caller::request_id(parts));
    let mut tx = state.db.begin().await.map_err(database_problem)?;
    let used = store::use_ceremony(&mut tx, &token_hash, Purpose::LogIn, None);
    let used = used.await.map_err(database_problem)?.ok_or_else(not_good)?;
    let found = find(state, passkeys, &mut tx, used.state, shown.credential).await?;
    let (user, opened) = match &found {
        Found::Right(user, held, right) => {
            right.note(&mut tx, *user, None, &request_id).await?;
            gate.signed_in_with_passkey(&mut tx, &held.email, &request_id)
                .await?;
            let log_in = LogIn {
                user: *user,
                rehashed: None,
                from: &OpenedFrom::read(&parts.headers),
                amr: &right.amr(),
                channel,
            };
            let opened = open_session::open(state, &mut tx, &log_in, &request_id).await?;
            (Some(*user), opened.map(|opened| (opened, *user, held)))
        }
        Found::Wrong(user) => (*user, None),
    };
    let Some((opened, user, held)) = opened else {
        metrics::login("refused");
        metrics::factor("passkey", "wrong");
        identity_store::refuse_login(&mut *tx, user, &request_id)
            .await
            .map_err(database_problem)?;
        tx.commit().await.map_err(database_problem)?;
        return Err(Problem::new(PASSKEY_REFUSED).detail("begin again, or sign in with the password"));
    };
    tx.commit().await.map_err(database_problem)?;
    let mut response = opened.answer(state).await?;
    metrics::login("success");
    let device = gate.trust_visitor(&state.db, user, Visitor::new(parts, &held.email));
    // Without it the log-in stands: the device is only easier to lock out.
    response.headers_mut().extend(device.await.ok().flatten());
    Ok(response)
}

/// Who signs in.
enum Found {
    Right(Uuid, Held, Right),
    /// Whose passkey was shown, when it is somebody's.
    Wrong(Option<Uuid>),
}

async fn find(
    state: &AppState,
    passkeys: &Passkeys,
    tx: &mut sqlx::PgConnection,
    asked: serde_json::Value,
    shown: Credential,
) -> Result<Found, Problem> {
    let Some(answer) = shown.read() else {
        return Ok(Found::Wrong(None));
    };
    let Some(user) = passkeys.owner(&answer) else {
        return Ok(Found::Wrong(None));
    };
    let held = store::hold_passkey(tx, user, answer.raw_id.as_slice())
        .await
        .map_err(database_problem)?;
    let Some(held) = held else {
        return Ok(Found::Wrong(None));
    };
    let admitted = state.identity.gate.admit_passkey();
    let right = passkeys
        .compare(admitted, asked, &answer, &held)
        .map_err(Problem::internal)?;
    Ok(match right {
        Some(right) => Found::Right(user, held, right),
        None => Found::Wrong(Some(user)),
    })
}
