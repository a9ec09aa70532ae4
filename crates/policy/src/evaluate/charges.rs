//! Limits: which counters a request touches, by which key, and the 429 that names them.

use super::{
    Charge, Charges, Denial, DenialKind, Evaluation, LimitState, Phase, PhaseResult, Principal, Stop,
    cors::Preflight,
};
use crate::{
    json::Json,
    plan::{Count, Plan, RateKey, RateLimit, Route, Rule},
};
use http::{HeaderValue, header};
use smallvec::SmallVec;
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

static RULE_COUNTERS: Rule = Rule::of_language("language: limits are counted or the answer is no");
static RULE_NO_LIMITS: Rule = Rule::of_language("language: no limit here");

/// Whether any limit of a route is keyed by a part of the body.
pub(super) fn reads_body(route: &Route) -> bool {
    route.fine.iter().any(|limit| is_of_body(limit))
}

fn is_of_body(limit: &RateLimit) -> bool {
    limit.keys.iter().any(|key| matches!(key, RateKey::Body(_)))
}

impl Evaluation<'_> {
    /// Limits by address: before any signature is checked. A request without a route counts against the floor,
    /// and so does a preflight: it must not use up what the request after it needs.
    pub(super) fn coarse_limits(&mut self) -> Result<(), Stop> {
        let route = self.route.clone().filter(|_| Preflight::of(self.head).is_none());
        let floor = &self.plan.floor.rate;
        match &route {
            // The limits of the floor come first.
            Some(route) => self.charge(Phase::Limits, &route.coarse, (floor.len(), route.cost), None),
            None => self.charge(Phase::Limits, floor, (0, 1), None),
        }
    }

    /// Limits by subject or body: after authentication.
    pub(super) fn subject_limits(
        &mut self,
        route: &Route,
        principal: Option<&Principal>,
    ) -> Result<(), Stop> {
        if reads_body(route) && self.head.body.is_none() {
            // Nobody read it; guessing a key would let everyone share or dodge it.
            return Err(self.refuse(
                DenialKind::Unavailable,
                Phase::SubjectLimits,
                &RULE_COUNTERS,
                "the request cannot be decided now",
            ));
        }
        self.charge(Phase::SubjectLimits, &route.fine, (0, 1), principal)
    }

    /// Charges all of these limits or none; the first ones, those of the floor, with the cost of the route.
    fn charge(
        &mut self,
        phase: Phase,
        limits: &[Arc<RateLimit>],
        (of_floor, cost): (usize, u64),
        principal: Option<&Principal>,
    ) -> Result<(), Stop> {
        let Some(first) = limits.first() else {
            self.skip(phase, &RULE_NO_LIMITS, "nothing to count");
            return Ok(());
        };
        let reads_body = limits.iter().any(|limit| is_of_body(limit));
        let body = self.head.body.filter(|_| reads_body);
        let operation = self.route.as_ref().and_then(|route| route.operation.clone());
        let body = body.and_then(|body| match &operation {
            Some(operation) => operation.read_body(body),
            None => Json::read(body).ok(),
        });
        if reads_body && body.is_none() {
            let detail = "the body must be JSON, or the form that is described, in which no name comes twice, not even in another case";
            return Err(self.refuse(DenialKind::MalformedRequest, phase, &first.rule, detail));
        }
        let keys = KeyParts {
            // AD-4: the same client must not have two keys by writing its address in two ways.
            client: self.head.client.to_canonical(),
            subject: principal.map(|principal| principal.subject.as_str()),
            body,
        };
        let mut charges = Charges::new();
        for (index, limit) in limits.iter().enumerate() {
            let Some(key) = keys.key(limit) else {
                let detail = "what is counted by in the body must be text or a whole number";
                return Err(self.refuse(DenialKind::MalformedRequest, phase, &limit.rule, detail));
            };
            charges.push(Charge {
                limit: Arc::clone(limit),
                cost: if index < of_floor { cost } else { 1 },
                key,
            });
        }
        let states = self.evidence.charge(&charges);
        let answers_match = states.len() == charges.len()
            && states
                .iter()
                .zip(&charges)
                .all(|(state, charge)| state.limit.name == charge.limit.name);
        if !answers_match {
            return Err(self.refuse(
                DenialKind::Unavailable,
                phase,
                &RULE_COUNTERS,
                "the request cannot be decided now",
            ));
        }
        if states.iter().any(LimitState::refuses) {
            let denial = limited(phase, &states);
            self.limits.extend(states);
            // What is refused here needs no store.
            self.unconfirmed.clear();
            return Err(self.deny(denial));
        }
        let watched = self.watched(&states);
        self.limits.extend(states);
        if !self.unconfirmed.is_empty() || limits.iter().any(|limit| limit.is_shared()) {
            self.unconfirmed.extend(charges.iter().cloned());
        }
        self.failure_charges.extend(
            charges
                .into_iter()
                .filter(|charge| charge.limit.count == Count::Failures),
        );
        match watched {
            Some((rule, detail)) => self.record(phase, PhaseResult::Passed, &rule, detail),
            None => self.pass(phase, &first.rule, "within every limit"),
        }
        Ok(())
    }

    /// The limits that the request is over and that only watch, in words for the trace: the answer to why it passed.
    fn watched(&self, states: &[LimitState]) -> Option<(Rule, String)> {
        self.trace.as_ref()?;
        let over = || states.iter().filter(|state| !state.granted);
        let names: Vec<String> = over().map(|state| format!("`{}`", state.limit.name)).collect();
        let detail = format!(
            "over {}, and let through because of `mode: shadow`",
            names.join(", ")
        );
        Some((over().next()?.limit.rule.clone(), detail))
    }
}

impl Plan {
    /// What a request costs its client that breaks HTTP itself, and so never gets a decision: one unit of every limit of
    /// the floor that counts by address.
    #[must_use]
    pub fn charges_of_malformed(&self, client: IpAddr) -> Charges {
        let keys = KeyParts {
            client: client.to_canonical(),
            subject: None,
            body: None,
        };
        let by_address = self.floor.rate.iter().filter(|limit| limit.is_by_address());
        by_address
            .filter_map(|limit| {
                let key = keys.key(limit)?;
                Some(Charge {
                    limit: Arc::clone(limit),
                    cost: 1,
                    key,
                })
            })
            .collect()
    }
}

pub(super) fn limited(phase: Phase, states: &[LimitState]) -> Denial {
    let refused = || states.iter().filter(|state| state.refuses());
    let longest = refused().max_by_key(|state| state.retry_after);
    let rule = longest.map_or_else(|| RULE_COUNTERS.clone(), |state| state.limit.rule.clone());
    let seconds = longest.map_or(1, LimitState::retry_after_seconds);
    let mut denial = Denial::new(
        DenialKind::RateLimited,
        phase,
        rule,
        "too many requests; try again later",
    );
    denial
        .headers
        .push((header::RETRY_AFTER, HeaderValue::from(seconds)));
    denial.retry_after_s = Some(seconds);
    denial.violated_policies = refused().map(|state| state.limit.name.clone()).collect();
    denial
}

/// Refused because the store of a limit cannot be asked, and the policy says so.
pub(super) fn without_store(limit: &RateLimit, retry_after: Duration) -> Denial {
    let mut denial = Denial::new(
        DenialKind::ReducedCapacity,
        phase_of(limit),
        limit.rule.clone(),
        "requests cannot be counted now; try again later",
    );
    let seconds = super::evidence::seconds_up(retry_after).max(1);
    denial
        .headers
        .push((header::RETRY_AFTER, HeaderValue::from(seconds)));
    denial.retry_after_s = Some(seconds);
    denial
}

/// When a limit is counted.
pub(super) fn phase_of(limit: &RateLimit) -> Phase {
    if limit.is_by_address() {
        Phase::Limits
    } else {
        Phase::SubjectLimits
    }
}

type Key = SmallVec<[u8; 128]>;

/// What keys are made of, taken from the request once.
struct KeyParts<'r> {
    client: IpAddr,
    subject: Option<&'r str>,
    body: Option<Json<'r>>,
}

/// A part of the body to count by.
enum Part {
    /// Text without its case and outer spaces, so that `A@b.example ` is `a@b.example`.
    Text(String),
    /// A whole number; `1.0` and `1e0` are none.
    Number(String),
    /// It is not there, or null.
    Absent,
}

/// The part at a JSON pointer; `None` for what is neither text nor a whole number.
fn part(body: &Json<'_>, pointer: &str) -> Option<Part> {
    match body.at(pointer) {
        None | Some(Json::Null) => Some(Part::Absent),
        Some(Json::Text(text)) => Some(Part::Text(text.trim().to_lowercase())),
        Some(Json::Number(number)) if number.as_i128().is_some() => Some(Part::Number(number.to_string())),
        Some(Json::Number(_) | Json::Bool(_) | Json::List(_) | Json::Map(_)) => None,
    }
}

const ADDRESS_V4: u8 = 4;
const ADDRESS_V6: u8 = 6;
const SUBJECT: u8 = b's';
const BODY_TEXT: u8 = b't';
const BODY_NUMBER: u8 = b'n';
const ABSENT: u8 = b'-';

impl KeyParts<'_> {
    /// `None` when a part of the body is nothing to count by.
    fn key(&self, limit: &RateLimit) -> Option<Key> {
        let mut key = Key::new();
        append(&mut key, SUBJECT, limit.name.as_bytes());
        for written in &limit.keys {
            match written {
                RateKey::Address { ipv6_prefix } => match self.client {
                    IpAddr::V4(address) => append(&mut key, ADDRESS_V4, &address.octets()),
                    // One customer line has a whole /64: a limit by single addresses would be none.
                    IpAddr::V6(address) => append(&mut key, ADDRESS_V6, &network(address, *ipv6_prefix)),
                },
                RateKey::Subject => match self.subject {
                    Some(subject) => append(&mut key, SUBJECT, subject.as_bytes()),
                    None => append(&mut key, ABSENT, &[]),
                },
                RateKey::Body(pointer) => match part(self.body.as_ref()?, pointer)? {
                    Part::Text(text) => append(&mut key, BODY_TEXT, text.as_bytes()),
                    Part::Number(digits) => append(&mut key, BODY_NUMBER, digits.as_bytes()),
                    // A key of its own: never skipped.
                    Part::Absent => append(&mut key, ABSENT, &[]),
                },
                RateKey::All => {}
            }
        }
        Some(key)
    }
}

/// The first bits of an address, the others zero.
fn network(address: Ipv6Addr, prefix: u8) -> [u8; 16] {
    let others = 128_u32.saturating_sub(u32::from(prefix));
    let mask = u128::MAX.checked_shl(others).unwrap_or(0);
    (u128::from(address) & mask).to_be_bytes()
}

/// How many bytes of a key come before its parts.
pub(super) fn prefix_length(limit_name: &str) -> usize {
    let kind_and_length = 1_usize.saturating_add(size_of::<u64>());
    kind_and_length.saturating_add(limit_name.len())
}

/// Kind, length, bytes: no two keys can run together to the same bytes.
fn append(key: &mut Key, kind: u8, bytes: &[u8]) {
    key.push(kind);
    key.extend_from_slice(&super::framing::length(bytes.len()).to_be_bytes());
    key.extend_from_slice(bytes);
}
