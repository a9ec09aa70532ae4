//! Whether the service is there, for people and for load balancers.

mod store;

use axum::extract::State;
use chrono::{DateTime, Utc};
use problem::{Problem, catalogue};
use serde::Serialize;
use service_runtime::health::Readiness;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::Json;
use crate::state::AppState;

/// How the service is.
#[derive(Serialize, ToSchema)]
pub(crate) struct HealthView {
    /// Always `ok`; anything else is a problem document.
    #[schema(example = "ok")]
    status: &'static str,
    /// Whether the database answers: `ok`.
    #[schema(example = "ok")]
    database: &'static str,
    /// The version that runs.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// The time of the service.
    time: DateTime<Utc>,
}

/// Show health
///
/// 200 when the service and its database answer; 503 otherwise.
#[utoipa::path(
    get, path = "/health", tag = "operations", operation_id = "show_health",
    responses((status = OK, description = "Well", body = HealthView))
)]
pub(crate) async fn show_health(State(state): State<AppState>) -> Result<Json<HealthView>, Problem> {
    let (version, time) = (env!("CARGO_PKG_VERSION"), state.now());
    match store::ping(&state.db).await {
        Ok(_) => Ok(Json(HealthView {
            status: "ok",
            database: "ok",
            version,
            time,
        })),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer");
            Err(Problem::new(catalogue::UNAVAILABLE)
                .detail("the database does not answer")
                .member("database", "unreachable")
                .member("version", version)
                .member("time", time.to_rfc3339())
                .retry_after(1))
        }
    }
}

/// What must hold before this process gets work: the database answers, and there is a key to sign and verify with.
pub(crate) fn readiness(state: &AppState) -> Readiness {
    let (database, keys) = (state.clone(), state.clone());
    Readiness::new()
        .check("database", move || {
            let db = database.db.clone();
            Box::pin(async move {
                store::ping(&db)
                    .await
                    .map(drop)
                    .map_err(|_| "does not answer".to_owned())
            })
        })
        .check("signing_key", move || {
            let state = keys.clone();
            Box::pin(async move { state.identity.keys.check().await })
        })
}

/// The routes of this slice.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show_health))
}
