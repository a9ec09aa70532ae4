//! The task that moves roll-outs on, by what gateways say.

use std::time::Duration;

use fleet::Next;
use tokio::time::MissedTickBehavior;

use super::error::PolicyError;
use super::observe::observe;
use super::{bundle, metrics, rollout, store};
use crate::extract::Actor;
use crate::fleet::{FleetError, NewPolicy, is_policy_due, state_policy};
use crate::state::AppState;

/// Looks at the roll-out under way, again and again until shutdown. Any number of control planes may do so.
pub(crate) async fn drive(state: AppState) {
    let interval = Duration::from_millis(u64::from(state.policies.interval_ms));
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_well = true;
    loop {
        tokio::select! {
            () = state.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let done = once(&state).await;
        match (was_well, &done) {
            (true, Err(error)) => {
                tracing::warn!(%error, cause = ?error, "roll-outs cannot be looked at; each stays where it is");
            }
            (false, Ok(())) => tracing::info!("roll-outs are looked at again"),
            _ => {}
        }
        was_well = done.is_ok();
    }
}

/// Takes one step, in one transaction, unless another control plane is taking one.
pub(super) async fn once(state: &AppState) -> Result<(), PolicyError> {
    if state.fleet.environment().is_none() {
        return Ok(());
    }
    let mut tx = state.db.begin().await?;
    if !store::try_lock_fleet(&mut tx).await? {
        return Ok(());
    }
    let Some(row) = store::under_way(&mut tx).await? else {
        state_again(state, &mut tx).await?;
        tx.commit().await?;
        return metrics::show(state).await;
    };
    let observed = observe(&mut tx, &row).await?;
    match observed.next() {
        Next::Wait(_) => rollout::keep(&mut tx, &row, &observed).await?,
        Next::Advance(to) => rollout::advance(&mut tx, &row, &observed, to).await?,
        Next::Halt(why) => {
            rollout::halt(state, &mut tx, &Actor::control_plane(), &row, &why).await?;
            metrics::count_halt();
        }
    }
    tx.commit().await?;
    metrics::show(state).await
}

/// Does what the next step would do for the policy in force, and leaves the transaction to the caller. What stands in its way
/// is said and stops nobody: whoever needs other keys must get them.
///
/// # Errors
///
/// When the database does not answer.
pub(crate) async fn state_again_in_time(
    state: &AppState,
    conn: &mut sqlx::PgConnection,
) -> Result<(), sqlx::Error> {
    store::lock_fleet(conn).await?;
    if store::under_way(conn).await?.is_some() {
        return Ok(());
    }
    match state_again(state, conn).await {
        Err(PolicyError::Database(error) | PolicyError::Fleet(FleetError::Database(error))) => Err(error),
        Err(error) => {
            tracing::warn!(%error, "the policy in force is not stated again");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Signs the policy in force anew before gateways that do not hold it could refuse it. It goes to all at once: it is what
/// they have.
async fn state_again(state: &AppState, conn: &mut sqlx::PgConnection) -> Result<(), PolicyError> {
    let Some(in_force) = store::in_force(conn).await? else {
        return Ok(());
    };
    if !is_policy_due(state, conn, in_force).await? {
        return Ok(());
    }
    let content = bundle::stated(state, conn, in_force).await?;
    let policy = NewPolicy {
        content: &content,
        change_id: "stated-again",
        author: "control-plane",
        approvers: &[],
        validity_s: state.policies.validity_s,
    };
    let position = state_policy(state, conn, &policy).await?;
    store::put_in_force(conn, position).await?;
    store::unassign_all(conn).await?;
    tracing::info!(
        epoch = position.0,
        seq = position.1,
        "the policy in force is stated again"
    );
    Ok(())
}
