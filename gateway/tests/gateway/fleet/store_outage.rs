//! What becomes of requests while the store is down, slow, or back and empty: what the policy says, never a 500 (EDG-5).

use std::cell::Cell;

use gateway::settings::LimitStoreSettings;
use serde_json::json;

use super::{Fleet, RedisServer, count, flood, member_without_store, patient, post, sign_in, wait_for_store};
use crate::clients::problem;
use crate::gateway_process::eventually;

#[tokio::test]
async fn without_the_store_each_limit_does_what_its_policy_says() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    assert_eq!(count(&flood(&fleet, "/local", 4).await, 200), 4);
    redis.kill();
    wait_for_store(gateway, false).await;

    let refused = gateway.get("/exact").await;
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(
        refused.headers()["ratelimit-policy"],
        r#""per-address";q=6000;w=60"#,
        "of a limit that was not counted nothing is told"
    );
    let document = problem(refused, 503, "temporary-reduced-capacity").await;
    assert_eq!(document["retry_after"], 1);
    assert_eq!(document.get("violated-policies"), None);

    // What the store said last goes on: four of ten are used.
    let statuses = flood(&fleet, "/local", 20).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (6, 14));
    assert_eq!(count(&flood(&fleet, "/open", 20).await, 200), 20);
    assert_eq!(count(&flood(&fleet, "/watched", 20).await, 200), 20);
    problem(
        sign_in(gateway, "alice@bank.example").await,
        503,
        "temporary-reduced-capacity",
    )
    .await;
    let unavailable = r#"portico_limit_decisions_total{outcome="unavailable",policy="exact",store="none"}"#;
    assert_eq!(gateway.metric(unavailable).await, Some(1));
    assert_eq!(
        gateway.get("/api/v1/rates/a").await.status(),
        200,
        "others need no store"
    );
}

/// Waits until each of so many gateways has heard of all of them.
async fn wait_for_members(redis: &RedisServer, count: usize) {
    let spoken = || -> Vec<u64> {
        let list: Option<String> = redis.ask(&["GET", "portico:{members}:members"]);
        let list = list.unwrap_or_default();
        let times = list.split(' ').skip(1).step_by(2);
        times.map(|time| time.parse().unwrap()).collect()
    };
    eventually("all have spoken", || async { spoken().len() == count }).await;
    let last = *spoken().iter().max().unwrap();
    eventually("all have spoken since", || async {
        spoken().iter().all(|spoke| *spoke > last)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edg5_without_the_store_all_gateways_together_grant_one_limit() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &patient(&redis)).await;
    wait_for_members(&redis, 3).await;
    redis.kill();
    for gateway in &fleet.gateways {
        wait_for_store(gateway, false).await;
    }
    // Of ten, three each, and what is left of the division nobody.
    let statuses = flood(&fleet, "/local", 20).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (9, 51));
    // The burst of three gateways is less than one request each: one.
    let statuses = flood(&fleet, "/few", 5).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (3, 12));

    // It comes back empty, and goes on from what the gateways tell it.
    redis.revive().await;
    for gateway in &fleet.gateways {
        wait_for_store(gateway, true).await;
    }
    wait_for_grants(&fleet, 1).await;
}

/// Waits until so many units are left to the last gateway, and none to anybody after them. In the first moment after an
/// outage each gateway grants no more than its part.
async fn wait_for_grants(fleet: &Fleet, left: usize) {
    let (last, granted) = (fleet.gateways.last().unwrap(), Cell::new(0));
    eventually("what is left is granted", || async {
        let is_granted = last.get("/local").await.status() == 200;
        granted.set(granted.get() + usize::from(is_granted));
        granted.get() == left
    })
    .await;
    assert_eq!(
        count(&flood(fleet, "/local", 5).await, 200),
        0,
        "no more than ten"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn edg5_what_others_did_not_use_of_their_parts_is_there_after_an_outage() {
    for has_lost_data in [true, false] {
        let mut redis = RedisServer::start().await;
        let store = LimitStoreSettings {
            timeout_ms: 500,
            ..patient(&redis)
        };
        let fleet = Fleet::start(3, &store).await;
        wait_for_members(&redis, 3).await;
        let mut left = 10;
        if has_lost_data {
            redis.kill();
        } else {
            assert_eq!(fleet.gateways[1].get("/local").await.status(), 200);
            left -= 1;
            redis.stop();
        }
        for gateway in &fleet.gateways {
            wait_for_store(gateway, false).await;
        }
        // One gateway alone is asked.
        for expected in [200, 200, 200, 429, 429] {
            assert_eq!(fleet.gateways[0].get("/local").await.status(), expected);
        }
        left -= 3;
        match has_lost_data {
            true => redis.revive().await,
            false => redis.resume(),
        }
        for gateway in &fleet.gateways {
            wait_for_store(gateway, true).await;
        }
        wait_for_grants(&fleet, left).await;
    }
}

#[tokio::test]
async fn edg5_a_gateway_that_starts_without_its_store_grants_a_part_of_what_its_settings_say() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let store = LimitStoreSettings {
        gateways: 5,
        ..patient(&redis)
    };
    let fleet = Fleet {
        gateways: vec![member_without_store(&store).await],
    };
    assert_eq!(count(&flood(&fleet, "/local", 5).await, 200), 2);
}

#[tokio::test]
async fn edg5_what_succeeds_without_the_store_is_given_back_as_the_part_that_was_taken() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let store = LimitStoreSettings {
        gateways: 3,
        ..patient(&redis)
    };
    let gateway = member_without_store(&store).await;
    let sign_in = async || {
        let answer = post(&gateway, "/sign-in-here", "alice@bank.example").await;
        answer.status().as_u16()
    };
    // Of six, two are this gateway's; who succeeds takes none.
    for _ in 0..8 {
        assert_eq!(sign_in().await, 200);
    }
    for _ in 0..2 {
        gateway.core.answer_next(401);
        assert_eq!(sign_in().await, 401);
    }
    assert_eq!(sign_in().await, 429);
}

#[tokio::test]
async fn a_refusal_for_want_of_a_store_takes_nothing_of_what_the_gateway_counts() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    redis.kill();
    wait_for_store(&fleet.gateways[0], false).await;
    assert_eq!(count(&flood(&fleet, "/several", 100).await, 503), 100);
    redis.revive().await;
    wait_for_store(&fleet.gateways[0], true).await;
    let statuses = flood(&fleet, "/several", 10).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (3, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_killed_and_comes_back_under_load_and_nobody_sees_a_500() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(3, &patient(&redis)).await;
    // In turns, so that each gateway has heard of all but the last of the two others.
    for _ in 0..10 {
        assert_eq!(count(&flood(&fleet, "/exact", 1).await, 200), 3);
    }

    redis.kill();
    let during = flood(&fleet, "/exact", 30).await;
    assert_eq!(count(&during, 503), 90, "{during:?}");

    redis.revive().await;
    for gateway in &fleet.gateways {
        wait_for_store(gateway, true).await;
    }
    // It is empty, and goes on from what gateways know: 30 of 60 are used. Of what comes before the one that knows most has
    // spoken, as many count for nothing as the others know less: two.
    let after = count(&flood(&fleet, "/exact", 60).await, 200);
    assert!((30..=32).contains(&after), "{after}");
}

#[tokio::test]
async fn a_gateway_starts_without_its_store_and_uses_it_once_it_is_there() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let gateway = member_without_store(&patient(&redis)).await;
    problem(gateway.get("/exact").await, 503, "temporary-reduced-capacity").await;
    redis.revive().await;
    wait_for_store(&gateway, true).await;
    assert_eq!(gateway.get("/exact").await.status(), 200);
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_down() {
    let redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    wait_for_store(gateway, false).await;
    // It stays down, though it answers.
    for _ in 0..20 {
        problem(gateway.get("/exact").await, 503, "temporary-reduced-capacity").await;
    }
    let _: () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    wait_for_store(gateway, true).await;
    assert_eq!(gateway.get("/exact").await.status(), 200);
}

#[tokio::test]
async fn a_store_that_hangs_costs_one_timeout() {
    let redis = RedisServer::start().await;
    let store = LimitStoreSettings {
        timeout_ms: 500,
        ..patient(&redis)
    };
    let fleet = Fleet::start(1, &store).await;
    let gateway = &fleet.gateways[0];
    assert_eq!(gateway.get("/exact").await.status(), 200);
    redis.stop();
    let started = std::time::Instant::now();
    let statuses = flood(&fleet, "/exact", 8).await;
    assert_eq!(count(&statuses, 503), 8, "{statuses:?}");
    // One after the other they would wait half a second each.
    for _ in 0..20 {
        assert_eq!(gateway.get("/exact").await.status(), 503);
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    redis.resume();
    wait_for_store(gateway, true).await;
    let left = flood(&fleet, "/exact", 60).await;
    assert!(count(&left, 200) <= 59, "{left:?}");
    assert_eq!(count(&left, 200) + count(&left, 429), 60);
}

#[tokio::test]
async fn a_refund_that_comes_after_the_store_lost_its_data_gives_nothing_away() {
    let mut redis = RedisServer::start().await;
    let fleet = Fleet::start(1, &patient(&redis)).await;
    let gateway = &fleet.gateways[0];
    let gate = gateway.core.hold();
    // Two: of what is given back, the time that it was held is missing, and that would hide one.
    let held: Vec<_> = (0..2)
        .map(|_| {
            let (client, url) = (gateway.client(), gateway.url("/sign-in"));
            let body = json!({"email": "alice@bank.example", "password": "x"});
            tokio::spawn(async move { client.post(url).json(&body).send().await.unwrap().status() })
        })
        .collect();
    eventually("both are held", || async { gateway.core.seen().len() == 2 }).await;
    redis.kill();
    wait_for_store(gateway, false).await;
    redis.revive().await;
    wait_for_store(gateway, true).await;
    let failures = tokio::spawn({
        let (client, url) = (gateway.client(), gateway.url("/sign-in"));
        async move {
            let body = json!({"email": "alice@bank.example", "password": "x"});
            let tries = (0..5).map(|_| client.post(&url).json(&body).send());
            let answers = futures::future::join_all(tries).await;
            answers
                .into_iter()
                .map(|answer| answer.unwrap().status().as_u16())
                .collect::<Vec<_>>()
        }
    });
    eventually("all are held", || async { gateway.core.seen().len() == 7 }).await;
    // The two are good, and belong to the store that was lost.
    gate.add_permits(2);
    for held in held {
        assert_eq!(held.await.unwrap(), 200);
    }
    for _ in 0..5 {
        gateway.core.answer_next(401);
    }
    gate.add_permits(1_000);
    assert_eq!(failures.await.unwrap(), [401; 5]);
    assert_eq!(sign_in(gateway, "alice@bank.example").await.status(), 429);
}
