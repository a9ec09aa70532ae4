//! Claim `rotation`: rotating the signing key refuses no valid token.

use anyhow::{Context as _, bail};

use super::Verdict;
use super::callers::Callers;
use crate::prove::{ground::Ground, store};

/// Calls with each token after the rotation has reached the gateway.
const CALLS_AFTER: u64 = 200;

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    rotate_under_load(ground, false).await
}

/// Retires the old key at the moment of the rotation, as a careless operator would: the same callers must notice.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    rotate_under_load(ground, true).await
}

async fn rotate_under_load(ground: &Ground, retire_at_once: bool) -> anyhow::Result<Verdict> {
    let before = ground.door.sign_up().await?;
    let callers = Callers::start(&before);
    // The new key signs from the first moment, before the gateway can have heard that it does.
    let rotated = match rotate(ground, retire_at_once).await {
        Ok(sequence) => ground
            .door
            .log_in(&before.email, &before.password)
            .await
            .map(|after| (sequence, after)),
        Err(error) => Err(error),
    };
    let (mut answers, after) = match rotated {
        Ok((sequence, after)) => {
            let more = Callers::start(&after);
            let heard = ground
                .wait_until("the gateway has the new key set", async || {
                    Ok(ground.keyset_sequence().await? >= sequence)
                })
                .await;
            let enough = callers.calls() + CALLS_AFTER;
            let waited = ground
                .wait_until("both tokens have been used after the rotation", async || {
                    Ok(callers.calls() >= enough && more.calls() >= CALLS_AFTER)
                })
                .await;
            let mut answers = callers.stop().await?;
            for (status, count) in more.stop().await? {
                *answers.entry(status).or_default() += count;
            }
            heard?;
            waited?;
            (answers, after)
        }
        Err(error) => {
            callers.stop().await?;
            return Err(error);
        }
    };

    let (old, new) = (key_id(&before.tokens.access)?, key_id(&after.tokens.access)?);
    let mut verdict = Verdict::default();
    let good = answers.remove(&200).unwrap_or_default();
    verdict.fact(format!("{good} calls answered 200 while the key was rotated"));
    verdict.fact(format!(
        "tokens of key {old} and of key {new} were used side by side"
    ));
    verdict.fail_unless(old != new, || {
        "the new session's token is signed with the old key".to_owned()
    });
    for (status, count) in answers {
        verdict.fail(format!("{count} calls with a valid token were answered {status}"));
    }
    Ok(verdict)
}

/// Rotates through the command line, waiting as long as the standby key is too young. Returns the sequence number that
/// the gateway's key set has when it knows all of it.
async fn rotate(ground: &Ground, retire_at_once: bool) -> anyhow::Result<u64> {
    let known = ground.keyset_sequence().await?;
    let data_dir = ground.system.launch().data_dir.display().to_string();
    ground
        .wait_until("the standby key may take over", async || {
            let (code, text) = ground
                .system
                .portico(&["keys", "rotate", "--data-dir", &data_dir])
                .await?;
            match code {
                Some(0) => Ok(true),
                Some(1) => Ok(false),
                _ => bail!("`keys rotate` ended with {code:?}: {text}"),
            }
        })
        .await?;
    if retire_at_once {
        let mut owner = ground.connect_as_owner().await?;
        store::retire_retiring_keys(&mut owner).await?;
    }
    Ok(known + 1 + u64::from(retire_at_once))
}

/// The `kid` of a token, read without checking anything.
pub(super) fn key_id(token: &str) -> anyhow::Result<String> {
    let header = token.split('.').next().context("a token has a header")?;
    let json = super::super::signature::decode_base64url(header)?;
    let header: serde_json::Value = serde_json::from_slice(&json)?;
    header
        .get("kid")
        .and_then(serde_json::Value::as_str)
        .map(str::to_owned)
        .context("the token names no key")
}
