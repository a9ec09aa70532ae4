//! A service that fails every request.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{RATES, in_front_of, post};
use crate::clients::problem;
use crate::gateway_process::eventually;
use crate::raw_upstream::{Manner, RawUpstream};

const BREAKER: &str = "    breaker: { failures: 5, for: 300ms, fallback: { status: 503, detail: the bank is being looked after } }";

#[tokio::test]
async fn a_service_that_fails_every_request_is_left_alone_until_one_succeeds() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    let gateway = in_front_of(&[&only], BREAKER).await;
    let breaker = r#"portico_upstream_breaker{upstream="core"}"#;
    assert_eq!(gateway.metric(breaker).await, Some(0));
    for _ in 0..5 {
        problem(gateway.get(RATES).await, 502, "upstream-unavailable").await;
    }
    assert_eq!(gateway.metric(breaker).await, Some(1));
    let answer = post(&gateway).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let document = problem(answer, 503, "unavailable").await;
    assert_eq!(document["detail"], "the bank is being looked after");
    assert_eq!(only.count(), 5, "nothing was sent");

    eventually(
        "one request is let through, fails, and the breaker waits again",
        || async {
            gateway.get(RATES).await;
            only.count() == 6
        },
    )
    .await;
    assert_eq!(gateway.metric(breaker).await, Some(1));
    only.behave(Manner::Good);
    eventually("one request succeeds", || async {
        gateway.get(RATES).await.status() == 200
    })
    .await;
    assert_eq!(only.count(), 7);
    assert_eq!(gateway.metric(breaker).await, Some(0));
    assert_eq!(post(&gateway).await.status(), 200);
}

#[tokio::test]
async fn an_open_breaker_lets_one_request_decide_and_no_other() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    // The one that decides is held until the test lets it go, however long the others take.
    let patient = format!("{BREAKER}\n    timeouts: {{ connect: 5s, read: 4min, total: 5min }}");
    let gateway = in_front_of(&[&only], &patient).await;
    for _ in 0..5 {
        gateway.get(RATES).await;
    }
    let gate = Arc::new(Semaphore::new(0));
    only.behave(Manner::Hold(gate.clone()));
    let (client, url) = (gateway.client(), gateway.url(RATES));
    let mut waiting = Vec::new();
    while only.count() == 5 {
        waiting.push(tokio::spawn(client.get(&url).send()));
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        assert_eq!(gateway.get(RATES).await.status(), 503);
    }
    assert_eq!(only.count(), 6, "only one was let through");
    gate.add_permits(1_000);
    eventually("it has decided", || async {
        gateway.get(RATES).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_500_speaks_of_one_request_and_shuts_nothing_off() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Answer(500));
    let gateway = in_front_of(&[&only], BREAKER).await;
    for _ in 0..10 {
        assert_eq!(gateway.get(RATES).await.text().await.unwrap(), "mine");
    }
    assert_eq!(only.count(), 10);
}
