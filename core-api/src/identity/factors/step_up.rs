//! The confirmation of one operation with a second factor: a token that is good for that operation alone, once, for minutes.

use axum::extract::{FromRequest, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, Method, Uri};
use problem::{FieldError, Problem};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ObjectBuilder, Required, schema::Type};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::digest::digest;
use super::passkeys::{PasskeyAnswer, answered};
use super::store::{self, NewStepUp, StepUpUse};
use super::verify::{Prover, no_randomness, verify};
use super::{
    FACTOR_TOO_NEW, NO_SECOND_FACTOR, PASSKEY_REFUSED, Presented, ProofErrors, STEP_UP_REQUIRED, WRONG_CODE,
    token_life_s,
};
use crate::documentation::problems;
use crate::extract::{self, Json, invalid};
use crate::identity::caller::{Caller, FactorsWrite, session_ended};
use crate::identity::login::answer;
use crate::identity::sessions;
use crate::mail::MailToken;
use crate::state::AppState;
use crate::{database_problem, metrics};

const HEADER: &str = "x-step-up";
/// What a new factor confirms, too: it can be taken back, and gives nothing away.
const OWN_FACTORS: &str = "/api/v1/me/factors/";
/// How long a confirmation waits for its operation, seconds.
const STEP_UP_S: i32 = 300;
/// So many wrong codes in a row end a session: whoever has somebody else's token shall not lock the codes of its owner, for which
/// it takes ten in a day.
const WRONG_IN_A_ROW: i32 = 5;

problems! {
    /// What an operation that must be confirmed may be refused with.
    StepUpErrors: STEP_UP_REQUIRED;
}

/// The header that carries a confirmation.
pub(crate) struct StepUpToken;

impl IntoParams for StepUpToken {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[A-Za-z0-9_-]{43}$"))
            .min_length(Some(43))
            .max_length(Some(43));
        let parameter = ParameterBuilder::new()
            .name("X-Step-Up")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The token of `/api/v1/me/step-up` for exactly this request, where it must be confirmed.",
            ))
            .schema(Some(schema))
            .example(Some("mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO".into()))
            .build();
        vec![parameter]
    }
}

/// What is asked for, and the confirmation that came with it.
#[derive(Debug)]
pub(crate) struct Act {
    method: String,
    path: String,
    body: Value,
    token_hash: Option<Vec<u8>>,
}

/// An operation with a JSON body, which may have to be confirmed.
#[derive(Debug)]
pub(crate) struct Operation<T> {
    pub(crate) body: T,
    pub(crate) act: Act,
}

impl<T, S> FromRequest<S> for Operation<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (method, path) = (request.method().to_string(), path_of(request.uri()));
        let token_hash = token_hash(request.headers());
        let bytes = extract::json_body(request, state).await?;
        Ok(Self {
            body: extract::parse(&bytes)?,
            act: Act {
                method,
                path,
                body: serde_json::from_slice(&bytes).map_err(Problem::internal)?,
                token_hash,
            },
        })
    }
}

impl Act {
    /// Uses the confirmation of the operation up. `used_for` names what comes of it: the same again is the same use, so that an
    /// operation is repeated with its key.
    ///
    /// # Errors
    /// 403 `step-up-required` without a confirmation that is good for this operation of this session.
    pub(crate) async fn confirm<S>(
        &self,
        state: &AppState,
        caller: &Caller<S>,
        used_for: Uuid,
    ) -> Result<(), Problem> {
        let mut tx = caller.begin_read(&state.db).await?;
        let is_confirmed = self.use_up(&mut tx, caller, used_for).await?;
        tx.commit().await.map_err(database_problem)?;
        if is_confirmed {
            Ok(())
        } else {
            Err(step_up_required())
        }
    }

    /// An operation that a page does for its reader, as the request of the API that does the same, with its confirmation.
    pub(in crate::identity) fn of(method: &Method, path: &str, body: Value, token: Option<&str>) -> Self {
        Self {
            method: method.to_string(),
            path: path.to_owned(),
            body,
            token_hash: token.and_then(MailToken::parse).map(|token| token.hash()),
        }
    }

    /// An operation whose request has no body.
    pub(super) fn without_body(parts: &Parts) -> Self {
        Self {
            method: parts.method.to_string(),
            path: path_of(&parts.uri),
            body: Value::Null,
            token_hash: token_hash(&parts.headers),
        }
    }

    /// Whether it is confirmed, which is used up by that. Commit the transaction either way.
    pub(super) async fn use_up<S>(
        &self,
        tx: &mut PgConnection,
        caller: &Caller<S>,
        used_for: Uuid,
    ) -> Result<bool, Problem> {
        let digest = digest(&self.method, &self.path, &self.body);
        let (Some(token_hash), Some(digest)) = (&self.token_hash, digest) else {
            metrics::step_up("missing");
            return Ok(false);
        };
        let step_up = StepUpUse {
            session: caller.session.uuid(),
            token_hash,
            digest: &digest,
            used_for,
        };
        let is_used = store::use_step_up(tx, step_up, &caller.request_id)
            .await
            .map_err(database_problem)?;
        metrics::step_up(if is_used { "used" } else { "refused" });
        Ok(is_used)
    }
}

fn path_of(uri: &Uri) -> String {
    uri.path_and_query()
        .map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// Of the one token that was sent.
fn token_hash(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    MailToken::parse(value.to_str().ok()?).map(|token| token.hash())
}

/// The operation is not confirmed: why, nobody is told.
pub(super) fn step_up_required() -> Problem {
    Problem::new(STEP_UP_REQUIRED)
        .detail("confirm this request at /api/v1/me/step-up, then send it with X-Step-Up")
}

/// What is to be confirmed, and the second factor.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "method": "POST", "path": "/api/v1/transfers", "code": "287082",
    "body": {
        "from_account_id": "acc_01kafpwz0zfmx9tpr6z5qgyf0h", "to_account_id": "acc_01kafpx3vgfd5t8y2w5m0c9b7e",
        "amount": 2_500_000, "currency": "EUR"
    }
}))]
pub(in crate::identity) struct StepUpRequest {
    /// The method of the request.
    #[schema(max_length = 16, example = "POST")]
    pub(in crate::identity) method: String,
    /// Its path, with the query where there is one.
    #[schema(max_length = 1024, example = "/api/v1/transfers")]
    pub(in crate::identity) path: String,
    /// Its body, without a password; nothing for a request without one.
    #[schema(value_type = Option<Object>)]
    pub(in crate::identity) body: Option<Value>,
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
    /// The answer of a passkey to what `/api/v1/me/step-up/passkey` gave for the same request.
    #[schema(value_type = Option<PasskeyAnswer>, nullable = false)]
    pub(in crate::identity) passkey: Option<PasskeyAnswer>,
}

/// A confirmation.
#[derive(Serialize, ToSchema)]
pub(in crate::identity) struct StepUp {
    /// Send it as `X-Step-Up` with that request.
    #[schema(example = "mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO")]
    pub(in crate::identity) token: String,
    /// How long it is good, seconds.
    #[schema(example = 300)]
    expires_in: i32,
}

/// Confirm an operation
///
/// Gives a token for exactly one request: its method, path and body, from this session, once, within five minutes. Transfers from
/// a certain amount on, another e-mail address and changes of second factors ask for it (`step-up-required`). How the body is
/// written does not matter, only what it says; a member `password` does not count. A passkey is asked first
/// (`/api/v1/me/step-up/passkey`). A new second factor confirms changes of factors
/// alone for its first day (`factor-too-new`). Wrong codes are counted as those of log-ins are, and the fifth in a row ends the
/// session.
#[utoipa::path(
    post, path = "/api/v1/me/step-up", tag = "identity", operation_id = "step_up",
    security(("bearer" = ["factors:write"])),
    request_body = StepUpRequest,
    responses((status = OK, description = "Confirmed", body = StepUp), ProofErrors)
)]
pub(super) async fn step_up(
    State(state): State<AppState>,
    caller: Caller<FactorsWrite>,
    parts: Parts,
    Json(request): Json<StepUpRequest>,
) -> Result<Response, Problem> {
    give(&state, &caller, &parts, request).await.map(answer)
}

/// [`step_up`], for any answer.
///
/// # Errors
/// As there.
pub(in crate::identity) async fn give(
    state: &AppState,
    caller: &Caller<FactorsWrite>,
    parts: &Parts,
    request: StepUpRequest,
) -> Result<StepUp, Problem> {
    let proof = proof_of(request.code, request.recovery_code, request.passkey).map_err(invalid)?;
    let body = request.body.unwrap_or_default();
    let digest = digest(&request.method, &request.path, &body).ok_or_else(not_whole)?;
    let (user, session) = (caller.user.uuid(), caller.session.uuid());
    let token = MailToken::generate().ok_or_else(no_randomness)?;
    let mut tx = caller.begin_read(&state.db).await?;
    let email = store::hold_own_factors(&mut tx, session)
        .await
        .map_err(database_problem)?
        .ok_or_else(session_ended)?;
    let prover = Prover {
        user,
        email: &email,
        session: Some(session),
        request_id: &caller.request_id,
        headers: &parts.headers,
    };
    let is_of_factors = request.path.starts_with(OWN_FACTORS);
    if let Some(refusal) = prove(state, &mut tx, &prover, (&digest, is_of_factors), proof).await? {
        let refusal = refuse(state, &mut tx, session, &caller.request_id, refusal).await?;
        tx.commit().await.map_err(database_problem)?;
        state.post.wake();
        return Err(refusal);
    }
    let new = NewStepUp {
        session,
        token_hash: &token.hash(),
        digest: &digest,
        for_s: STEP_UP_S,
    };
    store::give_step_up(&mut tx, new, &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    state.post.wake();
    metrics::step_up("given");
    Ok(StepUp {
        token: token.to_text().to_string(),
        expires_in: STEP_UP_S,
    })
}

/// What a person shows to confirm an operation.
enum Proof {
    Code(Presented),
    Passkey(Box<PasskeyAnswer>),
}

/// One of the three, and no other.
fn proof_of(
    code: Option<Zeroizing<String>>,
    recovery_code: Option<Zeroizing<String>>,
    passkey: Option<PasskeyAnswer>,
) -> Result<Proof, Vec<FieldError>> {
    match passkey {
        None => Presented::one_of(code, recovery_code).map(Proof::Code),
        Some(passkey) if code.is_none() && recovery_code.is_none() => Ok(Proof::Passkey(Box::new(passkey))),
        Some(_) => Err(vec![FieldError::new(
            "/passkey",
            "invalid_value",
            "must not be given beside a code",
        )]),
    }
}

/// Why the proof is not good; None when it is. Commit the transaction either way.
///
/// # Errors
/// What needs no trace: 409 without a second factor, 403 for one that is too new, 429 while codes are locked.
async fn prove(
    state: &AppState,
    tx: &mut PgConnection,
    prover: &Prover<'_>,
    (digest, is_of_factors): (&[u8], bool),
    proof: Proof,
) -> Result<Option<Problem>, Problem> {
    let own = store::own_factors(tx).await.map_err(database_problem)?;
    let Some(oldest) = own.oldest() else {
        return Err(Problem::new(NO_SECOND_FACTOR).detail("add one at /api/v1/me/factors"));
    };
    // For how many milliseconds more a factor confirms nothing but changes of factors.
    let is_too_new = |since: DateTime<Utc>, now_ms: i64| {
        let after_s = i64::from(state.identity.factors.confirms_after_s);
        let left_ms = since.timestamp_millis() + after_s * 1_000 - now_ms;
        let left_ms = u64::try_from(left_ms).ok();
        left_ms.filter(|left| *left > 0 && !is_of_factors)
    };
    let (is_right, refusal) = match proof {
        Proof::Code(presented) => {
            let turn = state.identity.gate.hold_codes(tx, prover.user).await?;
            let since = match presented {
                Presented::Code(_) => own.confirmed_at.unwrap_or(oldest),
                Presented::RecoveryCode(_) => oldest,
            };
            if let Some(left_ms) = is_too_new(since, turn.now_ms()) {
                return Err(too_new(left_ms));
            }
            (verify(state, tx, prover, turn, &presented).await?, WRONG_CODE)
        }
        Proof::Passkey(shown) => {
            let (user, session) = (prover.user, prover.session.unwrap_or_default());
            let answered = answered(state, tx, (user, session), digest, *shown).await?;
            let since = answered.since();
            if let Some(left_ms) = since.and_then(|(since, now_ms)| is_too_new(since, now_ms)) {
                return Err(too_new(left_ms));
            }
            let is_right = answered.note(tx, user, session, prover.request_id).await?;
            (is_right, PASSKEY_REFUSED)
        }
    };
    Ok((!is_right).then(|| Problem::new(refusal)))
}

fn too_new(left_ms: u64) -> Problem {
    Problem::new(FACTOR_TOO_NEW).retry_after(left_ms.div_ceil(1_000))
}

/// What a proof that is not good is answered with; it is counted for its session, which may have ended by that.
async fn refuse(
    state: &AppState,
    tx: &mut PgConnection,
    session: Uuid,
    request_id: &str,
    refusal: Problem,
) -> Result<Problem, Problem> {
    let ended = store::fail_step_up(tx, session, WRONG_IN_A_ROW, token_life_s(state), request_id);
    let Some(ended) = ended.await.map_err(database_problem)? else {
        return Ok(refusal);
    };
    sessions::tell_gateways(state, tx, ended)
        .await
        .map_err(database_problem)?;
    metrics::step_up("session_ended");
    Ok(refusal.detail("too many in a row: the session has ended"))
}

pub(super) fn not_whole() -> Problem {
    let fault = FieldError::new("/body", "invalid_value", "must have whole numbers only");
    invalid(vec![fault])
}
