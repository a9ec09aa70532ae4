//! What is sent again, and what never is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{RATES, in_front_of, post, retries};
use crate::access_log::Log;
use crate::clients::problem;
use crate::gateway_process::eventually;
use crate::raw_upstream::{Manner, RawUpstream};

#[tokio::test]
async fn an_answer_that_never_came_is_asked_for_again_but_an_order_is_not() {
    for manner in [Manner::Break, Manner::Hold(Arc::new(Semaphore::new(0)))] {
        let (bad, good) = (RawUpstream::start().await, RawUpstream::start().await);
        bad.behave(manner.clone());
        let gateway = in_front_of(&[&bad, &good], "    retries: { most: 1, budget: 50% }").await;
        for _ in 0..12 {
            assert_eq!(gateway.get(RATES).await.status(), 200);
        }
        assert!(bad.count() > 0, "both were asked");
        assert_eq!(good.count(), 12);
        let gets = bad.count();

        let mut failed = 0;
        for _ in 0..12 {
            let answer = post(&gateway).await;
            if answer.status() == 200 {
                continue;
            }
            failed += 1;
            let expected = match manner {
                Manner::Break => (502, "upstream-unavailable"),
                _ => (504, "upstream-timeout"),
            };
            assert_eq!(answer.headers()["retry-after"], "2");
            problem(answer, expected.0, expected.1).await;
        }
        assert!(failed > 0, "the bad one got orders");
        assert_eq!(bad.count() - gets, failed);
        assert_eq!(good.count() - 12 + failed, 12, "no order was sent twice");
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&a, &b], "    retries: { most: 2, budget: 50% }").await;
    a.behave(Manner::Half);
    b.behave(Manner::Half);
    let answer = gateway.get(RATES).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err(), "the client sees that it is cut");
    assert_eq!(a.count() + b.count(), 1);
}

#[tokio::test]
async fn an_address_that_cannot_serve_now_says_so_and_another_one_answers() {
    let (bad, good) = (RawUpstream::start().await, RawUpstream::start().await);
    bad.behave(Manner::Answer(503));
    let gateway = in_front_of(&[&bad, &good], "    retries: { most: 1, budget: 50% }").await;
    for _ in 0..12 {
        assert_eq!(gateway.get(RATES).await.text().await.unwrap(), "good");
    }
    assert!(bad.count() > 0);
    let before = bad.count() + good.count();
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(post(&gateway).await.status());
    }
    assert!(
        statuses.contains(&StatusCode::SERVICE_UNAVAILABLE),
        "{statuses:?}"
    );
    assert_eq!(bad.count() + good.count() - before, 12, "no order was sent twice");

    // With nobody else, the service's own answer is what the client gets.
    good.behave(Manner::Answer(503));
    let answer = gateway.get(RATES).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.text().await.unwrap(), "mine");
}

#[tokio::test]
async fn the_log_says_how_often_a_request_was_sent_and_where_to_at_last() {
    let log = Log::capture();
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    let gateway = in_front_of(&[&only], "    retries: { most: 2, budget: 50% }").await;
    let line = log.line_of(&gateway.get(RATES).await).await;
    let address = format!("http://{}", only.address);
    assert_eq!(
        (&line["upstream"], &line["attempts"]),
        (&json!(address), &json!(3))
    );
}

#[tokio::test]
async fn retries_never_become_the_load() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    a.behave(Manner::Break);
    b.behave(Manner::Break);
    let gateway = in_front_of(&[&a, &b], "    retries: { most: 2, budget: 10% }").await;
    for _ in 0..100 {
        problem(gateway.get(RATES).await, 502, "upstream-unavailable").await;
    }
    let sent = a.count() + b.count();
    assert!((110..=120).contains(&sent), "{sent} for 100 requests");
    assert_eq!(
        retries(&gateway, "broken").await,
        i64::try_from(sent).unwrap() - 100
    );
}

#[tokio::test]
async fn all_attempts_together_have_the_time_of_one_request() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gate = Arc::new(Semaphore::new(0));
    a.behave(Manner::Hold(gate.clone()));
    b.behave(Manner::Hold(gate));
    let gateway = in_front_of(&[&a, &b], "    retries: { most: 2, budget: 50% }").await;
    let tight = std::fs::read_to_string(gateway.directory.path().join("policies/base.yaml"))
        .unwrap()
        .replace("read: 1s, total: 3s", "read: 500ms, total: 700ms");
    gateway.policy_file("base.yaml", &tight);
    let reloads = r#"portico_policy_reloads_total{outcome="loaded"}"#;
    eventually("the edit takes effect", || async {
        gateway.metric(reloads).await == Some(3)
    })
    .await;
    let started = Instant::now();
    problem(gateway.get(RATES).await, 504, "upstream-timeout").await;
    let took = started.elapsed().as_millis();
    assert!((650..1_200).contains(&took), "{took} ms");
    assert_eq!(a.count() + b.count(), 2, "the third attempt had no time left");
}

#[tokio::test]
async fn further_attempts_wait_for_a_pause() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    let gateway = in_front_of(&[&only], "    retries: { most: 1, budget: 50% }").await;
    for number in 0..70 {
        gateway.get(&format!("/api/v1/rates/{number}")).await;
    }
    let mut seen: HashMap<String, Vec<Instant>> = HashMap::new();
    for (request, at) in only.seen_at() {
        seen.entry(request).or_default().push(at);
    }
    let again: Vec<Duration> = seen
        .values()
        .filter_map(|attempts| Some(attempts.get(1)?.duration_since(attempts[0])))
        .collect();
    assert!(again.len() >= 40, "{} were sent again", again.len());
    // Each is drawn from 25 ms; all of these together are as short as this once in a hundred million times, and without
    // a pause nearly always. A slow machine only makes them longer.
    let all: Duration = again.iter().sum();
    let least = Duration::from_millis(6) * u32::try_from(again.len()).unwrap();
    assert!(all > least, "{all:?} in {} pauses", again.len());
}
