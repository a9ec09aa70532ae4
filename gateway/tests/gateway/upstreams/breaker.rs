//! A service that fails every request, or most of them, and one that only seems to.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use super::{RATES, in_front_of, post, up};
use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, eventually};
use crate::raw_upstream::{Manner, RawUpstream};

const BREAKER: &str = "    breaker: { failures: 5, for: 300ms, fallback: { status: 503, detail: the bank is being looked after } }";

const STATE: &str = r#"portico_upstream_breaker{upstream="core"}"#;

/// How often it opened because of this.
async fn openings(gateway: &GatewayProcess, reason: &str) -> Option<i64> {
    let line = format!(r#"portico_upstream_breaker_openings_total{{reason="{reason}",upstream="core"}}"#);
    gateway.metric(&line).await
}

async fn is_closed(gateway: &GatewayProcess) -> bool {
    gateway.metric(STATE).await == Some(0)
        && openings(gateway, "in_a_row").await.is_none()
        && openings(gateway, "share").await.is_none()
}

#[tokio::test]
async fn a_service_that_fails_every_request_is_left_alone_until_one_succeeds() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    let gateway = in_front_of(&[&only], BREAKER).await;
    assert_eq!(gateway.metric(STATE).await, Some(0));
    for _ in 0..5 {
        problem(gateway.get(RATES).await, 502, "upstream-unavailable").await;
    }
    assert_eq!(gateway.metric(STATE).await, Some(1));
    let answer = post(&gateway).await;
    assert_eq!(answer.headers()["retry-after"], "1");
    let document = problem(answer, 503, "unavailable").await;
    assert_eq!(document["detail"], "the bank is being looked after");
    assert_eq!(only.count(), 5, "nothing was sent");
    assert_eq!(openings(&gateway, "in_a_row").await, Some(1));
    let fallbacks = r#"portico_upstream_fallbacks_total{answer="problem",upstream="core"}"#;
    assert_eq!(gateway.metric(fallbacks).await, Some(1));

    eventually(
        "one request is let through, fails, and the breaker waits again",
        || async {
            gateway.get(RATES).await;
            only.count() == 6
        },
    )
    .await;
    assert_eq!(gateway.metric(STATE).await, Some(1));
    only.behave(Manner::Good);
    eventually("one request succeeds", || async {
        gateway.get(RATES).await.status() == 200
    })
    .await;
    assert_eq!(only.count(), 7);
    assert_eq!(gateway.metric(STATE).await, Some(0));
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

#[tokio::test]
async fn a_service_that_fails_four_of_five_is_left_alone_too() {
    let only = RawUpstream::start().await;
    let gateway = in_front_of(&[&only], BREAKER).await;
    for manner in [Manner::Break, Manner::Good, Manner::Break] {
        only.behave(manner.clone());
        let times = if matches!(manner, Manner::Break) { 4 } else { 1 };
        for _ in 0..times {
            gateway.get(RATES).await;
        }
        // Its end is known a moment after its answer.
        let answered = r#"portico_requests_total{method="GET",route="show_rates",status="200"}"#;
        if matches!(manner, Manner::Good) {
            gateway.counts(answered, 1).await;
        }
    }
    assert_eq!(gateway.metric(STATE).await, Some(1));
    assert_eq!(openings(&gateway, "share").await, Some(1));
    assert_eq!(openings(&gateway, "in_a_row").await, None);
    // One may have been sent again, on a connection that was kept and had died.
    assert!(
        (6..=7).contains(&only.count()),
        "the fifth failure was the last request"
    );

    // What it failed before it was left alone is over once it answers.
    only.behave(Manner::Good);
    eventually("it answers", || async {
        gateway.get(RATES).await.status() == 200
    })
    .await;
    only.behave(Manner::Break);
    gateway.get(RATES).await;
    assert_eq!(gateway.metric(STATE).await, Some(0));
}

#[tokio::test]
async fn a_service_that_fails_every_third_request_is_not_left_alone() {
    let only = RawUpstream::start().await;
    let gateway = in_front_of(&[&only], BREAKER).await;
    for _ in 0..10 {
        for manner in [Manner::Good, Manner::Good, Manner::Break] {
            only.behave(manner);
            gateway.get(RATES).await;
        }
    }
    assert!(only.count() >= 30, "each was sent");
    assert!(is_closed(&gateway).await);
}

#[tokio::test]
async fn an_address_that_is_dead_does_not_shut_off_one_that_is_well() {
    let (mut dead, alive) = (RawUpstream::start().await, RawUpstream::start().await);
    dead.die().await;
    // Nobody draws the dead one forty times in a row.
    let gateway = in_front_of(&[&dead, &alive], "    breaker: { failures: 40, for: 1min }").await;
    let mut failed = 0;
    while failed < 45 {
        failed += usize::from(gateway.get(RATES).await.status() == 503);
    }
    assert!(alive.count() > 5, "{} were answered", alive.count());
    assert!(is_closed(&gateway).await);
}

#[tokio::test]
async fn a_service_that_asks_for_time_lives_whoever_keeps_it_busy() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    a.behave(Manner::Busy);
    b.behave(Manner::Busy);
    let more = format!("{BREAKER}\n    eject: {{ failures: 1, for: 1min }}");
    let gateway = in_front_of(&[&a, &b], &more).await;
    for _ in 0..20 {
        let answer = post(&gateway).await;
        assert_eq!(answer.headers()["retry-after"], "3");
        assert_eq!(
            (answer.status().as_u16(), answer.text().await.unwrap()),
            (503, "mine".to_owned())
        );
    }
    assert_eq!(a.count() + b.count(), 20, "each was sent");
    assert!(is_closed(&gateway).await);
    assert_eq!(
        (up(&gateway, &a).await, up(&gateway, &b).await),
        (Some(1), Some(1))
    );
}

#[tokio::test]
async fn a_busy_answer_is_enough_for_an_open_breaker() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Break);
    let gateway = in_front_of(&[&only], BREAKER).await;
    for _ in 0..5 {
        gateway.get(RATES).await;
    }
    assert_eq!(gateway.metric(STATE).await, Some(1));
    only.behave(Manner::Busy);
    eventually("it closes", || async {
        gateway.get(RATES).await;
        gateway.metric(STATE).await == Some(0)
    })
    .await;
}

/// With the time of one attempt and of all together.
fn with_time(milliseconds: u32) -> String {
    format!("{BREAKER}\n    timeouts: {{ connect: 500ms, read: {milliseconds}ms, total: {milliseconds}ms }}")
}

#[tokio::test]
async fn what_takes_too_long_while_others_are_answered_speaks_of_itself_and_else_of_the_service() {
    for are_others_answered in [true, false] {
        let only = RawUpstream::start().await;
        only.behave(Manner::NeverTo("slow"));
        let gateway = in_front_of(&[&only], &with_time(3_000)).await;
        let ask = || gateway.client().get(gateway.url("/api/v1/rates/slow")).send();
        let slow: Vec<_> = (0..8).map(|_| tokio::spawn(ask())).collect();
        eventually("all are under way", || async { only.count() == 8 }).await;
        if are_others_answered {
            assert_eq!(gateway.get(RATES).await.status(), 200);
        }
        for answer in slow {
            problem(answer.await.unwrap().unwrap(), 504, "upstream-timeout").await;
        }
        assert_eq!(is_closed(&gateway).await, are_others_answered);
    }
}

#[tokio::test]
async fn clients_that_take_their_answers_slowly_speak_of_themselves() {
    let only = RawUpstream::start().await;
    only.behave(Manner::Large);
    let gateway = in_front_of(&[&only], &with_time(700)).await;
    let slow = (0..6).map(|_| async {
        let mut client = gateway.raw_tls().await;
        let request = format!("GET {RATES} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut ticks = interval(Duration::from_millis(20));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read, mut part) = (0, vec![0; 64 << 10]);
        loop {
            ticks.tick().await;
            match client.read(&mut part).await {
                Ok(count @ 1..) => read += count,
                Ok(0) | Err(_) => return read,
            }
        }
    });
    for read in futures::future::join_all(slow).await {
        assert!(read > 0 && read < 32 << 20, "{read}: it was cut amid its answer");
    }
    assert!(is_closed(&gateway).await);
}
