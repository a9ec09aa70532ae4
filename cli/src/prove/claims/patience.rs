//! Claim `patience`: who does not finish a request is cut off at the deadline of the policy, and holds nobody else up.

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::Verdict;
use super::callers::Callers;
use crate::prove::ground::Ground;

/// Clients that never finish, all at once.
const SLOW: usize = 64;
/// As far as they come.
const BEGUN: &str = "GET /api/v1/me HTTP/1.1\r\nHost: ";
/// Calls of others that must be answered meanwhile.
const CALLS: u64 = 100;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    wait_for_all(ground).await
}

/// Gives clients five minutes for a head: the same eyes must see that they are not cut off.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let plan = ground.plan()?;
    let (file, promised) = (plan.floor().rule.file(), plan.floor().head_timeout);
    let file = ground.policies.join(file.context("the floor stands in no file")?);
    let edit = ground
        .edit_policy(&file, |text| {
            let old = format!("head: {}s", promised.as_secs());
            ensure!(text.contains(&old), "the floor has no `{old}`");
            Ok(text.replace(&old, "head: 5min"))
        })
        .await?;
    let verdict = wait_for_all(ground).await;
    edit.undo(ground).await?;
    verdict
}

async fn wait_for_all(ground: &Ground) -> anyhow::Result<Verdict> {
    let mut verdict = Verdict::default();
    let customer = ground.door.sign_up().await?;
    let mut slow = JoinSet::new();
    for _ in 0..SLOW {
        let door = ground.door.clone();
        slow.spawn(async move { door.send_raw(BEGUN.as_bytes()).await });
    }
    let callers = Callers::start(&customer);
    let answered = ground
        .wait_until("others are answered", async || Ok(callers.calls() >= CALLS))
        .await;
    let mut answers = callers.stop().await?;
    answered?;
    let good = answers.remove(&200).unwrap_or_default();
    verdict.fail_unless(answers.is_empty(), || format!("others were answered {answers:?}"));
    let mut cut = 0;
    while let Some(ended) = slow.join_next().await {
        let ended = ended.context("a client panicked")?;
        let is_cut = ended
            .as_ref()
            .is_ok_and(|answer| answer.starts_with("HTTP/1.1 408 "));
        cut += usize::from(is_cut);
        verdict.fail_unless(is_cut, || {
            format!("a client that never finished came to {ended:?}")
        });
    }
    verdict.fact(format!(
        "{SLOW} clients began a request and never finished it: {cut} were answered 408 and cut off"
    ));
    verdict.fact(format!("meanwhile {good} calls of others were answered 200"));
    Ok(verdict)
}
