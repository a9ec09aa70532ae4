//! Claims `forged-policy`, `halt` and `outage`: what the gateways of a fleet run, and without whom.

use std::time::Duration;

use serde_json::{Value, json};
use trial::edge::Load;
use trial::rollout::{Away, Bundle, Fault, Forgery, Members, Stage, touched};

use super::Verdict;
use crate::prove::ground::Ground;

/// How `forged-policy` is checked.
pub(super) const FORGED: &str = "Somebody writes into the database of a control plane, and its real gateway is offered policies that were in force \
    before, are for another fleet, environment or gateway, have expired, were changed by a bit, or are signed by nobody, by a \
    stranger, by a key that was revoked, or by one that had been stolen before it retired. It must refuse each with a code, and go on with what it has.";
/// How `halt` is checked.
pub(super) const HALT: &str = "A policy whose upstream is away is published to two real gateways, the first of which is the canary, while clients ask. \
    The roll-out must be halted by itself, the other gateway must never have had the policy, and both must run the old one again.";

/// How `outage` is checked.
pub(super) const OUTAGE: &str = "The control plane of two real gateways is killed. Clients ask and log in meanwhile, both gateways are restarted, and \
    a third begins that the control plane has never heard of. Every request and every log-in must be answered 200, and the third gateway \
    must run the policy in force.";

/// Connections a second that clients open, each for one request, to one gateway after the other.
const RATE: u32 = 60;
const CLIENTS: u32 = 8;
/// How long the control plane is away at least.
const ABSENCE: Duration = Duration::from_secs(3);
/// No phase is over before the claim is.
const FOR_EVER_S: u32 = 36_000;

pub(super) async fn forged(ground: &Ground) -> anyhow::Result<Verdict> {
    offer(ground, &Forgery::REFUSED).await
}

/// It is signed with the key that signs now: that of the control plane itself.
pub(super) async fn signed(ground: &Ground) -> anyhow::Result<Verdict> {
    offer(ground, &[Forgery::Nothing]).await
}

async fn offer(ground: &Ground, forgeries: &[Forgery]) -> anyhow::Result<Verdict> {
    let mut stage = begin(ground, 1, false, &json!({})).await?;
    let node = stage.names().into_iter().next().unwrap_or_default();
    let mut verdict = Verdict::default();
    for forgery in forgeries {
        match stage.offer(&node, *forgery).await? {
            Some(code) => verdict.fact(format!("{forgery:?}: refused as {code}")),
            None => verdict.fail(format!("{forgery:?}: taken over")),
        }
    }
    stage.stop().await?;
    Ok(verdict)
}

pub(super) async fn halts(ground: &Ground) -> anyhow::Result<Verdict> {
    publish_harm(ground, &json!({ "bake_s": FOR_EVER_S })).await
}

/// Failures, however many, are not looked at.
pub(super) async fn unwatched(ground: &Ground) -> anyhow::Result<Verdict> {
    publish_harm(ground, &json!({ "bake_s": 1, "failures_rise": 1_000 })).await
}

async fn publish_harm(ground: &Ground, rules: &Value) -> anyhow::Result<Verdict> {
    let stage = begin(ground, 2, false, rules).await?;
    let load = Load::start_anew(&stage.every_door()?, "/fast", RATE, CLIENTS);
    let bad = Bundle::bad(1, Fault::NobodyListens);
    stage
        .publish(bad, "bad", &["--phases", "canary,all"])
        .await?
        .done()?;
    let ended = stage.ended("bad").await?;
    let mut verdict = Verdict::default();
    let word = |name: &str| ended.get(name).and_then(Value::as_str).unwrap_or("nothing");
    verdict.fact(format!(
        "the roll-out ended as {}: {}",
        word("phase"),
        word("why")
    ));
    verdict.fail_unless(word("phase") == "halted", || "it was not halted".to_owned());
    let had_it = touched(&ended);
    verdict.fail_unless(had_it == 1, || format!("{had_it} gateways have had it"));
    if verdict.failures.is_empty() {
        stage.every_gateway_runs(0).await?;
        verdict.fact("every gateway runs the old policy");
    }
    verdict.fact(format!("meanwhile: {}", load.stop().await));
    stage.stop().await?;
    Ok(verdict)
}

pub(super) async fn outage(ground: &Ground) -> anyhow::Result<Verdict> {
    take_away(ground, Away::ControlPlane).await
}

pub(super) async fn outage_of_the_core(ground: &Ground) -> anyhow::Result<Verdict> {
    take_away(ground, Away::CoreAsWell).await
}

async fn take_away(ground: &Ground, away: Away) -> anyhow::Result<Verdict> {
    let mut stage = begin(ground, 2, true, &json!({})).await?;
    let outage = stage.outage(away, (RATE, CLIENTS), ABSENCE).await?;
    let mut verdict = Verdict::default();
    verdict.fact(format!(
        "it was away for {} s, in which {} gateways were restarted and another began",
        outage.lasted.as_secs(),
        outage.restarts
    ));
    verdict.fact(format!("failed: {outage}"));
    verdict.fail_unless(outage.failures() == 0, || format!("failed: {outage}"));
    stage.stop().await?;
    Ok(verdict)
}

/// A control plane with so many gateways, and perhaps a core that issues tokens. How slow one of them is says nothing: they share a machine with everything else.
async fn begin(ground: &Ground, gateways: usize, has_issuer: bool, rules: &Value) -> anyhow::Result<Stage> {
    let mut all = json!({ "least_requests": 20, "evidence_s": 0, "silence_s": 600, "patience_s": 600, "latency_percent": 1_000_000 });
    for (rules, given) in all.as_object_mut().into_iter().zip(rules.as_object()) {
        rules.extend(given.clone());
    }
    let members = Members {
        binary: ground.system.launch().binary.clone(),
        gateways,
        policies: json!({ "approval_from": "never", "audit_fail_on": "critical", "interval_ms": 200, "rules": all }),
        probation_ms: 300,
        has_issuer,
    };
    Stage::start(&members).await
}
