//! The steps of a roll-out. Each is part of one transaction, of whoever holds the row of the fleet: after a crash at any
//! moment the roll-out is where it was, and goes on from there.

use std::collections::BTreeSet;

use fleet::{Digest, Phase, Rules, members};
use sqlx::PgConnection;

use super::bundle;
use super::error::PolicyError;
use super::observe::{self, Observed, observe};
use super::store;
use super::store::{NewRollout, RolloutRow};
use crate::extract::Actor;
use crate::fleet::{NewPolicy, record, state_policy};
use crate::state::AppState;

/// A roll-out to begin; the policy has been stated.
#[derive(Debug)]
pub(super) struct Beginning<'a> {
    pub(super) change_id: &'a str,
    pub(super) kind: &'static str,
    pub(super) content: Digest,
    pub(super) position: (i64, i64),
    pub(super) old: Option<(i64, i64)>,
    pub(super) author: &'a str,
    pub(super) author_signed: bool,
    pub(super) approvers: &'a [String],
    pub(super) risk: Option<&'a str>,
    pub(super) phases: &'a [Phase],
    pub(super) rules: Rules,
}

/// Begins a roll-out with its first phase.
pub(super) async fn begin(
    conn: &mut PgConnection,
    actor: &Actor,
    beginning: &Beginning<'_>,
) -> Result<RolloutRow, PolicyError> {
    let phases: Vec<String> = beginning.phases.iter().map(Phase::to_string).collect();
    let first = *beginning.phases.first().unwrap_or(&Phase::All);
    let rules = serde_json::to_value(beginning.rules)
        .map_err(|error| PolicyError::Inconsistent(error.to_string()))?;
    let new = NewRollout {
        change_id: beginning.change_id,
        kind: beginning.kind,
        content: beginning.content.as_bytes(),
        position: beginning.position,
        old: beginning.old,
        author: beginning.author,
        author_signed: beginning.author_signed,
        approvers: beginning.approvers,
        risk: beginning.risk,
        phases: &phases,
        rules,
        phase: first.as_str(),
        before: observe::json(&fleet::Traffic::default()),
    };
    store::insert(conn, &new).await?;
    record(
        conn,
        actor,
        "policy.published",
        &subject(beginning.change_id, beginning.position),
    )
    .await?;
    let row = reread(conn, beginning.change_id).await?;
    let mut observed = observe(conn, &row).await?;
    observed.before = observed.lately();
    enter(conn, &row, &observed, first).await?;
    reread(conn, beginning.change_id).await
}

async fn reread(conn: &mut PgConnection, change_id: &str) -> Result<RolloutRow, PolicyError> {
    let row = store::rollout(conn, change_id).await?;
    row.ok_or_else(|| PolicyError::Inconsistent(format!("the roll-out of {change_id} is gone")))
}

/// Begins a phase: its gateways are told, and everybody's counters begin anew. Who had the policy keeps it.
async fn enter(
    conn: &mut PgConnection,
    row: &RolloutRow,
    observed: &Observed,
    phase: Phase,
) -> Result<(), PolicyError> {
    let chosen = members(phase, observed.live(), &row.change_id);
    let had = observed
        .gateways
        .iter()
        .filter(|gateway| gateway.in_group == Some(true));
    let group: BTreeSet<&str> = had
        .map(|gateway| gateway.node.name.as_str())
        .chain(chosen)
        .collect();
    let is_in = |gateway: &observe::Gateway| group.contains(gateway.node.name.as_str());
    let rows = observed.served(phase, is_in, true);
    store::enter(
        conn,
        &row.change_id,
        phase.as_str(),
        &observe::json(&observed.measure()),
    )
    .await?;
    store::note_served(conn, &row.change_id, &rows).await?;
    let group: Vec<String> = group.into_iter().map(str::to_owned).collect();
    store::assign(conn, &group, (row.epoch, row.seq), phase == Phase::Shadow).await?;
    tracing::info!(
        change = row.change_id,
        phase = phase.as_str(),
        gateways = group.len(),
        "a phase of a roll-out begins"
    );
    Ok(())
}

/// Goes on to a phase, or completes the roll-out.
pub(super) async fn advance(
    conn: &mut PgConnection,
    row: &RolloutRow,
    observed: &Observed,
    to: Phase,
) -> Result<(), PolicyError> {
    let actor = Actor::control_plane();
    let subject = subject(&row.change_id, (row.epoch, row.seq));
    if to == Phase::Done {
        store::complete(conn, &row.change_id).await?;
        store::put_in_force(conn, (row.epoch, row.seq)).await?;
        store::unassign_all(conn).await?;
        record(conn, &actor, "policy.in_force", &subject).await?;
        tracing::info!(change = row.change_id, "a roll-out is complete");
        return Ok(());
    }
    enter(conn, row, observed, to).await?;
    record(conn, &actor, "policy.phase", &format!("{subject} {to}")).await?;
    Ok(())
}

/// Keeps what was seen. A phase without a gateway begins again when there is one; in the last phase, who joins is given the
/// policy, too.
pub(super) async fn keep(
    conn: &mut PgConnection,
    row: &RolloutRow,
    observed: &Observed,
) -> Result<(), PolicyError> {
    let has_group = observed
        .gateways
        .iter()
        .any(|gateway| gateway.in_group == Some(true));
    if !has_group && observed.live().next().is_some() {
        return enter(conn, row, observed, observed.phase).await;
    }
    let is_new = |gateway: &&observe::Gateway| {
        observed.phase == Phase::All && gateway.is_live && gateway.in_group != Some(true)
    };
    let new: Vec<String> = observed
        .gateways
        .iter()
        .filter(is_new)
        .map(|new| new.node.name.clone())
        .collect();
    let is_in =
        |gateway: &observe::Gateway| gateway.in_group == Some(true) || new.contains(&gateway.node.name);
    let rows = observed.served(observed.phase, is_in, false);
    store::note_served(conn, &row.change_id, &rows).await?;
    store::looked(
        conn,
        &row.change_id,
        observed.now,
        observed.watched_ms,
        observed.watching_since,
    )
    .await?;
    if !new.is_empty() {
        store::assign(conn, &new, (row.epoch, row.seq), false).await?;
    }
    Ok(())
}

/// Gives a roll-out up: the old content is in force for all, at a new position, so that no gateway stands where no other does.
/// Who only tried the policy is told to stop. Of a first policy there is none to go back to, nor to one that is not what was
/// signed; who has the new one keeps it, and nobody else gets it.
pub(super) async fn halt(
    state: &AppState,
    conn: &mut PgConnection,
    actor: &Actor,
    row: &RolloutRow,
    why: &str,
) -> Result<(), PolicyError> {
    let observed = observe(conn, row).await?;
    let mut back = None;
    let is_in_force = observed.phase != Phase::Shadow;
    let old = match row.old_epoch.zip(row.old_seq).filter(|_| is_in_force) {
        Some(old) => bundle::believed(state, conn, old).await?,
        None => None,
    };
    if let Some(content) = old {
        let change_id = format!("back-from-{}", row.change_id);
        let policy = NewPolicy {
            content: &content,
            change_id: &change_id,
            author: actor.name(),
            approvers: &[],
            validity_s: state.policies.validity_s,
        };
        let position = state_policy(state, conn, &policy).await?;
        store::put_in_force(conn, position).await?;
        back = Some(position);
    }
    store::unassign_all(conn).await?;
    store::halt(conn, &row.change_id, why, back).await?;
    let subject = subject(&row.change_id, (row.epoch, row.seq));
    record(conn, actor, "policy.halted", &subject).await?;
    let outcome = match (back, observed.phase) {
        (Some(_), _) => "its gateways go back",
        (None, Phase::Shadow) => "its gateways try the policy no more",
        (None, _) => "there is none to go back to: its gateways keep the policy, and nobody else gets it",
    };
    tracing::error!(
        change = row.change_id,
        why,
        gateways = observed.group().len(),
        outcome,
        "A ROLL-OUT IS HALTED"
    );
    Ok(())
}

fn subject(change_id: &str, (epoch, seq): (i64, i64)) -> String {
    format!("{change_id} at {epoch}.{seq}")
}
