//! Processes die at the worst moment; what was acknowledged stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use trial::{Customer, Ledger, Service};
use uuid::Uuid;

use crate::stage::Stage;

const CLIENTS: u32 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn killing_each_child_during_traffic_loses_nothing_acknowledged() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let (payer, payee) = (door.sign_up().await.unwrap(), door.sign_up().await.unwrap());
    let from = payer.open_account("EUR", 1_000_000).await.unwrap();
    let to = payee.open_account("EUR", 0).await.unwrap();

    let acknowledged = Arc::new(AtomicI64::new(0));
    let remaining = Arc::new(AtomicU32::new(600));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(pay(
            payer.clone(),
            from.clone(),
            to.clone(),
            acknowledged.clone(),
            remaining.clone(),
        ));
    }
    for (part, service) in [
        (500, Service::CoreApi),
        (350, Service::Gateway),
        (200, Service::ControlPlane),
    ] {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while remaining.load(Ordering::Relaxed) > part {
            tick.tick().await;
        }
        system.kill_and_await(service).await.unwrap();
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }

    let paid = acknowledged.load(Ordering::Relaxed);
    assert_eq!(paid, 600);
    assert_eq!(payer.balance(&from).await.unwrap(), 1_000_000 - paid);
    assert_eq!(payee.balance(&to).await.unwrap(), paid);
    let mut books = Ledger::open(&system.endpoints().database_url).await.unwrap();
    assert_eq!(books.transfers_booked().await.unwrap(), paid);
    assert_eq!(books.violations().await.unwrap(), []);
    let printed = system.printed().unwrap();
    for service in Service::ALL {
        let said = format!("{} was ended by signal 9", service.name());
        assert!(printed.contains(&said), "`up` does not say “{said}”:\n{printed}");
    }
    system.stop().await.unwrap();
}

async fn pay(
    payer: Customer,
    from: String,
    to: String,
    acknowledged: Arc<AtomicI64>,
    remaining: Arc<AtomicU32>,
) {
    let take = |left: u32| left.checked_sub(1);
    while remaining
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let key = Uuid::now_v7().to_string();
        payer
            .transfer_for_sure((&from, &to), (1, "EUR"), &key)
            .await
            .unwrap()
            .expect(201)
            .unwrap();
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_cuts_no_request() {
    let stage = Stage::new();
    let (system, door) = stage.start().await;
    let customer = door.sign_up().await.unwrap();
    let answered = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CLIENTS {
        let (customer, answered) = (customer.clone(), answered.clone());
        // Until the door is closed: what was answered is counted, how the door was found closed does not matter here.
        callers.spawn(async move {
            while let Ok(answer) = customer.get("/api/v1/me").await {
                assert_eq!(answer.status, 200, "{}", answer.body);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while answered.load(Ordering::Relaxed) < 200 {
        tick.tick().await;
    }
    let status = system.stop().await.unwrap();
    assert!(status.success(), "{status}");
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }

    // Each request that the gateway took was answered whole, and each answer arrived: the log and the clients agree.
    let log = std::fs::read_to_string(stage.data_dir().join("logs/gateway.log")).unwrap();
    let taken: Vec<Value> = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["target"] == "access" && line["path"] == "/api/v1/me")
        .collect();
    assert!(
        taken.iter().all(|line| line["status"] == 200),
        "{:?}",
        taken.iter().find(|line| line["status"] != 200)
    );
    assert_eq!(
        taken.len(),
        usize::try_from(answered.load(Ordering::Relaxed)).unwrap()
    );
    assert!(
        !stage.data_dir().join("postgres/data/postmaster.pid").exists(),
        "PostgreSQL was not closed cleanly"
    );
}
