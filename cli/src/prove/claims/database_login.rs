//! Claim `database-login`: the password of the database changes under load, and no request fails.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use trial::Customer;
use uuid::Uuid;

use super::Verdict;
use super::callers::Callers;
use crate::prove::{ground::Ground, store};

/// A connection that has rested for so long is asked whether it lives before it is used again, milliseconds.
const REST_MS: i32 = 2_000;
/// After so long connections that are left never rest: what looks after the core every second has the last one in use.
const RESTLESS: Duration = Duration::from_secs(20);
/// Groups of callers after the change: more than there are connections.
const GROUPS: usize = 8;
/// Calls of each group that must be answered.
const CALLS: u64 = 20;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    change_under_load(ground, true).await
}

/// The password changes, and nobody tells the place that the core reads it from.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    change_under_load(ground, false).await
}

async fn change_under_load(ground: &Ground, tell: bool) -> anyhow::Result<Verdict> {
    let customer = ground.door.sign_up().await?;
    let data = &ground.system.launch().data_dir;
    let secret = data.join("secrets").join("db_core");
    let address = std::fs::read_to_string(&secret)?;
    let old = std::fs::read_to_string(data.join("secrets").join("db_core_password"))?;
    let (old, new) = (old.trim_end(), Uuid::new_v4().simple().to_string());
    let mut owner = ground.connect_as_owner().await?;

    let changed_at = store::set_core_password(&mut owner, &new).await?;
    if tell {
        std::fs::write(&secret, address.replace(old, &new))?;
    }
    let verdict = call(ground, &customer, &mut owner, changed_at).await;
    std::fs::write(&secret, &address)?;
    store::set_core_password(&mut owner, old).await?;
    verdict
}

/// Ends the connections of before the change, each while it rests, and has many call then.
async fn call(
    ground: &Ground,
    customer: &Customer,
    owner: &mut PgConnection,
    changed_at: DateTime<Utc>,
) -> anyhow::Result<Verdict> {
    let started = Instant::now();
    ground
        .wait_until("no connection of before the change is left", async || {
            let rest_ms = if started.elapsed() < RESTLESS { REST_MS } else { 0 };
            store::end_resting_logins(owner, changed_at, rest_ms).await?;
            Ok(store::core_logins(owner, changed_at).await?.before == 0)
        })
        .await?;
    let callers: Vec<Callers> = (0..GROUPS).map(|_| Callers::start(customer)).collect();
    let waited = ground
        .wait_until("everybody was answered", async || {
            Ok(callers.iter().all(|callers| callers.calls() >= CALLS))
        })
        .await;
    let logins = store::core_logins(owner, changed_at).await?.after;
    let (mut verdict, mut good) = (Verdict::default(), 0);
    for callers in callers {
        for (status, count) in callers.stop().await? {
            if status == 200 {
                good += count;
            } else {
                verdict.fail(format!("{count} calls with a valid token were answered {status}"));
            }
        }
    }
    waited?;
    verdict.fact(format!(
        "{good} calls answered 200, over {logins} connections of after the change"
    ));
    verdict.fail_unless(logins > 0, || {
        "the core has logged in with nothing new".to_owned()
    });
    Ok(verdict)
}
