//! `GET /internal/policies/…`: how far a roll-out is and why it waits, what went out before, and what is in memory.

use axum::extract::State;
use chrono::{DateTime, Utc};
use fleet::{Digest, Next, Phase, Position};
use serde::Serialize;
use sqlx::PgConnection;

use super::error::PolicyError;
use super::observe::{self, observe, position};
use super::store;
use super::store::RolloutRow;
use crate::extract::Json;
use crate::state::AppState;

/// Most roll-outs that the history shows.
const MOST: i64 = 100;

/// A roll-out.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RolloutView {
    pub(super) change_id: String,
    /// `publish` or `rollback`.
    kind: String,
    pub(super) position: Option<Position>,
    /// What approvers have signed.
    content: Option<Digest>,
    pub(super) author: String,
    /// Whether the author has signed; otherwise the name is what somebody said.
    author_signed: bool,
    approvers: Vec<String>,
    risk: Option<String>,
    pub(super) phase: Phase,
    phases: Vec<String>,
    phase_since: DateTime<Utc>,
    /// Seconds of this phase in which a control plane has watched.
    watched_s: i64,
    created_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
    /// Why it waits, or why it was halted.
    why: Option<String>,
    /// What was in force for all when it began.
    old: Option<Position>,
    /// What its gateways were given when it was halted.
    back: Option<Position>,
    gateways: Vec<GatewayView>,
}

/// A gateway in a roll-out.
#[derive(Debug, Clone, Serialize)]
struct GatewayView {
    name: String,
    /// Whether it has the policy in this phase.
    in_group: bool,
    is_live: bool,
    /// How far it is with the policy, in its own words; null when it has said nothing of it.
    stage: Option<String>,
    objection: Option<String>,
    requests: u64,
    failures: u64,
    denied: u64,
}

/// The policy in force, and the newest roll-out.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    in_force: Option<Position>,
    rollout: Option<RolloutView>,
}

/// What went out before, newest first.
#[derive(Debug, Serialize)]
pub(super) struct HistoryView {
    in_force: Option<Position>,
    rollouts: Vec<RolloutView>,
}

/// Shows the newest roll-out, and why it waits.
pub(super) async fn show_status(State(state): State<AppState>) -> Result<Json<StatusView>, PolicyError> {
    let mut tx = state.db.begin().await?;
    let newest = store::rollouts(&mut tx, 1).await?.into_iter().next();
    let rollout = match newest {
        Some(row) => Some(view(&mut tx, &row).await?),
        None => None,
    };
    Ok(Json(StatusView {
        in_force: in_force(&mut tx).await?,
        rollout,
    }))
}

/// Shows the newest hundred roll-outs, without their gateways.
pub(super) async fn show_history(State(state): State<AppState>) -> Result<Json<HistoryView>, PolicyError> {
    let mut tx = state.db.begin().await?;
    let rows = store::rollouts(&mut tx, MOST).await?;
    Ok(Json(HistoryView {
        in_force: in_force(&mut tx).await?,
        rollouts: rows.iter().map(of_row).collect::<Result<_, _>>()?,
    }))
}

async fn in_force(conn: &mut PgConnection) -> Result<Option<Position>, PolicyError> {
    let found = store::in_force(conn).await?;
    Ok(found.and_then(|(epoch, seq)| position(epoch, seq)))
}

/// A roll-out with its gateways, and why it waits.
pub(super) async fn view(conn: &mut PgConnection, row: &RolloutRow) -> Result<RolloutView, PolicyError> {
    let observed = observe(conn, row).await?;
    let mut view = of_row(row)?;
    if !view.phase.is_over() {
        view.watched_s = observed.watched_ms.checked_div(1_000).unwrap_or(0);
        view.why = Some(match observed.next() {
            Next::Wait(why) => why,
            Next::Advance(to) => format!("{to} is next"),
            Next::Halt(why) => format!("it is about to be halted: {why}"),
        });
    }
    let gateways = observed.gateways.into_iter().map(|gateway| GatewayView {
        name: gateway.node.name,
        in_group: gateway.in_group == Some(true),
        is_live: gateway.is_live,
        stage: gateway.stage,
        objection: gateway
            .node
            .objection
            .map(|objection| format!("{}: {}", objection.code, objection.message)),
        requests: gateway.node.traffic.requests,
        failures: gateway.node.traffic.failures,
        denied: gateway.node.traffic.denied,
    });
    view.gateways = gateways.collect();
    Ok(view)
}

fn of_row(row: &RolloutRow) -> Result<RolloutView, PolicyError> {
    let both = |epoch: Option<i64>, seq: Option<i64>| position(epoch?, seq?);
    Ok(RolloutView {
        change_id: row.change_id.clone(),
        kind: row.kind.clone(),
        position: position(row.epoch, row.seq),
        content: <[u8; 32]>::try_from(row.content.as_slice())
            .ok()
            .map(Digest::from),
        author: row.author.clone(),
        author_signed: row.author_signed,
        approvers: row.approvers.clone(),
        risk: row.risk.clone(),
        phase: observe::phase(&row.phase)?,
        phases: row.phases.clone(),
        phase_since: row.phase_since,
        watched_s: row.watched_ms.checked_div(1_000).unwrap_or(0),
        created_at: row.created_at,
        ended_at: row.ended_at,
        why: row.why.clone(),
        old: both(row.old_epoch, row.old_seq),
        back: both(row.back_epoch, row.back_seq),
        gateways: Vec::new(),
    })
}
