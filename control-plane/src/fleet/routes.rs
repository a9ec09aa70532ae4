//! The routes of the slice: those of gateways, by either door, and those of operators, on the socket alone.

use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};

use super::member::Door;
use super::{blobs, denials, export, nodes, report, stream, trust};
use crate::state::AppState;

/// Largest body that a gateway sends: a heartbeat or an objection.
const MAX_REPORT_BYTES: usize = 64 * 1024;

/// What gateways call.
fn members(door: Door) -> Router<AppState> {
    Router::new()
        .route("/fleet/v1/stream", get(stream::open_stream))
        .route("/fleet/v1/blobs/{digest}", get(blobs::show_blob))
        .route("/fleet/v1/trust", get(blobs::show_trust))
        .route("/fleet/v1/acknowledgements", post(report::take_acknowledgement))
        .route("/fleet/v1/heartbeats", post(report::take_heartbeat))
        .layer(DefaultBodyLimit::max(MAX_REPORT_BYTES))
        .layer(Extension(door))
}

/// What gateways call over TLS, where a certificate says who they are.
pub(crate) fn for_members(state: AppState) -> Router {
    members(Door::Tls).with_state(state)
}

/// What operators call, and gateways on this machine.
pub(crate) fn for_operators() -> Router<AppState> {
    members(Door::Socket)
        .route("/internal/revocations", post(denials::add_revocation))
        .route("/internal/revocations/entries", get(denials::list_revocations))
        .route("/internal/revocations/{id}", delete(denials::remove_revocation))
        .route(
            "/internal/blocks",
            get(denials::list_blocks)
                .post(denials::add_block)
                .delete(denials::remove_block),
        )
        .route(
            "/internal/trust",
            get(trust::show_standing).post(trust::take_trust),
        )
        .route("/internal/fleet", get(nodes::show_fleet))
        .route("/internal/fleet/export", get(export::export))
        .route("/internal/fleet/epoch", post(nodes::raise_epoch))
        .route("/internal/fleet/nodes/{name}/evict", post(nodes::evict_node))
        .route("/internal/fleet/nodes/{name}/admit", post(nodes::admit_node))
        .route("/internal/statements/{digest}", get(blobs::show_statement))
}
