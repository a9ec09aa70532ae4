//! Adding an authenticator: the password, a secret, and the first code that it makes.

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use problem::Problem;
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Transaction};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::recovery::NewCodes;
use super::step_up::{Act, Operation, StepUpToken, step_up_required};
use super::store::{self, Begun, Confirmation, NewTotp};
use super::totp::{Code, Secret};
use super::verify::no_randomness;
use super::{
    ConfirmationErrors, EnrolmentErrors, FACTOR_EXISTS, WRONG_CODE, enrolment_over, notice, token_life_s,
};
use crate::database_problem;
use crate::extract::Json;
use crate::identity::caller::{Caller, FactorsWrite, session_ended};
use crate::identity::client_network::ClientNetwork;
use crate::identity::error::{WRONG_PASSWORD, crypto_failure, hashing_busy};
use crate::identity::gate::Visitor;
use crate::identity::hash_pool::Comparison;
use crate::identity::hash_queue::Priority;
use crate::identity::login::answer;
use crate::identity::sessions;
use crate::identity::store::{self as identity_store, OwnPassword};
use crate::mail::Kind;
use crate::state::AppState;

/// How long a secret waits for its first code, seconds.
const ENROLMENT_S: i32 = 900;
/// Wrong first codes after which it waits no more.
const MOST_FAILURES: i32 = 5;

/// The password once more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"password": "correct horse battery"}))]
pub(in crate::identity) struct PasswordProof {
    /// The caller's password: a stolen token alone adds no factor.
    #[schema(format = Password, max_length = 1024, value_type = String)]
    #[serde(deserialize_with = "crate::identity::secret_text::deserialize")]
    pub(in crate::identity) password: Zeroizing<String>,
}

/// A secret for an authenticator. It is shown here and never again.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct Enrolment {
    /// 160 bits in base32, to type.
    #[schema(example = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
    pub(in crate::identity) secret: String,
    /// The same for a QR code (Key URI Format).
    #[schema(
        example = "otpauth://totp/Portico:alice%40example.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Portico&algorithm=SHA1&digits=6&period=30"
    )]
    pub(in crate::identity) otpauth_uri: String,
    /// How long it waits for its first code, seconds.
    #[schema(example = 900)]
    expires_in: i32,
}

/// The first code of an authenticator.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"code": "287082"}))]
pub(in crate::identity) struct FirstCode {
    /// Six digits.
    #[schema(max_length = 16, value_type = String)]
    #[serde(deserialize_with = "crate::identity::secret_text::deserialize")]
    pub(in crate::identity) code: Zeroizing<String>,
}

/// Codes for whoever has lost the second factor. They are shown here and never again.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct RecoveryCodes {
    /// Ten, each good once; none for whoever adds a second factor to another, whose codes stay good.
    #[schema(example = json!(["MFRGGZ-DFMZTW-Q2LKNN-WG23TP"]))]
    pub(in crate::identity) recovery_codes: Vec<String>,
}

/// Begin to add an authenticator
///
/// Gives a secret for an authenticator app (TOTP, RFC 6238: SHA-1, six digits, 30 seconds). It counts once its first code is sent
/// to `/api/v1/me/factors/totp/confirm`, from the same session, within fifteen minutes; until then a new one takes its place. A
/// wrong password is 403 and counts as a failed log-in. Whoever has passkeys confirms the request as well (`/api/v1/me/step-up`).
#[utoipa::path(
    post, path = "/api/v1/me/factors/totp", tag = "identity", operation_id = "begin_totp",
    security(("bearer" = ["factors:write"])),
    params(StepUpToken),
    request_body = PasswordProof,
    responses((status = OK, description = "The secret", body = Enrolment), EnrolmentErrors)
)]
pub(super) async fn begin_totp(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
    operation: Operation<PasswordProof>,
) -> Result<Response, Problem> {
    enrol(&state, &caller, &parts, operation).await.map(answer)
}

/// [`begin_totp`], for any answer.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn enrol(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    operation: Operation<PasswordProof>,
) -> Result<Enrolment, Problem> {
    let owner = prove_password(state, caller, parts, operation.body.password).await?;
    let secret = Secret::generate().ok_or_else(no_randomness)?;
    let factors = &state.identity.factors;
    let sealed = factors
        .sealer
        .seal(caller.user.uuid(), &secret)
        .map_err(crypto_failure)?;
    let new = NewTotp {
        session: caller.session.uuid(),
        password_version: owner.password_version,
        sealed: &sealed,
        for_s: ENROLMENT_S,
    };
    let mut tx = beside_others(state, caller, &operation.act).await?;
    let begun = store::begin_totp(&mut tx, new, &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    match begun {
        Begun::Done => Ok(Enrolment {
            secret: secret.to_text().to_string(),
            otpauth_uri: secret.to_uri(&factors.bank, &owner.email).to_string(),
            expires_in: ENROLMENT_S,
        }),
        Begun::Exists => Err(Problem::new(FACTOR_EXISTS).detail("remove it first")),
        Begun::SessionEnded => Err(session_ended()),
    }
}

/// A transaction with the caller's factors held, in which a factor that is added to passkeys is confirmed.
async fn beside_others(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    act: &Act,
) -> Result<Transaction<'static, Postgres>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    store::hold_own_factors(&mut tx, caller.session.uuid())
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let own = store::own_factors(&mut tx).await.map_err(database_problem)?;
    // Whoever has an authenticator hears of that.
    let is_first = own.first_passkey_at.is_none() || own.confirmed_at.is_some();
    if is_first || act.use_up(&mut tx, caller, Uuid::new_v4()).await? {
        return Ok(tx);
    }
    tx.commit().await.map_err(database_problem)?; // the trace of it
    Err(step_up_required())
}

/// The password of the caller, through the gate.
pub(super) async fn prove_password(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    password: Zeroizing<String>,
) -> Result<OwnPassword, Problem> {
    let identity = &state.identity;
    let turn = identity
        .passwords
        .take(Priority::Trusted, ClientNetwork::of(&parts.headers))
        .map_err(hashing_busy)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let owner = identity_store::own_password(&mut tx)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    let pass = identity
        .gate
        .enter(&state.db, Visitor::new(parts, &owner.email))
        .await?;
    let stored = Some(owner.password_hash.clone());
    let compared = turn.compare(pass.admitted(), password, stored).await;
    let is_right = |comparison: &Comparison| comparison.matches;
    if identity
        .gate
        .end(&state.db, pass, compared, is_right)
        .await?
        .matches
    {
        return Ok(owner);
    }
    let mut tx = caller.begin_read(&state.db).await?;
    let session = caller.session.uuid();
    identity_store::refuse_password(&mut tx, session, "factor.begun", &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    Err(Problem::new(WRONG_PASSWORD))
}

/// Confirm an authenticator
///
/// Sends the first code of the secret, which counts from then on, and gives ten recovery codes with the first second factor. Every other session of the caller
/// ends at once, and the owner is told by mail. Five wrong codes end the enrolment.
#[utoipa::path(
    post, path = "/api/v1/me/factors/totp/confirm", tag = "identity", operation_id = "confirm_totp",
    security(("bearer" = ["factors:write"])),
    request_body = FirstCode,
    responses((status = OK, description = "It counts", body = RecoveryCodes), ConfirmationErrors)
)]
pub(super) async fn confirm_totp(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
    Json(first): Json<FirstCode>,
) -> Result<Response, Problem> {
    confirm_enrolment(&state, &caller, &parts, first)
        .await
        .map(answer)
}

/// [`confirm_totp`], for any answer.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn confirm_enrolment(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    first: FirstCode,
) -> Result<RecoveryCodes, Problem> {
    let (user, session) = (caller.user.uuid(), caller.session.uuid());
    let mut tx = caller.begin_read(&state.db).await?;
    let email = store::hold_own_factors(&mut tx, session)
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let pending = store::pending_totp(&mut tx, session, MOST_FAILURES)
        .await
        .map_err(database_problem)?
        .ok_or_else(enrolment_over)?;
    let sealer = &state.identity.factors.sealer;
    let secret = sealer.open(user, &pending.sealed).map_err(crypto_failure)?.secret;
    let code = Code::parse(&first.code);
    let Some(step) = code.and_then(|code| secret.step_of(&code, pending.now_ms)) else {
        store::fail_pending_totp(&mut tx, session, &caller.request_id)
            .await
            .map_err(database_problem)?;
        tx.commit().await.map_err(database_problem)?;
        return Err(Problem::new(WRONG_CODE));
    };
    let own = store::own_factors(&mut tx).await.map_err(database_problem)?;
    let codes = match own.first_passkey_at {
        None => NewCodes::generate().ok_or_else(no_randomness)?,
        Some(_) => NewCodes::default(),
    };
    let confirmation = Confirmation {
        session,
        step,
        code_hashes: &codes.hashes,
        used_s: token_life_s(state),
    };
    let ended = store::confirm_totp(&mut tx, confirmation, &caller.request_id)
        .await
        .map_err(database_problem)?
        .ok_or_else(enrolment_over)?;
    sessions::tell_gateways(state, &mut tx, ended)
        .await
        .map_err(database_problem)?;
    let mail = notice(Kind::FactorAdded, email, user, &parts.headers);
    state.post.enqueue(&mut tx, &mail, state.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    Ok(RecoveryCodes {
        recovery_codes: codes.texts,
    })
}
