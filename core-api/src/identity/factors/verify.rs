//! Looking at a code: in its turn, once, and counted.

use aws_lc_rs::error::Unspecified;
use http::HeaderMap;
use problem::Problem;
use sqlx::PgConnection;
use uuid::Uuid;

use super::totp::Code;
use super::{Presented, notice, recovery, store};
use crate::identity::error::crypto_failure;
use crate::identity::gate::CodeTurn;
use crate::mail::Kind;
use crate::state::AppState;
use crate::{database_problem, metrics};

/// Who shows a second factor.
pub(super) struct Prover<'a> {
    pub(super) user: Uuid,
    pub(super) email: &'a str,
    /// None while he logs in.
    pub(super) session: Option<Uuid>,
    pub(super) request_id: &'a str,
    pub(super) headers: &'a HeaderMap,
}

/// Whether this is the second factor of the prover, whose turn it is; it is used up by that. Commit the transaction either way,
/// before anybody is told: what is not counted is a guess too many.
///
/// # Errors
/// 429 `too-many-attempts` for a code while too many were wrong, whether or not this one is right; 503 without the database.
pub(super) async fn verify(
    state: &AppState,
    tx: &mut PgConnection,
    prover: &Prover<'_>,
    turn: CodeTurn,
    presented: &Presented,
) -> Result<bool, Problem> {
    let gate = &state.identity.gate;
    match presented {
        Presented::Code(code) => {
            if let Some(refusal) = turn.refusal() {
                metrics::factor("totp", "locked");
                return Err(refusal);
            }
            let is_right = use_code(state, tx, prover.user, code, &turn).await?;
            metrics::factor("totp", if is_right { "right" } else { "wrong" });
            if is_right {
                gate.pass_code(tx, &turn).await?;
                return Ok(true);
            }
        }
        Presented::RecoveryCode(code) => {
            // Nobody guesses 120 bits: it opens, too, while codes are locked, and lifts that.
            let is_right = use_recovery_code(tx, prover.user, code, &turn).await?;
            metrics::factor("recovery_code", if is_right { "right" } else { "wrong" });
            if is_right {
                gate.forget_codes(tx, prover.user).await?;
                say(tx, prover, ("recovery_code.used", "done")).await?;
                tell_owner(state, tx, prover, Kind::RecoveryCodeUsed).await?;
                return Ok(true);
            }
        }
    }
    say(tx, prover, ("factor.refused", "wrong_code")).await?;
    if gate.fail_code(tx, turn).await? {
        say(tx, prover, ("factor.locked", "failures")).await?;
        tell_owner(state, tx, prover, Kind::FactorLocked).await?;
    }
    Ok(false)
}

async fn use_code(
    state: &AppState,
    tx: &mut PgConnection,
    user: Uuid,
    code: &str,
    turn: &CodeTurn,
) -> Result<bool, Problem> {
    let Some(code) = Code::parse(code) else {
        return Ok(false);
    };
    let Some(sealed) = store::totp_secret(tx, user).await.map_err(database_problem)? else {
        return Ok(false);
    };
    let sealer = &state.identity.factors.sealer;
    let opened = sealer.open(user, &sealed).map_err(crypto_failure)?;
    let Some(step) = opened.secret.step_of(&code, turn.now_ms()) else {
        return Ok(false);
    };
    let resealed = opened
        .is_outdated
        .then(|| sealer.seal(user, &opened.secret))
        .transpose()
        .map_err(crypto_failure)?;
    store::use_totp_step(tx, user, step, resealed.as_deref())
        .await
        .map_err(database_problem)
}

async fn use_recovery_code(
    tx: &mut PgConnection,
    user: Uuid,
    code: &str,
    _: &CodeTurn,
) -> Result<bool, Problem> {
    let Some(hash) = recovery::hash_of(code) else {
        return Ok(false);
    };
    store::use_recovery_code(tx, user, &hash)
        .await
        .map_err(database_problem)
}

async fn say(tx: &mut PgConnection, prover: &Prover<'_>, what: (&str, &str)) -> Result<(), Problem> {
    store::record(tx, prover.user, prover.session, what, prover.request_id)
        .await
        .map_err(database_problem)
}

async fn tell_owner(
    state: &AppState,
    tx: &mut PgConnection,
    prover: &Prover<'_>,
    kind: Kind,
) -> Result<(), Problem> {
    // Not in the language of whoever guesses.
    let nobodys = HeaderMap::new();
    let headers = if kind == Kind::FactorLocked {
        &nobodys
    } else {
        prover.headers
    };
    let mail = notice(kind, prover.email.to_owned(), prover.user, headers);
    state.post.enqueue(tx, &mail, state.now()).await?;
    Ok(())
}

/// There is no randomness.
pub(super) fn no_randomness() -> Problem {
    Problem::internal(Unspecified)
}
