//! Claim `guesses`: whoever knows a name gets as many guesses at its password as the policy says, and its owner signs in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ::policy::Plan;
use anyhow::Context as _;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use trial::{Answer, FrontDoor};
use uuid::Uuid;

use super::Verdict;
use crate::prove::ground::Ground;

/// Guesses at one name, all at once, each from a network of its own; as many as may wait for a hash (core-api's queue of 32),
/// since more are sent away before anybody counts them.
const AT_ONCE: u8 = 30;
const LOG_IN: &str = "/api/v1/auth/login";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    guess(ground, promised(&ground.plan()?)?).await
}

/// Locks three guesses later than was promised.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let promised = promised(&ground.plan()?)?;
    let edit = ground
        .edit_policy(&ground.policies.join("lockout.yaml"), |text| {
            let (old, new) = (format!("after: {promised},"), format!("after: {},", promised + 3));
            Ok(text.replacen(&old, &new, 1))
        })
        .await?;
    let verdict = guess(ground, promised).await;
    edit.undo(ground).await?;
    verdict
}

fn promised(plan: &Plan) -> anyhow::Result<u32> {
    let rules = plan
        .lockout()
        .context("the policy does not say when a name is locked")?;
    Ok(rules.name.after)
}

async fn guess(ground: &Ground, promised: u32) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let owner = ground.door.sign_up().await?;
    let home = log_in(&ground.door, &[], &owner.email, &owner.password)
        .await?
        .expect(200)?;
    let cookie = home
        .headers
        .get("set-cookie")
        .context("a log-in gives no device")?;
    let cookie = cookie.to_str()?.split(';').next().unwrap_or_default();

    let nobody = format!("{}@customers.example", Uuid::now_v7().simple());
    for (whose, name) in [("somebody's", &owner.email), ("nobody's", &nobody)] {
        let answers = from_everywhere(ground, name).await?;
        let count = |status| answers.get(&status).copied().unwrap_or_default();
        let (wrong, refused) = (count(401), count(429));
        verdict.fail_unless(wrong == promised, || {
            format!("{wrong} guesses at {whose} name were looked at, the policy allows {promised}")
        });
        verdict.fail_unless(wrong + refused == u32::from(AT_ONCE), || {
            format!("{AT_ONCE} guesses at {whose} name were answered, by status, {answers:?}")
        });
        verdict.fact(format!(
            "{AT_ONCE} guesses at {whose} name at once, each from another address: {wrong} were looked at (401), {refused} refused (429)"
        ));
    }

    let elsewhere = door(ground, 0)?;
    let right = log_in(&elsewhere, &[], &owner.email, &owner.password).await?;
    verdict.fail_unless(right.status == 429, || {
        format!(
            "the right password from elsewhere was answered {} meanwhile",
            right.status
        )
    });
    let at_home = log_in(&elsewhere, &[("cookie", cookie)], &owner.email, &owner.password).await?;
    verdict.fail_unless(at_home.status == 200, || {
        format!(
            "the owner's device was answered {} {}",
            at_home.status, at_home.body
        )
    });
    verdict.fact(format!(
        "the right password meanwhile: {} from elsewhere, {} on a device that signed in before",
        right.status, at_home.status
    ));
    Ok(verdict)
}

/// How many guesses got which status.
async fn from_everywhere(ground: &Ground, name: &str) -> anyhow::Result<BTreeMap<u16, u32>> {
    let mut guesses = JoinSet::new();
    for number in 1..=AT_ONCE {
        let (door, name) = (door(ground, number)?, name.to_owned());
        guesses.spawn(async move { log_in(&door, &[], &name, "not the right one 7!").await });
    }
    let mut answers = BTreeMap::new();
    while let Some(guess) = guesses.join_next().await {
        let guess = guess.context("a guess panicked")??;
        *answers.entry(guess.status.as_u16()).or_default() += 1;
    }
    Ok(answers)
}

/// The door, for whoever comes from a network of this number.
fn door(ground: &Ground, number: u8) -> anyhow::Result<FrontDoor> {
    FrontDoor::from_address(
        ground.system.endpoints(),
        IpAddr::V4(Ipv4Addr::new(127, 66, number, 1)),
    )
}

async fn log_in(
    door: &FrontDoor,
    headers: &[(&str, &str)],
    name: &str,
    password: &str,
) -> reqwest::Result<Answer> {
    let form = json!({"email": name, "password": password});
    door.call(Method::POST, LOG_IN, headers, Some(&form)).await
}
