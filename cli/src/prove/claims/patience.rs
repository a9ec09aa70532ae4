//! Claim `patience`: who does not finish a request is cut off at the deadline of the policy, and holds nobody else up.

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;

use super::Verdict;
use super::callers::Callers;
use crate::prove::ground::Ground;

/// Clients that never finish, all at once; every other one stops in its head, the others in their body.
const SLOW: usize = 64;
/// As far as the first come.
const HALF_A_HEAD: &str = "GET /api/v1/me HTTP/1.1\r\nHost: ";
/// Calls of others that must be answered meanwhile.
const CALLS: u64 = 100;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    wait_for_all(ground).await
}

fn half_a_body(host: &str) -> String {
    format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{{\"email\":"
    )
}

/// Gives clients five minutes: the same eyes must see that they are not cut off.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let plan = ground.plan()?;
    let floor = plan.floor();
    let promised = [("head", floor.head_timeout), ("body", floor.body_timeout)];
    let file = floor.rule.file().context("the floor stands in no file")?;
    let edit = ground
        .edit_policy(&ground.policies.join(file), |text| {
            promised.iter().try_fold(text.to_owned(), |text, (part, time)| {
                let old = format!("{part}: {}s", time.as_secs());
                ensure!(text.contains(&old), "the floor has no `{old}`");
                Ok(text.replace(&old, &format!("{part}: 5min")))
            })
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
    for number in 0..SLOW {
        let door = ground.door.clone();
        let begun = match number % 2 {
            0 => HALF_A_HEAD.to_owned(),
            _ => half_a_body(door.authority()),
        };
        slow.spawn(async move { door.send_raw(begun.as_bytes()).await });
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
        "{SLOW} clients began a request and stopped, half of them in its head, the others in its body: {cut} were answered 408 and cut off"
    ));
    verdict.fact(format!("meanwhile {good} calls of others were answered 200"));
    Ok(verdict)
}
