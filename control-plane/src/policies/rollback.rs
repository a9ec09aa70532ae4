//! `POST /internal/policies/rollback` and `…/halt`: back to what was in force before. A new position with old content.

use axum::extract::State;
use fleet::{Phase, PolicyContent, Position};
use serde::Deserialize;
use sqlx::PgConnection;

use super::error::PolicyError;
use super::publish::{Asked, state_and_begin};
use super::review::{Proposal, review};
use super::store::RolloutRow;
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
    /// The position whose content is wanted; without it, the content before the one in force, unless that was gone back to
    /// already.
    #[serde(default)]
    to: Option<Position>,
    /// Who goes back.
    author: String,
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
    let halted = halted_view(&mut tx, &row).await?;
    tx.commit().await?;
    metrics::count_halt();
    Ok(Json(halted))
}

/// Goes back, everywhere at once. A roll-out under way is halted; when that is all it takes, that is all. What was in force
/// before needs nobody's consent; what is older is not for one person when its risk is not.
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
    let under_way = store::under_way(&mut tx).await?;
    let to = match (&under_way, asked.to) {
        // Asked twice.
        (Some(row), to) if row.kind == "rollback" && goes_to(&state, &mut tx, row, to).await? => {
            return view(&mut tx, row).await.map(Json);
        }
        (Some(_), None) => None,
        (None, None) => {
            refuse_further(&mut tx).await?;
            Some(wanted(&state, &mut tx, None).await?)
        }
        (_, to) => Some(wanted(&state, &mut tx, to).await?),
    };
    if let Some(row) = &under_way {
        rollout::halt(&state, &mut tx, &actor, row, "somebody rolls back").await?;
    }
    let begun = match to {
        Some(wanted) => begin(&state, &mut tx, &actor, wanted, asked, environment).await,
        None => Ok(None),
    };
    let shown = match (begun, &under_way) {
        (Ok(Some(begun)), _) => Ok(begun),
        // The halt was all that it took.
        (Ok(None), Some(halted)) => Ok(halted_view(&mut tx, halted).await?),
        (Ok(None), None) => return Err(PolicyError::NoChange),
        // What does harm is stopped, whatever may come in its place.
        (Err(refused @ (PolicyError::PublishInstead(_) | PolicyError::TooOld { .. })), Some(_)) => {
            Err(refused)
        }
        (Err(error), _) => return Err(error),
    };
    tx.commit().await?;
    if under_way.is_some() {
        metrics::count_halt();
    }
    let shown = shown?;
    tracing::warn!(
        change = shown.change_id,
        actor = actor.name(),
        "a policy is rolled back"
    );
    Ok(Json(shown))
}

/// Begins to go back; none when that is in force already.
async fn begin(
    state: &AppState,
    conn: &mut PgConnection,
    actor: &Actor,
    (wanted, content): ((i64, i64), PolicyContent),
    asked: Rollback,
    environment: String,
) -> Result<Option<RolloutView>, PolicyError> {
    let at = store::database_time(conn).await?.timestamp_millis();
    let proposal = Proposal {
        change_id: format!("rollback-to-{}.{}-at-{at}", wanted.0, wanted.1),
        environment,
        author: asked.author,
        signature: None,
        approvals: Vec::new(),
        is_emergency: false,
    };
    let found = review(state, conn, &proposal, content.clone()).await?;
    if found.is_same {
        return Ok(None);
    }
    // The policy before may have been stated again, at another position.
    let before = store::previous(conn).await?.map(|(_, content)| content);
    if let Some(because) = &found.approval_because
        && asked.to.is_some()
        && before.as_deref() != Some(found.checked.digest.as_bytes().as_slice())
    {
        return Err(PolicyError::PublishInstead(because.clone()));
    }
    let asked = Asked {
        proposal,
        content,
        phases: vec![Phase::All],
        rules: state.policies.rules,
        again: true,
    };
    let begun = state_and_begin(state, conn, actor, "rollback", &asked, &found).await?;
    Ok(Some(begun))
}

/// Whether a rollback under way goes where somebody wants to go.
async fn goes_to(
    state: &AppState,
    conn: &mut PgConnection,
    row: &RolloutRow,
    to: Option<Position>,
) -> Result<bool, PolicyError> {
    if to.is_none() {
        return Ok(true);
    }
    let (_, content) = wanted(state, conn, to).await?;
    Ok(content.digest().as_bytes() == row.content.as_slice())
}

/// Refuses to go back a second time without being told where to: whoever asks again, or a moment after a roll-out was halted by
/// itself, means what they have already.
async fn refuse_further(conn: &mut PgConnection) -> Result<(), PolicyError> {
    let last = store::rollouts(conn, 1).await?.into_iter().next();
    // A rollback that was halted has gone nowhere.
    let went_back = last.filter(|last| (last.kind == "rollback") != (last.phase == Phase::Halted.as_str()));
    went_back.map_or(Ok(()), |last| Err(PolicyError::WentBack(last.change_id)))
}

/// A roll-out as it is once it was halted.
async fn halted_view(conn: &mut PgConnection, row: &RolloutRow) -> Result<RolloutView, PolicyError> {
    let halted = store::rollout(conn, &row.change_id).await?;
    view(conn, halted.as_ref().unwrap_or(row)).await
}

async fn wanted(
    state: &AppState,
    conn: &mut PgConnection,
    to: Option<Position>,
) -> Result<((i64, i64), PolicyContent), PolicyError> {
    let position = match to {
        Some(to) => {
            let number = |part: u64| i64::try_from(part).unwrap_or(i64::MAX);
            (number(to.epoch), number(to.seq))
        }
        None => {
            let before = store::previous(conn).await?.map(|(position, _)| position);
            before.ok_or(PolicyError::NotFound(
                "no other policy was in force before this one",
            ))?
        }
    };
    let content = bundle::stated(state, conn, position).await?;
    Ok((position, content))
}
