//! The numbers, and which of them make no sense.

use std::ops::RangeInclusive;

const MINUTE_S: u32 = 60;
const HOUR_S: u32 = 3_600;
const DAY_S: u32 = 86_400;
/// Consecutive failures of one account that NIST SP 800-63B allows at most.
const MOST_TOTAL: u32 = 100;
/// Longest lock or block.
const LONGEST_S: u32 = 30 * DAY_S;
/// Most steps of a lock or block.
const MOST_STEPS: usize = 8;
/// Most failures and names that a network is remembered for: more is no limit, and costs memory.
pub(crate) const MOST_OF_A_NETWORK: u32 = 1_000;

/// When guesses are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Guesses at one name by clients that are not trusted, wherever they are.
    pub name: NameRules,
    /// Guesses at one name from one address.
    pub pair: PairRules,
    /// Guesses at one name from a device that its owner signed in with before.
    pub device: DeviceRules,
    /// Guesses at one name since its owner last signed in.
    pub total: TotalRules,
    /// Guesses from one address, at any names.
    pub address: AddressRules,
}

/// See [`Rules::name`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRules {
    /// So many failures in a row lock the name.
    pub after: u32,
    /// For so long, seconds: the first time, the second, and so on; the last one for all that follow.
    pub steps_s: Vec<u32>,
    /// Failures are forgotten so long after the last one, seconds.
    pub decay_s: u32,
}

/// See [`Rules::pair`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairRules {
    /// So many failures,
    pub failures: u32,
    /// within so many seconds.
    pub per_s: u32,
}

/// See [`Rules::device`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRules {
    /// So many failures in a row end the trust.
    pub after: u32,
    /// A device is trusted for so long after it last signed in, seconds.
    pub trusted_for_s: u32,
    /// Most devices of one person; the one that was used least recently goes first.
    pub most: u32,
}

/// See [`Rules::total`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalRules {
    /// Failures of clients that are not trusted; more need a reset or an unlock.
    pub untrusted: u32,
    /// Failures of trusted devices, kept apart so that the others cannot use them up.
    pub trusted: u32,
}

/// See [`Rules::address`]. An IPv6 address is counted by its /64, and the networks around that as [`crate::IPV6_NETWORKS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressRules {
    /// So many failures,
    pub failures: u32,
    /// or failures at so many different names,
    pub names: u32,
    /// within so many seconds, block the address
    pub per_s: u32,
    /// for so long, seconds: the first time, the second, and so on; the last one for all that follow.
    pub block_s: Vec<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            name: NameRules {
                after: 5,
                steps_s: vec![15 * MINUTE_S, 30 * MINUTE_S, HOUR_S],
                decay_s: 15 * MINUTE_S,
            },
            pair: PairRules {
                failures: 5,
                per_s: MINUTE_S,
            },
            device: DeviceRules {
                after: 10,
                trusted_for_s: 180 * DAY_S,
                most: 20,
            },
            total: TotalRules {
                untrusted: 80,
                trusted: 20,
            },
            address: AddressRules {
                failures: 20,
                names: 10,
                per_s: 10 * MINUTE_S,
                block_s: vec![10 * MINUTE_S, HOUR_S, DAY_S],
            },
        }
    }
}

/// A number that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which: `name.after`.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl Rules {
    /// Everything that is wrong with these numbers; nothing when they can be used.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut within = |key, value: u32, range: RangeInclusive<u32>| {
            if !range.contains(&value) {
                let what = format!(
                    "is {value}, and must be from {} to {}",
                    range.start(),
                    range.end()
                );
                faults.push(Fault { key, what });
            }
        };
        within("name.after", self.name.after, 1..=MOST_TOTAL);
        within("name.decay", self.name.decay_s, MINUTE_S..=LONGEST_S);
        within("pair.failures", self.pair.failures, 1..=MOST_TOTAL);
        within("pair.per", self.pair.per_s, 1..=DAY_S);
        within("device.after", self.device.after, 1..=MOST_TOTAL);
        within(
            "device.trusted_for",
            self.device.trusted_for_s,
            DAY_S..=400 * DAY_S,
        );
        within("device.most", self.device.most, 1..=100);
        within("total.untrusted", self.total.untrusted, 1..=MOST_TOTAL);
        within("total.trusted", self.total.trusted, 1..=MOST_TOTAL);
        within("address.failures", self.address.failures, 1..=MOST_OF_A_NETWORK);
        within("address.names", self.address.names, 1..=MOST_OF_A_NETWORK);
        within("address.per", self.address.per_s, MINUTE_S..=DAY_S);
        faults.extend(step_fault("name.steps", &self.name.steps_s));
        faults.extend(step_fault("address.block", &self.address.block_s));
        if faults.is_empty() {
            faults.extend(self.contradictions());
        }
        faults
    }

    /// Numbers that are good alone and not together.
    fn contradictions(&self) -> impl Iterator<Item = Fault> {
        let total = &self.total;
        let sum = total.untrusted.saturating_add(total.trusted);
        [
            (
                sum > MOST_TOTAL,
                "total.untrusted",
                format!("and total.trusted are {sum} together, and must be at most {MOST_TOTAL}"),
            ),
            (
                total.untrusted < self.name.after,
                "total.untrusted",
                "is below name.after: the name would be shut before it is ever locked".to_owned(),
            ),
            (
                total.trusted < self.device.after,
                "total.trusted",
                "is below device.after: no device would ever lose its trust".to_owned(),
            ),
        ]
        .into_iter()
        .filter(|(is_wrong, ..)| *is_wrong)
        .map(|(_, key, what)| Fault { key, what })
    }
}

fn step_fault(key: &'static str, steps: &[u32]) -> Option<Fault> {
    let what = if steps.is_empty() || steps.len() > MOST_STEPS {
        format!("has {} steps, and must have 1 to {MOST_STEPS}", steps.len())
    } else if let Some(step) = steps.iter().find(|step| !(1..=LONGEST_S).contains(*step)) {
        format!("has a step of {step} s, and each must be from 1 s to 30 days")
    } else if !steps.is_sorted() {
        "has a step that is shorter than the one before it".to_owned()
    } else {
        return None;
    };
    Some(Fault { key, what })
}
