//! `/api/v1/me/devices`: the devices that a person signed in with before, and that guesses elsewhere do not lock.

use axum::extract::State;
use chrono::{DateTime, Utc};
use http::StatusCode;
use problem::{Problem, catalogue};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::store::{self, Distrust};
use crate::database_problem;
use crate::extract::{Json, Path};
use crate::identity::caller::{AnyScope, Caller, DevicesWrite};
use crate::ids::DeviceId;
use crate::state::AppState;

/// The routes of devices and of unlocking.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(super::unlock::send_unlock))
        .routes(routes!(super::unlock::use_unlock))
        .routes(routes!(list_devices))
        .routes(routes!(remove_device))
}

/// A trusted device.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeviceView {
    /// The device.
    pub(in crate::identity) id: DeviceId,
    /// What it called itself when it last signed in (`User-Agent`).
    #[schema(example = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")]
    pub(in crate::identity) description: String,
    /// When it first signed in.
    pub(in crate::identity) created_at: DateTime<Utc>,
    /// When it last signed in.
    pub(in crate::identity) last_used_at: DateTime<Utc>,
    /// When it is trusted no more, unless it signs in before.
    expires_at: DateTime<Utc>,
}

/// All trusted devices of a person.
#[derive(Serialize, ToSchema)]
pub(crate) struct DevicesView {
    /// The one that signed in last is first.
    pub(in crate::identity) data: Vec<DeviceView>,
}

/// List devices
///
/// The devices that are trusted: guesses at your password from elsewhere do not keep you from signing in with them.
#[utoipa::path(
    get, path = "/api/v1/me/devices", tag = "identity", operation_id = "list_devices",
    security(("bearer" = [])),
    responses((status = OK, description = "The devices", body = DevicesView))
)]
pub(in crate::identity) async fn list_devices(
    State(state): State<AppState>,
    caller: Caller<AnyScope>,
) -> Result<Json<DevicesView>, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let devices = store::devices(&mut tx).await.map_err(database_problem)?;
    let view = |device: store::Device| DeviceView {
        id: DeviceId::from_uuid(device.device_id),
        description: device.description,
        created_at: device.created_at,
        last_used_at: device.last_used_at,
        expires_at: device.expires_at,
    };
    Ok(Json(DevicesView {
        data: devices.into_iter().map(view).collect(),
    }))
}

/// Remove a device
///
/// The device is trusted no more. Its sessions go on; log them out apart.
#[utoipa::path(
    delete, path = "/api/v1/me/devices/{id}", tag = "identity", operation_id = "remove_device",
    params(("id" = DeviceId, Path, description = "The device")),
    security(("bearer" = ["devices:write"])),
    responses((status = NO_CONTENT, description = "It is trusted no more"))
)]
pub(in crate::identity) async fn remove_device(
    State(state): State<AppState>,
    caller: Caller<DevicesWrite>,
    Path(id): Path<DeviceId>,
) -> Result<StatusCode, Problem> {
    let mut tx = caller.begin_read(&state.db).await?;
    let distrust = Distrust {
        device: id.uuid(),
        owner: Some((caller.user.uuid(), caller.session.uuid())),
        outcome: "removed",
    };
    let was_trusted = store::distrust_device(&mut *tx, &distrust, &caller.request_id)
        .await
        .map_err(database_problem)?;
    tx.commit().await.map_err(database_problem)?;
    if was_trusted {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(catalogue::NOT_FOUND))
    }
}
