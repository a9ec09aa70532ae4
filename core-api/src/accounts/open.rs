//! Opening an account.

use axum::extract::State;
use axum::response::Response;
use database::Failure;
use problem::{FieldError, Problem, catalogue};
use serde::Deserialize;
use utoipa::ToSchema;

use super::account::{AccountView, Product};
use super::store::{self, NewAccount};
use super::{OpenErrors, TOO_MANY_ACCOUNTS, UNKNOWN_CURRENCY};
use crate::database_problem;
use crate::extract::{Json, invalid};
use crate::hidden::shows;
use crate::idempotency::{
    IdempotencyKey, KeptAnswer, OptionalIdempotencyKey, RequestHash, already_processed, key_reused,
};
use crate::identity::{AccountsWrite, Caller, session_ended};
use crate::ids::AccountId;
use crate::money::Currency;
use crate::state::AppState;

/// Accounts that one user may have.
const MAX_ACCOUNTS: i32 = 100;
const MAX_NAME_CHARS: usize = 100;

/// An account to open.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"product": "checking", "currency": "EUR", "name": "Everyday"}))]
pub(super) struct AccountOrder {
    /// What kind of account.
    product: Product,
    /// The one currency it will keep.
    currency: Currency,
    /// What to call it: 1 to 100 characters.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
}

/// Open an account
///
/// The account holds nothing, allows no overdraft, and belongs to the caller. With an `Idempotency-Key`, repeating the
/// request opens no second one.
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts", operation_id = "open_account",
    security(("bearer" = ["accounts:write"])),
    params(OptionalIdempotencyKey),
    request_body = AccountOrder,
    responses(
        (status = CREATED, description = "Opened", body = AccountView,
         headers(("Location" = String, description = "The account"),
                 ("Idempotent-Replayed" = String, description = "`true` when this answer was given before"))),
        OpenErrors
    )
)]
pub(super) async fn open_account(
    State(state): State<AppState>,
    caller: Caller<AccountsWrite>,
    OptionalIdempotencyKey(key): OptionalIdempotencyKey,
    Json(order): Json<AccountOrder>,
) -> Result<Response, Problem> {
    let name = account_name(order.name).map_err(|fault| invalid(vec![fault]))?;
    let now = state.now();
    let id = key
        .as_ref()
        .map_or_else(|| AccountId::new(now), |key| derived_id(&caller, key));
    let hash = RequestHash::of(
        "open_account",
        &[
            Some(order.product.as_str()),
            Some(order.currency.as_str()),
            name.as_deref(),
        ],
    );
    let view = AccountView::opened(id, order.product, order.currency, name.clone(), now);
    let body = serde_json::to_vec(&view).map_err(Problem::internal)?;
    let new = NewAccount {
        session_id: caller.session.uuid(),
        user_id: caller.user.uuid(),
        tenant_id: caller.tenant.uuid(),
        account_id: id.uuid(),
        product: order.product.as_str(),
        currency: order.currency.as_str(),
        name: name.as_deref(),
        created_at: now,
        max_accounts: MAX_ACCOUNTS,
        key: key.as_ref().map(IdempotencyKey::as_str),
        request_hash: hash.as_bytes(),
        body: &body,
        ttl_s: state.poster.kept_for_s(),
    };
    let opened = store::open(&state.db, new, &caller.request_id)
        .await
        .map_err(|error| match (&key, Failure::of(&error)) {
            (None, Failure::Lost) => unknown_outcome(&error),
            _ => database_problem(error),
        })?;
    let location = format!("/api/v1/accounts/{id}");
    match (opened.outcome.as_str(), opened.body) {
        ("opened", Some(body)) => Ok(KeptAnswer {
            status: 201,
            body,
            replayed: false,
        }
        .into_response(Some(&location))),
        ("replayed", Some(body)) => Ok(KeptAnswer {
            status: 201,
            body,
            replayed: true,
        }
        .into_response(Some(&location))),
        ("session_ended", _) => Err(session_ended()),
        ("unknown_currency", _) => Err(Problem::new(UNKNOWN_CURRENCY).field_error(
            "/currency",
            "unknown_currency",
            "is not a currency of this bank",
        )),
        ("too_many", _) => Err(Problem::new(TOO_MANY_ACCOUNTS).detail("a customer has at most 100 accounts")),
        ("key_reused", _) => Err(key_reused()),
        ("already_processed", _) => Err(already_processed(&location)),
        (outcome, _) => Err(Problem::internal(format!(
            "opening an account came out as {outcome}"
        ))),
    }
}

/// The same key of the same person always leads to the same account.
fn derived_id(caller: &Caller<AccountsWrite>, key: &IdempotencyKey) -> AccountId {
    let (tenant, user) = (caller.tenant.uuid(), caller.user.uuid());
    AccountId::derived(
        "account",
        &[tenant.as_bytes(), user.as_bytes(), key.as_str().as_bytes()],
    )
}

/// Without a key, the same request again would open a second account: nobody is invited to repeat it.
fn unknown_outcome(error: &sqlx::Error) -> Problem {
    tracing::warn!(%error, "nobody knows whether an account was opened");
    Problem::new(catalogue::UNAVAILABLE).detail(
        "whether the account was opened is not known: look at your accounts before you ask again, with an Idempotency-Key",
    )
}

/// A name as it is kept, or what is wrong with it.
fn account_name(name: Option<String>) -> Result<Option<String>, FieldError> {
    let Some(name) = name.map(|name| name.trim().to_owned()) else {
        return Ok(None);
    };
    let good = (1..=MAX_NAME_CHARS).contains(&name.chars().count()) && shows(&name);
    if good {
        Ok(Some(name))
    } else {
        Err(FieldError::new(
            "/name",
            "invalid_value",
            "must have 1 to 100 characters, all of which show",
        ))
    }
}
