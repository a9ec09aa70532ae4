//! Breaking the glass: an operator removes the second factors of somebody who has lost them and the recovery codes.

use database::Pool;
use http::HeaderMap;
use problem::Problem;
use service_runtime::clock::Clock;
use uuid::Uuid;

use super::notice;
use super::store::{self, Removal};
use crate::database_problem;
use crate::identity::gate::Gate;
use crate::identity::profile::Email;
use crate::identity::sessions::tell_gateways_of;
use crate::identity::store as identity_store;
use crate::mail::{Kind, Post};
use crate::settings::Settings;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorReset {
    /// The password alone logs in; every session has ended, and the owner is told by mail.
    Done,
    /// The person has no second factor; wrong codes are forgotten.
    NoFactor,
    /// Nobody has the address.
    Nobody,
}

/// Removes the second factors of a person for an operator at the command line, and says so in the audit trail, or neither.
///
/// # Errors
/// When the database cannot be reached.
pub(crate) async fn reset_factors(
    settings: &Settings,
    db: &Pool,
    clock: &Clock,
    name: &str,
) -> anyhow::Result<FactorReset> {
    reset(settings, db, clock, name)
        .await
        .map_err(|problem| anyhow::anyhow!("{}", problem.kind().title()))
}

async fn reset(settings: &Settings, db: &Pool, clock: &Clock, name: &str) -> Result<FactorReset, Problem> {
    let Some(email) = Email::parse(name) else {
        return Ok(FactorReset::Nobody);
    };
    let request_id = format!("cli:{}", Uuid::now_v7());
    let mut tx = db.begin().await.map_err(database_problem)?;
    let candidate = identity_store::login_candidate(&mut *tx, email.as_str())
        .await
        .map_err(database_problem)?;
    let Some(candidate) = candidate else {
        return Ok(FactorReset::Nobody);
    };
    let lifetime_s = settings.tokens.lifetime_s;
    let removal = Removal {
        user: candidate.user_id,
        spared: None,
        outcome: "operator",
        used_s: i32::try_from(lifetime_s).unwrap_or(i32::MAX),
    };
    let removed = store::remove_factors(&mut tx, removal, &request_id)
        .await
        .map_err(database_problem)?;
    let post = Post::new(settings.derivation_secrets());
    Gate::new(settings.password.pepper.expose().as_bytes(), post.clone())
        .forget_codes(&mut tx, candidate.user_id)
        .await?;
    let Some(removed) = removed else {
        tx.commit().await.map_err(database_problem)?;
        return Ok(FactorReset::NoFactor);
    };
    tell_gateways_of(&mut tx, &settings.tokens.issuer, lifetime_s, removed.ended)
        .await
        .map_err(database_problem)?;
    let mail = notice(
        Kind::FactorRemoved,
        removed.email,
        candidate.user_id,
        &HeaderMap::new(),
    );
    // A running core-api sends it.
    post.enqueue(&mut tx, &mail, clock.now()).await?;
    tx.commit().await.map_err(database_problem)?;
    Ok(FactorReset::Done)
}
