//! Every route of the core banking API, with the OpenAPI document they add up to.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::documentation::{self, SharedDocument};
use crate::extract::MAX_BODY_BYTES;
use crate::state::AppState;
use crate::{accounts, cash, entries, health, identity, transfers};

fn api() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(documentation::base())
        .merge(identity::routes())
        .merge(accounts::routes())
        .merge(entries::routes())
        .merge(cash::routes())
        .merge(transfers::routes())
        .merge(health::routes())
}

/// The document, without anything running.
pub(crate) fn openapi() -> OpenApi {
    documentation::complete(api().into_openapi())
}

/// The API, the pages of the log-in and those of the documentation, before the layers that every service has.
pub(crate) fn router(state: AppState) -> serde_json::Result<Router> {
    let (router, document) = api().split_for_parts();
    let document = SharedDocument::new(&documentation::complete(document))?;
    Ok(router
        .merge(identity::page_routes())
        .with_state(state)
        .merge(documentation::routes(document))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES)))
}
