//! A named rate limit.

use super::Rule;
use crate::gcra;
use http::HeaderValue;
use std::time::Duration;

/// A named limit. The name is unique in a bundle, so that counters survive a reload of the policy.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Name in the policy and in the `RateLimit` field.
    pub name: String,
    /// Requests per period.
    pub limit: u64,
    /// The period.
    pub period: Duration,
    /// How many may come at once.
    pub burst: u64,
    /// What is counted together.
    pub keys: Vec<RateKey>,
    /// Which requests count.
    pub count: Count,
    /// Where it is counted.
    pub count_in: CountIn,
    /// Whether it refuses.
    pub mode: Mode,
    /// The step function for it.
    pub gcra: gcra::Limit,
    /// `RateLimit-Policy` member (draft-ietf-httpapi-ratelimit-headers-11 §3): `"per-address";q=100;w=60`.
    pub policy_field: HeaderValue,
    /// Where it is written.
    pub rule: Rule,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RateKey {
    /// The client address; an IPv6 address by so many of its first bits.
    Address {
        /// 64, unless the policy says otherwise.
        ipv6_prefix: u8,
    },
    /// The subject of the verified token.
    Subject,
    /// A member of the JSON body, as a JSON pointer (RFC 6901).
    Body(String),
    /// Everybody: whoever asks, there is one counter. It stands alone.
    All,
}

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Every one.
    Requests,
    /// Those whose credentials the upstream refuses: 401 or 403. Reserved on entry, refunded on any other answer.
    Failures,
}

/// Where a limit is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountIn {
    /// By each gateway on its own.
    Gateway,
    /// Once for all gateways, in the store that they share.
    Store(OnStoreDown),
}

/// What becomes of requests that a shared limit counts while the store cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStoreDown {
    /// Each gateway grants its part, counted on its own from what it last heard.
    Local,
    /// Refused with 503.
    Deny,
    /// Not counted.
    Allow,
}

impl OnStoreDown {
    /// The word in the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

/// Whether a limit refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is over it is refused.
    Enforce,
    /// What is over it is told in log and metrics, and let through.
    Shadow,
}

impl RateLimit {
    /// Whether the store of all gateways counts it.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.count_in, CountIn::Store(_))
    }

    /// Whether it needs nothing but the client address.
    #[must_use]
    pub fn is_by_address(&self) -> bool {
        self.keys.iter().all(RateKey::is_address)
    }
}

impl RateKey {
    /// Whether it is the client address.
    #[must_use]
    pub const fn is_address(&self) -> bool {
        matches!(self, Self::Address { .. })
    }
}

/// Whether an upstream's answer counts as a failure for limits with `count: failures`: it refused the credentials. Any
/// other 4xx says nothing about them, and must not lock their owner out.
#[must_use]
pub const fn is_failure(status: u16) -> bool {
    matches!(status, 401 | 403)
}
