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
    /// The client address; IPv6 by its /64.
    Address,
    /// The subject of the verified token.
    Subject,
    /// A member of the JSON body, as a JSON pointer (RFC 6901).
    Body(String),
}

/// Which requests count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// Every one.
    Requests,
    /// Those whose credentials the upstream refuses: 401 or 403. Reserved on entry, refunded on any other answer.
    Failures,
}

/// Whether an upstream's answer counts as a failure for limits with `count: failures`: it refused the credentials. Any
/// other 4xx says nothing about them, and must not lock their owner out.
#[must_use]
pub const fn is_failure(status: u16) -> bool {
    matches!(status, 401 | 403)
}
