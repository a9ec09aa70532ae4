//! Sizes and times: so large that they protect nothing, or so small that nothing gets through.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Route, RouteTarget, Timeouts};
use std::time::Duration;

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
static TOO_SMALL: AuditRule = AuditRule::new(
    "A1311",
    AuditSeverity::Medium,
    "a size or a time that no honest request can keep to",
    "customers are refused as attackers should be, and whoever is called at night takes the limit out",
    "RFC 9112 §3; RFC 9110 §5.4",
);
pub(super) static RULES: [&AuditRule; 5] = [
    &LARGE_BODIES,
    &LARGE_OPEN_BODIES,
    &SLOW_CLIENTS,
    &LONG_EXCHANGE,
    &TOO_SMALL,
];

const MOST_BODY: u64 = 1_048_576;
const MOST_OPEN_BODY: u64 = 64 * 1_024;
const LONGEST_HEAD: Duration = Duration::from_secs(20);
const LONGEST_BODY: Duration = Duration::from_mins(1);
const LONGEST_EXCHANGE: Duration = Duration::from_mins(1);

/// A browser sends more than this.
const LEAST_HEADERS: u64 = 16;
const LEAST_TARGET: u64 = 256;
/// A client on another continent needs this for two round trips.
const SHORTEST_CLIENT: Duration = Duration::from_millis(500);
const SHORTEST_ANSWER: Duration = Duration::from_millis(50);

impl Auditor<'_> {
    pub(super) fn sizes(&mut self) {
        let plan = self.plan;
        self.floor_sizes();
        self.floor_times();
        for upstream in plan.upstreams() {
            let whose = format!("upstream `{}`", upstream.name);
            self.exchange(upstream.rule.key(), &upstream.timeouts, None, &whose);
        }
        for route in plan.routes() {
            self.body(route);
            if let RouteTarget::Upstream(upstream, timeouts) = &route.target {
                let whose = format!("route `{}`", route.name);
                self.exchange(route.rule.key(), timeouts, Some(&upstream.timeouts), &whose);
            }
        }
    }

    fn floor_sizes(&mut self) {
        let limits = self.plan.floor().limits;
        if limits.body > MOST_BODY {
            self.find(
                &LARGE_BODIES,
                "floor.limits.body",
                format!("every route takes bodies of {} KiB", limits.body / 1_024),
                "a floor for JSON, such as `256KiB`; what must be larger gets a waiver",
            );
        }
        let least = [
            ("headers", limits.headers, LEAST_HEADERS, "header lines", "`64`"),
            ("target", limits.target, LEAST_TARGET, "bytes", "`8KiB`"),
        ];
        for (key, size, least, unit, fix) in least {
            if size < least {
                self.find(
                    &TOO_SMALL,
                    format!("floor.limits.{key}"),
                    format!("hardly any request has only {size} {unit}; {least} are the least"),
                    fix,
                );
            }
        }
    }

    fn floor_times(&mut self) {
        let floor = self.plan.floor();
        let times = [
            ("head", floor.head_timeout, LONGEST_HEAD, "`5s`"),
            ("body", floor.body_timeout, LONGEST_BODY, "`15s`"),
        ];
        for (key, time, longest, usual) in times {
            let key_of_time = format!("floor.timeouts.{key}");
            if time > longest {
                self.find(
                    &SLOW_CLIENTS,
                    key_of_time,
                    format!("a client may take {} s for its {key}", time.as_secs()),
                    format!("at most `{}s`", longest.as_secs()),
                );
            } else if time < SHORTEST_CLIENT {
                let message = format!("a client has {} ms for its {key}", time.as_millis());
                self.find(&TOO_SMALL, key_of_time, message, usual);
            }
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

    /// Times of an upstream, or those of a route where they are not its upstream's.
    fn exchange(&mut self, key: &str, times: &Timeouts, inherited: Option<&Timeouts>, whose: &str) {
        let own = |time: fn(&Timeouts) -> Duration| {
            let is_inherited = inherited.is_some_and(|inherited| time(inherited) == time(times));
            Some(time(times)).filter(|_| !is_inherited)
        };
        let total = own(|times| times.total);
        if let Some(total) = total.filter(|total| *total > LONGEST_EXCHANGE) {
            self.find(
                &LONG_EXCHANGE,
                format!("{key}.timeouts.total"),
                format!("{whose} may take {} s for an answer", total.as_secs()),
                "`30s`; what takes longer belongs in a job that is asked about",
            );
        }
        let least = [
            ("read", own(|times| times.read), SHORTEST_ANSWER, "`15s`"),
            ("total", total, SHORTEST_ANSWER, "`30s`"),
        ];
        for (name, time, shortest, fix) in least {
            if let Some(time) = time.filter(|time| *time < shortest) {
                self.find(
                    &TOO_SMALL,
                    format!("{key}.timeouts.{name}"),
                    format!("`{name}` of {whose} is {} ms", time.as_millis()),
                    fix,
                );
            }
        }
    }
}
