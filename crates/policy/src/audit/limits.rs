//! Limits that limit nothing: rates, sizes, times.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Count, CountIn, Mode, OnStoreDown, RateLimit, Route, RouteTarget};
use http::Method;
use std::time::Duration;

static LOOSE_FLOOR: AuditRule = AuditRule::new(
    "A1301",
    AuditSeverity::High,
    "one address may send more than 6000 requests a minute",
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
    "anyone may write, without a limit of the route's own",
    "a script can fill the service behind with registrations, messages or orders",
    "OWASP API4:2023, API6:2023",
);
static UNCOUNTED_FAILURES: AuditRule = AuditRule::new(
    "A1304",
    AuditSeverity::High,
    "log-in without a limit on failures",
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
static LARGE_BODIES: AuditRule = AuditRule::new(
    "A1306",
    AuditSeverity::Medium,
    "a floor that lets every route take more than 1 MiB",
    "memory and parsers behind the gateway are offered to anyone",
    "OWASP API4:2023",
);
static LARGE_OPEN_BODIES: AuditRule = AuditRule::new(
    "A1307",
    AuditSeverity::Low,
    "anyone may send more than 64 KiB",
    "what nobody answers for should be read in full only when it is small",
    "OWASP API4:2023",
);
static SLOW_CLIENTS: AuditRule = AuditRule::new(
    "A1308",
    AuditSeverity::Medium,
    "slow clients may hold a connection: a head for more than 20 s, a body for more than a minute",
    "a few machines that send a byte now and then take all connections",
    "CIS NGINX Benchmark 5.2.1; OWASP API4:2023",
);
static LONG_EXCHANGE: AuditRule = AuditRule::new(
    "A1309",
    AuditSeverity::Low,
    "a request may be under way for more than a minute",
    "requests that hang pile up until nothing else gets through",
    "OWASP API4:2023",
);

static OPENS_WITHOUT_STORE: AuditRule = AuditRule::new(
    "A1310",
    AuditSeverity::Medium,
    "a limit that counts nothing while its store is down",
    "whoever brings the store down, or waits for it, has no limit at all",
    "OWASP API4:2023; OWASP ASVS 5.0 16.5.3 (fail securely)",
);
static SHADOW: AuditRule = AuditRule::new(
    "A1311",
    AuditSeverity::Medium,
    "a limit in shadow mode in production",
    "it reads like protection and refuses nobody",
    "OWASP API4:2023",
);

pub(super) static RULES: [&AuditRule; 11] = [
    &LOOSE_FLOOR,
    &LARGE_BURST,
    &OPEN_WRITE,
    &UNCOUNTED_FAILURES,
    &MANY_FAILURES,
    &LARGE_BODIES,
    &LARGE_OPEN_BODIES,
    &SLOW_CLIENTS,
    &LONG_EXCHANGE,
    &OPENS_WITHOUT_STORE,
    &SHADOW,
];

const MOST_A_MINUTE: u64 = 6_000;
const MOST_PERIODS_AT_ONCE: u64 = 10;
const MOST_FAILURES: u64 = 10;
const MOST_BODY: u64 = 1_048_576;
const MOST_OPEN_BODY: u64 = 64 * 1_024;
const LONGEST_HEAD: Duration = Duration::from_secs(20);
const LONGEST_BODY: Duration = Duration::from_mins(1);
const LONGEST_EXCHANGE: Duration = Duration::from_mins(1);

/// Parts of a path where credentials are tried.
const LOG_IN: [&str; 14] = [
    "login",
    "log-in",
    "log_in",
    "logon",
    "signin",
    "sign-in",
    "sign_in",
    "session",
    "sessions",
    "token",
    "authenticate",
    "otp",
    "mfa",
    "password",
];

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
        for route in plan.routes() {
            self.open_route(route);
            self.body(route);
        }
        for upstream in plan.upstreams() {
            let key = format!("{}.timeouts.total", upstream.rule.key());
            self.exchange(
                key,
                upstream.timeouts.total,
                &format!("upstream `{}`", upstream.name),
            );
        }
        for route in plan.routes() {
            let key = format!("{}.timeouts.total", route.rule.key());
            if let RouteTarget::Upstream(upstream, timeouts) = &route.target
                && timeouts.total > upstream.timeouts.total
            {
                self.exchange(key, timeouts.total, &format!("route `{}`", route.name));
            }
        }
    }

    fn floor_limits(&mut self) {
        let floor = self.plan.floor();
        let mut enforced = floor
            .rate
            .iter()
            .filter(|limit| limit.mode == Mode::Enforce)
            .peekable();
        if enforced.peek().is_none() {
            self.find(
                &LOOSE_FLOOR,
                "floor.rate",
                "one address may send as many requests as it likes: every limit is a shadow".to_owned(),
                "`100/min` for one limit that refuses",
            );
        }
        let tightest = enforced.min_by_key(|limit| a_minute(limit));
        if let Some(limit) = tightest.filter(|limit| a_minute(limit) > MOST_A_MINUTE) {
            self.find(
                &LOOSE_FLOOR,
                format!("{}.limit", limit.rule.key()),
                format!("one address may send {} requests a minute", a_minute(limit)),
                "`100/min`, or what a person with several devices needs",
            );
        }
        if floor.limits.body > MOST_BODY {
            self.find(
                &LARGE_BODIES,
                "floor.limits.body",
                format!("every route takes bodies of {} KiB", floor.limits.body / 1_024),
                "a floor for JSON, such as `256KiB`; what must be larger gets a waiver",
            );
        }
        let times = [
            ("head", floor.head_timeout, LONGEST_HEAD),
            ("body", floor.body_timeout, LONGEST_BODY),
        ];
        for (key, time, longest) in times {
            if time > longest {
                self.find(
                    &SLOW_CLIENTS,
                    format!("floor.timeouts.{key}"),
                    format!("a client may take {} s for its {key}", time.as_secs()),
                    format!("at most `{}s`", longest.as_secs()),
                );
            }
        }
    }

    fn burst(&mut self, limit: &RateLimit) {
        let pace = limit.limit.max(a_minute(limit));
        if limit.burst > pace.saturating_mul(MOST_PERIODS_AT_ONCE) {
            self.find(
                &LARGE_BURST,
                format!("{}.burst", limit.rule.key()),
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
                "`on_store_down: local`, which goes on counting on each gateway",
            );
        }
    }

    fn open_route(&mut self, route: &Route) {
        if route.is_protected() || !route.writes() {
            return;
        }
        let plan = self.plan;
        let key = format!("{}.rate", route.rule.key());
        let what = format!("{} {}", route.method, route.path);
        let own: Vec<&RateLimit> = own_rates(route, &plan.floor().rate)
            .filter(|limit| limit.mode == Mode::Enforce)
            .collect();
        let failures: Vec<&&RateLimit> = own
            .iter()
            .filter(|limit| limit.count == Count::Failures)
            .collect();
        if own.is_empty() {
            let message = format!("anyone may `{what}` as often as the floor allows");
            self.find(
                &OPEN_WRITE,
                key.as_str(),
                message,
                "add `rate: { …: { limit: 30/min, burst: 30, key: [address] } }`",
            );
        }
        if !is_log_in(route) {
            return;
        }
        let tightest = failures
            .iter()
            .min_by_key(|limit| a_minute(limit).max(limit.burst));
        match tightest {
            None => self.find(
                &UNCOUNTED_FAILURES,
                key,
                format!("failures of `{what}` are not counted"),
                "add `rate: { …: { limit: 5/min, burst: 5, key: [address, body./email], count: failures } }`",
            ),
            Some(limit) if a_minute(limit).max(limit.burst) > MOST_FAILURES => self.find(
                &MANY_FAILURES,
                format!("{}.limit", limit.rule.key()),
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

    fn body(&mut self, route: &Route) {
        if route.writes() && !route.is_protected() && route.limits.body > MOST_OPEN_BODY {
            let kib = route.limits.body / 1_024;
            self.find(
                &LARGE_OPEN_BODIES,
                format!("{}.limits.body", route.rule.key()),
                format!("anyone may send {kib} KiB to `{} {}`", route.method, route.path),
                "`limits: { body: 8KiB }`",
            );
        }
    }

    fn exchange(&mut self, key: String, total: Duration, whose: &str) {
        if total > LONGEST_EXCHANGE {
            let message = format!("{whose} may take {} s for an answer", total.as_secs());
            self.find(
                &LONG_EXCHANGE,
                key,
                message,
                "`30s`; what takes longer belongs in a job that is asked about",
            );
        }
    }
}

/// Limits of a route beside those of the floor.
pub(super) fn own_rates<'p>(
    route: &'p Route,
    floor: &'p [std::sync::Arc<RateLimit>],
) -> impl Iterator<Item = &'p RateLimit> {
    let is_of_floor = |limit: &RateLimit| floor.iter().any(|of_floor| of_floor.name == limit.name);
    route
        .rates()
        .map(AsRef::as_ref)
        .filter(move |limit| !is_of_floor(limit))
}

/// The pace in requests a minute, rounded down.
fn a_minute(limit: &RateLimit) -> u64 {
    let pace = u128::from(limit.limit).saturating_mul(60_000);
    let pace = pace.checked_div(limit.period.as_millis()).unwrap_or(u128::MAX);
    u64::try_from(pace).unwrap_or(u64::MAX)
}

pub(super) fn is_log_in(route: &Route) -> bool {
    route.method == Method::POST && route.path.split('/').any(|part| LOG_IN.contains(&part))
}
