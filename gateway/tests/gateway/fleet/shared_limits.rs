//! Limits of several gateways on one Redis: exact, whoever is asked (EDG-5, EDG-6).

use serde_json::json;

use super::{Fleet, RedisServer, count, flood, member, patient, sign_in};
use crate::clients::problem;
use crate::gateway_process::{POLICY, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_together_let_through_exactly_the_burst() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &patient(&redis)).await;
    let statuses = flood(&fleet, "/exact", 60).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (60, 120));
    let served: usize = fleet
        .gateways
        .iter()
        .map(|gateway| gateway.core.seen().len())
        .sum();
    assert_eq!(served, 60, "what is refused does not reach the core");
}

#[tokio::test]
async fn a_gateway_tells_what_all_of_them_have_left() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &patient(&redis)).await;
    for left in (0..60).rev() {
        let gateway = &fleet.gateways[left % 2];
        let answer = gateway.get("/exact").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["ratelimit-policy"], r#""exact";q=1;w=3600"#);
        let state = answer.headers()["ratelimit"].to_str().unwrap().to_owned();
        assert!(state.starts_with(&format!(r#""exact";r={left};t="#)), "{state}");
    }
    let refused = fleet.gateways[0].get("/exact").await;
    let retry_after: u64 = refused.headers()["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((3_500..=3_600).contains(&retry_after), "{retry_after}");
    assert_eq!(
        refused.headers()["ratelimit"],
        format!(r#""exact";r=0;t={retry_after}"#)
    );
    let document = problem(refused, 429, "quota-exceeded").await;
    assert_eq!(document["retry_after"], retry_after);
    assert_eq!(document["violated-policies"], json!(["exact"]));
}

#[tokio::test]
async fn what_is_refused_by_one_limit_takes_nothing_from_the_others() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &patient(&redis)).await;
    let statuses = flood(&fleet, "/several", 30).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (3, 57));
    let gateway = &fleet.gateways[0];
    for (limit, taken) in [("wide", 3), ("narrow", 3)] {
        let keys: Vec<String> = redis.ask(&["KEYS", &format!("portico:{{*}}:{limit}")]);
        let [key] = keys.as_slice() else {
            panic!("{keys:?}")
        };
        let left: i64 = redis.ask(&["PTTL", key]);
        let units = (left + 3_599_999) / 3_600_000;
        assert_eq!(units, taken, "{limit}: {left} ms");
    }
    let own = r#"portico_limit_decisions_total{outcome="denied",policy="own",store="local"}"#;
    assert_eq!(
        gateway.metric(own).await,
        None,
        "nor from what each gateway counts"
    );
}

#[tokio::test]
async fn an_exhausted_limit_is_refused_without_asking_the_store() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    assert_eq!(count(&flood(&fleet, "/exact", 61).await, 429), 1);
    let denied = r#"portico_limit_decisions_total{outcome="denied",policy="exact",store="local"}"#;
    let before = gateway.metric(denied).await.unwrap_or(0);
    assert_eq!(count(&flood(&fleet, "/exact", 20).await, 429), 20);
    assert_eq!(gateway.metric(denied).await, Some(before + 20));
}

#[tokio::test]
async fn malformed_requests_are_counted_here_where_the_store_counts_the_others() {
    let redis = RedisServer::start().await;
    let gateway = member(&patient(&redis)).await;
    let floor = "per-address: { limit: 6000/min, burst: 6000, key: [address] }";
    let shared =
        "per-address: { limit: 1/h, burst: 5, key: [address], count_in: store, on_store_down: deny }";
    assert!(POLICY.contains(floor));
    let loaded = r#"portico_policy_reloads_total{outcome="loaded"}"#;
    let before = gateway.metric(loaded).await;
    gateway.policy_file("base.yaml", &POLICY.replace(floor, shared));
    eventually("the edit takes effect", || async {
        gateway.metric(loaded).await > before
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(
            gateway
                .raw(b"GET / HTTP/1.1\nHost: localhost\r\n\r\n")
                .await
                .status(),
        );
    }
    assert_eq!(statuses, [400, 400, 400, 400, 400, 429]);
    let good = gateway.get("/api/v1/rates/a").await;
    assert_eq!(good.status(), 429, "of the same client");
}

#[tokio::test]
async fn counts_survive_the_restart_of_a_gateway() {
    let redis = RedisServer::start().await;
    let mut fleet = Fleet::start(2, &patient(&redis)).await;
    assert_eq!(count(&flood(&fleet, "/exact", 20).await, 200), 40);
    fleet.gateways[0] = member(&patient(&redis)).await;
    let statuses = flood(&fleet, "/exact", 30).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (20, 40));
}

#[tokio::test]
async fn a_store_that_forgot_the_scripts_is_told_them_again() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(2, &patient(&redis)).await;
    assert_eq!(count(&flood(&fleet, "/exact", 10).await, 200), 20);
    let _: String = redis.ask(&["SCRIPT", "FLUSH"]);
    let statuses = flood(&fleet, "/exact", 30).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (40, 20));
}

#[tokio::test]
async fn the_store_holds_no_personal_data() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    gateway.core.answer_next(401);
    assert_eq!(sign_in(gateway, "alice@bank.example").await.status(), 401);
    let keys: Vec<String> = redis.ask(&["KEYS", "*:sign-in-failures"]);
    let [key] = keys.as_slice() else {
        panic!("{keys:?}")
    };
    let (begin, limit) = (key.strip_prefix("portico:{").unwrap(), "}:sign-in-failures");
    let hash = begin.strip_suffix(limit).unwrap();
    assert!(
        hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{key}"
    );
    let value: String = redis.ask(&["GET", key]);
    assert!(
        value.bytes().all(|byte| byte.is_ascii_digit() || byte == b' '),
        "{value}"
    );
    let left: i64 = redis.ask(&["PTTL", key]);
    assert!((1..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn the_sixth_wrong_log_in_is_refused_on_every_gateway_and_good_ones_are_free() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &patient(&redis)).await;
    for gateway in fleet.gateways.iter().cycle().take(12) {
        assert_eq!(sign_in(gateway, "alice@bank.example").await.status(), 200);
    }
    for gateway in fleet.gateways.iter().cycle().take(5) {
        gateway.core.answer_next(401);
        assert_eq!(sign_in(gateway, "alice@bank.example").await.status(), 401);
    }
    for gateway in &fleet.gateways {
        assert_eq!(sign_in(gateway, "Alice@bank.example ").await.status(), 429);
        assert_eq!(sign_in(gateway, "bob@bank.example").await.status(), 200);
    }
}

#[tokio::test]
async fn guessing_in_parallel_on_several_gateways_gains_nothing() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &patient(&redis)).await;
    for gateway in &fleet.gateways {
        for _ in 0..10 {
            gateway.core.answer_next(401);
        }
    }
    let guesses = (0..10).flat_map(|_| &fleet.gateways);
    let guesses =
        guesses.map(|gateway| async { sign_in(gateway, "alice@bank.example").await.status().as_u16() });
    let statuses = futures::future::join_all(guesses).await;
    assert_eq!((count(&statuses, 401), count(&statuses, 429)), (5, 25));
}

#[tokio::test]
async fn a_limit_in_shadow_mode_tells_and_refuses_nobody() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    for _ in 0..5 {
        let answer = gateway.get("/watched").await;
        assert_eq!(answer.status(), 200);
        let told = answer.headers()["ratelimit-policy"].to_str().unwrap();
        assert!(told.starts_with(r#""per-address""#), "{told}");
    }
    let would = r#"portico_limit_decisions_total{outcome="would_deny",policy="watched",store="#;
    eventually("three would have been refused", || async {
        let text = gateway.private_text("/metrics").await;
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix(would)?.split(' ').next_back());
        lines.map(|count| count.parse::<i64>().unwrap()).sum::<i64>() == 3
    })
    .await;
}
