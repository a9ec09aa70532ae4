//! What a pure function cannot know: whether a signature is good, and how much of a limit is used.

use crate::{
    gcra::{Denied, Granted},
    plan::{IdentityProvider, Mode, RateLimit},
};
use http::HeaderValue;
use smallvec::SmallVec;
use std::{sync::Arc, time::Duration};

/// The charges of one request. Up to four, as most requests have, need no allocation.
pub type Charges = SmallVec<[Charge; 4]>;

/// The limits of one request after its charges.
pub type LimitStates = SmallVec<[LimitState; 4]>;

/// Clock, keys and counters, behind one trait. The gateway gives the real ones, `explain` and tests fakes.
pub trait Evidence {
    /// Checks a bearer token against a provider's rules.
    ///
    /// # Errors
    /// [`TokenFailure`] when the token is refused or cannot be checked; both deny.
    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure>;

    /// The verified client certificate of the connection, as it stands now (TLS-6). Without an answer of its own, an
    /// implementation knows none.
    ///
    /// # Errors
    /// One word for the log: why there is none, or why it is no longer good.
    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        Err("no_client_certificate")
    }

    /// Whether what is revoked was learned no longer ago than `within` (J41).
    fn knows_revocations(&self, within: Duration) -> bool;

    /// Whether nothing is known of the header and the body of the request, so that they are supposed to be as the service
    /// wants them: for whoever asks about a request that nobody has sent. Whoever has the request says no.
    fn supposes_content(&self) -> bool {
        false
    }

    /// Consumes the units of every charge, or of none when any refuses. Answers one state for each charge, in the same
    /// order; anything else denies the request.
    ///
    /// Charges of shared limits may be left to the store: then they are only refused here when no answer of the store
    /// could grant them, and [`Outcome::confirm`](crate::Outcome::confirm) brings what it answers.
    fn charge(&self, charges: &[Charge]) -> LimitStates;
}

/// Whom a good token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// `sub`.
    pub subject: String,
    /// `sid`.
    pub session: Option<String>,
    /// `tid`.
    pub tenant: Option<String>,
    /// Scopes, each exactly as in the token.
    pub scopes: Vec<String>,
}

/// A client certificate whose chain, purpose, validity and revocation have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The `client_authority` that issued it.
    pub authority: String,
    /// Its URI and DNS names, in their order.
    pub names: Vec<String>,
}

/// Why a token gives no principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFailure {
    /// The token is bad; the word is for metrics and the log, never for the client.
    Refused(&'static str),
    /// The token cannot be checked now, for example because no key set was ever received: 503.
    Unavailable(&'static str),
}

/// Units of one limit for one key.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The limit.
    pub limit: Arc<RateLimit>,
    /// How many units, from 1.
    pub cost: u64,
    /// Name of the limit and every part of its key, each with its length: equal for equal clients, different
    /// for different ones. Personal data: hash it before keeping it, never log it.
    pub key: SmallVec<[u8; 128]>,
}

impl Charge {
    /// What is counted, without the name of the limit: equal for limits that count by the same parts.
    #[must_use]
    pub fn counted_by(&self) -> &[u8] {
        let name = super::charges::prefix_length(&self.limit.name);
        self.key.get(name..).unwrap_or(&self.key)
    }
}

/// A limit after (or, when refused, at) a charge.
#[derive(Debug, Clone)]
pub struct LimitState {
    /// The limit.
    pub limit: Arc<RateLimit>,
    /// Whether there was room.
    pub granted: bool,
    /// Requests left right now.
    pub remaining: u64,
    /// Until the full burst is back.
    pub reset: Duration,
    /// Until the next request would be granted; zero when granted.
    pub retry_after: Duration,
}

impl LimitState {
    /// The state after a step of the limit's own algorithm.
    #[must_use]
    pub fn after(limit: Arc<RateLimit>, decision: Result<Granted, Denied>) -> Self {
        let (granted, remaining, reset_ns, retry_after_ns) = match decision {
            Ok(granted) => (true, granted.remaining, granted.reset_ns, 0),
            Err(denied) => (false, denied.remaining, denied.reset_ns, denied.retry_after_ns),
        };
        Self {
            limit,
            granted,
            remaining,
            reset: Duration::from_nanos(reset_ns),
            retry_after: Duration::from_nanos(retry_after_ns),
        }
    }

    /// Whether the request is refused for it.
    #[must_use]
    pub fn refuses(&self) -> bool {
        !self.granted && self.limit.mode == Mode::Enforce
    }

    /// The `RateLimit` field: `"per-address";r=12;t=9`.
    #[must_use]
    pub fn rate_limit_field(&self) -> HeaderValue {
        let name = self.limit.name.as_bytes();
        let mut field = Vec::with_capacity(name.len().saturating_add(NUMBERS));
        field.push(b'"');
        field.extend_from_slice(name);
        field.extend_from_slice(b"\";r=");
        push_decimal(&mut field, self.remaining);
        field.extend_from_slice(b";t=");
        push_decimal(&mut field, self.reset_seconds());
        HeaderValue::try_from(field).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// The `RateLimit-Policy` field: `"per-address";q=100;w=60`.
    #[must_use]
    pub fn policy_field(&self) -> HeaderValue {
        self.limit.policy_field.clone()
    }

    /// `Retry-After` in whole seconds, at least 1 (RFC 9110 §10.2.3).
    #[must_use]
    pub fn retry_after_seconds(&self) -> u64 {
        seconds_up(self.retry_after).max(1)
    }

    fn reset_seconds(&self) -> u64 {
        if self.granted {
            seconds_up(self.reset)
        } else {
            self.retry_after_seconds()
        }
    }
}

/// Room for the rest of a `RateLimit` field beside the name of its limit.
const NUMBERS: usize = 48;

fn push_decimal(text: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let (mut rest, mut first) = (number, digits.len());
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or(0));
        rest /= 10;
        first = place;
        if rest == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(first..).unwrap_or_default());
}

pub(super) fn seconds_up(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}
