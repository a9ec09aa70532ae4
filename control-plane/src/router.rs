//! Every route of the control plane's unix socket, on one page.

use axum::Router;
use axum::routing::{get, post};

use crate::state::AppState;
use crate::{fleet, keks, policies, signing_keys};

/// The routes. Whoever can open the socket may call all of them: its mode is the authorisation.
pub(crate) fn router(state: AppState) -> Router {
    Router::new()
        .route("/internal/keys", get(signing_keys::list_keys))
        .route("/internal/keys/rotate", post(signing_keys::rotate_keys))
        .route("/internal/keys/reinstate", post(signing_keys::reinstate_key))
        .route("/internal/keys/revoke", post(signing_keys::revoke_key))
        .route("/internal/keys/abort", post(signing_keys::abort_key))
        .route("/internal/keys/history", get(signing_keys::show_history))
        .route("/internal/kek", get(keks::show_keks))
        .route("/internal/kek/history", get(signing_keys::show_kek_history))
        .route("/internal/kek/rotate", post(keks::rotate_kek))
        .route("/internal/kek/rewrap", post(keks::rewrap_keys))
        .route("/internal/kek/retire", post(keks::retire_kek))
        .merge(fleet::for_operators())
        .merge(policies::for_operators())
        .with_state(state)
}
