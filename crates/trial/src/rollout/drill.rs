//! The drill of roll-outs: the rows T-P1 to T-P7, measured on gateways of one machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::bundle::{Bundle, Fault};
use super::forger::Forgery;
use super::operator::touched;
use super::outage::{Away, Moment};
use super::report::{RolloutReport, percentile};
use super::stage::{Members, Stage};
use crate::edge::Load;

/// How long a gateway is in doubt about a policy, milliseconds.
const PROBATION_MS: u32 = 300;
/// Requests to the canary before its failures prove something.
const LEAST_REQUESTS: u32 = 200;
/// A handshake for each request is what costs most.
const MOST_CONNECTIONS_A_SECOND: u32 = 300;

/// A drill.
#[derive(Debug, Clone)]
pub struct RolloutDrill {
    /// The portico binary.
    pub binary: PathBuf,
    /// How many gateways.
    pub gateways: usize,
    /// Policies that go to all at once, each a swap in every gateway.
    pub policies: usize,
    /// Revocations, blocks, and rotations of the ring `access`.
    pub lists: usize,
    /// Requests a second meanwhile, over all gateways.
    pub rate: u32,
    /// Connections that carry them.
    pub connections: u32,
    /// Routes of the policy that gateways start with.
    pub routes: usize,
    /// Gateways that are killed at each of four moments of taking a policy over.
    pub kills: usize,
    /// How long the control plane is away.
    pub outage: Duration,
}

impl RolloutDrill {
    /// Runs it; each part is shown when it is over.
    ///
    /// # Errors
    /// When something does not come about at all. A target that is missed is in the report.
    pub async fn run(&self, mut show: impl FnMut(&str)) -> anyhow::Result<RolloutReport> {
        let mut report = RolloutReport::default();
        let mut stage = Stage::start(&self.members(0)).await?;
        show("a control plane and its gateways run");
        self.swaps(&stage, &mut report).await?;
        self.lists(&stage, &mut report).await?;
        show("policies went to all at once, and lists");
        self.starts(&mut stage, &mut report).await?;
        show("gateways started without a control plane");
        self.kills(&mut stage, &mut report).await?;
        show("gateways were killed while they took policies over");
        forgeries(&mut stage, &mut report).await?;
        show("forged envelopes were offered");
        self.outage(&mut stage, &mut report).await?;
        show("the control plane was away");
        stage.stop().await?;
        self.harm(&mut report).await?;
        show("a policy did harm");
        Ok(report)
    }

    /// Everything but the time that a phase is watched for is as it is by default.
    fn members(&self, bake_s: u32) -> Members {
        let rules = json!({
            "bake_s": bake_s, "least_requests": LEAST_REQUESTS, "evidence_s": 0, "patience_s": 600, "silence_s": 120,
            // Ten gateways share one machine with everything else: how slow one is says nothing.
            "latency_percent": 1_000_000,
        });
        Members {
            binary: self.binary.clone(),
            gateways: self.gateways,
            policies: policies(&rules),
            probation_ms: PROBATION_MS,
            has_issuer: true,
        }
    }

    async fn swaps(&self, stage: &Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
        let load = Load::start(&stage.every_door()?, "/fast", self.rate, self.connections);
        let mut times = Vec::new();
        for generation in 1..=self.policies {
            times.extend(
                stage
                    .publish_to_all(Bundle::good(generation), &format!("swap-{generation}"))
                    .await?,
            );
        }
        let tally = load.stop().await;
        ensure!(times.len() == self.policies * self.gateways, "{times:?}");
        let p99 = percentile(&times, 99);
        report.add(
            format!(
                "T-P1 publication until active, {} gateways, policy, p99 of {}",
                self.gateways,
                times.len()
            ),
            "2,000 ms",
            format!("{p99} ms, median {} ms", percentile(&times, 50)),
            p99 <= 2_000,
        );
        report.add(
            format!("T-P2 failed requests during {} swaps", times.len()),
            "0",
            format!("{} of {} at {}/s", tally.failures(), tally.sent, tally.rate()),
            tally.failures() == 0,
        );
        Ok(())
    }

    async fn lists(&self, stage: &Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
        let (mut revocations, mut blocks, mut key_sets) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..self.lists {
            revocations.extend(revoke(stage, number).await?);
            blocks.extend(block(stage, number).await?);
            let command = ["keys", "rotate", "--ring", "access"];
            key_sets.extend(stage.change("keyset", &command).await?);
        }
        add_times(report, "revocations", &revocations);
        add_times(report, "blocks", &blocks);
        add_times(report, "keyset", &key_sets);
        let full = stage.fill_lists(self.lists).await?;
        let (mut revocations, mut blocks) = (Vec::new(), Vec::new());
        for number in self.lists..2 * self.lists {
            revocations.extend(revoke(stage, number).await?);
            blocks.extend(block(stage, number).await?);
        }
        add_times(
            report,
            &format!("revocations with full lists ({full})"),
            &revocations,
        );
        add_times(report, "blocks with full lists", &blocks);
        stage.empty_lists().await
    }

    async fn starts(&self, stage: &mut Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
        let long = Bundle {
            routes: self.routes,
            ..Bundle::good(self.policies + 1)
        };
        stage.publish_to_all(long, "long").await?;
        let took = stage.start_from_disk().await?;
        let longest = took.iter().max().copied().unwrap_or_default();
        report.add(
            format!(
                "T-P3 start from the disk without a control plane, {} routes, longest of {}",
                self.routes,
                took.len()
            ),
            "1,000 ms",
            format!("{longest} ms"),
            longest <= 1_000,
        );
        stage.all_the_same().await.map(drop)
    }

    async fn kills(&self, stage: &mut Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
        let names = stage.names();
        let mut generation = self.policies + 1;
        let (mut done, mut wrong) = (0_usize, Vec::new());
        for (moment, name) in Moment::ALL
            .iter()
            .cycle()
            .zip(names.iter().cycle())
            .take(self.kills)
        {
            generation += 1;
            done += 1;
            if let Err(error) = stage
                .kill_gateway_while_taking_over(name, *moment, generation)
                .await
            {
                wrong.push(format!("{error:#}"));
            }
        }
        report.add(
            format!("T-P4 starts with something unsigned, or roll-outs that stand still, after {done} kills in {:?}", Moment::ALL),
            "0",
            match wrong.first() {
                None => "0".to_owned(),
                Some(first) => format!("{}: {first}", wrong.len()),
            },
            wrong.is_empty(),
        );
        Ok(())
    }

    async fn outage(&self, stage: &mut Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
        let outage = stage
            .outage(Away::ControlPlane, (self.rate, self.connections), self.outage)
            .await?;
        report.add(
            format!(
                "T-P6 errors while the control plane is away for {} s, with {} restarts of gateways and a new one",
                outage.lasted.as_secs(),
                outage.restarts
            ),
            "0",
            outage.to_string(),
            outage.failures() == 0,
        );
        Ok(())
    }

    /// With the shortest time to watch a phase that production takes: nothing goes on before it is over.
    async fn harm(&self, report: &mut RolloutReport) -> anyhow::Result<()> {
        let stage = Stage::start(&self.members(60)).await?;
        // Each request is a new connection, to the next gateway: a kept one would stay where it is answered well.
        let rate = self.rate.min(MOST_CONNECTIONS_A_SECOND);
        let load = Load::start_anew(&stage.every_door()?, "/fast", rate, self.connections);
        let bad = Bundle::bad(1, Fault::NobodyListens);
        stage
            .publish(bad, "bad", &["--phases", "canary,all"])
            .await?
            .done()?;
        let ended = stage.ended("bad").await?;
        let halted_s = seconds(&ended);
        stage.every_gateway_runs(0).await?;
        let tally = load.stop().await;
        let touched = touched(&ended);
        let why = ended
            .get("why")
            .and_then(Value::as_str)
            .unwrap_or("it was not halted");
        report.add(
            "T-P7 a policy whose upstream is away, from its publication until it is halted",
            "60 s, one gateway in twenty (at least one)",
            format!(
                "{halted_s} s, {touched} of {} gateways; {why}; {} of {} requests were answered 502",
                self.gateways,
                tally.failures(),
                tally.sent
            ),
            halted_s <= 60 && touched == 1 && ended.get("phase") == Some(&"halted".into()),
        );
        stage.stop().await
    }
}

async fn revoke(stage: &Stage, number: usize) -> anyhow::Result<Vec<i64>> {
    let subject = format!("usr_{number}");
    let command = ["revoke", "subject", &subject, "--reason", "a drill"];
    stage.change("revocations", &command).await
}

async fn block(stage: &Stage, number: usize) -> anyhow::Result<Vec<i64>> {
    let network = format!("2001:db8:{number:x}::/48");
    let command = ["block", "add", &network, "--for", "10m", "--reason", "a drill"];
    stage.change("blocks", &command).await
}

fn add_times(report: &mut RolloutReport, what: &str, times: &[i64]) {
    let p99 = percentile(times, 99);
    report.add(
        format!("T-P1 command until active, {what}, p99 of {}", times.len()),
        "1,000 ms",
        format!("{p99} ms, median {} ms", percentile(times, 50)),
        p99 <= 1_000,
    );
}

async fn forgeries(stage: &mut Stage, report: &mut RolloutReport) -> anyhow::Result<()> {
    let names = stage.names();
    let mut taken = Vec::new();
    let mut codes = Vec::new();
    for (forgery, name) in Forgery::REFUSED.into_iter().zip(names.iter().cycle()) {
        match stage.offer(name, forgery).await? {
            Some(code) => codes.push(format!("{forgery:?}: {code}")),
            None => taken.push(forgery),
        }
    }
    report.add(
        format!("T-P5 forged envelopes taken over, of {}", Forgery::REFUSED.len()),
        "0",
        format!("{} {taken:?}; refused as {}", taken.len(), codes.join(", ")),
        taken.is_empty(),
    );
    let name = names.first().map(String::as_str).unwrap_or_default();
    let control = stage.offer(name, Forgery::Nothing).await?;
    report.add(
        "T-P5 control: signed with the key that signs now, which was stolen",
        "taken over",
        match &control {
            None => "taken over".to_owned(),
            Some(code) => format!("refused: {code}"),
        },
        control.is_none(),
    );
    Ok(())
}

/// `policies` of the control plane's settings.
fn policies(rules: &Value) -> Value {
    json!({ "approval_from": "never", "audit_fail_on": "critical", "interval_ms": 200, "rules": rules })
}

/// From the publication to the end of a roll-out.
fn seconds(rollout: &Value) -> i64 {
    let at = |name: &str| {
        let text = rollout.get(name)?.as_str()?;
        chrono::DateTime::parse_from_rfc3339(text).ok()
    };
    at("ended_at")
        .zip(at("created_at"))
        .map_or(i64::MAX, |(ended, created)| (ended - created).num_seconds())
}
