//! Policies on their way to the gateways of a fleet: checked, agreed to, given to a few, then to all, and taken back at the
//! first sign of harm. When a roll-out goes on and what stops it is the pure rule [`fleet::step`].
//!
//! `publish.rs` and `rollback.rs` are what operators ask for, `bundle.rs` and `review.rs` what is asked of a bundle,
//! `rollout.rs` the steps, `observe.rs` and `count.rs` what gateways say, `drive.rs` the task that moves on, `view.rs` and
//! `drift.rs` what is shown, `store.rs` holds the SQL.
//!
//! **Invariant:** a step is one transaction under the lock of the fleet's row: what was told to gateways and what is written
//! of it are never apart, and two control planes never take the same step.

mod bundle;
mod count;
mod drift;
mod drive;
mod error;
mod metrics;
mod observe;
mod publish;
mod review;
mod rollback;
mod rollout;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod view;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use crate::state::AppState;

pub(crate) use drive::{drive, state_again_in_time};
pub use settings::PolicySettings;

/// Largest publication: files and cases of 2 MiB each, written as JSON.
const MAX_PUBLICATION_BYTES: usize = 12 * 1024 * 1024;

/// What operators call, on the socket.
pub(crate) fn for_operators() -> Router<AppState> {
    Router::new()
        .route("/internal/policies", post(publish::publish_policy))
        .route("/internal/policies/plan", post(publish::plan_policy))
        .route("/internal/policies/rollback", post(rollback::roll_back))
        .route("/internal/policies/halt", post(rollback::halt_rollout))
        .route("/internal/policies/status", get(view::show_status))
        .route("/internal/policies/history", get(view::show_history))
        .route("/internal/policies/drift", get(drift::show_drift))
        .layer(DefaultBodyLimit::max(MAX_PUBLICATION_BYTES))
}
