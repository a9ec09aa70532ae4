//! OWASP API Security Top 10 (2023): what in a bundle answers each risk, and what only the service behind can answer.

use super::{AuditFinding, AuditSeverity, limits::own_rates};
use crate::plan::{Count, Plan, RateLimit, Route, RouteTarget, Rule, UpstreamAddress};
use serde::Serialize;

/// One of the ten risks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiRisk {
    /// `API1` to `API10`.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// How this bundle stands up to it.
    pub status: RiskStatus,
    /// What the audit found about it, notes aside: a rule and a key, the most severe first. A waiver changes nothing
    /// about it.
    pub found: Vec<FoundAbout>,
    /// What this bundle does about it; empty when it does nothing.
    pub here: Vec<Answered>,
    /// What the gateway cannot know.
    pub left_to_the_service: &'static str,
}

impl ApiRisk {
    fn new(
        (id, title, left_to_the_service): (&'static str, &'static str, &'static str),
        here: Vec<Answered>,
        found: Vec<FoundAbout>,
    ) -> Self {
        let status = match (found.is_empty(), here.is_empty()) {
            (false, _) => RiskStatus::Unmet,
            (true, false) => RiskStatus::Met,
            (true, true) => RiskStatus::Left,
        };
        Self {
            id,
            title,
            status,
            found,
            here,
            left_to_the_service,
        }
    }
}

/// How a bundle stands up to a risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RiskStatus {
    /// What a gateway can do about it is done.
    Met,
    /// The audit found something about it.
    Unmet,
    /// A gateway can do nothing about it.
    Left,
}

impl RiskStatus {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Unmet => "unmet",
            Self::Left => "left",
        }
    }
}

/// A finding about a risk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundAbout {
    /// Id of the rule.
    pub rule: &'static str,
    /// The key that it is about.
    pub key: String,
}

/// One thing that a bundle does, and a line that says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// What it does.
    pub what: String,
    /// The first line that says so: `routes/accounts.yaml:7 routes.list_accounts.scopes`.
    pub rule: String,
}

const OBJECTS: &str = "whether the object belongs to the caller";
const AUTHENTICATION: &str = "passwords, second factors, sessions, and what a token is given out for";
const PROPERTIES: &str = "which of the fields that exist this caller may read or write";
const RESOURCES: &str = "the cost of each request: page sizes, queries, mails, payments to others";
const FUNCTIONS: &str = "roles and tenants beyond scopes";
const FLOWS: &str = "which flows hurt when a program runs them, and telling programs from people";
const REQUEST_FORGERY: &str = "addresses that callers send and the service fetches";
const CONFIGURATION: &str = "the service's own configuration, and the machines";
const INVENTORY: &str = "whatever can be reached without this gateway";
const CONSUMPTION: &str = "all of it: checking what other services answer";

/// The ten rows.
pub(super) fn risks(plan: &Plan, findings: &[AuditFinding]) -> Vec<ApiRisk> {
    let row = |id, title, left, here: Vec<Option<Answered>>| {
        let here = here.into_iter().flatten().collect();
        ApiRisk::new((id, title, left), here, found_about(id, findings))
    };
    vec![
        row(
            "API1",
            "Broken object level authorization",
            OBJECTS,
            vec![objects(plan)],
        ),
        row(
            "API2",
            "Broken authentication",
            AUTHENTICATION,
            authentication(plan),
        ),
        row(
            "API3",
            "Broken object property level authorization",
            PROPERTIES,
            vec![properties(plan)],
        ),
        row(
            "API4",
            "Unrestricted resource consumption",
            RESOURCES,
            resources(plan),
        ),
        row(
            "API5",
            "Broken function level authorization",
            FUNCTIONS,
            functions(plan),
        ),
        row(
            "API6",
            "Unrestricted access to sensitive business flows",
            FLOWS,
            vec![flows(plan)],
        ),
        row(
            "API7",
            "Server side request forgery",
            REQUEST_FORGERY,
            vec![upstreams(plan)],
        ),
        row(
            "API8",
            "Security misconfiguration",
            CONFIGURATION,
            configuration(plan),
        ),
        row(
            "API9",
            "Improper inventory management",
            INVENTORY,
            vec![inventory(plan)],
        ),
        row("API10", "Unsafe consumption of APIs", CONSUMPTION, Vec::new()),
    ]
}

/// The findings whose rule names this risk. Headers are configuration (API8).
fn found_about(id: &str, findings: &[AuditFinding]) -> Vec<FoundAbout> {
    let name = format!("{id}:2023");
    let is_about = |finding: &&AuditFinding| {
        let rule = finding.rule;
        let is_header = rule.id.starts_with("A10") && id == "API8";
        rule.severity > AuditSeverity::Info && (is_header || rule.source.contains(&name))
    };
    let about = findings.iter().filter(is_about);
    about
        .map(|finding| FoundAbout {
            rule: finding.rule.id,
            key: finding.key.clone(),
        })
        .collect()
}

/// How many there are, said with the line of the first.
fn counted<'p>(mut rules: impl Iterator<Item = &'p Rule>, one: &str, many: &str) -> Option<Answered> {
    let first = rules.next()?;
    let count = rules.count().saturating_add(1);
    Some(Answered {
        what: if count == 1 {
            format!("1 {one}")
        } else {
            format!("{count} {many}")
        },
        rule: first.to_string(),
    })
}

fn routes(plan: &Plan) -> impl Iterator<Item = &Route> {
    plan.routes().iter().map(AsRef::as_ref)
}

fn own(plan: &Plan) -> impl Iterator<Item = (&Route, &RateLimit)> {
    routes(plan).flat_map(|route| own_rates(route, &plan.floor().rate).map(move |limit| (route, limit)))
}

fn objects(plan: &Plan) -> Option<Answered> {
    let scoped =
        routes(plan).filter(|route| route.has_id() && route.is_protected() && !route.scopes.is_empty());
    counted(
        scoped.map(|route| &route.rules.scopes),
        "route with an id in its path needs a token with a scope",
        "routes with an id in their path need a token with a scope",
    )
}

fn authentication(plan: &Plan) -> Vec<Option<Answered>> {
    let protected = routes(plan).filter(|route| route.is_protected());
    let failures = own(plan).filter(|(route, limit)| route.is_log_in() && limit.count == Count::Failures);
    vec![
        counted(
            protected.map(|route| &route.rules.auth),
            "route checks a token: issuer, audience, algorithm, type and lifetime",
            "routes check a token: issuer, audience, algorithm, type and lifetime",
        ),
        counted(
            failures.map(|(_, limit)| &limit.rule),
            "limit counts failed log-ins",
            "limits count failed log-ins",
        ),
    ]
}

fn properties(plan: &Plan) -> Option<Answered> {
    let described = routes(plan).filter_map(|route| route.operation.as_ref());
    counted(
        described.map(|operation| &operation.rule),
        "route takes what an OpenAPI document describes, and nothing else",
        "routes take what an OpenAPI document describes, and nothing else",
    )
}

fn resources(plan: &Plan) -> Vec<Option<Answered>> {
    let floor = plan.floor();
    vec![
        Some(Answered {
            what: "sizes and times of every request are bounded".to_owned(),
            rule: floor.rule.to_string(),
        }),
        counted(
            floor.rate.iter().map(|limit| &limit.rule),
            "limit counts every request",
            "limits count every request",
        ),
        counted(
            own(plan).map(|(_, limit)| &limit.rule),
            "more limit is of one route",
            "more limits are of single routes",
        ),
    ]
}

fn functions(plan: &Plan) -> Vec<Option<Answered>> {
    let writing = routes(plan).filter(|route| route.writes() && !route.scopes.is_empty());
    let open = routes(plan).filter(|route| !route.is_protected());
    vec![
        counted(
            writing.map(|route| &route.rules.scopes),
            "route that writes needs a scope",
            "routes that write need a scope",
        ),
        counted(
            open.map(|route| &route.rules.auth),
            "route is for anyone, and says why",
            "routes are for anyone, and say why",
        ),
    ]
}

fn flows(plan: &Plan) -> Option<Answered> {
    let writing = own(plan).filter(|(route, _)| route.writes());
    counted(
        writing.map(|(_, limit)| &limit.rule),
        "limit is of a route that writes",
        "limits are of routes that write",
    )
}

fn upstreams(plan: &Plan) -> Option<Answered> {
    counted(
        plan.upstreams().iter().map(|upstream| &upstream.rule),
        "upstream at an address that no request can change",
        "upstreams at addresses that no request can change",
    )
}

fn configuration(plan: &Plan) -> Vec<Option<Answered>> {
    let local = plan
        .upstreams()
        .iter()
        .filter(|upstream| upstream.addresses().all(UpstreamAddress::is_local));
    let listeners = plan.listeners().iter().map(|listener| &listener.rule);
    vec![
        counted(
            listeners,
            "listener serves over TLS only",
            "listeners serve over TLS only",
        ),
        Some(Answered {
            what: "every answer carries the headers of a profile, refusals too".to_owned(),
            rule: plan.floor_headers.rule.to_string(),
        }),
        counted(
            local.map(|upstream| &upstream.rule),
            "upstream is on this machine",
            "upstreams are on this machine",
        ),
    ]
}

fn inventory(plan: &Plan) -> Option<Answered> {
    let forwarded = routes(plan).filter(|route| matches!(route.target, RouteTarget::Upstream(..)));
    counted(
        forwarded.map(|route| &route.rule),
        "path leads behind the gateway; every other is 404",
        "paths lead behind the gateway; every other is 404",
    )
}
