//! Claim `policy-error`: a mistake in a policy file is found with its position, and changes nothing that runs.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Verdict;
use crate::policy::files;
use crate::prove::ground::Ground;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    let (file, line, column) = find_auth(&ground.policies)?;
    let before = Behaviour::observe(ground).await?;
    let original = std::fs::read_to_string(&file)?;
    let misspelt = replace_at(&original, line, column, "auth:", "auht:")?;

    let refusals = ground.refused_reloads().await?;
    std::fs::write(&file, misspelt)?;
    let mut verdict = Verdict::default();
    let found = look_for(ground, &mut verdict, &file, line, column).await;
    let noticed = ground.wait_until("the gateway reports the refused policy", async || {
        Ok(ground.refused_reloads().await? > refusals)
    });
    let noticed = noticed.await;
    let after = Behaviour::observe(ground).await;
    std::fs::write(&file, original)?;
    ground
        .wait_until("the policy directory is in order again", async || {
            ground.policy_is_in_order().await
        })
        .await?;
    found?;
    noticed?;

    before.compare(&after?, &mut verdict);
    verdict.fact("the gateway reported that it refused the edited bundle");
    Ok(verdict)
}

/// Edits the same file correctly: the same observation must see that something changed.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    let (file, _, _) = find_auth(&ground.policies)?;
    let before = Behaviour::observe(ground).await?;
    let edit = ground
        .edit_policy(&file, |text| Ok(format!("{text}# one line more\n")))
        .await?;
    let after = Behaviour::observe(ground).await?;
    edit.undo(ground).await?;
    let mut verdict = Verdict::default();
    before.compare(&after, &mut verdict);
    Ok(verdict)
}

/// What the gateway enforces and how it decides.
#[derive(PartialEq, Eq)]
struct Behaviour {
    policy_hash: String,
    with_token: u16,
    without_token: u16,
}

impl Behaviour {
    async fn observe(ground: &Ground) -> anyhow::Result<Self> {
        let customer = ground.door.sign_up().await?;
        Ok(Self {
            policy_hash: ground.policy_hash().await?,
            with_token: customer.get("/api/v1/accounts").await?.status.as_u16(),
            without_token: ground.door.get("/api/v1/accounts").await?.status.as_u16(),
        })
    }

    fn compare(&self, after: &Self, verdict: &mut Verdict) {
        verdict.fact(format!("policy in force before: {}", self.policy_hash));
        verdict.fact(format!("policy in force after:  {}", after.policy_hash));
        verdict.fail_unless(self == after, || {
            "what the gateway enforces has changed".to_owned()
        });
        verdict.fail_unless((after.with_token, after.without_token) == (200, 401), || {
            format!(
                "with a token {}, without one {}",
                after.with_token, after.without_token
            )
        });
    }
}

/// `policy check` must name the very place, and the key that was meant.
async fn look_for(
    ground: &Ground,
    verdict: &mut Verdict,
    file: &Path,
    line: usize,
    column: usize,
) -> anyhow::Result<()> {
    let directory = ground.policies.display().to_string();
    let (code, text) = ground
        .system
        .portico(&[
            "policy",
            "check",
            &directory,
            "--format",
            "json",
            "--env",
            "development",
        ])
        .await?;
    verdict.fail_unless(code == Some(1), || format!("`policy check` ended with {code:?}"));
    let name = file.strip_prefix(&ground.policies)?.display().to_string();
    let findings: Value =
        serde_json::from_str(&text).with_context(|| format!("`policy check` printed {text}"))?;
    let findings = findings
        .as_array()
        .or_else(|| findings.pointer("/diagnostics")?.as_array())
        .context("no list")?;
    let here = findings.iter().find(|finding| {
        let is = |key: &str, expected: &Value| finding.get(key) == Some(expected);
        is("file", &Value::from(name.clone()))
            && is("line", &Value::from(line))
            && is("column", &Value::from(column))
    });
    match here {
        None => verdict.fail(format!(
            "`policy check` does not name {name}:{line}:{column}: {text}"
        )),
        Some(finding) => {
            verdict.fail_unless(finding.to_string().contains("`auth`"), || {
                format!("`policy check` does not suggest `auth`: {finding}")
            });
            verdict.fact(format!(
                "`policy check` named {name}:{line}:{column} and suggested `auth`"
            ));
        }
    }
    Ok(())
}

/// The first `auth:` in the policy files: file, line and column from 1.
fn find_auth(policies: &Path) -> anyhow::Result<(std::path::PathBuf, usize, usize)> {
    for file in files::read(policies)? {
        for (index, line) in file.text.lines().enumerate() {
            if line.trim_start().starts_with("auth:") {
                let column = line.len() - line.trim_start().len() + 1;
                return Ok((policies.join(file.name), index + 1, column));
            }
        }
    }
    anyhow::bail!("no policy file has an `auth:`")
}

fn replace_at(text: &str, line: usize, column: usize, old: &str, new: &str) -> anyhow::Result<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let target = lines.get_mut(line - 1).context("no such line")?;
    ensure!(
        target.get(column - 1..).is_some_and(|rest| rest.starts_with(old)),
        "no `{old}` there"
    );
    target.replace_range(column - 1..column - 1 + old.len(), new);
    Ok(lines.join("\n") + "\n")
}
