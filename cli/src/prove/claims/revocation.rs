//! Claim `revocation`: what is revoked is refused at the gateway within a second.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;
use trial::Customer;

use super::Verdict;
use crate::prove::ground::Ground;
use crate::prove::signature::decode_base64url;

/// How soon a revocation must be in force.
const PROMISED: Duration = Duration::from_secs(1);
/// What is revoked: the word of the command, and the claim of the token.
const KINDS: [(&str, &str); 3] = [("token", "jti"), ("session", "sid"), ("subject", "sub")];

pub(super) async fn check(ground: &Ground) -> anyhow::Result<Verdict> {
    revoke_each(ground, None).await
}

/// Revokes what another issuer has issued, as an operator does who mistakes the one for the other.
pub(super) async fn control(ground: &Ground) -> anyhow::Result<Verdict> {
    revoke_each(ground, Some("https://another.example")).await
}

async fn revoke_each(ground: &Ground, issuer: Option<&str>) -> anyhow::Result<Verdict> {
    let bystander = ground.door.sign_up().await?;
    let mut verdict = Verdict::default();
    let mut delays = Vec::new();
    for (kind, claim) in KINDS {
        let customer = ground.door.sign_up().await?;
        customer.get("/api/v1/me").await?.expect(200)?;
        let claims = claims(&customer)?;
        let name = claims
            .get(claim)
            .and_then(Value::as_str)
            .context("a claim is missing")?;
        let issuer = match issuer {
            Some(issuer) => issuer,
            None => claims.get("iss").and_then(Value::as_str).context("no issuer")?,
        };
        let list = revoke(ground, kind, name, issuer).await?;
        match refused_after(ground, &customer, list).await? {
            Some(delay) => {
                verdict.fact(format!(
                    "{kind}: refused {} ms after the command had ended",
                    delay.as_millis()
                ));
                delays.push(delay);
            }
            None => verdict.fail(format!(
                "{kind}: the gateway has the list, and takes the token still"
            )),
        }
    }
    delays.sort_unstable();
    if let [_, middle, _] = delays.as_slice() {
        verdict.fail_unless(*middle <= PROMISED, || {
            format!("most were refused after {} ms only", middle.as_millis())
        });
    }
    let answer = bystander.get("/api/v1/me").await?;
    verdict.fail_unless(answer.status == 200, || {
        format!(
            "somebody of whom nothing was revoked was answered {}",
            answer.status
        )
    });
    verdict.fact("somebody of whom nothing was revoked was answered 200 at the end");
    Ok(verdict)
}

/// Revokes through the command line. Gives the number of the list that has it.
async fn revoke(ground: &Ground, kind: &str, name: &str, issuer: &str) -> anyhow::Result<u64> {
    let data_dir = ground.system.launch().data_dir.display().to_string();
    let arguments = [
        "revoke",
        kind,
        name,
        "--issuer",
        issuer,
        "--for",
        "1h",
        "--reason",
        "a proof",
        "--format",
        "json",
        "--data-dir",
        &data_dir,
    ];
    let (code, text) = ground.system.portico(&arguments).await?;
    if code != Some(0) {
        bail!("`revoke {kind}` ended with {code:?}: {text}");
    }
    let revoked: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    revoked
        .get("seq")
        .and_then(Value::as_u64)
        .context("`revoke` tells no list")
}

/// Revokes the session of a customer.
pub(super) async fn revoke_session(ground: &Ground, customer: &Customer) -> anyhow::Result<()> {
    let claims = claims(customer)?;
    let text = |name: &str| {
        claims
            .get(name)
            .and_then(Value::as_str)
            .context("a claim is missing")
    };
    revoke(ground, "session", text("sid")?, text("iss")?)
        .await
        .map(drop)
}

/// How long it took until a token was refused; none when the gateway has the list and takes it still.
async fn refused_after(ground: &Ground, customer: &Customer, list: u64) -> anyhow::Result<Option<Duration>> {
    let begun = Instant::now();
    let mut refused = None;
    ground
        .wait_until("the gateway has the list, or refuses the token", async || {
            let has_list = ground.revocations_sequence().await? >= list;
            let answer = customer.get("/api/v1/me").await?;
            if answer.status == 401 {
                refused = Some(begun.elapsed());
            }
            Ok(has_list || refused.is_some())
        })
        .await?;
    Ok(refused)
}

/// The claims of a customer's token.
fn claims(customer: &Customer) -> anyhow::Result<Value> {
    let payload = customer.tokens.access.split('.').nth(1).context("not a token")?;
    Ok(serde_json::from_slice(&decode_base64url(payload)?)?)
}
