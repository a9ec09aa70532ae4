//! Any request, with any evidence, against a few plans: whatever is permitted was allowed, looked at from outside.
//!
//! The bytes read like a request: a letter that says which plan, a letter that says what the evidence answers, then
//! `GET /path`, header lines, an empty line, the body.

use super::bundles::{OTHER, shipped};
use http::{HeaderMap, HeaderName, HeaderValue};
use policy::{
    Charge, Decision, Evidence, IdentityProvider, LimitState, LimitStates, Permit, Phase, Plan, Principal,
    RequestHead, RouteAuth, Scheme, SourceFile, TokenFailure, compile, render,
};
use std::{
    cell::Cell,
    net::IpAddr,
    sync::{Arc, LazyLock},
    time::Duration,
};

static PLANS: LazyLock<[Plan; 3]> = LazyLock::new(|| {
    let plan = |files: &[SourceFile], environment| {
        compile(files, environment).unwrap_or_else(|found| panic!("{}", render::human(&found, files)))
    };
    [
        plan(&shipped(), "production"),
        plan(&shipped(), "development"),
        plan(&[SourceFile::new("other.yaml", OTHER)], "production"),
    ]
});

/// What the evidence answers, by the bits of a letter.
struct Answers {
    bits: u8,
    has_failed: Cell<bool>,
}

impl Evidence for Answers {
    fn authenticate(&self, _: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        let scopes: &[&str] = match self.bits & 0b1100 {
            0b0000 => &[
                "accounts:read",
                "accounts:write",
                "transfers:read",
                "transfers:write",
                "cash:write",
                "a",
                "b",
            ],
            0b0100 => &["accounts:read", "a"],
            0b1000 => &["a b", "accounts:"],
            _ => &[],
        };
        match self.bits & 0b11 {
            0b00 if token == "good" => Ok(Arc::new(Principal {
                subject: "usr_1".to_owned(),
                session: None,
                tenant: None,
                scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            })),
            0b01 => Err(TokenFailure::Unavailable("down")),
            _ => Err(TokenFailure::Refused("signature")),
        }
    }

    fn knows_revocations(&self, _: Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        let state = |charge: &Charge, granted| LimitState {
            limit: charge.limit.clone(),
            granted,
            remaining: u64::from(self.bits),
            reset: Duration::from_nanos(1),
            retry_after: Duration::from_millis(u64::from(!granted)),
        };
        let kind = self.bits >> 4 & 0b11;
        let mut states: LimitStates = charges.iter().map(|charge| state(charge, true)).collect();
        match (kind, charges) {
            (1, [.., last]) => {
                states.pop();
                states.push(state(last, false));
            }
            (2, [_, ..]) => drop(states.pop()),
            (3, [first, ..]) => states.push(state(first, true)),
            _ => return states,
        }
        self.has_failed.set(true);
        states
    }
}

/// Header lines of the text, and what is none but reads like one: the host and the address of the client.
struct Lines<'t> {
    headers: HeaderMap,
    host: &'t str,
    client: IpAddr,
}

impl<'t> Lines<'t> {
    fn read(lines: impl Iterator<Item = &'t str>) -> Self {
        let mut read = Self {
            headers: HeaderMap::new(),
            host: "api.bank.example",
            client: IpAddr::from([203, 0, 113, 9]),
        };
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            match (name, HeaderName::try_from(name), HeaderValue::try_from(value)) {
                ("host", ..) => read.host = value,
                ("client", ..) => read.client = value.parse().unwrap_or(read.client),
                (_, Ok(name), Ok(value)) => drop(read.headers.append(name, value)),
                _ => {}
            }
        }
        read
    }
}

/// Decides one request and checks the decision.
///
/// # Panics
/// When a promise of the evaluator is broken.
pub fn evaluate(bytes: &[u8]) {
    let [which, bits, rest @ ..] = bytes else { return };
    let Some(plan) = PLANS.get(usize::from(which & 0b11)) else {
        return;
    };
    let text = String::from_utf8_lossy(rest);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let (first, lines) = head.split_once('\n').unwrap_or((head, ""));
    let (method, target) = first.split_once(' ').unwrap_or_default();
    let lines = Lines::read(lines.split('\n'));
    let request = RequestHead {
        listener: if which & 0b100 == 0 { "public" } else { lines.host },
        scheme: if which & 0b1000 == 0 {
            Scheme::Https
        } else {
            Scheme::Http
        },
        method,
        target,
        host: lines.host,
        headers: &lines.headers,
        client: lines.client,
        body: (!body.is_empty()).then_some(body.as_bytes()),
        https_port: 443,
    };
    let answers = Answers {
        bits: *bits,
        has_failed: Cell::new(false),
    };
    decided(plan, &request, &answers);
}

fn decided(plan: &Plan, request: &RequestHead<'_>, answers: &Answers) {
    let needed = plan.body_needed(request);
    assert!(
        needed.is_none_or(|most| most <= plan.floor().limits.body),
        "{needed:?}"
    );
    let outcome = plan.explain(request, answers);
    let fast = plan.evaluate(request, answers);
    assert_eq!(
        status(&outcome.decision),
        status(&fast.decision),
        "explained otherwise than decided"
    );
    let phases = outcome.trace.iter().map(|step| step.phase);
    match &outcome.decision {
        Decision::Permit(permit) => {
            assert!(phases.eq(Phase::ALL), "{:?}", outcome.trace);
            assert!(!answers.has_failed.get(), "evidence that failed");
            permitted(permit, request, answers);
        }
        Decision::Deny(denial) => {
            assert!((400..600).contains(&denial.kind.status()) && !denial.detail.is_empty());
        }
        Decision::Respond(answer) => {
            assert!(!answers.has_failed.get(), "evidence that failed");
            let location = answer
                .headers
                .iter()
                .find(|(name, _)| name == http::header::LOCATION);
            let is_ours = |(_, value): &(HeaderName, HeaderValue)| {
                let mut names = plan.hosts().iter().map(|name| format!("https://{name}/"));
                names.any(|begin| value.as_bytes().starts_with(begin.as_bytes()))
            };
            let is_redirect =
                answer.status == 308 && request.scheme == Scheme::Http && location.is_some_and(is_ours);
            let is_preflight = answer.status == 204 && request.method == "OPTIONS" && location.is_none();
            assert!(is_redirect || is_preflight, "{answer:?}");
        }
    }
}

/// Status of a decision: 200 for a permit.
fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Permit(_) => 200,
        Decision::Deny(denial) => denial.kind.status(),
        Decision::Respond(answer) => answer.status,
    }
}

fn permitted(permit: &Permit, request: &RequestHead<'_>, answers: &Answers) {
    let route = permit.route();
    assert_eq!(request.scheme, Scheme::Https);
    assert!(request.method == route.method.as_str() || (request.method == "HEAD" && route.method == "GET"));
    let (path, query) = request
        .target
        .split_once('?')
        .map_or((request.target, None), |(path, query)| (path, Some(query)));
    assert_eq!((permit.canonical_path(), permit.query()), (path, query));
    assert!(is_canonical(path), "{path:?}");
    assert!(fits(&route.path, path), "{path:?} {}", route.path);
    assert!(
        route
            .allow_from
            .as_ref()
            .is_none_or(|lists| lists.contains(request.client))
    );
    let bearer = request
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    match (&route.auth, permit.principal()) {
        (RouteAuth::Anyone { .. }, principal) => {
            assert!(principal.is_none() && !permit.forwards_authorization());
        }
        (RouteAuth::Provider(_), Some(principal)) => {
            assert!(answers.bits & 0b11 == 0 && bearer.is_some_and(|value| value.ends_with(" good")));
            assert!(route.scopes.iter().all(|scope| principal.scopes.contains(scope)));
        }
        (RouteAuth::Provider(_), None) => panic!("no principal behind {}", route.name),
    }
    let announced = request
        .headers
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    assert!(announced.is_none_or(|length| length <= route.limits.body));
    assert!(u64::try_from(request.target.len()).is_ok_and(|length| length <= route.limits.target));
}

/// One form of a path, in words of its own: no empty and no dot parts, no byte that two readers could read differently.
fn is_canonical(path: &str) -> bool {
    let parts: Vec<&str> = path
        .strip_prefix('/')
        .into_iter()
        .flat_map(|rest| rest.split('/'))
        .collect();
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\\;?#".contains(&byte);
    let lower = path.to_lowercase();
    let escapes = ["%2e", "%2f", "%5c", "%25", "%00", "%3b"];
    !parts.is_empty()
        && path.bytes().all(is_plain)
        && parts.iter().rev().skip(1).all(|part| !part.is_empty())
        && !parts.iter().any(|part| matches!(*part, "." | ".."))
        && !escapes.iter().any(|escape| lower.contains(escape))
}

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    let fits = |(template, part): (&String, &String)| {
        template == part || (template.starts_with('{') && template.ends_with('}') && !part.is_empty())
    };
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}
