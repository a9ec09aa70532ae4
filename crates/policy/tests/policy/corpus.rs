//! A recorded corpus of requests, and what a plan makes of it: all that anyone outside could observe.

use crate::world::{Request, World, status};
use policy::{
    Action, Charge, ClientCertificate, Decision, Evidence, IdentityProvider, LimitStates, Plan, Principal,
    RouteTarget, TokenFailure,
};
use std::{fmt::Write, sync::Arc, time::Duration};

/// A token as its issuer made it; a provider accepts it or not.
struct Token {
    issuer: &'static str,
    audience: &'static str,
    algorithm: &'static str,
    token_type: &'static str,
    lifetime: Duration,
    skew: Duration,
    scopes: &'static [&'static str],
}

const GOOD: Token = Token {
    issuer: "https://a.example",
    audience: "core-api",
    algorithm: "EdDSA",
    token_type: "at+jwt",
    lifetime: Duration::from_mins(5),
    skew: Duration::ZERO,
    scopes: &["pay:write"],
};

/// By the text that a request carries.
const TOKENS: [(&str, Token); 10] = [
    ("good", GOOD),
    (
        "partner",
        Token {
            issuer: "https://b.example",
            algorithm: "ES256",
            ..GOOD
        },
    ),
    (
        "other-issuer",
        Token {
            issuer: "https://c.example",
            ..GOOD
        },
    ),
    (
        "other-partner",
        Token {
            issuer: "https://c.example",
            algorithm: "ES256",
            ..GOOD
        },
    ),
    (
        "other-audience",
        Token {
            audience: "other",
            ..GOOD
        },
    ),
    (
        "other-algorithm",
        Token {
            algorithm: "ES256",
            ..GOOD
        },
    ),
    (
        "other-type",
        Token {
            token_type: "jwt",
            ..GOOD
        },
    ),
    (
        "long",
        Token {
            lifetime: Duration::from_secs(14 * 60 + 30),
            ..GOOD
        },
    ),
    (
        "skewed",
        Token {
            skew: Duration::from_millis(29_500),
            ..GOOD
        },
    ),
    ("scopeless", Token { scopes: &[], ..GOOD }),
];

/// Counters of a [`World`], and tokens that are checked as the provider says.
struct Checked(World);

impl Evidence for Checked {
    fn authenticate(&self, provider: &IdentityProvider, token: &str) -> Result<Arc<Principal>, TokenFailure> {
        let (_, made) = TOKENS
            .iter()
            .find(|(text, _)| *text == token)
            .ok_or(TokenFailure::Refused("unknown"))?;
        let fits = provider.issuer == made.issuer
            && provider
                .audiences
                .iter()
                .any(|audience| audience == made.audience)
            && provider
                .algorithms
                .iter()
                .any(|algorithm| algorithm.as_str() == made.algorithm)
            && provider.token_type == made.token_type
            && made.lifetime <= provider.max_lifetime
            && made.skew <= provider.leeway;
        if !fits {
            return Err(TokenFailure::Refused("claims"));
        }
        Ok(Arc::new(Principal {
            subject: "usr_1".to_owned(),
            session: None,
            tenant: None,
            scopes: made.scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }))
    }

    fn knows_revocations(&self, within: Duration) -> bool {
        self.0.knows_revocations(within)
    }

    fn client_certificate(&self) -> Result<Arc<ClientCertificate>, &'static str> {
        Ok(Arc::new(ClientCertificate {
            authority: "partners".to_owned(),
            names: vec!["spiffe://b.example/upload".to_owned()],
        }))
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        self.0.charge(charges)
    }
}

/// So many bytes as a header, beside what the request has.
fn padded(request: Request, bytes: usize) -> Request {
    request.header("x-padding", &"x".repeat(bytes))
}

fn with_lines(mut request: Request, lines: usize) -> Request {
    for line in 0..lines {
        request = request.header("x-line", &line.to_string());
    }
    request
}

fn pay() -> Request {
    Request::new("POST", "/pay")
        .token("good")
        .body(r#"{"to":"acc_1"}"#)
}

/// The requests: one on each side of every edge of the bundle in `effects.rs`.
fn requests() -> Vec<Request> {
    let kib = |size: usize| size * 1024 - 512;
    let mut requests = vec![
        pay(),
        Request::new("POST", "/send")
            .token("good")
            .body(r#"{"to":"acc_1"}"#),
        Request::new("GET", "/keys"),
        Request::new("HEAD", "/keys"),
        Request::new("DELETE", "/keys"),
        Request::new("GET", "/jwks"),
        Request::new("GET", "/docs").token("partner"),
        Request::new("GET", "/docs").token("partner").client("192.0.2.9"),
        Request::new("GET", "/docs").token("partner").client("192.0.3.9"),
        Request::new("GET", "/docs").token("good"),
        Request::new("POST", "/upload").token("partner").body("{}"),
        Request::new("GET", "/list").token("partner"),
        Request::new("GET", "/help").token("partner"),
        Request::new("GET", "/nothing"),
        Request::new("GET", "/nothing").client("198.51.100.9"),
        Request::new("GET", "/nothing").client("198.51.101.9"),
        Request::new("GET", "/keys").in_clear(),
        Request::new("GET", "/keys").host("localhost"),
        Request::new("GET", "/keys").host("127.0.0.1"),
        Request::new("GET", "/keys").host("api.example"),
    ];
    for (token, _) in TOKENS {
        requests.push(Request::new("GET", "/docs").token(token));
        requests.push(pay().token_instead(token));
    }
    for size in [14, 15, 16, 17] {
        requests.push(padded(pay(), kib(size)));
        requests.push(padded(Request::new("GET", "/nothing"), kib(size)));
    }
    for lines in [61, 62, 63, 64, 65] {
        requests.push(with_lines(Request::new("GET", "/nothing"), lines));
        // The token and the announced length are lines, too.
        requests.push(with_lines(pay(), lines - 1));
    }
    for size in [6, 7, 8, 9] {
        let query = "q".repeat(kib(size));
        requests.push(Request::new("GET", &format!("/nothing?{query}")));
        requests.push(
            Request::new("POST", &format!("/pay?{query}"))
                .token("good")
                .body("{}"),
        );
    }
    for size in [254, 255, 256, 257] {
        let length = kib(size).to_string();
        requests.push(pay().header("content-length", &length));
        requests.push(Request::new("GET", "/keys").header("content-length", &length));
    }
    for origin in ["https://app.example", "https://b.example"] {
        requests.push(pay().header("origin", origin));
        for (method, header) in [
            ("POST", "authorization"),
            ("POST", "accept"),
            ("GET", "authorization"),
        ] {
            for path in ["/pay", "/docs", "/keys"] {
                requests.push(
                    Request::new("OPTIONS", path)
                        .header("origin", origin)
                        .header("access-control-request-method", method)
                        .header("access-control-request-headers", header),
                );
            }
        }
    }
    requests
}

/// One line for everything that a request could see: what each of the corpus is answered, and how many of one kind get
/// through.
pub(crate) fn decisions(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for request in requests() {
        let outcome = request.ask(plan, &Checked(World::default()));
        let mut line = format!(
            "{} {:.20} from {}: ",
            request.method, request.target, request.client
        );
        write!(line, "{}", status(&outcome)).unwrap();
        match &outcome.decision {
            Decision::Permit(permit) => {
                let to = match permit.action() {
                    Action::Upstream(upstream) => format!("{:?}", upstream.address),
                    Action::Serve(served) => format!("{served:?}"),
                };
                let (timeouts, forwards) = (permit.timeouts(), permit.forwards_authorization());
                write!(line, " to {to} {timeouts:?} {forwards} {}", permit.body_limit()).unwrap();
            }
            Decision::Deny(denial) => write!(line, " by {} {:?}", denial.rule.key(), denial.headers).unwrap(),
            Decision::Respond(answer) => write!(line, " {:?}", answer.headers).unwrap(),
        }
        let origin = request
            .headers
            .get("origin")
            .and_then(|origin| origin.to_str().ok());
        let headers = plan.response_headers(outcome.route.as_deref(), request.scheme, origin);
        let set: Vec<_> = headers.set.iter().collect();
        write!(line, " {set:?} {:?} {:?}", headers.append, headers.remove).unwrap();
        if let Some(limit) = outcome.tightest() {
            write!(line, " {:?} {:?}", limit.policy_field(), limit.rate_limit_field()).unwrap();
        }
        lines.push(line);
    }
    for (what, request) in [("floor", Request::new("GET", "/keys")), ("pay", pay())] {
        let world = Checked(World::default());
        let passed = (0..200)
            .take_while(|_| status(&request.ask(plan, &world)) == 200)
            .count();
        lines.push(format!("{what}: {passed} pass at once"));
    }
    let unshown = Request::new("POST", "/upload").ask(plan, &World::default());
    lines.push(format!(
        "upload without a client certificate: {}",
        status(&unshown)
    ));
    lines.extend(shared_counters(plan));
    lines.push(format!(
        "left to a network beside: {:?}",
        left_to_a_neighbour(plan)
    ));
    let silent = Checked(World {
        revocations_age: Duration::from_secs(45),
        ..World::default()
    });
    lines.push(format!(
        "45 s without news: {}",
        status(&pay().ask(plan, &silent))
    ));
    lines.extend(without_store(plan));
    lines
}

/// What is left after a request for another payee, whose failure did not happen or did: which requests share a counter,
/// and which of them count.
fn shared_counters(plan: &Plan) -> Vec<String> {
    let after = |payee: &str, has_failed: bool| {
        let (world, first) = (Checked(World::default()), pay().body(payee));
        let outcome = first.ask(plan, &world);
        if !has_failed {
            world.0.refund(&outcome.failure_charges);
        }
        let left = pay().ask(plan, &world).limits;
        let left: Vec<u64> = left.iter().map(|limit| limit.remaining).collect();
        format!("left after {payee}, failed {has_failed}: {left:?}")
    };
    let payees = [r#"{"to":"acc_1"}"#, r#"{"to":"acc_2"}"#];
    payees
        .iter()
        .flat_map(|payee| [after(payee, false), after(payee, true)])
        .collect()
}

/// What is left to the next /64 of a /48: whether both are one client.
fn left_to_a_neighbour(plan: &Plan) -> Vec<u64> {
    let world = Checked(World::default());
    let from = |client: &str| Request::new("GET", "/keys").client(client).ask(plan, &world);
    from("2001:db8:0:1::1");
    from("2001:db8:0:2::1")
        .limits
        .iter()
        .map(|limit| limit.remaining)
        .collect()
}

/// What becomes of requests whose store cannot be asked.
fn without_store(plan: &Plan) -> Vec<String> {
    let without = |request: Request| {
        let world = Checked(World::default());
        let mut outcome = request.ask(plan, &world);
        let shared = outcome
            .unconfirmed()
            .iter()
            .filter(|charge| charge.limit.is_shared());
        let asked: Vec<String> = shared.map(|charge| charge.limit.name.clone()).collect();
        outcome.without_store(Duration::from_secs(1), |charges| world.charge(charges));
        let counted: Vec<&str> = outcome
            .limits
            .iter()
            .map(|state| state.limit.name.as_str())
            .collect();
        format!("without the store of {asked:?}: {} {counted:?}", status(&outcome))
    };
    vec![without(pay()), without(Request::new("GET", "/keys"))]
}

/// What the gateway acts on without asking the evaluator: connections, keys, watches.
pub(crate) fn facts(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in plan.listeners() {
        let (http, https) = (listener.http.as_ref().map(|http| http.bind), &listener.https);
        let (bind, tls, certificates) = (https.bind, https.tls_min, &https.certificates);
        lines.push(format!(
            "listener {} {http:?} {bind} {tls:?} {certificates:?} {:?}",
            listener.name, https.client_authority
        ));
        if let Some(proxies) = &listener.trusted_proxies {
            let networks = proxies.from.lists.iter().map(|list| list.networks());
            let (networks, client) = (networks.collect::<Vec<_>>(), proxies.client.as_str());
            lines.push(format!(
                "clients of {} by {client} from {networks:?}",
                listener.name
            ));
        }
    }
    let certificates = plan.certificates().iter();
    lines.extend(
        certificates.map(|it| format!("certificate {} for {:?} by {:?}", it.name, it.hosts, it.acme)),
    );
    lines.push(format!("guesses {:?}", plan.lockout()));
    // The token of a corpus is not signed and has no claims, so whose keys would be asked, and in which form claims come,
    // is a fact, not an answer.
    lines.extend(plan.identity_providers().iter().map(|provider| {
        format!(
            "keys of {} {:?} {:?} {:?} {} {}",
            provider.name,
            provider.clients,
            provider.keys,
            provider.scopes_claim,
            provider.requires_jti,
            provider.requires_cnf
        )
    }));
    // How an upstream is watched decides about addresses, not about requests.
    lines.extend(plan.upstreams().iter().map(|upstream| {
        format!(
            "upstream {} {:?} {:?} {:?} {:?} {:?} {:?}",
            upstream.name,
            upstream.also_at,
            upstream.tls,
            upstream.health,
            upstream.eject,
            upstream.retries,
            upstream.breaker
        )
    }));
    lines.extend(plan.waivers().iter().map(|waiver| format!("{waiver:?}")));
    let floor = plan.floor();
    lines.push(format!(
        "client {:?} {:?}",
        floor.head_timeout, floor.body_timeout
    ));
    // Names are what metrics and log lines are labelled with.
    lines.extend(plan.routes().iter().map(|route| {
        let target = match &route.target {
            RouteTarget::Upstream(upstream, _) => upstream.name.clone(),
            RouteTarget::Serve(served) => format!("{served:?}"),
        };
        format!(
            "route {} to {target} {:?} {:?} {:?}",
            route.name, route.websocket, route.cache, route.compression
        )
    }));
    lines
}
