//! Claim `limits`: a limit lets through exactly what the policy says, however many ask in the same moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use ::policy::{Count, Plan, RateKey, RateLimit};
use anyhow::Context as _;
use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Verdict;
use crate::prove::ground::Ground;

/// Wrong passwords for one account, all at once.
const AT_ONCE: usize = 64;
/// Accounts, one after the other.
const ROUNDS: usize = 4;
const LOG_IN: &str = "/api/v1/auth/login";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let limit = limit_of(&ground.plan()?)?;
    guess(ground, &limit).await
}

/// Lets three more through than was promised: the same count must see it. The core would stop them still, so it lets more
/// through, too.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let promised = limit_of(&ground.plan()?)?;
    let lockout = ground
        .edit_policy(&ground.policies.join("lockout.yaml"), |text| {
            Ok(text
                .replace("after: 5,", "after: 50,")
                .replace("failures: 5,", "failures: 50,"))
        })
        .await?;
    let verdict = let_more_through(ground, &promised).await;
    lockout.undo(ground).await?;
    verdict
}

async fn let_more_through(ground: &Ground, promised: &RateLimit) -> anyhow::Result<Verdict> {
    let file = promised.rule.file().context("the limit stands in no file")?;
    let line = usize::try_from(promised.rule.line().context("the limit stands on no line")?)?;
    let edit = ground
        .edit_policy(&ground.policies.join(file), |text| {
            let (old, new) = (promised.burst, promised.burst + 3);
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let limit = lines.get_mut(line - 1).context("the limit is not there")?;
            *limit = limit.replace(&format!("burst: {old}"), &format!("burst: {new}"));
            Ok(lines.join("\n") + "\n")
        })
        .await?;
    let verdict = guess(ground, promised).await;
    edit.undo(ground).await?;
    verdict
}

/// The limit on wrong passwords: by account, and on failures alone.
fn limit_of(plan: &Plan) -> anyhow::Result<Arc<RateLimit>> {
    let login = plan.routes().iter().find(|route| route.path == LOG_IN);
    let mut limits = login.context("the policy has no log-in")?.rates();
    let by_account = |limit: &&Arc<RateLimit>| {
        limit.count == Count::Failures && limit.keys.iter().any(|key| matches!(key, RateKey::Body(_)))
    };
    limits
        .find(by_account)
        .cloned()
        .context("log-in has no limit on failures by account")
}

async fn guess(ground: &Ground, limit: &RateLimit) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    for _ in 0..ROUNDS {
        let (answers, may_pass) = round(ground, limit).await?;
        let count = |status: u16| answers.get(&status).copied().unwrap_or_default();
        let passed = count(401);
        verdict.fail_unless(may_pass.contains(&passed), || {
            format!("{passed} of {AT_ONCE} guesses were let through, the policy allows {may_pass:?}")
        });
        verdict.fail_unless(
            count(401) + count(429) == u64::try_from(AT_ONCE).unwrap_or(u64::MAX),
            || format!("guesses were answered {answers:?}"),
        );
        verdict.fact(format!(
            "{AT_ONCE} wrong passwords for one account at once: {passed} reached the core (401), {} were refused (429)",
            count(429)
        ));
    }
    verdict.fact(format!(
        "the policy allows {} at once: {}",
        limit.burst, limit.rule
    ));
    Ok(verdict)
}

type Answers = BTreeMap<u16, u64>;

/// What guesses were answered, and how many may have passed: what came back to the limit meanwhile may be used as well.
async fn round(
    ground: &Ground,
    limit: &RateLimit,
) -> anyhow::Result<(Answers, std::ops::RangeInclusive<u64>)> {
    let form = json!({"email": format!("{}@customers.example", Uuid::now_v7().simple()), "password": "not the right one 7!"});
    let started = Instant::now();
    let mut guesses = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (door, form) = (ground.door.clone(), form.clone());
        guesses.spawn(async move { door.post(LOG_IN, &form).await });
    }
    let mut answers = Answers::new();
    while let Some(guess) = guesses.join_next().await {
        let status = guess.context("a guess panicked")??.status.as_u16();
        *answers.entry(status).or_default() += 1;
    }
    let back = started.elapsed().as_nanos() / (limit.period / u32::try_from(limit.limit)?).as_nanos().max(1);
    let most = limit.burst.saturating_add(u64::try_from(back)?);
    Ok((answers, limit.burst..=most))
}
