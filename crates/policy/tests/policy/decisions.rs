//! One request at a time: paths, hosts, clear text, preflights, methods, tokens and sizes.

use crate::world::{Request, World, denial, field, permit, plan, status, undescribed, value};
use policy::{
    Charge, Decision, DenialKind, Evidence, IdentityProvider, LimitStates, Phase, PhaseResult, Plan,
    Principal, TokenFailure,
};
use std::sync::Arc;

fn production() -> Plan {
    plan(&undescribed(), "production")
}

fn reader() -> World {
    World::with_scopes(&["accounts:read"])
}

#[test]
fn a_path_that_is_not_canonical_is_refused_and_never_matched_pa1_pa2() {
    let (plan, world) = (production(), reader());
    for path in [
        "/api/v1/./me",
        "/api/v1/x/../me",
        "//api/v1/me",
        "/api/v1/%6De",
        "/api/v1/me;x",
        "/api/v1/m%65",
        "*",
    ] {
        let refused = denial(Request::new("GET", path).token("good").ask(&plan, &world));
        assert_eq!(
            (refused.kind, refused.phase),
            (DenialKind::MalformedRequest, Phase::Path),
            "{path}"
        );
        assert!(
            refused.rule.as_str().starts_with("language: path PA-"),
            "{}",
            refused.rule
        );
    }
    assert_eq!(world.authentications.get(), 0);
}

#[test]
fn matching_heeds_case_and_trailing_slashes_pa4() {
    let (plan, world) = (production(), reader());
    for path in [
        "/API/v1/me",
        "/api/v1/me/",
        "/api/v1/accounts/",
        "/api/v1/accounts/a/b",
        "/",
    ] {
        assert_eq!(
            status(&Request::new("GET", path).token("good").ask(&plan, &world)),
            404,
            "{path}"
        );
    }
}

#[test]
fn an_escaped_segment_is_forwarded_as_it_was_matched() {
    let (plan, world) = (production(), reader());
    let permit = permit(
        Request::new("GET", "/api/v1/accounts/a%20b?x=%2F&y")
            .token("good")
            .ask(&plan, &world),
    );
    assert_eq!(
        (permit.canonical_path(), permit.query()),
        ("/api/v1/accounts/a%20b", Some("x=%2F&y"))
    );
}

#[test]
fn only_known_hosts_are_served() {
    let (plan, world) = (production(), World::default());
    let ask = |host: &str| status(&Request::new("GET", "/health/live").host(host).ask(&plan, &world));
    for (host, expected) in [
        ("api.bank.example", 200),
        ("API.Bank.Example:443", 200),
        ("api.bank.example.", 421),
        ("evil.example", 421),
        ("xapi.bank.example", 421),
        ("", 400),
        ("api.bank.example:x", 400),
        ("user@api.bank.example", 400),
    ] {
        assert_eq!(ask(host), expected, "{host}");
    }
    let twice = Request::new("GET", "/health/live")
        .header("host", "api.bank.example")
        .header("host", "evil.example");
    assert_eq!(status(&twice.ask(&plan, &world)), 400);
}

#[test]
fn an_unknown_listener_is_refused() {
    let mut request = Request::new("GET", "/health/live");
    request.listener = "private";
    assert_eq!(status(&request.ask(&production(), &World::default())), 503);
}

#[test]
fn in_clear_get_and_head_are_sent_to_https_rd1_rd2() {
    let (plan, world) = (production(), World::default());
    for method in ["GET", "HEAD"] {
        let request = Request::new(method, "/anything?x=%20y")
            .host("API.bank.example:8080")
            .in_clear();
        let Decision::Respond(answer) = request.ask(&plan, &world).decision else {
            panic!("no redirect")
        };
        assert_eq!(answer.status, 308);
        assert_eq!(
            field(&answer.headers, "location"),
            Some("https://api.bank.example:8443/anything?x=%20y")
        );
    }
    let request = Request::new("GET", "/").in_clear();
    let mut head = request.head();
    head.https_port = 443;
    let Decision::Respond(answer) = plan.evaluate(&head, &world).decision else {
        panic!("no redirect")
    };
    assert_eq!(
        field(&answer.headers, "location"),
        Some("https://api.bank.example/")
    );
}

#[test]
fn in_clear_credentials_and_other_methods_are_refused_rd1() {
    let (plan, world) = (production(), reader());
    let clear = |method: &str| Request::new(method, "/api/v1/auth/login").in_clear();
    for request in [
        clear("GET").token("good"),
        clear("GET").header("cookie", "a=b"),
        clear("GET").header("proxy-authorization", "Basic x"),
        clear("POST"),
        clear("OPTIONS").header("origin", "https://app.bank.example"),
    ] {
        let refused = denial(request.ask(&plan, &world));
        assert_eq!(refused.kind, DenialKind::HttpsRequired, "{}", request.method);
        assert_eq!(refused.rule.key(), "listeners.public.http");
        assert_eq!(plan.body_needed(&request.head()), None, "no body is read");
    }
    assert_eq!(
        status(&clear("GET").host("evil.example").ask(&plan, &world)),
        421,
        "RD-2"
    );
    let crlf = Request::new("GET", "/a%0d%0aSet-Cookie:x").in_clear();
    assert_eq!(status(&crlf.ask(&plan, &world)), 400, "RD-5");
    assert_eq!(world.authentications.get(), 0);
}

#[test]
fn head_is_answered_where_get_is_and_other_methods_are_named() {
    let (plan, world) = (production(), reader());
    assert_eq!(
        permit(
            Request::new("HEAD", "/api/v1/me")
                .token("good")
                .ask(&plan, &world)
        )
        .route()
        .name,
        "me"
    );
    let refused = denial(Request::new("DELETE", "/api/v1/accounts").ask(&plan, &world));
    assert_eq!(refused.kind, DenialKind::MethodNotAllowed);
    assert_eq!(field(&refused.headers, "allow"), Some("GET, HEAD, OPTIONS, POST"));
    for method in ["TRACE", "CONNECT", "get", "FOO", "OPTIONS"] {
        assert_eq!(
            status(
                &Request::new(method, "/api/v1/me")
                    .token("good")
                    .ask(&plan, &world)
            ),
            405,
            "{method}"
        );
    }
    let post_only = denial(Request::new("HEAD", "/api/v1/auth/login").ask(&plan, &world));
    assert_eq!(field(&post_only.headers, "allow"), Some("OPTIONS, POST"));
}

#[test]
fn a_preflight_is_answered_without_authentication_j44() {
    let (plan, world) = (production(), World::default());
    let preflight = |origin: &str, method: &str, headers: &str| {
        Request::new("OPTIONS", "/api/v1/transfers")
            .header("origin", origin)
            .header("access-control-request-method", method)
            .header("access-control-request-headers", headers)
            .ask(&plan, &world)
    };
    let app = "https://app.bank.example";
    let outcome = preflight(app, "POST", "authorization, Content-Type,idempotency-key");
    let Decision::Respond(answer) = &outcome.decision else {
        panic!("{outcome:?}")
    };
    assert_eq!(answer.status, 204);
    assert_eq!(
        field(&answer.headers, "access-control-allow-methods"),
        Some("GET, POST, PATCH, DELETE")
    );
    assert_eq!(field(&answer.headers, "access-control-max-age"), Some("600"));
    let carried = plan.response_headers(outcome.route.as_deref(), policy::Scheme::Https, Some(app));
    assert_eq!(value(&carried.set, "access-control-allow-origin"), Some(app));
    for (origin, method, headers) in [
        ("https://evil.example", "POST", ""),
        ("https://app.bank.example.evil.example", "POST", ""),
        ("null", "POST", ""),
        (app, "POST", "x-secret"),
    ] {
        assert_eq!(
            status(&preflight(origin, method, headers)),
            403,
            "{origin} {method} {headers}"
        );
    }
    assert_eq!(status(&preflight(app, "PATCH", "")), 405);
    assert_eq!(world.authentications.get(), 0);
    let documentation = Request::new("OPTIONS", "/openapi.json")
        .header("origin", app)
        .header("access-control-request-method", "GET");
    assert_eq!(
        status(&documentation.ask(&plan, &world)),
        403,
        "no cors on this route"
    );
}

#[test]
fn tokens_must_be_exactly_one_bearer_token() {
    let (plan, world) = (production(), reader());
    let me = || Request::new("GET", "/api/v1/me");
    // HTTP/1.1 has no such value, and HTTP/2 forbids it (RFC 9113 §8.2.1).
    let spaced = denial(me().header("authorization", "Bearer ").ask(&plan, &world));
    assert_eq!(spaced.kind, DenialKind::MalformedRequest);
    let missing = denial(me().ask(&plan, &world));
    assert_eq!(
        (missing.reason, field(&missing.headers, "www-authenticate")),
        ("missing", Some("Bearer"))
    );
    for value in [
        "good",
        "Basic good",
        "Bearer",
        "Bearer  good",
        "Bearer good x",
        "Bearer go\"od",
    ] {
        let refused = denial(me().header("authorization", value).ask(&plan, &world));
        assert_eq!(
            (refused.kind, refused.reason),
            (DenialKind::Unauthenticated, "malformed"),
            "{value}"
        );
        assert_eq!(
            field(&refused.headers, "www-authenticate"),
            Some("Bearer error=\"invalid_token\"")
        );
    }
    assert_eq!(
        status(&me().token("good").token("good").ask(&plan, &world)),
        400,
        "FR-6"
    );
    assert_eq!(
        status(&me().header("authorization", "bearer good").ask(&plan, &world)),
        200
    );
    let forged = denial(me().token("forged").ask(&plan, &world));
    assert_eq!(forged.reason, "signature");
    assert!(
        !forged.detail.contains("signature"),
        "J43: the client is not told"
    );
}

#[test]
fn a_missing_scope_is_named_j32() {
    let (plan, world) = (
        production(),
        World::with_scopes(&["accounts:read", "transfers:writes"]),
    );
    let refused = denial(
        Request::new("POST", "/api/v1/transfers")
            .token("good")
            .ask(&plan, &world),
    );
    assert_eq!(
        (refused.kind, refused.phase),
        (DenialKind::InsufficientScope, Phase::Authorization)
    );
    assert_eq!(
        field(&refused.headers, "www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"transfers:write\"")
    );
    assert_eq!(refused.rule.key(), "routes.create_transfer.scopes");
}

#[test]
fn sizes_are_held() {
    let (plan, world) = (production(), reader());
    let me = || Request::new("GET", "/api/v1/me").token("good");
    let long = format!("/api/v1/me?{}", "a".repeat(8 * 1024));
    assert_eq!(status(&Request::new("GET", &long).ask(&plan, &world)), 414);
    assert_eq!(
        status(&me().header("x-large", &"a".repeat(17 * 1024)).ask(&plan, &world)),
        431
    );
    let many = (0..64).fold(me(), |request, number| {
        request.header(&format!("x-{number}"), "1")
    });
    assert_eq!(status(&many.ask(&plan, &world)), 431);
    let login = |length: &str| {
        Request::new("POST", "/api/v1/auth/login")
            .header("content-length", length)
            .body("{}")
    };
    for (length, expected) in [
        ("4096", 200),
        ("4097", 413),
        ("99999999999999999999", 400),
        ("-1", 400),
        ("1,1", 400),
    ] {
        assert_eq!(
            status(&login(length).ask(&plan, &World::default())),
            expected,
            "{length}"
        );
    }
    let read = Request::new("POST", "/api/v1/auth/login").body(&"x".repeat(4097));
    assert_eq!(status(&read.ask(&plan, &World::default())), 413);
}

#[test]
fn the_body_is_asked_for_only_where_a_limit_reads_it() {
    let plan = production();
    let needed = |method: &str, path: &str| plan.body_needed(&Request::new(method, path).head());
    assert_eq!(needed("POST", "/api/v1/auth/login"), Some(4096));
    for (method, path) in [
        ("POST", "/api/v1/transfers"),
        ("GET", "/api/v1/auth/login"),
        ("POST", "/api/v1/./auth/login"),
    ] {
        assert_eq!(needed(method, path), None, "{method} {path}");
    }
    // A caller that forgets to ask is refused, not let through uncounted.
    assert_eq!(
        status(&Request::new("POST", "/api/v1/auth/login").ask(&plan, &World::default())),
        503
    );
}

struct Broken(fn(&[Charge]) -> LimitStates);

impl Evidence for Broken {
    fn authenticate(&self, _: &IdentityProvider, _: &str) -> Result<Arc<Principal>, TokenFailure> {
        Err(TokenFailure::Unavailable("no_key_set"))
    }

    fn knows_revocations(&self, _: std::time::Duration) -> bool {
        true
    }

    fn charge(&self, charges: &[Charge]) -> LimitStates {
        (self.0)(charges)
    }
}

#[test]
fn evidence_that_fails_denies() {
    let plan = production();
    let nothing = Broken(|_| LimitStates::new());
    assert_eq!(
        status(&Request::new("GET", "/health/live").ask(&plan, &nothing)),
        503
    );
    let others = Broken(|charges| {
        let mut states = World::default().charge(charges);
        states.extend(states.clone());
        states
    });
    assert_eq!(
        status(&Request::new("GET", "/health/live").ask(&plan, &others)),
        503
    );
    let counted = Broken(|charges| World::default().charge(charges));
    let refused = denial(
        Request::new("GET", "/api/v1/me")
            .token("good")
            .ask(&plan, &counted),
    );
    assert_eq!(
        (refused.kind, refused.reason, refused.retry_after_s),
        (DenialKind::Unavailable, "no_key_set", Some(5))
    );
    assert_eq!(field(&refused.headers, "retry-after"), Some("5"));
}

#[test]
fn the_trace_tells_every_phase_and_the_line_that_decided() {
    let (plan, world) = (production(), reader());
    let outcome = Request::new("GET", "/api/v1/accounts/acc_1")
        .token("good")
        .ask(&plan, &world);
    let phases: Vec<Phase> = outcome.trace.iter().map(|trace| trace.phase).collect();
    assert_eq!(phases, Phase::ALL);
    let told: Vec<String> = outcome
        .trace
        .iter()
        .map(|trace| {
            format!(
                "{:<15} {:<8} {} ({})",
                trace.phase.as_str(),
                trace.result.as_str(),
                trace.rule,
                trace.detail
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    let refused = Request::new("GET", "/api/v1/accounts/acc_1").ask(&plan, &world);
    let last = refused.trace.last().expect("a trace");
    assert_eq!(
        (last.phase, last.result),
        (Phase::Authentication, PhaseResult::Refused)
    );
    assert_eq!(
        last.rule.as_str(),
        "routes/accounts.yaml:26 routes.read_account.auth"
    );
}

#[test]
fn a_path_that_decodes_to_another_route_is_refused_pa1() {
    let files = crate::world::undescribed_with(
        "routes/identity.yaml",
        "path: /api/v1/me }",
        "path: \"/api/v1/accounts/me:close\" }",
    );
    let (plan, world) = (plan(&files, "production"), reader());
    let ask = |path: &str| status(&Request::new("GET", path).token("good").ask(&plan, &world));
    assert_eq!(ask("/api/v1/accounts/me:close"), 200);
    assert_eq!(ask("/api/v1/accounts/me%3Aclose"), 400);
    assert_eq!(
        ask("/api/v1/accounts/you%3Aclose"),
        200,
        "one route, however it is read"
    );
}

/// A method, header lines, the rule that refuses them and with what status.
type Unsound = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    u16,
);

/// Heads that HTTP itself does not allow.
const UNSOUND: [Unsound; 13] = [
    (
        "POST",
        &[("content-length", "1"), ("transfer-encoding", "chunked")],
        "FR-1",
        400,
    ),
    (
        "POST",
        &[("content-length", "1"), ("content-length", "1")],
        "FR-2",
        400,
    ),
    ("POST", &[("content-length", "+1")], "FR-2", 400),
    ("POST", &[("content-length", "01")], "FR-2", 400),
    ("POST", &[("transfer-encoding", "gzip, chunked")], "FR-3", 400),
    ("POST", &[("x_foo", "1")], "FR-5", 400),
    (
        "POST",
        &[("content-type", "a/b"), ("content-type", "c/d")],
        "FR-6",
        400,
    ),
    ("POST", &[("host", "a"), ("host", "b")], "FR-6", 400),
    ("GET", &[("content-length", "1")], "FR-7", 400),
    ("DELETE", &[("transfer-encoding", "chunked")], "FR-7", 400),
    ("POST", &[("expect", "a-miracle")], "FR-8", 417),
    ("CONNECT", &[], "FR-9", 405),
    ("POST", &[("connection", "close, authorization")], "FR-10", 400),
];

#[test]
fn what_http_does_not_allow_is_refused_by_the_evaluator_too() {
    let plan = plan(&undescribed(), "production");
    for (method, fields, rule, status) in UNSOUND {
        let mut request = Request::new(method, "/api/v1/auth/login");
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let refused = denial(request.ask(&plan, &World::default()));
        let told = (refused.phase, refused.kind.status());
        assert_eq!(told, (Phase::Framing, status), "{method} {fields:?}");
        assert!(
            refused.rule.as_str().ends_with(&format!(" {rule}")),
            "{}",
            refused.rule
        );
    }
}
