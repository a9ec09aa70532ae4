//! `POST /internal/policies/rollback` and `…/halt`: back to what was in force before. A new position with old content.

use axum::extract::State;
use fleet::{Phase, PolicyContent, Position};
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::error::PolicyError;
use super::publish::{Asked, state_and_begin};
use super::review::{Proposal, review};
use super::view::{RolloutView, view};
use super::{bundle, metrics, rollout, store};
use crate::extract::{Actor, Json};
use crate::state::AppState;

/// Longest reason that is written down, in bytes.
const LONGEST_REASON_BYTES: usize = 512;

/// What to go back to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    /// The position whose content is wanted; without it, the content before the one in force.
    #[serde(default)]
    to: Option<Position>,
    /// Who goes back.
    author: String,
    /// Envelopes of approvals, where one is wanted.
    #[serde(default)]
    approvals: Vec<Value>,
}

/// Why a roll-out is given up.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Halt {
    reason: String,
}

/// Halts the roll-out under way; its gateways go back. 404 when there is none.
pub(super) async fn halt_rollout(
    State(state): State<AppState>,
    actor: Actor,
    Json(asked): Json<Halt>,
) -> Result<Json<RolloutView>, PolicyError> {
    if !(1..=LONGEST_REASON_BYTES).contains(&asked.reason.len()) {
        return Err(PolicyError::Invalid("a reason has 1 to 512 bytes".to_owned()));
    }
    let mut tx = state.db.begin().await?;
    store::lock_fleet(&mut tx).await?;
    let row = store::under_way(&mut tx).await?;
    let row = row.ok_or(PolicyError::NotFound("no roll-out is under way"))?;
    let why = format!("{}: {}", actor.name(), asked.reason);
    rollout::halt(&state, &mut tx, &actor, &row, &why).await?;
    let halted = store::rollout(&mut tx, &row.change_id).await?.unwrap_or(row);
    let halted = view(&mut tx, &halted).await?;
    tx.commit().await?;
    metrics::count_halt();
    Ok(Json(halted))
}

/// Goes back, everywhere at once. A roll-out under way is halted; without `to`, that is all. What was in force before needs
/// nobody's consent; what is older needs it when its risk does.
pub(super) async fn roll_back(
    State(state): State<AppState>,
    actor: Actor,
    Json(asked): Json<Rollback>,
) -> Result<Json<RolloutView>, PolicyError> {
    let Some(environment) = state.fleet.environment().map(str::to_owned) else {
        return Err(PolicyError::Invalid("this control plane has no fleet".to_owned()));
    };
    let mut tx = state.db.begin().await?;
    store::lock_fleet(&mut tx).await?;
    if let Some(row) = store::under_way(&mut tx).await? {
        if row.kind == "rollback" && asked.to.is_none() {
            return view(&mut tx, &row).await.map(Json);
        }
        rollout::halt(&state, &mut tx, &actor, &row, "somebody rolls back").await?;
        metrics::count_halt();
        if asked.to.is_none() {
            let halted = store::rollout(&mut tx, &row.change_id).await?.unwrap_or(row);
            let halted = view(&mut tx, &halted).await?;
            tx.commit().await?;
            return Ok(Json(halted));
        }
    }
    let (wanted, content) = wanted(&mut tx, asked.to).await?;
    let at = store::database_time(&mut tx).await?.timestamp();
    let proposal = Proposal {
        change_id: format!("rollback-to-{}.{}-at-{at}", wanted.0, wanted.1),
        environment,
        author: asked.author,
        approvals: asked.approvals,
        is_emergency: false,
    };
    let found = review(&state, &mut tx, &proposal, content.clone()).await?;
    if found.is_same {
        return Err(PolicyError::NoChange);
    }
    if asked.to.is_some() && Some(wanted) != store::previous(&mut tx).await? {
        found.refuse_unapproved()?;
    }
    let asked = Asked {
        proposal,
        content,
        phases: vec![Phase::All],
        rules: state.policies.rules,
        again: true,
    };
    let begun = state_and_begin(&state, &mut tx, &actor, "rollback", &asked, &found).await?;
    tx.commit().await?;
    tracing::warn!(
        change = begun.change_id,
        actor = actor.name(),
        "a policy is rolled back"
    );
    Ok(Json(begun))
}

async fn wanted(
    conn: &mut PgConnection,
    to: Option<Position>,
) -> Result<((i64, i64), PolicyContent), PolicyError> {
    let position = match to {
        Some(to) => {
            let number = |part: u64| i64::try_from(part).unwrap_or(i64::MAX);
            (number(to.epoch), number(to.seq))
        }
        None => store::previous(conn).await?.ok_or(PolicyError::NotFound(
            "no other policy was in force before this one",
        ))?,
    };
    let content = bundle::stated(conn, position).await?;
    Ok((position, content))
}
