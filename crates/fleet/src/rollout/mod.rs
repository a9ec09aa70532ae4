//! How a policy goes out: tried beside the old one, then to one gateway, a quarter, all; halted by the first sign of harm.
//!
//! ```text
//! shadow ──▶ canary ──▶ quarter ──▶ all ──▶ done
//!    └──────────┴──────────┴─────────┴────▶ halted
//! ```
//!
//! A pure function of what the gateways reported: [`step`] says what to do next, the control plane does it.
//!
//! **Invariant:** a roll-out goes on only when every gateway that has the policy speaks and said that it is healthy, and none
//! has objected; from `done` and `halted` it goes nowhere. A rollback is halted by people alone ([`step_back`]).

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::messages::{LATENCY_BOUNDS_US, Objection, ShadowCounts, Traffic};

/// From so many requests on it is no chance that half of them fail or are refused, where too few for a comparison were served.
const FEW_REQUESTS: u64 = 20;
/// That half, in thousandths.
const MANIFEST: u64 = 500;
/// Who has been silent for longer has missed two heartbeats, and the third is due, seconds.
const MISSED_S: i64 = 9;
/// Standard deviations that are put down to chance, squared: a phase is looked at every second.
const CHANCE_SQUARED: u64 = 16;

/// How far a roll-out is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The canaries judge a copy of each request with it; it decides nothing.
    Shadow,
    /// One gateway in twenty, at least one.
    Canary,
    /// A quarter.
    Quarter,
    /// Every gateway.
    All,
    /// In force everywhere.
    Done,
    /// Given up; what was in force before is in force again.
    Halted,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 6] = [
        Self::Shadow,
        Self::Canary,
        Self::Quarter,
        Self::All,
        Self::Done,
        Self::Halted,
    ];

    /// The word in tables, documents and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "shadow",
            Self::Canary => "canary",
            Self::Quarter => "quarter",
            Self::All => "all",
            Self::Done => "done",
            Self::Halted => "halted",
        }
    }

    /// The phase after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Shadow => Self::Canary,
            Self::Canary => Self::Quarter,
            Self::Quarter => Self::All,
            Self::All | Self::Done => Self::Done,
            Self::Halted => Self::Halted,
        }
    }

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Halted)
    }

    /// How many of `nodes` gateways have the policy in this phase.
    #[must_use]
    pub fn size(self, nodes: usize) -> usize {
        match self {
            Self::Shadow | Self::Canary => nodes.div_ceil(20),
            Self::Quarter => nodes.div_ceil(4),
            Self::All | Self::Done => nodes,
            Self::Halted => 0,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When a roll-out goes on, and what stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// How long a phase is watched, seconds.
    pub bake_s: u32,
    /// How long a gateway that has the policy may be silent, seconds.
    pub silence_s: u32,
    /// How long a gateway may take from the pointer to `healthy`, and may be without it later, seconds.
    pub patience_s: u32,
    /// Fewer requests than these prove nothing.
    pub least_requests: u64,
    /// How much longer a phase that has seen fewer than those is watched, seconds; then it goes on without them.
    pub evidence_s: u32,
    /// By how much the share of answers of 500 and above may rise, in thousandths.
    pub failures_rise: u32,
    /// By how much the share of refused requests may rise or fall, in thousandths: what the change is meant to do.
    pub denials_rise: u32,
    /// See [`Rules::denials_rise`].
    pub denials_fall: u32,
    /// How slow the slowest hundredth may become, in hundredths of what it was.
    pub latency_percent: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            bake_s: 300,
            silence_s: 30,
            patience_s: 120,
            least_requests: 200,
            evidence_s: 3_600,
            failures_rise: 5,
            denials_rise: 10,
            denials_fall: 10,
            latency_percent: 120,
        }
    }
}

/// A gateway as a roll-out sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutNode {
    /// Its name.
    pub name: String,
    /// Seconds since its last heartbeat.
    pub silent_s: i64,
    /// Whether it said that the policy is healthy; in shadow, that it is tried.
    pub is_healthy: bool,
    /// Seconds since it was healthy last, or since it was given the policy; only while somebody watched.
    pub unhealthy_s: i64,
    /// Why it did not take the policy over.
    pub objection: Option<Objection>,
    /// What it has served since this phase began; in the group, since it has the policy.
    pub traffic: Traffic,
    /// How the policy compares in shadow.
    pub shadow: Option<ShadowCounts>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing yet; for people, why.
    Wait(String),
    /// The next phase begins.
    Advance(Phase),
    /// Give it up; for people, why.
    Halt(String),
}

/// What a roll-out that has been in `phase` for `since_s` seconds does next. `group` has the policy, `rest` has not;
/// `before` is what the whole fleet served in the minutes before the roll-out, for when nobody is left to compare with.
#[must_use]
pub fn step(
    phase: Phase,
    since_s: i64,
    group: &[RolloutNode],
    rest: &[RolloutNode],
    before: &Traffic,
    rules: &Rules,
) -> Next {
    if phase.is_over() {
        return Next::Wait(format!("the roll-out is {phase}"));
    }
    if let Some(harm) = harm_of_nodes(group, rules) {
        return Next::Halt(harm);
    }
    let served = sum(group.iter().map(|node| &node.traffic));
    let others = sum(rest.iter().map(|node| &node.traffic));
    let baseline = if others.requests >= rules.least_requests {
        &others
    } else {
        before
    };
    let harm = match phase {
        Phase::Shadow => harm_in_shadow(group, rules),
        _ => harm_of_traffic(&served, baseline, rules)
            .or_else(|| manifest_harm(&served, &others, before, rules)),
    };
    if let Some(harm) = harm {
        return Next::Halt(harm);
    }
    if let Some(late) = group.iter().find(|node| !node.is_healthy) {
        return Next::Wait(format!("{} is not healthy yet", late.name));
    }
    // It may have died of the policy: what it said before counts no more, and others are not given it.
    if let Some(silent) = group.iter().find(|node| node.silent_s > MISSED_S) {
        return Next::Wait(format!(
            "{} has been silent for {} s",
            silent.name, silent.silent_s
        ));
    }
    let left_s = i64::from(rules.bake_s).saturating_sub(since_s);
    if left_s > 0 {
        return Next::Wait(format!("{left_s} s of watching are left"));
    }
    let seen = match phase {
        Phase::Shadow => judged_in_shadow(group),
        _ => served.requests,
    };
    let waits_s = left_s.saturating_add(rules.evidence_s.into());
    if seen < rules.least_requests && waits_s > 0 {
        let least = rules.least_requests;
        return Next::Wait(format!(
            "{seen} of {least} requests were seen; it goes on without more in {waits_s} s"
        ));
    }
    Next::Advance(phase.next())
}

/// What a rollback does next: it is over when every gateway that speaks has the policy. Nothing that clients see halts it, for
/// they see the harm that it ends, and a halt would put that back. Who is silent is not waited for, and gets it when it speaks
/// again; who refuses it is, for people to see.
#[must_use]
pub fn step_back(phase: Phase, group: &[RolloutNode], rules: &Rules) -> Next {
    if phase.is_over() {
        return Next::Wait(format!("the roll-out is {phase}"));
    }
    let is_silent = |node: &&RolloutNode| node.silent_s > i64::from(rules.silence_s);
    for node in group.iter().filter(|node| !is_silent(node)) {
        if let Some(objection) = &node.objection {
            return Next::Wait(format!("{} refuses it: {}", node.name, objection.message));
        }
        if !node.is_healthy {
            return Next::Wait(format!("{} is not healthy yet", node.name));
        }
    }
    Next::Advance(phase.next())
}

fn judged_in_shadow(group: &[RolloutNode]) -> u64 {
    let counts = group.iter().filter_map(|node| node.shadow);
    counts.fold(0, |sum, counts| sum.saturating_add(counts.judged))
}

/// Which gateways have the policy in a phase: always the same ones first, so that a phase only ever adds some. `change`
/// spreads the honour of being the canary.
#[must_use]
pub fn members<'n>(
    phase: Phase,
    names: impl IntoIterator<Item = &'n str>,
    change: &str,
) -> BTreeSet<&'n str> {
    let mut order: Vec<_> = names
        .into_iter()
        .map(|name| (crate::Digest::of(format!("{change}/{name}").as_bytes()), name))
        .collect();
    order.sort_unstable();
    let size = phase.size(order.len());
    order.into_iter().take(size).map(|(_, name)| name).collect()
}

fn harm_of_nodes(group: &[RolloutNode], rules: &Rules) -> Option<String> {
    for node in group {
        if let Some(objection) = &node.objection {
            return Some(format!("{} refuses it: {}", node.name, objection.message));
        }
        if node.silent_s > i64::from(rules.silence_s) {
            return Some(format!("{} has been silent for {} s", node.name, node.silent_s));
        }
        if !node.is_healthy && node.unhealthy_s > i64::from(rules.patience_s) {
            return Some(format!(
                "{} has not been healthy for {} s",
                node.name, node.unhealthy_s
            ));
        }
    }
    None
}

fn harm_in_shadow(group: &[RolloutNode], rules: &Rules) -> Option<String> {
    let judged = judged_in_shadow(group);
    let (mut denied, mut permitted) = (0_u64, 0_u64);
    for counts in group.iter().filter_map(|node| node.shadow) {
        denied = denied.saturating_add(counts.newly_denied);
        permitted = permitted.saturating_add(counts.newly_permitted);
    }
    if judged < rules.least_requests {
        return None;
    }
    if thousandths(denied, judged) > u64::from(rules.denials_rise) {
        return Some(format!(
            "in shadow it would refuse {denied} of {judged} requests that pass today"
        ));
    }
    if thousandths(permitted, judged) > u64::from(rules.denials_fall) {
        return Some(format!(
            "in shadow it would let {permitted} of {judged} requests pass that are refused today"
        ));
    }
    None
}

fn harm_of_traffic(served: &Traffic, baseline: &Traffic, rules: &Rules) -> Option<String> {
    if served.requests < rules.least_requests || baseline.requests < rules.least_requests {
        return None;
    }
    let share = |part: u64, traffic: &Traffic| thousandths(part, traffic.requests);
    let (failures, failures_before) = (share(served.failures, served), share(baseline.failures, baseline));
    if failures > failures_before.saturating_add(rules.failures_rise.into()) {
        return Some(format!(
            "{failures} of 1,000 requests fail, {failures_before} before"
        ));
    }
    let (denials, denials_before) = (share(served.denied, served), share(baseline.denied, baseline));
    if denials > denials_before.saturating_add(rules.denials_rise.into())
        || denials.saturating_add(rules.denials_fall.into()) < denials_before
    {
        return Some(format!(
            "{denials} of 1,000 requests are refused, {denials_before} before"
        ));
    }
    harm_of_latency(served, baseline, rules)
}

/// More requests than chance explains take longer than the slowest hundredth may become. Of two hundred requests two are the
/// slowest hundredth: whether it has become slower is told by how many are beyond the bound, and not by where the second
/// slowest lies.
fn harm_of_latency(served: &Traffic, baseline: &Traffic, rules: &Rules) -> Option<String> {
    let slowest_before = p99_us(baseline)?;
    let most = slowest_before.saturating_mul(rules.latency_percent.into()) / 100;
    let (timed, timed_before) = (timed(served), timed(baseline));
    let slower = slower_than(served, most);
    let expected = timed / 100;
    // The variance of both counts, each of which is a sample.
    let variance = expected.saturating_mul(timed.saturating_add(timed_before)) / timed_before.max(1);
    let chance = CHANCE_SQUARED.saturating_mul(variance).isqrt();
    (slower > expected.saturating_add(chance)).then(|| {
        format!(
            "{slower} of {timed} requests take more than {most} µs; one in a hundred took {slowest_before} µs or more before"
        )
    })
}

/// Half or more of a few requests fail or are refused, and not of those before them: not to be waited out until there are enough
/// of them to compare. Refusals alone, with nothing to compare them with, may be what a policy is for.
fn manifest_harm(served: &Traffic, others: &Traffic, before: &Traffic, rules: &Rules) -> Option<String> {
    let baseline = if others.requests >= FEW_REQUESTS {
        others
    } else {
        before
    };
    let share = |part: u64, traffic: &Traffic| match traffic.requests >= FEW_REQUESTS {
        true => thousandths(part, traffic.requests),
        false => 0,
    };
    let is_manifest = |part: u64, before: u64, rise: u32| {
        let (now, before) = (share(part, served), share(before, baseline));
        now >= MANIFEST && now > before.saturating_add(rise.into())
    };
    let all = served.requests;
    if is_manifest(served.failures, baseline.failures, rules.failures_rise) {
        return Some(format!("{} of {all} requests fail", served.failures));
    }
    let is_refusing = is_manifest(served.denied, baseline.denied, rules.denials_rise);
    (is_refusing && baseline.requests >= FEW_REQUESTS)
        .then(|| format!("{} of {all} requests are refused", served.denied))
}

/// Rounded down: a share is above a bound only when it really is.
fn thousandths(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}

/// The buckets of a histogram: from, to, and how many; the last one ends somewhere.
fn buckets(traffic: &Traffic) -> impl Iterator<Item = (u64, u64, u64)> {
    let mut low = 0_u64;
    traffic.latency.iter().enumerate().map(move |(index, &count)| {
        let bound = LATENCY_BOUNDS_US.get(index).copied();
        let high = bound.unwrap_or_else(|| low.saturating_mul(2));
        (std::mem::replace(&mut low, high), high, count)
    })
}

fn timed(traffic: &Traffic) -> u64 {
    traffic
        .latency
        .iter()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

/// The time that 99 of 100 requests take at most, microseconds, spread evenly within its bucket.
fn p99_us(traffic: &Traffic) -> Option<u64> {
    let rank = timed(traffic).saturating_mul(99).div_ceil(100);
    let mut passed = 0_u64;
    for (low, high, count) in buckets(traffic) {
        if passed.saturating_add(count) >= rank && count > 0 {
            let within = rank.saturating_sub(passed);
            return Some(low.saturating_add((high - low).saturating_mul(within) / count));
        }
        passed = passed.saturating_add(count);
    }
    None
}

/// How many requests take longer than this, spread evenly within their bucket and rounded down.
fn slower_than(traffic: &Traffic, us: u64) -> u64 {
    let above = |(low, high, count): (u64, u64, u64)| {
        let part = high.saturating_sub(us.max(low));
        count.saturating_mul(part).checked_div(high - low).unwrap_or(0)
    };
    buckets(traffic).map(above).fold(0, u64::saturating_add)
}

fn sum<'t>(all: impl Iterator<Item = &'t Traffic>) -> Traffic {
    let mut sum = Traffic {
        latency: vec![0; LATENCY_BOUNDS_US.len() + 1],
        ..Traffic::default()
    };
    for one in all {
        sum.requests = sum.requests.saturating_add(one.requests);
        sum.failures = sum.failures.saturating_add(one.failures);
        sum.denied = sum.denied.saturating_add(one.denied);
        for (sum, one) in sum.latency.iter_mut().zip(&one.latency) {
            *sum = sum.saturating_add(*one);
        }
    }
    sum
}
