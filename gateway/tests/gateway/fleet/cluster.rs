//! Limits of several gateways on a Redis Cluster: as on one Redis, whatever slots the counters lie in.

use std::sync::Mutex;

use gateway::settings::LimitStoreSettings;

use super::redis_cluster::RedisCluster;
use super::{Fleet, PATIENT_MS, count, flood, post, wait_for_store};
use crate::clients::problem;
use crate::gateway_process::eventually;

fn store(cluster: &RedisCluster) -> LimitStoreSettings {
    LimitStoreSettings {
        addresses: cluster.addresses(),
        cluster: true,
        timeout_ms: PATIENT_MS,
        ..LimitStoreSettings::default()
    }
}

/// The keys of a limit on all nodes, with the units that are used of each.
fn used(cluster: &RedisCluster, limit: &str) -> Vec<i64> {
    let of_node = |index| {
        let keys: Vec<String> = cluster.ask(index, &["KEYS", &format!("portico:{{*}}:{limit}")]);
        keys.into_iter().map(move |key| {
            let left: i64 = cluster.ask(index, &["PTTL", &key]);
            (left + 1_800_000) / 3_600_000
        })
    };
    (0..3).flat_map(of_node).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_gateways_on_a_cluster_let_through_exactly_the_burst() {
    let cluster = RedisCluster::start().await;
    let fleet = Fleet::start(3, &store(&cluster)).await;
    let statuses = flood(&fleet, "/exact", 60).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (60, 120));
    let statuses = flood(&fleet, "/several", 10).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (3, 27));
    assert_eq!(
        (used(&cluster, "wide"), used(&cluster, "narrow")),
        (vec![3], vec![3])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_in_several_slots_give_back_what_another_refuses() {
    let cluster = RedisCluster::start().await;
    let fleet = Fleet::start(2, &store(&cluster)).await;
    // Ten people: their counters lie in different slots, and so does that of the address.
    let people: Vec<String> = (0..10).map(|person| format!("p{person}@bank.example")).collect();
    let tries = (0..3)
        .flat_map(|_| &people)
        .flat_map(|email| fleet.gateways.iter().map(move |gateway| (gateway, email)));
    let tries =
        tries.map(|(gateway, email)| async { post(gateway, "/sign-up", email).await.status().as_u16() });
    let statuses = futures::future::join_all(tries).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (30, 30));
    assert_eq!(
        used(&cluster, "sign-ups"),
        [30],
        "the refused ones were given back"
    );
    assert_eq!(used(&cluster, "sign-ups-of-one"), [3; 10]);
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_does_what_the_policy_says() {
    let mut cluster = RedisCluster::start().await;
    let fleet = Fleet::start(1, &store(&cluster)).await;
    let gateway = &fleet.gateways[0];
    assert_eq!(count(&flood(&fleet, "/local", 4).await, 200), 4);
    for index in 0..3 {
        cluster.kill(index);
    }
    wait_for_store(gateway, false).await;
    problem(gateway.get("/exact").await, 503, "temporary-reduced-capacity").await;
    let statuses = flood(&fleet, "/local", 10).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (6, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_goes_on_counting_where_its_master_was() {
    let mut cluster = RedisCluster::with_replicas(3).await;
    let fleet = Fleet::start(2, &store(&cluster)).await;
    assert_eq!(count(&flood(&fleet, "/exact", 20).await, 200), 40);
    let owner = (0..3).find(|index| {
        let keys: Vec<String> = cluster.ask(*index, &["KEYS", "portico:{*}:exact"]);
        !keys.is_empty()
    });
    cluster.fail_over(owner.unwrap()).await;

    // Refused until the gateway has found the new master, and never more than what is left.
    let statuses = Mutex::new(Vec::new());
    eventually("the limit is used up again", || async {
        let seen = flood(&fleet, "/exact", 1).await;
        let is_used_up = seen.iter().all(|status| *status == 429);
        statuses.lock().unwrap().extend(seen);
        is_used_up
    })
    .await;
    let statuses = statuses.into_inner().unwrap();
    assert_eq!(count(&statuses, 200), 20, "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 429, 503].contains(status)),
        "{statuses:?}"
    );
}
