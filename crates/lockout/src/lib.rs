//! How guesses at passwords are counted, and when they are refused. Pure: no clock, no store, no secret.
//!
//! **Invariant:** whoever knows a name only makes at most [`NameRules::after`] guesses in a lock period, and at most
//! [`TotalRules::untrusted`] until its owner signs in or resets, from any number of addresses and in parallel; and he cannot
//! lock a device that its owner signed in with before.
//!
//! An attempt is reserved, then the password is verified, then the attempt is settled. A reservation holds a place among the
//! guesses that are left, so that what runs in parallel is counted before it is known how it ends.

#![warn(missing_docs)]

mod counters;
mod otp;
mod rules;
mod step;
mod suspicion;
#[cfg(test)]
mod tests;

pub use counters::{Counters, DeviceCounter, Kept, NameCounter, NetworkCounter, PairCounter, Reservation};
pub use otp::{OTP_FAILURES, OTP_PER_LOGIN, OTP_PER_S, OtpCounter};
pub use rules::{AddressRules, DeviceRules, Fault, NameRules, PairRules, Rules, TotalRules};
pub use step::{Cause, Client, Event, Happened, Step, Verdict, next_state};
pub use suspicion::{LogIns, SPRAYED_NAMES, Spray};

/// A moment, in milliseconds since 1970 by the clock of the store. One clock for all processes: theirs may differ.
pub type Millis = i64;

/// How long a reservation holds its place, seconds. A verification that takes longer gets no answer.
pub const RESERVED_S: u32 = 10;

/// Networks of one IPv6 address that are counted, and how many times the limit of an address each has. IPv4 addresses are
/// counted alone.
pub const IPV6_NETWORKS: [(u8, u32); 3] = [(64, 1), (56, 3), (48, 5)];
