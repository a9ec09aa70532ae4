//! Claim `stolen-key`: a signing key that was stolen verifies nothing any more, and people log in again at once.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use super::Verdict;
use super::operator::portico;
use super::rotation::key_id;
use crate::prove::ground::Ground;

/// How soon no connected gateway accepts the key (T-K4).
const PROMISED: Duration = Duration::from_secs(5);

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let stolen = key_id(&customer.tokens.access)?;
    revoke_and_look(ground, &customer, &stolen).await
}

/// Revokes the standby, as an operator does who takes the wrong line of a list.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let ring: Value = serde_json::from_str(&portico(ground, &["keys", "list"]).await?)?;
    let keys = ring.get("keys").and_then(Value::as_array);
    let standby = keys
        .into_iter()
        .flatten()
        .find(|key| key.get("state").is_some_and(|state| state == "published"))
        .and_then(|key| key.get("kid")?.as_str())
        .context("the ring has no standby")?;
    revoke_and_look(ground, &customer, standby).await
}

async fn revoke_and_look(ground: &Ground, customer: &trial::Customer, kid: &str) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let revocation = ["keys", "revoke", "--kid", kid, "--reason", "a proof"];
    portico(ground, &revocation).await?;
    let begun = Instant::now();
    let sequence = ground.control_plane_keyset_sequence().await?;
    let mut refused = None;
    ground
        .wait_until("the gateway has the key set, or refuses the token", async || {
            let has_it = ground.keyset_sequence().await? >= sequence;
            if customer.get("/api/v1/me").await?.status == 401 {
                refused = Some(begun.elapsed());
            }
            Ok(has_it || refused.is_some())
        })
        .await?;
    match refused {
        Some(delay) => {
            verdict.fact(format!(
                "tokens of key {kid} were refused after {} ms",
                delay.as_millis()
            ));
            verdict.fail_unless(delay <= PROMISED, || format!("it took {} ms", delay.as_millis()));
        }
        None => verdict.fail("the gateway has the key set, and takes the stolen key's token still"),
    }
    let again = ground.door.log_in(&customer.email, &customer.password).await?;
    verdict.fail_unless(key_id(&again.tokens.access)? != kid, || {
        "the stolen key still signs".to_owned()
    });
    let answer = again.get("/api/v1/me").await?;
    verdict.fail_unless(answer.status == 200, || {
        format!("after a new log-in the answer was {}", answer.status)
    });
    verdict.fact("whoever logged in again was answered 200");
    Ok(verdict)
}
