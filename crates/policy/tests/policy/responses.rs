//! What every answer carries.

use crate::world::{field, plan, shipped, value};
use policy::{Plan, ResponseHeaders, Route, Scheme};

fn route<'p>(plan: &'p Plan, name: &str) -> &'p Route {
    plan.routes()
        .iter()
        .find(|route| route.name == name)
        .expect("shipped")
}

fn names(headers: &ResponseHeaders<'_>) -> Vec<String> {
    headers.set.keys().map(|name| name.as_str().to_owned()).collect()
}

#[test]
fn every_answer_carries_the_security_headers() {
    let plan = plan(&shipped(), "production");
    let routes = plan.routes().iter().map(|route| Some(&**route)).chain([None]);
    for route in routes {
        let headers = plan.response_headers(route, Scheme::Https, None);
        for name in [
            "strict-transport-security",
            "content-security-policy",
            "x-frame-options",
            "x-content-type-options",
            "referrer-policy",
            "permissions-policy",
            "cross-origin-opener-policy",
            "cross-origin-resource-policy",
            "cache-control",
        ] {
            assert!(
                value(&headers.set, name).is_some(),
                "{name} of {:?}",
                route.map(|route| &route.name)
            );
        }
        assert_eq!(value(&headers.set, "x-frame-options"), Some("DENY"));
        assert!(headers.remove.iter().any(|name| name == "server"));
        assert!(headers.remove.iter().any(|name| name == "x-powered-by"));
        assert!(value(&headers.set, "x-xss-protection").is_none());
    }
}

#[test]
fn hsts_is_for_https_only_rd4() {
    let plan = plan(&shipped(), "production");
    let clear = plan.response_headers(None, Scheme::Http, None);
    assert!(!names(&clear).contains(&"strict-transport-security".to_owned()));
    assert!(names(&clear).contains(&"x-content-type-options".to_owned()));
}

#[test]
fn the_documentation_may_run_its_scripts_and_nothing_else() {
    let plan = plan(&shipped(), "production");
    let docs = plan.response_headers(Some(route(&plan, "docs")), Scheme::Https, None);
    let csp = value(&docs.set, "content-security-policy").expect("a policy");
    assert!(
        csp.contains("script-src 'self';") && csp.contains("style-src 'self' 'unsafe-inline'"),
        "{csp}"
    );
    assert!(
        csp.contains("connect-src 'self'") && csp.contains("default-src 'none'"),
        "{csp}"
    );
    assert!(!csp.contains("unsafe-eval") && !csp.contains('\n'), "{csp}");
    let api = plan.response_headers(Some(route(&plan, "me")), Scheme::Https, None);
    assert!(
        !value(&api.set, "content-security-policy")
            .expect("a policy")
            .contains("unsafe")
    );
    assert_eq!(value(&api.set, "cache-control"), Some("no-store"));
}

#[test]
fn an_allowed_origin_may_read_every_answer_of_its_routes_and_no_other() {
    let plan = plan(&shipped(), "production");
    let app = "https://app.bank.example";
    let me = Some(route(&plan, "me"));
    let headers = plan.response_headers(me, Scheme::Https, Some(app));
    assert_eq!(value(&headers.set, "access-control-allow-origin"), Some(app));
    let exposed = value(&headers.set, "access-control-expose-headers")
        .expect("exposed")
        .to_owned();
    for name in [
        "ratelimit",
        "ratelimit-policy",
        "retry-after",
        "x-request-id",
        "idempotent-replayed",
    ] {
        assert!(
            exposed.split(", ").any(|exposed| exposed == name),
            "{name} in {exposed}"
        );
    }
    assert_eq!(field(&headers.append, "vary"), Some("Origin"));
    assert_eq!(value(&headers.set, "access-control-allow-credentials"), None);
    for origin in [
        None,
        Some("null"),
        Some("https://evil.example"),
        Some("https://app.bank.example:444"),
        Some("HTTPS://app.bank.example"),
    ] {
        let headers = plan.response_headers(me, Scheme::Https, origin);
        assert_eq!(
            value(&headers.set, "access-control-allow-origin"),
            None,
            "{origin:?}"
        );
        assert_eq!(
            field(&headers.append, "vary"),
            Some("Origin"),
            "caches must know: {origin:?}"
        );
    }
    let open = plan.response_headers(Some(route(&plan, "openapi")), Scheme::Https, Some(app));
    assert_eq!(value(&open.set, "access-control-allow-origin"), None);
    // What an upstream says about origins never gets through.
    assert!(
        open.remove
            .iter()
            .any(|name| name == "access-control-allow-origin")
    );
}
