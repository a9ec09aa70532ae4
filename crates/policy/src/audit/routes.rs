//! What a token may do: missing scopes, scopes that say too much, addresses that say nothing.

use super::{AuditRule, AuditSeverity, Auditor};
use crate::plan::{Route, RouteAuth};
use http::Method;
use ipnet::IpNet;

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
static ANY_ADDRESS: AuditRule = AuditRule::new(
    "A1408",
    AuditSeverity::Medium,
    "`allow_from` with a network as wide as the internet",
    "it reads as a restriction, and restricts nobody",
    "OWASP API8:2023",
);

static OPEN_SOCKETS: AuditRule = AuditRule::new(
    "A1409",
    AuditSeverity::Medium,
    "anyone may keep sockets open",
    "whoever opens them until there are no more shuts everyone else out, and no token says who it was",
    "OWASP API4:2023; RFC 6455 §10",
);

static PAST_SUNSET: AuditRule = AuditRule::new(
    "A1410",
    AuditSeverity::Low,
    "a route past its sunset",
    "clients were told that it is gone; what nobody looks after any more is what attackers look for",
    "OWASP API9:2023; RFC 8594",
);

pub(super) static RULES: [&AuditRule; 6] = [
    &NO_SCOPE_TO_WRITE,
    &NO_SCOPE_FOR_OBJECTS,
    &SCOPE_OF_READERS,
    &ANY_ADDRESS,
    &OPEN_SOCKETS,
    &PAST_SUNSET,
];

/// A list of a bank's own or its partners' networks is longer than this many bits: IPv4, IPv6.
const SHORTEST_PREFIX: (u8, u8) = (8, 16);

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
            } else if route.websocket.is_some() {
                let message = format!("anyone may keep sockets to `{}` open", route.path);
                let fix = "name an identity provider in `auth`, and scopes";
                self.find(&OPEN_SOCKETS, format!("{}.auth", route.rule.key()), message, fix);
            }
            self.addresses(route);
        }
    }

    fn scopes(&mut self, route: &Route) {
        let key = format!("{}.scopes", route.rule.key());
        let what = format!("`{} {}`", route.method, route.path);
        let no_scope = route.scopes.is_empty();
        if no_scope && route.writes() && !route.is_log_out() {
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

    fn addresses(&mut self, route: &Route) {
        let Some(allowed) = &route.allow_from else { return };
        let is_wide = |network: &&IpNet| match network {
            IpNet::V4(network) => network.prefix_len() < SHORTEST_PREFIX.0,
            IpNet::V6(network) => network.prefix_len() < SHORTEST_PREFIX.1,
        };
        let all = allowed.lists.iter().flat_map(|list| {
            let wide = list.networks().iter().filter(is_wide);
            wide.map(|network| (list.name.as_str(), network))
        });
        if let Some((list, network)) = all.into_iter().next() {
            self.find_item(
                &ANY_ADDRESS,
                (&format!("{}.allow_from", route.rule.key()), list),
                format!("`{list}` holds {network}"),
                "the networks that are meant; without `allow_from` when anyone is",
            );
        }
    }
}
