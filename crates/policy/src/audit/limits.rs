//! Rates that limit nothing, or that are not there.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Count, CountIn, Mode, OnStoreDown, RateKey, RateLimit, Route};
use std::{cmp::Ordering, sync::Arc};

static LOOSE_FLOOR: AuditRule = AuditRule::new(
    "A1301",
    AuditSeverity::High,
    "one address may send more than 6000 requests a minute, or any number",
    "one machine can occupy the gateway and everything behind it",
    "OWASP API4:2023; bank practice: 100 a minute",
);
static LARGE_BURST: AuditRule = AuditRule::new(
    "A1302",
    AuditSeverity::Medium,
    "a burst of more than ten times the pace",
    "whoever waits may send all of it at once, so the pace protects nothing",
    "OWASP API4:2023",
);
static OPEN_WRITE: AuditRule = AuditRule::new(
    "A1303",
    AuditSeverity::High,
    "anyone may write, more than 60 times a minute from one address",
    "a script can fill the service behind with registrations, messages or orders",
    "OWASP API4:2023, API6:2023",
);
static UNCOUNTED_FAILURES: AuditRule = AuditRule::new(
    "A1304",
    AuditSeverity::High,
    "log-in without a limit on failures, or with one of more than 100 a minute",
    "passwords can be guessed at the pace of the other limits",
    "OWASP API2:2023; OWASP ASVS 5.0 6.3.1",
);
static MANY_FAILURES: AuditRule = AuditRule::new(
    "A1305",
    AuditSeverity::Medium,
    "more than 10 failed log-ins a minute, or at once",
    "a guesser gets far through a list of common passwords",
    "OWASP API2:2023; bank practice: 5 a minute",
);
static UNLIMITED_SUBJECT: AuditRule = AuditRule::new(
    "A1310",
    AuditSeverity::Low,
    "a write of more than 600 a minute by one subject, or of any number",
    "a stolen token writes from many addresses at once, and each has the floor's pace",
    "OWASP API4:2023, API6:2023",
);

static OPENS_WITHOUT_STORE: AuditRule = AuditRule::new(
    "A1312",
    AuditSeverity::Medium,
    "a limit that counts nothing while its store is down",
    "whoever brings the store down, or waits for it, has no limit at all",
    "OWASP API4:2023; OWASP ASVS 5.0 16.5.3 (fail securely)",
);
static SHADOW: AuditRule = AuditRule::new(
    "A1313",
    AuditSeverity::Medium,
    "a limit in shadow mode in production",
    "it reads like protection and refuses nobody",
    "OWASP API4:2023",
);

pub(super) static RULES: [&AuditRule; 8] = [
    &LOOSE_FLOOR,
    &LARGE_BURST,
    &OPEN_WRITE,
    &UNCOUNTED_FAILURES,
    &MANY_FAILURES,
    &UNLIMITED_SUBJECT,
    &OPENS_WITHOUT_STORE,
    &SHADOW,
];

const MOST_A_MINUTE: u64 = 6_000;
const MOST_PERIODS_AT_ONCE: u64 = 10;
const MOST_FAILURES: u64 = 10;
/// A limit on failures above this is none: lists of common passwords are tried at that pace.
const NO_LIMIT_ON_FAILURES: u64 = 100;
/// Writes of anyone, from one address.
const MOST_OPEN_WRITES: u64 = 60;
/// Writes of one subject: ten times what a person does.
const MOST_OF_A_SUBJECT: u64 = 600;

impl Auditor<'_> {
    pub(super) fn limits(&mut self) {
        let plan = self.plan;
        self.floor_limits();
        let own = plan
            .routes()
            .iter()
            .flat_map(|route| own_rates(route, &plan.floor().rate));
        let of_floor = plan.floor().rate.iter().map(AsRef::as_ref);
        for limit in of_floor.chain(own) {
            self.burst(limit);
            self.protection(limit);
        }
        for route in plan.routes().iter().filter(|route| route.writes()) {
            if route.is_protected() {
                self.subject(route);
            } else {
                self.open_write(route);
                if route.is_log_in() {
                    self.log_in(route);
                }
            }
        }
    }

    /// Where the numbers of a limit stand: in the overlay, if it has others.
    pub(super) fn key_of(&self, limit: &RateLimit) -> String {
        let in_overlay = format!("rates.{}", limit.name);
        if self.places.has(&in_overlay) {
            in_overlay
        } else {
            limit.rule.key().to_owned()
        }
    }

    /// Nobody but the machine itself reaches a developer's gateway: its tests are faster than people.
    fn is_of_a_developer(&self) -> bool {
        let mut listeners = self.plan.listeners().iter();
        !self.is_for_people() && listeners.all(|listener| listener.https.bind.ip().is_loopback())
    }

    fn floor_limits(&mut self) {
        if self.is_of_a_developer() {
            return;
        }
        let fix = "`100/min`, or what a person with several devices needs";
        match tightest(self.plan.floor().rate.iter().map(AsRef::as_ref)) {
            None => self.find(
                &LOOSE_FLOOR,
                "floor.rate",
                "no limit counts every request of an address",
                "add `per-address: { limit: 100/min, burst: 100, key: [address] }`",
            ),
            Some(limit) if a_minute(limit) > MOST_A_MINUTE => self.find(
                &LOOSE_FLOOR,
                format!("{}.limit", self.key_of(limit)),
                format!("one address may send {} requests a minute", a_minute(limit)),
                fix,
            ),
            Some(_) => {}
        }
    }

    fn burst(&mut self, limit: &RateLimit) {
        let pace = limit.limit.max(a_minute(limit));
        if limit.burst > pace.saturating_mul(MOST_PERIODS_AT_ONCE) {
            self.find(
                &LARGE_BURST,
                format!("{}.burst", self.key_of(limit)),
                format!("`{}` lets {} through at once", limit.name, limit.burst),
                format!("no more than the pace: `burst: {}`", limit.limit),
            );
        }
    }

    /// Whether the limit refuses at all.
    fn protection(&mut self, limit: &RateLimit) {
        if limit.mode == Mode::Shadow && self.plan.environment() == "production" {
            self.find(
                &SHADOW,
                format!("{}.mode", limit.rule.key()),
                format!("`{}` refuses nobody", limit.name),
                "leave `mode` out once the numbers are known, or waive this until then",
            );
        }
        if limit.count_in == CountIn::Store(OnStoreDown::Allow) {
            self.find(
                &OPENS_WITHOUT_STORE,
                format!("{}.on_store_down", limit.rule.key()),
                format!("`{}` counts nothing while its store is down", limit.name),
                "`on_store_down: local`, with which each gateway grants its part",
            );
        }
    }

    fn open_write(&mut self, route: &Route) {
        let pace = tightest(route.rates().map(AsRef::as_ref)).map(a_minute);
        let is_slow = |pace| pace <= MOST_OPEN_WRITES || self.is_of_a_developer();
        if !pace.is_some_and(is_slow) {
            let what = format!("{} {}", route.method, route.path);
            let often = pace.map_or_else(
                || "any number of times".to_owned(),
                |pace| format!("{pace} times"),
            );
            self.find(
                &OPEN_WRITE,
                format!("{}.rate", route.rule.key()),
                format!("anyone may `{what}` {often} a minute from one address"),
                "add `rate: { …: { limit: 30/min, burst: 30, key: [address] } }`",
            );
        }
    }

    fn log_in(&mut self, route: &Route) {
        let failures =
            own_rates(route, &self.plan.floor().rate).filter(|limit| limit.count == Count::Failures);
        match failures.min_by_key(|limit| a_minute(limit).max(limit.burst)) {
            Some(limit) if a_minute(limit).max(limit.burst) > NO_LIMIT_ON_FAILURES => self.find(
                &UNCOUNTED_FAILURES,
                format!("{}.limit", self.key_of(limit)),
                format!(
                    "`{}` lets {} guesses a minute through, {} at once",
                    limit.name,
                    a_minute(limit),
                    limit.burst
                ),
                "`limit: 5/min, burst: 5`",
            ),
            None => self.find(
                &UNCOUNTED_FAILURES,
                format!("{}.rate", route.rule.key()),
                format!("failures of `{} {}` are not counted", route.method, route.path),
                "add `rate: { …: { limit: 5/min, burst: 5, key: [address, body./email], count: failures } }`",
            ),
            Some(limit) if a_minute(limit).max(limit.burst) > MOST_FAILURES => self.find(
                &MANY_FAILURES,
                format!("{}.limit", self.key_of(limit)),
                format!(
                    "`{}` lets {} guesses a minute and {} at once through",
                    limit.name,
                    a_minute(limit),
                    limit.burst
                ),
                "`limit: 5/min, burst: 5`",
            ),
            Some(_) => {}
        }
    }

    fn subject(&mut self, route: &Route) {
        let is_of_a_developer = self.is_of_a_developer();
        let counts_subjects = |limit: &RateLimit| {
            limit.count == Count::Requests
                && limit.keys == [RateKey::Subject]
                && (a_minute(limit) <= MOST_OF_A_SUBJECT || is_of_a_developer)
        };
        let mut own = own_rates(route, &self.plan.floor().rate);
        if !route.is_log_out() && !own.any(counts_subjects) {
            self.find(
                &UNLIMITED_SUBJECT,
                format!("{}.rate", route.rule.key()),
                format!(
                    "one subject may `{} {}` more than {MOST_OF_A_SUBJECT} times a minute",
                    route.method, route.path
                ),
                "add `rate: { …: { limit: 60/min, burst: 30, key: [subject] } }`",
            );
        }
    }
}

/// Limits of a route beside those of the floor; a shadow refuses nobody.
pub(super) fn own_rates<'p>(
    route: &'p Route,
    floor: &'p [Arc<RateLimit>],
) -> impl Iterator<Item = &'p RateLimit> {
    let is_of_floor = |limit: &RateLimit| floor.iter().any(|of_floor| of_floor.name == limit.name);
    route
        .rates()
        .map(AsRef::as_ref)
        .filter(move |limit| limit.mode == Mode::Enforce && !is_of_floor(limit))
}

/// The slowest limit that holds every request of one address back. One that counts failures lets all others through,
/// and one that also looks into the body counts anew for each value that a client invents.
fn tightest<'p>(limits: impl Iterator<Item = &'p RateLimit>) -> Option<&'p RateLimit> {
    let holds = |limit: &&RateLimit| {
        limit.mode == Mode::Enforce
            && limit.count == Count::Requests
            && matches!(limit.keys.as_slice(), [RateKey::Address { .. }])
    };
    limits.filter(holds).min_by(|a, b| pace(a, b))
}

/// Which of two limits is slower.
fn pace(a: &RateLimit, b: &RateLimit) -> Ordering {
    let speed =
        |of: &RateLimit, other: &RateLimit| u128::from(of.limit).saturating_mul(other.period.as_nanos());
    speed(a, b).cmp(&speed(b, a))
}

/// The pace in requests a minute, rounded down.
fn a_minute(limit: &RateLimit) -> u64 {
    let pace = u128::from(limit.limit).saturating_mul(60_000);
    let pace = pace.checked_div(limit.period.as_millis()).unwrap_or(u128::MAX);
    u64::try_from(pace).unwrap_or(u64::MAX)
}
