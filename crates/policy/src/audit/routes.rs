//! Who may do what: open doors, missing scopes, scopes that say too much.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Route, RouteAuth};
use http::Method;

static NO_SCOPE_TO_WRITE: AuditRule = AuditRule::new(
    "A1401",
    AuditSeverity::Medium,
    "any signed-in principal may write",
    "a token that was given out for looking can move things",
    "OWASP API5:2023; RFC 9700 §2.3",
);
static NO_SCOPE_FOR_OBJECTS: AuditRule = AuditRule::new(
    "A1402",
    AuditSeverity::Medium,
    "objects by id, for any signed-in principal",
    "when the service forgets to check the owner, every customer's token opens every object",
    "OWASP API1:2023",
);
static SCOPE_OF_READERS: AuditRule = AuditRule::new(
    "A1403",
    AuditSeverity::Medium,
    "the scope to read is enough to write",
    "who is allowed to look is allowed to change, and nobody decided that",
    "OWASP API5:2023; RFC 9700 §2.3",
);
static OPEN_CHANGE: AuditRule = AuditRule::new(
    "A1404",
    AuditSeverity::Critical,
    "anyone may replace, change or delete",
    "no token says who did it, and nothing stops the next one",
    "OWASP API2:2023, API5:2023",
);
static OPEN_OPERATIONS: AuditRule = AuditRule::new(
    "A1405",
    AuditSeverity::High,
    "a path for operators is open to anyone",
    "metrics, consoles and debug pages tell how to attack, and some obey",
    "OWASP API8:2023, API9:2023",
);

static OPEN_SOCKETS: AuditRule = AuditRule::new(
    "A1406",
    AuditSeverity::Medium,
    "anyone may keep sockets open",
    "whoever opens them until there are no more shuts everyone else out, and no token says who it was",
    "OWASP API4:2023; RFC 6455 §10",
);

static PAST_SUNSET: AuditRule = AuditRule::new(
    "A1407",
    AuditSeverity::Low,
    "a route past its sunset",
    "clients were told that it is gone; what nobody looks after any more is what attackers look for",
    "OWASP API9:2023; RFC 8594",
);

pub(super) static RULES: [&AuditRule; 7] = [
    &NO_SCOPE_TO_WRITE,
    &NO_SCOPE_FOR_OBJECTS,
    &SCOPE_OF_READERS,
    &OPEN_CHANGE,
    &OPEN_OPERATIONS,
    &OPEN_SOCKETS,
    &PAST_SUNSET,
];

/// Ending one's own session needs no more than the session.
const LOG_OUT: [&str; 6] = ["logout", "log-out", "log_out", "signout", "sign-out", "sign_out"];

/// Parts of a path behind which operators sit.
const OPERATIONS: [&str; 9] = [
    "actuator",
    "admin",
    "console",
    "debug",
    "internal",
    "management",
    "metrics",
    "pprof",
    "trace",
];

impl Route {
    pub(super) fn is_protected(&self) -> bool {
        matches!(self.auth, RouteAuth::Provider(_))
    }

    pub(super) fn writes(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether its path names an object.
    pub(super) fn has_id(&self) -> bool {
        self.path.contains('{')
    }

    fn has_part(&self, parts: &[&str]) -> bool {
        self.path.split('/').any(|part| parts.contains(&part))
    }
}

impl Auditor<'_> {
    pub(super) fn routes(&mut self) {
        for route in self.plan.routes() {
            if let Some(sunset) = route.retirement.sunset.filter(|sunset| self.today >= *sunset) {
                let key = format!("{}.sunset", route.rule.key());
                let message = format!("`{} {}` was to be gone on {sunset}", route.method, route.path);
                self.find(
                    &PAST_SUNSET,
                    key,
                    message,
                    "remove the route, or decide anew until when it lives",
                );
            }
            if route.is_protected() {
                self.scopes(route);
            } else {
                self.open(route);
            }
        }
    }

    fn scopes(&mut self, route: &Route) {
        let key = format!("{}.scopes", route.rule.key());
        let what = format!("`{} {}`", route.method, route.path);
        let no_scope = route.scopes.is_empty();
        if no_scope && route.writes() && !route.has_part(&LOG_OUT) {
            let message = format!("{what} needs no scope");
            self.find(
                &NO_SCOPE_TO_WRITE,
                key,
                message,
                "a scope of its own: `scopes: [\"things:write\"]`",
            );
        } else if no_scope && route.has_id() {
            let message = format!("{what} needs no scope");
            self.find(
                &NO_SCOPE_FOR_OBJECTS,
                key,
                message,
                "a scope for this kind of object: `scopes: [\"things:read\"]`",
            );
        } else if route.writes()
            && !no_scope
            && let Some(reader) = self.reader_with(route)
        {
            let message = format!("a token for `{}` may also {what}", reader.name);
            self.find(
                &SCOPE_OF_READERS,
                key,
                message,
                "a scope of its own: `scopes: [\"things:write\"]`",
            );
        }
    }

    /// A route that only reads, and whose tokens may use `writer` as well.
    fn reader_with(&self, writer: &Route) -> Option<&Route> {
        let same_provider = |reader: &Route| match (&reader.auth, &writer.auth) {
            (RouteAuth::Provider(a), RouteAuth::Provider(b)) => a.name == b.name,
            _ => false,
        };
        let routes = self.plan.routes().iter().map(AsRef::as_ref);
        routes
            .filter(|reader| !reader.writes() && same_provider(reader))
            .find(|reader| writer.scopes.iter().all(|scope| reader.scopes.contains(scope)))
    }

    fn open(&mut self, route: &Route) {
        let key = format!("{}.auth", route.rule.key());
        let what = format!("`{} {}`", route.method, route.path);
        if matches!(route.method, Method::PUT | Method::PATCH | Method::DELETE) {
            let message = format!("anyone may {what}");
            self.find(
                &OPEN_CHANGE,
                key.as_str(),
                message,
                "name an identity provider in `auth`, and scopes",
            );
        }
        if route.websocket.is_some() {
            let message = format!("anyone may keep sockets to `{}` open", route.path);
            let fix = "name an identity provider in `auth`, and scopes";
            self.find(&OPEN_SOCKETS, key.as_str(), message, fix);
        }
        if route.has_part(&OPERATIONS) {
            let message = format!("anyone may {what}");
            self.find(
                &OPEN_OPERATIONS,
                key,
                message,
                "remove the route, or protect it; services have a private port for this",
            );
        }
    }
}
