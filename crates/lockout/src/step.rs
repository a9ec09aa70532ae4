//! One step of the counters: the whole policy in one pure function.

use serde::{Deserialize, Serialize};

use crate::counters::{Counters, NameCounter, NetworkCounter, PairCounter, Reservation};
use crate::rules::MOST_OF_A_NETWORK;
use crate::{Millis, RESERVED_S, Rules};

/// Who makes an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Client {
    /// Anybody.
    Untrusted,
    /// A device that the owner of the name signed in with before. It is not proof of who uses it.
    Device,
}

/// What happens to the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants to have a password verified.
    Reserve {
        /// A random number that settles it.
        id: u64,
        /// Who.
        client: Client,
    },
    /// It was wrong.
    Fail {
        /// As it was reserved.
        id: u64,
        /// As it was reserved.
        client: Client,
        /// Tells the name from others in the counters of networks.
        name: u64,
    },
    /// It was right.
    Succeed {
        /// As it was reserved.
        id: u64,
        /// As it was reserved.
        client: Client,
    },
    /// It was not verified after all.
    Release {
        /// As it was reserved.
        id: u64,
    },
    /// The owner signed in without the password, with a passkey: no place was reserved.
    SignedIn,
    /// Somebody who may do so, the owner by a reset for example, lifts the lock.
    Unlock,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A place is reserved: verify, then settle.
    Verify,
    /// As many as may are being verified: try again when one of them is settled.
    Wait,
    /// Not verified, whatever the password.
    Refuse {
        /// Why; not for the client.
        cause: Cause,
        /// When to come back, seconds; at least 1.
        retry_after_s: u32,
    },
    /// The attempt is counted: the client may be told how it ended.
    Settled,
    /// The reservation had ended: the client is told nothing, or a guess would be free.
    Late,
}

/// Why an attempt is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Too many failures from its network.
    Network,
    /// Too many failures at this name from its address.
    Pair,
    /// The name is locked for a time.
    Locked,
    /// The name is shut until a reset, an unlock, or its owner signs in with a trusted device.
    Shut,
}

impl Cause {
    /// Its word in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Pair => "name_and_address",
            Self::Locked => "locked",
            Self::Shut => "shut",
        }
    }
}

/// What others must be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The name is locked for this long, seconds.
    Locked {
        /// For how long.
        for_s: u32,
    },
    /// The name is shut.
    Shut,
    /// The device is trusted no more.
    DeviceDistrusted,
    /// A network is blocked.
    NetworkBlocked {
        /// Which, by its place in [`Counters::networks`].
        network: usize,
        /// For how long, seconds.
        for_s: u32,
    },
    /// The owner signed in after failures.
    SucceededAfterFailures {
        /// How many there had been since the last time.
        failures: u32,
    },
}

/// What a step comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The counters from now on.
    pub counters: Counters,
    /// What is to be done.
    pub verdict: Verdict,
    /// What others must be told.
    pub happened: Vec<Happened>,
}

/// The counters after an event, and what is to be done. For every configuration and every state it ends without overflow;
/// what a lock or block says is never in the past.
#[must_use]
pub fn next_state(rules: &Rules, counters: Counters, event: Event, now: Millis) -> Step {
    let mut step = Step {
        counters,
        verdict: Verdict::Settled,
        happened: Vec::new(),
    };
    step.counters.name.reserved.retain(|held| held.until_ms > now);
    match event {
        Event::Reserve { id, client } => step.verdict = reserve(rules, &mut step.counters, id, client, now),
        Event::Release { id } => drop(take(&mut step.counters.name, id)),
        Event::Unlock => {
            let reserved = std::mem::take(&mut step.counters.name.reserved);
            step.counters.name = NameCounter {
                reserved,
                ..NameCounter::default()
            };
        }
        Event::SignedIn => forget_total(&mut step),
        Event::Succeed { id, .. } | Event::Fail { id, .. } if take(&mut step.counters.name, id).is_none() => {
            step.verdict = Verdict::Late;
        }
        Event::Succeed { client, .. } => succeed(&mut step, client),
        Event::Fail { client, name, .. } => fail(rules, &mut step, client, name, now),
    }
    step
}

fn take(name: &mut NameCounter, id: u64) -> Option<Reservation> {
    let place = name.reserved.iter().position(|held| held.id == id)?;
    Some(name.reserved.swap_remove(place))
}

fn reserve(rules: &Rules, counters: &mut Counters, id: u64, client: Client, now: Millis) -> Verdict {
    let name = &counters.name;
    let in_flight = name.reserved.iter().filter(|held| held.client == client).count();
    let in_flight = u32::try_from(in_flight).unwrap_or(u32::MAX);
    // Addresses first: one that guesses too much cannot use up what is left of a name.
    let (total, total_limit, row, row_limit) = match client {
        Client::Untrusted => {
            if let Some(refusal) = of_address(rules, counters, now) {
                return refusal;
            }
            if name.locked_until_ms > now {
                return refuse(Cause::Locked, name.locked_until_ms, now);
            }
            let failures = standing_failures(rules, name, now);
            (name.untrusted, rules.total.untrusted, failures, rules.name.after)
        }
        Client::Device => (
            name.trusted,
            rules.total.trusted,
            counters.device.failures,
            rules.device.after,
        ),
    };
    if total >= total_limit {
        let longest_s = rules.name.steps_s.last().copied().unwrap_or(1);
        return refuse(Cause::Shut, later(now, longest_s), now);
    }
    let left = total_limit
        .saturating_sub(total)
        .min(row_limit.saturating_sub(row).max(1));
    if in_flight >= left {
        return Verdict::Wait;
    }
    counters.name.reserved.push(Reservation {
        id,
        client,
        until_ms: later(now, RESERVED_S),
    });
    Verdict::Verify
}

/// Failures that are not forgotten yet.
fn standing_failures(rules: &Rules, name: &NameCounter, now: Millis) -> u32 {
    if later(name.failed_at_ms, rules.name.decay_s) > now {
        name.failures
    } else {
        0
    }
}

fn of_address(rules: &Rules, counters: &Counters, now: Millis) -> Option<Verdict> {
    let blocked_until = counters
        .networks
        .iter()
        .map(|(_, network)| network.blocked_until_ms)
        .max();
    if let Some(until) = blocked_until.filter(|until| *until > now) {
        return Some(refuse(Cause::Network, until, now));
    }
    // So many failures ago: once that one is old enough, there is room for another.
    let limit = usize::try_from(rules.pair.failures).unwrap_or(usize::MAX).max(1);
    let failed_at = &counters.pair.failed_at_ms;
    let oldest = failed_at
        .len()
        .checked_sub(limit)
        .and_then(|place| failed_at.get(place))?;
    let until = later(*oldest, rules.pair.per_s);
    (until > now).then(|| refuse(Cause::Pair, until, now))
}

fn refuse(cause: Cause, until: Millis, now: Millis) -> Verdict {
    let left_ms = until.saturating_sub(now).max(1);
    let retry_after_s = u32::try_from(left_ms.saturating_add(999) / 1_000).unwrap_or(u32::MAX);
    Verdict::Refuse { cause, retry_after_s }
}

/// The owner was here: what was guessed before is told, and the total begins anew.
fn forget_total(step: &mut Step) {
    let name = &mut step.counters.name;
    let failures = name.untrusted.saturating_add(name.trusted);
    if failures > 0 {
        step.happened.push(Happened::SucceededAfterFailures { failures });
    }
    (name.untrusted, name.trusted) = (0, 0);
}

fn succeed(step: &mut Step, client: Client) {
    forget_total(step);
    let name = &mut step.counters.name;
    match client {
        Client::Untrusted => {
            (name.failures, name.failed_at_ms) = (0, 0);
            (name.locks, name.locked_until_ms) = (0, 0);
        }
        // The lock of the others stays: an owner who signs in must not buy guesses for whoever is guessing.
        Client::Device => step.counters.device.failures = 0,
    }
}

fn fail(rules: &Rules, step: &mut Step, client: Client, name_tag: u64, now: Millis) {
    let Counters {
        name,
        pair,
        device,
        networks,
    } = &mut step.counters;
    if client == Client::Device {
        name.trusted = name.trusted.saturating_add(1);
        device.failures = device.failures.saturating_add(1);
        if device.failures >= rules.device.after {
            device.failures = 0;
            step.happened.push(Happened::DeviceDistrusted);
        }
        return;
    }
    name.failures = standing_failures(rules, name, now).saturating_add(1);
    name.failed_at_ms = now;
    name.untrusted = name.untrusted.saturating_add(1);
    if name.failures >= rules.name.after {
        let for_s = of_steps(&rules.name.steps_s, name.locks);
        name.failures = 0;
        name.locks = name.locks.saturating_add(1);
        name.locked_until_ms = name.locked_until_ms.max(later(now, for_s));
        step.happened.push(Happened::Locked { for_s });
    }
    if name.untrusted == rules.total.untrusted {
        step.happened.push(Happened::Shut);
    }
    fail_pair(rules, pair, now);
    for (place, (times, network)) in networks.iter_mut().enumerate() {
        if let Some(for_s) = fail_network(rules, network, *times, name_tag, now) {
            step.happened.push(Happened::NetworkBlocked {
                network: place,
                for_s,
            });
        }
    }
}

fn fail_pair(rules: &Rules, pair: &mut PairCounter, now: Millis) {
    pair.failed_at_ms.retain(|at| later(*at, rules.pair.per_s) > now);
    pair.failed_at_ms.push(now);
}

/// Counts a failure of a network. Gives for how long it is blocked, when that begins.
fn fail_network(
    rules: &Rules,
    network: &mut NetworkCounter,
    times: u32,
    name: u64,
    now: Millis,
) -> Option<u32> {
    if network.blocked_until_ms > now {
        return None; // was under way when the block began
    }
    let rules = &rules.address;
    network.failed_at_ms.retain(|at| later(*at, rules.per_s) > now);
    network
        .names
        .retain(|(known, at)| *known != name && later(*at, rules.per_s) > now);
    network.failed_at_ms.push(now);
    network.names.push((name, now));
    let reaches = |count: usize, limit: u32| {
        let limit = limit.saturating_mul(times).min(MOST_OF_A_NETWORK);
        u32::try_from(count).unwrap_or(u32::MAX) >= limit
    };
    if !reaches(network.failed_at_ms.len(), rules.failures) && !reaches(network.names.len(), rules.names) {
        return None;
    }
    let longest_s = rules.block_s.last().copied().unwrap_or(1);
    if later(network.blocked_until_ms, longest_s) <= now {
        network.blocks = 0;
    }
    let for_s = of_steps(&rules.block_s, network.blocks);
    network.blocks = network.blocks.saturating_add(1);
    network.blocked_until_ms = later(now, for_s);
    network.failed_at_ms.clear();
    network.names.clear();
    Some(for_s)
}

/// The step for the time after so many; the last one for all that follow.
fn of_steps(steps: &[u32], times: u32) -> u32 {
    let place = usize::try_from(times).unwrap_or(usize::MAX);
    steps.get(place).or(steps.last()).copied().unwrap_or(1).max(1)
}

fn later(moment: Millis, by_s: u32) -> Millis {
    moment.saturating_add(i64::from(by_s).saturating_mul(1_000))
}
