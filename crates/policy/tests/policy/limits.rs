//! Limits: who shares a counter, what a refusal says, and failures that cost nothing when they did not happen.

use crate::world::{Request, World, denial, field, plan, status, undescribed, undescribed_with, value};
use policy::{Charge, Decision, DenialKind, LimitState, Phase, Plan, gcra::Denied, is_failure};
use std::time::Duration;

fn production() -> Plan {
    plan(&undescribed(), "production")
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
    let files = undescribed_with(
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
    assert_eq!(value(&carried.set, "access-control-allow-origin"), app);
}

/// The shipped policies with another limit by address.
fn with_floor(limit: &str) -> Plan {
    let old = "{ limit: 100/min, burst: 100, key: [address] }";
    plan(&undescribed_with("floor.yaml", old, limit), "production")
}

#[test]
fn a_network_of_the_policys_choice_shares_one_counter() {
    let plan = with_floor("{ limit: 2/min, burst: 2, key: [address/48] }");
    let world = World::default();
    let live = |client: &str| {
        status(
            &Request::new("GET", "/health/live")
                .client(client)
                .ask(&plan, &world),
        )
    };
    assert_eq!(live("2001:db8:7:1::1"), 200);
    assert_eq!(live("2001:db8:7:ffff::1"), 200);
    assert_eq!(live("2001:db8:7:2::9"), 429);
    assert_eq!(live("2001:db8:8:1::1"), 200);
    assert_eq!(live("203.0.113.9"), 200);
}

#[test]
fn a_limit_for_everybody_is_one_counter_whoever_asks_and_from_wherever() {
    let old = "openings: { limit: 10/h, burst: 5, key: [subject] }";
    let new = "openings: { limit: 10/h, burst: 5, key: [all] }";
    let plan = plan(&undescribed_with("routes/accounts.yaml", old, new), "production");
    let world = World::with_scopes(&["accounts:write"]);
    let open = |host: u8| {
        let request = Request::new("POST", "/api/v1/accounts").token("good");
        status(&request.client(&format!("198.51.100.{host}")).ask(&plan, &world))
    };
    for host in 0..5 {
        assert_eq!(open(host), 200);
    }
    assert_eq!(open(9), 429);
}

#[test]
fn a_request_that_costs_more_takes_more_from_the_floor_and_one_from_its_own() {
    let (old, new) = ("path: /api/v1/me }", "path: /api/v1/me }\n    cost: 30");
    let plan = plan(&undescribed_with("routes/identity.yaml", old, new), "production");
    let world = World::with_scopes(&[]);
    let me = Request::new("GET", "/api/v1/me").token("good");
    for left in [70, 40, 10] {
        let outcome = me.ask(&plan, &world);
        assert_eq!(status(&outcome), 200);
        assert_eq!(outcome.tightest().expect("a limit").remaining, left);
    }
    let refused = denial(me.ask(&plan, &world));
    assert_eq!(
        refused.retry_after_s,
        Some(12),
        "twenty units come back in twelve seconds"
    );
    let live = Request::new("GET", "/health/live");
    assert_eq!(status(&live.ask(&plan, &world)), 200, "others still have ten");
}

#[test]
fn a_shadow_counts_and_refuses_nobody() {
    let plan = with_floor("{ limit: 2/min, burst: 2, key: [address], mode: shadow }");
    let world = World::default();
    let granted: Vec<bool> = (0..4)
        .map(|_| {
            let outcome = Request::new("GET", "/health/live").ask(&plan, &world);
            assert_eq!(status(&outcome), 200);
            assert!(outcome.tightest().is_none(), "clients are not told of it");
            outcome.limits[0].granted
        })
        .collect();
    assert_eq!(granted, [true, true, false, false]);
}

/// What a store answers that has granted so much already.
fn told(charge: &Charge, is_granted: bool) -> LimitState {
    let refused = Denied {
        remaining: 0,
        reset_ns: 60_000_000_000,
        retry_after_ns: 7_000_000_000,
    };
    let decision = if is_granted {
        charge.limit.gcra.decide(0, 0, charge.cost)
    } else {
        Err(refused)
    };
    LimitState::after(charge.limit.clone(), decision)
}

#[test]
fn a_permit_holds_only_once_the_store_has_granted_its_limits() {
    let plan =
        with_floor("{ limit: 100/min, burst: 100, key: [address], count_in: store, on_store_down: deny }");
    let live = Request::new("GET", "/health/live");
    let ask = || live.ask(&plan, &World::default());

    let mut granted = ask();
    let [charge] = granted.unconfirmed() else {
        panic!("one limit")
    };
    let state = told(charge, true);
    let Decision::Permit(permit) = &granted.decision else {
        panic!("a permit")
    };
    assert!(!permit.is_confirmed());
    granted.confirm(&[state]);
    assert!(granted.unconfirmed().is_empty() && permit_of(&granted).is_confirmed());

    let mut refused = ask();
    let state = told(&refused.unconfirmed()[0], false);
    refused.confirm(&[state]);
    let refused = denial(refused);
    assert_eq!(
        (refused.kind, refused.retry_after_s),
        (DenialKind::RateLimited, Some(7))
    );
    assert_eq!(refused.violated_policies, ["per-address"]);
}

fn permit_of(outcome: &policy::Outcome) -> &policy::Permit {
    match &outcome.decision {
        Decision::Permit(permit) => permit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_store_is_asked_for_refused_requests_too_and_its_refusal_comes_first() {
    let plan =
        with_floor("{ limit: 100/min, burst: 100, key: [address], count_in: store, on_store_down: local }");
    for (request, before) in [
        (Request::new("GET", "/nothing"), 404),
        (Request::new("GET", "/api/v1/me"), 401),
        (Request::new("GET", "/").in_clear(), 308),
    ] {
        let mut outcome = request.ask(&plan, &World::default());
        assert_eq!(status(&outcome), before);
        let states: Vec<LimitState> = outcome
            .unconfirmed()
            .iter()
            .map(|charge| told(charge, false))
            .collect();
        outcome.confirm(&states);
        assert_eq!(status(&outcome), 429);
    }
}

#[test]
fn what_is_refused_here_asks_no_store() {
    let plan =
        with_floor("{ limit: 100/min, burst: 1, key: [address], count_in: store, on_store_down: deny }");
    let world = World::default();
    let live = Request::new("GET", "/health/live");
    assert_eq!(live.ask(&plan, &world).unconfirmed().len(), 1);
    let refused = live.ask(&plan, &world);
    assert_eq!((status(&refused), refused.unconfirmed().len()), (429, 0));
}

#[test]
fn without_the_store_the_policy_decides() {
    let outcome = |down: &str, mode: &str| {
        let limit = format!(
            "{{ limit: 100/min, burst: 1, key: [address], count_in: store, on_store_down: {down}{mode} }}"
        );
        let plan = with_floor(&limit);
        let world = World::default();
        let mut outcome = Request::new("GET", "/health/live").ask(&plan, &world);
        let again = World::default();
        let mut charged = 0;
        outcome.without_store(Duration::from_millis(1_200), |charges| {
            charged += charges.len();
            policy::Evidence::charge(&again, charges)
        });
        (outcome, charged)
    };
    let (refused, charged) = outcome("deny", "");
    let refused = denial(refused);
    assert_eq!(
        (refused.kind, refused.kind.status()),
        (DenialKind::ReducedCapacity, 503)
    );
    assert_eq!((refused.retry_after_s, charged), (Some(2), 0));
    assert_eq!(field(&refused.headers, "retry-after"), Some("2"));
    assert_eq!(refused.rule.key(), "floor.rate.per-address");

    let (local, charged) = outcome("local", "");
    assert_eq!((status(&local), local.limits.len(), charged), (200, 1, 1));
    let (open, charged) = outcome("allow", "");
    assert_eq!((status(&open), open.limits.len(), charged), (200, 0, 0));
    let (shadow, _) = outcome("deny", ", mode: shadow");
    assert_eq!(status(&shadow), 200, "a shadow refuses nobody");
}

#[test]
fn limits_that_count_by_the_same_parts_count_the_same_thing() {
    let limits = "{ limit: 100/min, burst: 100, key: [address], count_in: store, on_store_down: deny }\n    hourly: { limit: 1000/h, burst: 100, key: [address], count_in: store, on_store_down: deny }";
    let plan = with_floor(limits);
    let charges = |client: &str| {
        let outcome = Request::new("GET", "/health/live")
            .client(client)
            .ask(&plan, &World::default());
        outcome.unconfirmed().to_vec()
    };
    let (alice, bob) = (charges("203.0.113.9"), charges("203.0.113.10"));
    assert_eq!(alice[0].counted_by(), alice[1].counted_by());
    assert_ne!(alice[0].key, alice[1].key);
    assert_ne!(alice[0].counted_by(), bob[0].counted_by());
}
