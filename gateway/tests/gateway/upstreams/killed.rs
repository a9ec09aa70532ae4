//! Upstreams that are killed amid load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::put_behind;
use crate::gateway_process::{GatewayProcess, eventually};
use crate::upstream_process::UpstreamProcess;

/// Everything that upstream processes of their own wrote down: one line for each request that they read whole.
fn written_down(folder: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(folder.join("seen"))
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// One client of the load.
struct Client {
    number: usize,
    http: reqwest::Client,
    token: String,
    orders: String,
    rates: String,
}

impl Client {
    fn of(gateway: &GatewayProcess, number: usize) -> Self {
        Self {
            number,
            http: gateway.client(),
            token: gateway.keys.token(),
            orders: gateway.url("/api/v1/transfers"),
            rates: gateway.url("/api/v1/rates/eur-usd"),
        }
    }
}

/// Orders and reads in turn. The orders that were accepted, how many failed, and how many reads did.
async fn order_and_read(client: Client, stop: Arc<AtomicBool>) -> (Vec<String>, usize, usize) {
    let (mut accepted, mut failed, mut unread) = (Vec::new(), 0, 0);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("order-{}-{number}", client.number);
        let order = client.http.post(&client.orders).bearer_auth(&client.token);
        let answer = order.json(&json!({"id": id})).send().await.unwrap();
        match answer.status().as_u16() {
            200 => accepted.push(id),
            502 | 503 => failed += 1,
            status => panic!("{status}"),
        }
        let read = client.http.get(&client.rates).send().await.unwrap();
        unread += usize::from(read.status() != 200);
    }
    (accepted, failed, unread)
}

#[tokio::test]
async fn killing_an_upstream_amid_load_sends_no_order_twice_and_loses_no_answer_that_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = [
        UpstreamProcess::start(folder.path()).await,
        UpstreamProcess::start(folder.path()).await,
    ];
    let gateway = GatewayProcess::start().await;
    let addresses: Vec<String> = processes
        .iter()
        .map(|process| format!("http://{}", process.address))
        .collect();
    let more = "    eject: { failures: 3, for: 200ms }\n    retries: { most: 2, budget: 50% }";
    put_behind(&gateway, &addresses, more).await;

    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..8)
        .map(|client| tokio::spawn(order_and_read(Client::of(&gateway, client), stop.clone())))
        .collect();
    for round in 0..6 {
        let seen = written_down(folder.path()).len();
        eventually("there is load", || async {
            written_down(folder.path()).len() > seen + 100
        })
        .await;
        processes[round % 2].kill().await;
        let seen = written_down(folder.path()).len();
        eventually("there is load", || async {
            written_down(folder.path()).len() > seen + 100
        })
        .await;
        processes[round % 2].revive().await;
    }
    stop.store(true, Ordering::Relaxed);
    let (mut accepted, mut failed, mut unread) = (Vec::new(), 0, 0);
    for client in load {
        let (of_client, failed_there, unread_there) = client.await.unwrap();
        accepted.extend(of_client);
        failed += failed_there;
        unread += unread_there;
    }
    let seen = written_down(folder.path());
    let mut orders: Vec<&String> = seen.iter().filter(|line| line.contains("order-")).collect();
    let count = orders.len();
    orders.sort_unstable();
    orders.dedup();
    assert_eq!(orders.len(), count, "an order was sent twice");
    for id in &accepted {
        assert!(
            orders.iter().any(|line| line.ends_with(&format!("\"{id}\"}}"))),
            "{id}"
        );
    }
    assert!(accepted.len() > 300, "the load was no load");
    // What was under way to a process that is killed fails: no more than one a client each time.
    assert!(failed <= 6 * 8, "{failed} of {} orders failed", accepted.len());
    assert_eq!(unread, 0, "what only reads was sent again");
}
