//! CORS: who may read answers in a browser.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::{plan::Cors, read::is_loopback_host};

static ANYONE: AuditRule = AuditRule::new(
    "A1501",
    AuditSeverity::Medium,
    "any site may read answers of a protected route",
    "a token that leaks into any page can be used from that page",
    "OWASP API8:2023; Fetch standard, CORS protocol",
);
static MANY_WITH_CREDENTIALS: AuditRule = AuditRule::new(
    "A1502",
    AuditSeverity::Medium,
    "credentials for more than three origins",
    "the weakest of these sites acts as the signed-in user of all of them",
    "OWASP API8:2023; MDN Observatory: CORS",
);
static ORIGIN_IN_CLEAR: AuditRule = AuditRule::new(
    "A1503",
    AuditSeverity::High,
    "an origin that is served in clear",
    "whoever is on the path of that page acts as its user",
    "OWASP API8:2023",
);
static ORIGIN_ON_ANY_MACHINE: AuditRule = AuditRule::new(
    "A1504",
    AuditSeverity::Medium,
    "an origin on the user's own machine, outside development and test",
    "any program that listens there is trusted like the bank's web application",
    "OWASP API8:2023",
);

static LONG_PREFLIGHT: AuditRule = AuditRule::new(
    "A1505",
    AuditSeverity::Low,
    "browsers may remember a preflight for more than two hours",
    "a browser goes on using what the policy has taken back",
    "OWASP API8:2023; Fetch standard, CORS-preflight cache",
);

pub(super) static RULES: [&AuditRule; 5] = [
    &ANYONE,
    &MANY_WITH_CREDENTIALS,
    &ORIGIN_IN_CLEAR,
    &ORIGIN_ON_ANY_MACHINE,
    &LONG_PREFLIGHT,
];

const MOST_WITH_CREDENTIALS: usize = 3;
const LONGEST_PREFLIGHT_S: u64 = 2 * 60 * 60;

impl Auditor<'_> {
    pub(super) fn cors(&mut self) {
        let plan = self.plan;
        let mut seen: Vec<&str> = Vec::new();
        for cors in plan.routes().iter().filter_map(|route| route.cors.as_deref()) {
            let key = cors.rule.key();
            if !seen.contains(&key) {
                seen.push(key);
                self.cors_profile(cors);
            }
        }
    }

    fn cors_profile(&mut self, cors: &Cors) {
        let key = format!("{}.origins", cors.rule.key());
        let origins: Vec<&str> = cors.origins.iter().map(|(origin, _)| origin.as_str()).collect();
        let is_of_profile = |of_route: &Cors| of_route.rule == cors.rule;
        let protected = self
            .plan
            .routes()
            .iter()
            .find(|route| route.is_protected() && route.cors.as_deref().is_some_and(is_of_profile));
        if let Some(route) = protected.filter(|_| origins.contains(&"*")) {
            let message = format!("any site may read what `{}` answers", route.name);
            self.find_item(
                &ANYONE,
                (&key, "*"),
                message,
                "list the origins of your own applications",
            );
        }
        if cors.credentials && origins.len() > MOST_WITH_CREDENTIALS {
            self.find(
                &MANY_WITH_CREDENTIALS,
                key.as_str(),
                format!("{} origins act with the user's cookies", origins.len()),
                "remove `credentials` (bearer tokens need none), or give each application a profile",
            );
        }
        let max_age = cors
            .max_age
            .to_str()
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        if let Some(seconds) = max_age.filter(|seconds| *seconds > LONGEST_PREFLIGHT_S) {
            self.find(
                &LONG_PREFLIGHT,
                format!("{}.max_age", cors.rule.key()),
                format!("a preflight is good for {} minutes", seconds / 60),
                "`10min`",
            );
        }
        let is_for_people = self.is_for_people();
        for origin in origins {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let host = host
                .rsplit_once(':')
                .filter(|_| !host.ends_with(']'))
                .map_or(host, |(host, _)| host);
            if origin.starts_with("http://") {
                let message = format!("`{origin}` is served in clear");
                self.find_item(
                    &ORIGIN_IN_CLEAR,
                    (&key, origin),
                    message,
                    "write the https origin",
                );
            } else if is_for_people && is_loopback_host(host) {
                let message = format!("`{origin}` is whatever listens on the user's machine");
                self.find_item(
                    &ORIGIN_ON_ANY_MACHINE,
                    (&key, origin),
                    message,
                    "remove it; developers have a bundle of their own",
                );
            }
        }
    }
}
