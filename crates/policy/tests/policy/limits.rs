//! Limits: who shares a counter, what a refusal says, and failures that cost nothing when they did not happen.

use crate::world::{Request, World, denial, field, plan, shipped, shipped_with, status};
use policy::{DenialKind, Phase, Plan, is_failure};
use std::time::Duration;

fn production() -> Plan {
    plan(&shipped(), "production")
}

fn login(email: &str) -> Request {
    Request::new("POST", "/api/v1/auth/login").body(&format!("{{\"email\":{email},\"password\":\"x\"}}"))
}

/// Logs in and tells the limiter how the core answered; the status the client sees.
fn attempt(plan: &Plan, world: &World, request: &Request, answer: u16) -> u16 {
    let outcome = request.ask(plan, world);
    let is_permitted = status(&outcome) == 200;
    if !is_permitted || !is_failure(answer) {
        world.refund(&outcome.failure_charges);
    }
    if is_permitted { answer } else { status(&outcome) }
}

#[test]
fn the_sixth_wrong_password_is_refused_and_says_for_how_long_edg6() {
    let (plan, world) = (production(), World::default());
    let request = login("\"a@b.example\"");
    for _ in 0..5 {
        assert_eq!(attempt(&plan, &world, &request, 401), 401);
    }
    let outcome = request.ask(&plan, &world);
    let tightest = outcome.tightest().expect("a limit").clone();
    assert_eq!(tightest.rate_limit_field(), "\"login-failures\";r=0;t=12");
    assert_eq!(tightest.policy_field(), "\"login-failures\";q=5;w=60");
    let refused = denial(outcome);
    assert_eq!(
        (refused.kind, refused.phase),
        (DenialKind::RateLimited, Phase::SubjectLimits)
    );
    assert_eq!(refused.retry_after_s, Some(12));
    assert_eq!(field(&refused.headers, "retry-after"), Some("12"));
    assert_eq!(refused.violated_policies, ["login-failures"]);
    assert_eq!(refused.rule.key(), "routes.login.rate.login-failures");

    assert_eq!(
        attempt(&plan, &world, &login("\"other@b.example\""), 401),
        401,
        "another account"
    );
    assert_eq!(
        attempt(&plan, &world, &request.clone().client("203.0.113.10"), 401),
        401,
        "another address"
    );
    world.pass_time(Duration::from_secs(12));
    assert_eq!(
        attempt(&plan, &world, &request, 401),
        401,
        "one comes back every twelve seconds"
    );
    assert_eq!(attempt(&plan, &world, &request, 401), 429);
}

#[test]
fn a_right_password_costs_nothing() {
    let (plan, world) = (production(), World::default());
    for _ in 0..25 {
        assert_eq!(attempt(&plan, &world, &login("\"a@b.example\""), 200), 200);
    }
}

#[test]
fn another_spelling_of_the_same_account_is_the_same_account() {
    let (plan, world) = (production(), World::default());
    for email in [
        "\"a@b.example\"",
        "\"A@B.EXAMPLE\"",
        "\" a@b.example \"",
        "\"\\u0061@b.example\"",
        "\"a@B.example\"",
    ] {
        assert_eq!(attempt(&plan, &world, &login(email), 401), 401, "{email}");
    }
    assert_eq!(attempt(&plan, &world, &login("\"a@b.example\""), 401), 429);
}

#[test]
fn a_request_that_says_nothing_of_the_credentials_is_no_failure() {
    let (plan, world) = (production(), World::default());
    for answer in [400, 404, 409, 415, 422, 429, 400, 422] {
        assert_eq!(attempt(&plan, &world, &login("\"a@b.example\""), answer), answer);
    }
    for _ in 0..5 {
        assert_eq!(attempt(&plan, &world, &login("\"a@b.example\""), 401), 401);
    }
    assert_eq!(attempt(&plan, &world, &login("\"a@b.example\""), 401), 429);
}

#[test]
fn a_missing_key_part_is_counted_too() {
    let (plan, world) = (production(), World::default());
    for body in ["{}", "7", "[]", "{\"mail\":1}", "{\"email\":null}"] {
        assert_eq!(attempt(&plan, &world, &login("1").body(body), 401), 401, "{body}");
    }
    assert_eq!(attempt(&plan, &world, &login("1").body("{}"), 401), 429);
    assert_eq!(
        attempt(&plan, &world, &login("17"), 401),
        401,
        "a number is a key of its own"
    );
}

#[test]
fn a_body_that_services_could_read_in_two_ways_is_refused() {
    let (plan, world) = (production(), World::default());
    for body in [
        "",
        "not json",
        "{} {}",
        "{\"email\":\"a\",\"email\":\"b\"}",
        "{\"email\":\"a\",\"EMAIL\":\"b\"}",
        "{\"email\":\"a\",\"\\u0065mail\":\"b\"}",
        "{\"email\":\"a\",\"deep\":[{\"x\":1,\"X\":2}]}",
        "{\"email\":1.0}",
        "{\"email\":1e0}",
        "{\"email\":true}",
        "{\"email\":[\"a\"]}",
        "{\"email\":{}}",
    ] {
        let refused = denial(login("1").body(body).ask(&plan, &world));
        assert_eq!(
            (refused.kind, refused.phase, refused.rule.key()),
            (
                DenialKind::MalformedRequest,
                Phase::SubjectLimits,
                "routes.login.rate.login-failures"
            ),
            "{body}"
        );
    }
    assert_eq!(attempt(&plan, &world, &login("\"a\""), 200), 200);
}

#[test]
fn what_the_gateway_refuses_is_no_failure() {
    let floor = "per-address: { limit: 100/min, burst: 100, key: [address] }\n    guesses: { limit: 5/min, burst: 5, key: [address], count: failures }";
    let files = shipped_with(
        "floor.yaml",
        "per-address: { limit: 100/min, burst: 100, key: [address] }",
        floor,
    );
    let (plan, world) = (plan(&files, "production"), World::default());
    for _ in 0..10 {
        assert_eq!(attempt(&plan, &world, &Request::new("GET", "/nowhere"), 401), 404);
        assert_eq!(
            attempt(&plan, &world, &Request::new("GET", "/api/v1/me"), 401),
            401
        );
    }
    for _ in 0..5 {
        assert_eq!(
            attempt(&plan, &world, &Request::new("GET", "/health/live"), 401),
            401
        );
    }
    assert_eq!(
        attempt(&plan, &world, &Request::new("GET", "/health/live"), 401),
        429
    );
}

#[test]
fn reservations_in_flight_count() {
    let (plan, world) = (production(), World::default());
    let request = login("\"a@b.example\"");
    let flying: Vec<_> = (0..5).map(|_| request.ask(&plan, &world)).collect();
    assert!(flying.iter().all(|outcome| status(outcome) == 200));
    assert_eq!(
        status(&request.ask(&plan, &world)),
        429,
        "guessing in parallel gains nothing"
    );
    world.refund(&flying[0].failure_charges);
    assert_eq!(status(&request.ask(&plan, &world)), 200);
}

#[test]
fn an_address_has_its_hundred_and_a_neighbour_its_own() {
    let (plan, world) = (production(), World::default());
    let live = Request::new("GET", "/health/live");
    for count in 0..100 {
        assert_eq!(status(&live.ask(&plan, &world)), 200, "{count}");
    }
    let refused = denial(live.ask(&plan, &world));
    assert_eq!(
        (refused.kind, refused.phase, refused.retry_after_s),
        (DenialKind::RateLimited, Phase::Limits, Some(1))
    );
    assert_eq!(refused.rule.key(), "floor.rate.per-address");
    assert_eq!(
        status(&live.clone().client("203.0.113.10").ask(&plan, &world)),
        200
    );
    assert_eq!(
        status(&live.client("::ffff:203.0.113.9").ask(&plan, &world)),
        429,
        "AD-4: the same client"
    );
}

#[test]
fn an_ipv6_network_shares_one_counter() {
    let (plan, world) = (production(), World::default());
    let live = |client: &str| {
        status(
            &Request::new("GET", "/health/live")
                .client(client)
                .ask(&plan, &world),
        )
    };
    for count in 0..100 {
        assert_eq!(live(&format!("2001:db8:0:1::{count:x}")), 200);
    }
    assert_eq!(live("2001:db8:0:1:ffff::1"), 429);
    assert_eq!(live("2001:db8:0:2::1"), 200);
}

#[test]
fn a_scan_of_paths_and_redirects_is_limited_too() {
    let (plan, world) = (production(), World::default());
    for count in 0..50 {
        assert_eq!(
            status(&Request::new("GET", &format!("/admin/{count}")).ask(&plan, &world)),
            404
        );
        assert_eq!(
            status(&Request::new("GET", "/").in_clear().ask(&plan, &world)),
            308
        );
    }
    assert_eq!(status(&Request::new("GET", "/admin/x").ask(&plan, &world)), 429);
    assert_eq!(
        status(&Request::new("GET", "/").in_clear().ask(&plan, &world)),
        429
    );
    assert_eq!(status(&Request::new("DELETE", "/docs").ask(&plan, &world)), 429);
}

#[test]
fn a_person_is_limited_wherever_the_requests_come_from() {
    let (plan, world) = (production(), World::with_scopes(&["transfers:write"]));
    let transfer = |host: u8| {
        Request::new("POST", "/api/v1/transfers")
            .token("good")
            .client(&format!("198.51.100.{host}"))
    };
    for host in 0..30 {
        assert_eq!(status(&transfer(host).ask(&plan, &world)), 200);
    }
    let refused = denial(transfer(99).ask(&plan, &world));
    assert_eq!(
        (refused.phase, refused.violated_policies),
        (Phase::SubjectLimits, vec!["transfers".to_owned()])
    );
}

#[test]
fn a_refused_request_consumes_nothing_of_that_phase() {
    let (plan, world) = (production(), World::default());
    let request = Request::new("POST", "/api/v1/auth/register");
    for _ in 0..3 {
        assert_eq!(status(&request.ask(&plan, &world)), 200);
    }
    for _ in 0..200 {
        assert_eq!(status(&request.ask(&plan, &world)), 429);
    }
    // The address has used 3 of its 100, not 203.
    assert_eq!(
        status(&Request::new("GET", "/health/live").ask(&plan, &world)),
        200
    );
}

#[test]
fn the_tightest_limit_is_reported() {
    let (plan, world) = (production(), World::default());
    let outcome = login("\"a@b.example\"").ask(&plan, &world);
    assert_eq!(outcome.limits.len(), 3);
    assert_eq!(
        outcome.tightest().expect("a limit").rate_limit_field(),
        "\"login-failures\";r=4;t=12"
    );
    let live = Request::new("GET", "/health/live").ask(&plan, &world);
    assert_eq!(
        live.tightest().expect("a limit").policy_field(),
        "\"per-address\";q=100;w=60"
    );
}

#[test]
fn a_preflight_counts_against_the_floor_only() {
    let (plan, world) = (production(), World::default());
    let preflight = Request::new("OPTIONS", "/api/v1/auth/register")
        .header("origin", "https://app.bank.example")
        .header("access-control-request-method", "POST");
    for _ in 0..3 {
        assert_eq!(status(&preflight.ask(&plan, &world)), 204);
        assert_eq!(
            status(&Request::new("POST", "/api/v1/auth/register").ask(&plan, &world)),
            200
        );
    }
    assert_eq!(
        status(&Request::new("POST", "/api/v1/auth/register").ask(&plan, &world)),
        429
    );
    for _ in 0..94 {
        assert_eq!(status(&preflight.ask(&plan, &world)), 204);
    }
    let refused = preflight.ask(&plan, &world);
    assert_eq!(status(&refused), 429);
    // J44: the page may read why.
    let app = Some("https://app.bank.example");
    let carried = plan.response_headers(refused.route.as_deref(), policy::Scheme::Https, app);
    assert_eq!(field(&carried.set, "access-control-allow-origin"), app);
}
