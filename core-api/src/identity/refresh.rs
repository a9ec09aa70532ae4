//! Rotation of refresh tokens (IDN-5).

use aws_lc_rs::digest;
use axum::extract::State;
use axum::http::request::Parts;
use axum::response::Response;
use database::Failure;
use http::{HeaderValue, header};
use problem::{Problem, ProblemType};
use serde::Deserialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::error::{
    INVALID_REFRESH_TOKEN, REFRESH_REUSED, REFRESH_SUPERSEDED, RefreshErrors, crypto_failure, no_signing_key,
    not_signed,
};
use super::login::answer;
use super::store::{self, Rotated, Rotation};
use super::tokens::{AccessGrant, Authentication, RefreshToken, TokenPair};
use super::{caller, caller::SESSION_ENDED};
use crate::extract::Json;
use crate::idempotency::{OptionalIdempotencyKey, REPLAYED, RefreshKey};
use crate::ids::{SessionId, TenantId, TokenId, UserId};
use crate::state::AppState;
use crate::{database_problem, metrics};

/// The refresh token to use up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"refresh_token": "rt1.01kafpwz0zfmx9tpr6z5qgyf0h.mZ1b0rWJ0kq3w1Vn4V0m8b7c6d5e4f3g2h1i0jKLMNO"}))]
pub(super) struct RefreshRequest {
    /// As the last log-in or refresh gave it.
    #[schema(max_length = 128, value_type = String)]
    #[serde(deserialize_with = "super::secret_text::deserialize")]
    refresh_token: Zeroizing<String>,
}

/// Refresh tokens
///
/// Uses up a refresh token and gives the next pair. Send an `Idempotency-Key`: the very same request, repeated within 60
/// seconds, then gets the same answer again, as long as the new refresh token has not been used. Another request with a
/// token that was used in the last 10 seconds gets `refresh-superseded` and nothing else happens: keep the tokens that the
/// winner got. Any other use of a used token is taken for theft: the whole session ends (`refresh-reused`).
#[utoipa::path(
    post, path = "/api/v1/auth/refresh", tag = "identity", operation_id = "refresh",
    request_body = RefreshRequest,
    params(RefreshKey),
    responses(
        (status = OK, description = "The next pair", body = TokenPair,
         headers(("Idempotent-Replayed" = String, description = "`true` when this answer was given before"))),
        RefreshErrors
    )
)]
pub(super) async fn refresh(
    State(state): State<AppState>,
    parts: Parts,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(request): Json<RefreshRequest>,
) -> Result<Response, Problem> {
    let Some(presented) = RefreshToken::parse(&request.refresh_token) else {
        metrics::refresh("unknown");
        return Err(refuse(INVALID_REFRESH_TOKEN));
    };
    let now = state.now();
    let successor = RefreshToken::generate(now).map_err(crypto_failure)?;
    let key_hash = key.map(|key| {
        digest::digest(&digest::SHA256, key.as_str().as_bytes())
            .as_ref()
            .to_vec()
    });
    let rotation = Rotation {
        refresh_id: presented.id(),
        secret_hash: &presented.secret_hash(),
        new_refresh_id: successor.id(),
        new_secret_hash: &successor.secret_hash(),
        new_access_id: TokenId::new(now).uuid(),
        request_key_hash: key_hash.as_deref(),
        replay_sealed: &presented.seal(&successor).map_err(crypto_failure)?,
        idle_s: state.identity.lives.api.idle_s,
    };
    let rotated = store::rotate(&state.db, rotation, &caller::request_id(&parts))
        .await
        .map_err(not_rotated)?;
    let (outcome, refused) = match rotated.outcome.as_str() {
        "rotated" => {
            metrics::refresh("rotated");
            return pair(&state, &rotated, &successor).await;
        }
        "replayed" => {
            metrics::refresh("replayed");
            let sealed = rotated.replay_sealed.as_deref().unwrap_or_default();
            let successor = presented.open(sealed).map_err(crypto_failure)?;
            let mut again = pair(&state, &rotated, &successor).await?;
            again
                .headers_mut()
                .insert(REPLAYED, HeaderValue::from_static("true"));
            return Ok(again);
        }
        "no_key" => ("unavailable", no_signing_key()),
        "superseded" => ("superseded", refuse(REFRESH_SUPERSEDED)),
        "reused" => {
            tell_gateways(&state, &rotated).await.map_err(database_problem)?;
            ("reused", refuse(REFRESH_REUSED))
        }
        "ended" => ("ended", refuse(SESSION_ENDED)),
        _ => ("unknown", refuse(INVALID_REFRESH_TOKEN)),
    };
    metrics::refresh(outcome);
    Err(refused)
}

/// When the connection broke off, the token may be used up. The same request gets the same answer then; one without a key does
/// no harm while it comes soon.
fn not_rotated(error: sqlx::Error) -> Problem {
    let is_lost = Failure::of(&error) == Failure::Lost;
    let problem = database_problem(error);
    if is_lost {
        problem.detail("whether the token was used up is not known: repeat the request at once, with its Idempotency-Key")
    } else {
        problem
    }
}

/// The session has ended: whoever holds its access token is refused at the gateway, too.
async fn tell_gateways(state: &AppState, rotated: &Rotated) -> sqlx::Result<()> {
    if let Some(session) = rotated.session_id {
        let (terms, session) = (&state.identity.terms, SessionId::from_uuid(session).to_string());
        store::revoke_ended_session(&state.db, &terms.issuer, &session, terms.lifetime_s).await?;
    }
    Ok(())
}

async fn pair(state: &AppState, rotated: &Rotated, successor: &RefreshToken) -> Result<Response, Problem> {
    let authentication = rotated.amr.clone().zip(rotated.auth_time);
    let (Some(user), Some(session), Some(tenant), Some(token), Some(kid), Some((amr, auth_time))) = (
        rotated.user_id,
        rotated.session_id,
        rotated.tenant_id,
        rotated.access_id,
        rotated.kid.as_deref(),
        authentication,
    ) else {
        return Err(Problem::internal("a rotation came back without its session"));
    };
    let grant = AccessGrant {
        user: UserId::from_uuid(user),
        session: SessionId::from_uuid(session),
        tenant: TenantId::from_uuid(tenant),
        token: TokenId::from_uuid(token),
        issued_at: rotated.issued_at,
        authentication: Authentication { amr, auth_time },
    };
    let identity = &state.identity;
    let access = identity
        .terms
        .sign(&identity.keys, kid, &grant)
        .await
        .map_err(not_signed)?;
    Ok(answer(identity.terms.pair(access, successor)))
}

/// The code as clients of the prototypes know it stands beside the type.
fn refuse(kind: ProblemType) -> Problem {
    Problem::new(kind)
        .member("code", kind.slug().replace('-', "_"))
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}
