//! What is remembered of names, devices and networks. Kept as JSON; a counter that says nothing is not kept.

use serde::{Deserialize, Serialize};

use crate::{Client, Millis, RESERVED_S, Rules};

/// All counters that one attempt is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of the name.
    pub name: NameCounter,
    /// Of the name from this address.
    pub pair: PairCounter,
    /// Of the trusted device; nothing is read of it and nothing written when there is none.
    pub device: DeviceCounter,
    /// Of the networks that the address is in, each with how many times the limit of an address it has.
    pub networks: Vec<(u32, NetworkCounter)>,
}

/// Guesses at one name. The name may be nobody's: the counter is the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NameCounter {
    /// Failures in a row of clients that are not trusted, since the last lock.
    pub failures: u32,
    /// When the last of them was.
    pub failed_at_ms: Millis,
    /// Locks since the owner last signed in.
    pub locks: u32,
    /// The end of the last lock.
    pub locked_until_ms: Millis,
    /// Failures of clients that are not trusted since the owner last signed in.
    pub untrusted: u32,
    /// Failures of trusted devices since the owner last signed in.
    pub trusted: u32,
    /// Attempts that are being verified.
    pub reserved: Vec<Reservation>,
}

/// An attempt that is being verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// Which: a random number.
    pub id: u64,
    /// Who makes it.
    pub client: Client,
    /// When it has taken too long.
    pub until_ms: Millis,
}

/// Guesses at one name from one address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairCounter {
    /// When the last failures were, the oldest first.
    pub failed_at_ms: Vec<Millis>,
}

/// Guesses from one trusted device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceCounter {
    /// Failures in a row.
    pub failures: u32,
}

/// Guesses from one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkCounter {
    /// When the last failures were, the oldest first.
    pub failed_at_ms: Vec<Millis>,
    /// The names they were about, each with its last failure. A part of the key of a name, which tells nobody the name.
    pub names: Vec<(u64, Millis)>,
    /// Blocks in a row.
    pub blocks: u32,
    /// The end of the last block.
    pub blocked_until_ms: Millis,
}

/// What is known of names for this long after the last attempt, seconds: whoever guesses once a month has 80 guesses, too.
const NAME_KEPT_S: u32 = 366 * 86_400;

/// A counter that is kept by itself.
pub trait Kept: Default + PartialEq {
    /// For how long it is kept, seconds, when nothing more happens: afterwards it says nothing.
    fn kept_s(&self, rules: &Rules) -> u32;

    /// Whether it says nothing.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Kept for NameCounter {
    fn kept_s(&self, _: &Rules) -> u32 {
        let without_reservations = Self {
            reserved: Vec::new(),
            ..self.clone()
        };
        if without_reservations.is_empty() {
            RESERVED_S // of a process that died meanwhile
        } else {
            NAME_KEPT_S
        }
    }
}

impl Kept for PairCounter {
    fn kept_s(&self, rules: &Rules) -> u32 {
        rules.pair.per_s
    }
}

impl Kept for DeviceCounter {
    fn kept_s(&self, rules: &Rules) -> u32 {
        rules.device.trusted_for_s
    }
}

impl Kept for NetworkCounter {
    fn kept_s(&self, rules: &Rules) -> u32 {
        // A block is followed by the time in which another one would be longer.
        let longest_s = rules.address.block_s.last().copied().unwrap_or_default();
        longest_s.saturating_mul(2).saturating_add(rules.address.per_s)
    }
}
