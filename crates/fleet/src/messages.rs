//! What goes over the wire beside envelopes: pointers to a gateway; acknowledgements and heartbeats from it.
//!
//! The gateway dials out, over mutual TLS or the control plane's unix socket:
//!
//! ```text
//! GET  /fleet/v1/stream?have=policy:3.118,keyset:3.9001   server-sent events: one Pointer each, event name `pointer`
//! GET  /fleet/v1/blobs/{digest}                           the envelope; any mirror may serve it, its name proves it
//! GET  /fleet/v1/trust                                    the trust document, an envelope signed by the roots
//! POST /fleet/v1/acknowledgements                         one Acknowledgement
//! POST /fleet/v1/heartbeats                               one Heartbeat, every three seconds
//! ```
//!
//! The answer to a heartbeat has a header `x-time`, the time of the database in Unix milliseconds: a gateway whose clock is off by
//! more than 30 s is not ready.
//!
//! With an acknowledgement goes a header `x-boot`, the `boot_id` of the heartbeats: of two processes with one name, each
//! speaks for itself.

use serde::{Deserialize, Serialize};

use crate::{Digest, Position, Stream, Version};

/// Tells a gateway what it should hold. Not signed: it names an envelope, which is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pointer {
    /// The stream.
    pub stream: Stream,
    /// Where it stands for this gateway.
    pub position: Position,
    /// The envelope to fetch.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// Only try it beside what is in force, and count where the two differ: the first stage of a roll-out.
    #[serde(default)]
    pub shadow: bool,
}

/// What is handed over in a file, so that a gateway can begin which has never spoken to its control plane. It is believed no
/// more than what the control plane says: everything in it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exported {
    /// The trust document in force, the exact text that the roots have signed.
    pub trust: String,
    /// The exact text of one envelope of each stream.
    pub statements: Vec<String>,
    /// The exact text of the pages that the statements name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pages: Vec<String>,
}

/// How far a gateway has come with a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The bytes are here, and are the ones that were named.
    Received,
    /// Signed, for us, beyond what we had, compiled, its cases met.
    Verified,
    /// On disk and in force; in shadow: tried beside what is in force.
    Active,
    /// In force for its time of probation without a fault: what a restart begins with.
    Healthy,
    /// Not taken over, or given up during probation; what was in force before is in force.
    Refused,
}

impl Stage {
    /// The word in tables and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Active => "active",
            Self::Healthy => "healthy",
            Self::Refused => "refused",
        }
    }
}

/// Why a gateway did not take a statement over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objection {
    /// A word for programs, like `bad_signature` or `compile`.
    pub code: String,
    /// Where in the content, if anywhere.
    pub path: Option<String>,
    /// What people read.
    pub message: String,
}

/// A gateway says how far it is. Saying the same twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The stream.
    pub stream: Stream,
    /// The position of the statement that it is about.
    pub position: Position,
    /// The envelope.
    pub digest: Digest,
    /// Whether it was to be tried beside what is in force only.
    #[serde(default)]
    pub shadow: bool,
    /// How far it has come.
    pub stage: Stage,
    /// Why not further; with [`Stage::Refused`] and with no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objection: Option<Objection>,
}

/// A gateway says that it lives, and what it really runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Its version.
    pub version: Version,
    /// Another one after every start: counters below begin again with it.
    pub boot_id: String,
    /// Its clock, Unix milliseconds.
    pub clock_unix_ms: i64,
    /// The streams that it follows; all of them where it does not say.
    #[serde(default = "every_stream")]
    pub follows: Vec<Stream>,
    /// What is in force in its memory; a stream without an entry has nothing.
    pub active: Vec<ActiveStatement>,
    /// Sides of listeners, like `public.https`, that are not open as the policy in its memory says: it must be restarted or
    /// upgraded for them. Left out when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// What it has served since its start.
    pub traffic: Traffic,
    /// What a policy in shadow would have done since it was put there; none when there is none.
    pub shadow: Option<ShadowCounts>,
}

fn every_stream() -> Vec<Stream> {
    Stream::ALL.to_vec()
}

/// What is in force in one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActiveStatement {
    /// The stream.
    pub stream: Stream,
    /// Its position; none when it did not come from the control plane.
    pub position: Option<Position>,
    /// The envelope; none when it did not come from the control plane.
    pub digest: Option<Digest>,
    /// A fingerprint of what is in memory, made from memory: the hash of the plan, or of the set or list.
    pub fingerprint: String,
}

/// Upper bounds of the buckets of [`Traffic::latency`], microseconds; one more bucket is for all above.
pub const LATENCY_BOUNDS_US: [u64; 15] = [
    100, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 1_024_000,
    4_096_000,
];

/// Counters since the start of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Answered requests.
    pub requests: u64,
    /// Of these, answers of 500 and above.
    pub failures: u64,
    /// Of these, refused by the policy.
    pub denied: u64,
    /// How many took how long: one count for each of [`LATENCY_BOUNDS_US`], and one for the rest.
    pub latency: Vec<u64>,
}

/// How a policy in shadow compares with the one in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowCounts {
    /// The position of the policy in shadow.
    pub position: Position,
    /// Requests that both have judged.
    pub judged: u64,
    /// Let through by the policy in force, and refused by the one in shadow.
    pub newly_denied: u64,
    /// The other way round.
    pub newly_permitted: u64,
}
