//! Who am I.

use axum::extract::State;
use chrono::{DateTime, Utc};
use problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{AnyScope, Caller};
use super::store;
use crate::database_problem;
use crate::extract::Json;
use crate::ids::{TenantId, UserId};
use crate::state::AppState;

/// The caller's own record.
#[derive(Serialize, ToSchema)]
pub(super) struct MeView {
    /// The user.
    id: UserId,
    /// The address that logs in.
    #[schema(example = "alice@example.com")]
    pub(super) email: String,
    /// The person's name.
    #[schema(example = "Alice Example")]
    pub(super) full_name: String,
    /// `active`: others cannot call this.
    #[schema(example = "active")]
    status: String,
    /// The tenant the user belongs to.
    tenant: TenantView,
    /// When the user registered.
    created_at: DateTime<Utc>,
}

/// A tenant, as its members see it.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantView {
    /// The tenant.
    id: TenantId,
    /// Its name.
    #[schema(example = "Default")]
    name: String,
}

/// Show the caller
///
/// Says whom the token speaks for.
#[utoipa::path(
    get, path = "/api/v1/me", tag = "identity", operation_id = "show_me",
    security(("bearer" = [])),
    responses((status = OK, description = "The caller", body = MeView))
)]
pub(super) async fn show_me(
    State(state): State<AppState>,
    caller: Caller<AnyScope>,
) -> Result<Json<MeView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let me = store::me(&mut tx).await.map_err(database_problem)?;
    Ok(Json(MeView {
        id: UserId::from_uuid(me.user_id),
        email: me.email,
        full_name: me.full_name,
        status: me.status,
        tenant: TenantView {
            id: TenantId::from_uuid(me.tenant_id),
            name: me.tenant_name,
        },
        created_at: me.created_at,
    }))
}
