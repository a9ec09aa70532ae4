//! Claim `reload`: policies are replaced while requests go on, and not one of them fails.

use anyhow::Context as _;

use super::Verdict;
use super::callers::Callers;
use crate::prove::ground::Ground;

/// Policies that come into force one after the other.
const EDITS: u32 = 10;
/// Calls that must be answered under each of them.
const CALLS_EACH: u64 = 20;
/// The protected route that is called.
const CALLED: &str = "/api/v1/me";

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    edit_under_load(ground, |text, number| Ok(format!("{text}# edit {number}\n"))).await
}

/// The edits ask for a scope that nobody has: the same callers must notice.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    edit_under_load(ground, close).await
}

/// Asks for a scope that nobody has, wherever the file asks for one.
pub(super) fn close(text: &str, number: u32) -> anyhow::Result<String> {
    let scopes = text
        .lines()
        .find(|line| line.trim_start().starts_with("scopes:"))
        .context("the file asks for no scope")?;
    let indent = scopes.len() - scopes.trim_start().len();
    let closed = format!("{:indent$}scopes: [\"nobody:{number}\"]", "");
    let is_scopes = |line: &str| line.trim_start().starts_with("scopes:");
    let lines = text
        .lines()
        .map(|line| if is_scopes(line) { closed.as_str() } else { line });
    Ok(lines.collect::<Vec<_>>().join("\n") + "\n")
}

async fn edit_under_load(
    ground: &Ground,
    edit: impl Fn(&str, u32) -> anyhow::Result<String>,
) -> anyhow::Result<Verdict> {
    let plan = ground.plan()?;
    let route = plan.routes().iter().find(|route| route.path == CALLED);
    let rule = &route.context("the route to call does not exist")?.rule;
    let file = ground
        .policies
        .join(rule.file().context("the route stands in no file")?);
    let customer = ground.door.sign_up().await?;
    let callers = Callers::start(&customer);
    let edited = async {
        for number in 1..=EDITS {
            let edited = ground.edit_policy(&file, |text| edit(text, number)).await?;
            let enough = callers.calls() + CALLS_EACH;
            let waited = ground
                .wait_until("calls are answered under the new policy", async || {
                    Ok(callers.calls() >= enough)
                })
                .await;
            edited.undo(ground).await?;
            waited?;
        }
        anyhow::Ok(())
    };
    let edited = edited.await;
    let mut answers = callers.stop().await?;
    edited?;
    let mut verdict = Verdict::default();
    let good = answers.remove(&200).unwrap_or_default();
    verdict.fact(format!(
        "{} policies came into force one after the other while {good} calls were answered 200",
        2 * EDITS
    ));
    for (status, count) in answers {
        verdict.fail(format!("{count} calls with a valid token were answered {status}"));
    }
    Ok(verdict)
}
