//! Many requests for one answer at the same moment.

use std::sync::Arc;

use reqwest::Response;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::service::{Reply, Service};
use super::{PRICES, in_front_of, policy, status};
use crate::gateway_process::{GatewayProcess, eventually};

const DECIDED: &str =
    r#"portico_limit_decisions_total{outcome="granted",policy="per-address",store="local"}"#;

/// Sends so many requests, and waits until each of them has been decided.
async fn crowd(gateway: &GatewayProcess, count: i64) -> JoinSet<Response> {
    let before = gateway.metric(DECIDED).await.unwrap_or(0);
    let mut crowd = JoinSet::new();
    let client = gateway.client();
    for _ in 0..count {
        let request = client.get(gateway.url(PRICES));
        crowd.spawn(async move { request.send().await.unwrap() });
    }
    gateway.counts(DECIDED, before + count).await;
    crowd
}

#[tokio::test]
async fn a_hundred_requests_for_one_answer_are_one_request_to_the_upstream() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = Service::start(move |_| Reply::good("", "1.08").behind(&held)).await;
    let gateway = in_front_of(&service).await;
    let crowd = crowd(&gateway, 100).await;
    gate.add_permits(100);
    let mut missed = 0;
    for answer in crowd.join_all().await {
        assert_eq!(answer.status(), 200);
        missed += usize::from(status(&answer) == "portico; fwd=miss");
        assert_eq!(answer.text().await.unwrap(), "1.08");
    }
    assert_eq!((service.count(), missed), (1, 1));
}

#[tokio::test]
async fn when_the_upstream_fails_the_next_one_is_sent_and_not_all() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = Service::start(move |asked| match asked.before {
        0 => Reply::raw("").closing().behind(&held),
        1 => Reply::raw("HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"),
        _ => Reply::good("", "1.08"),
    })
    .await;
    let gateway = in_front_of(&service).await;
    let crowd = crowd(&gateway, 20).await;
    gate.add_permits(1);
    let mut statuses: Vec<u16> = crowd
        .join_all()
        .await
        .iter()
        .map(|answer| answer.status().as_u16())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses[..18], [200; 18]);
    assert_eq!(statuses[18..], [500, 502]);
    assert_eq!(service.count(), 3);
}

#[tokio::test]
async fn an_answer_that_may_not_be_kept_holds_nobody_up() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service =
        Service::start(move |_| Reply::good("Cache-Control: no-store\r\n", "1.08").behind(&held)).await;
    let gateway = in_front_of(&service).await;
    let crowd = crowd(&gateway, 20).await;
    assert_eq!(service.count(), 1);
    gate.add_permits(1);
    eventually("all others are sent at once", || async { service.count() == 20 }).await;
    gate.add_permits(19);
    for answer in crowd.join_all().await {
        assert_eq!(answer.text().await.unwrap(), "1.08");
    }
}

#[tokio::test]
async fn when_a_client_leaves_the_next_one_is_sent() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = Service::start(move |_| Reply::good("", "1.08").behind(&held)).await;
    let gateway = in_front_of(&service).await;
    let mut first = gateway.raw_tls().await;
    let port = gateway.https.port();
    let request = format!("GET {PRICES} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\n\r\n");
    first.write_all(request.as_bytes()).await.unwrap();
    first.flush().await.unwrap();
    eventually("the first is under way", || async { service.count() == 1 }).await;
    let crowd = crowd(&gateway, 10).await;
    assert_eq!(service.count(), 1);
    drop(first);
    eventually("the next is sent", || async { service.count() == 2 }).await;
    gate.add_permits(100);
    for answer in crowd.join_all().await {
        assert_eq!(answer.text().await.unwrap(), "1.08");
    }
    assert_eq!(service.count(), 2);
}

#[tokio::test]
async fn a_request_that_takes_too_long_holds_nobody_up_for_ever() {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let service = Service::start(move |asked| match asked.before {
        0 => Reply::good("", "late").behind(&held),
        _ => Reply::good("", "1.08"),
    })
    .await;
    let impatient = policy(&service, "").replace("read: 4min", "read: 2s");
    let gateway = GatewayProcess::with(&impatient, |_| ()).await;
    let crowd = crowd(&gateway, 5).await;
    let mut good = 0;
    for answer in crowd.join_all().await {
        good += usize::from(answer.status() == 200);
    }
    assert_eq!(good, 4, "the first was given up after two seconds");
    assert_eq!(service.count(), 2);
}
