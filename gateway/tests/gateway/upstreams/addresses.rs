//! Which address gets a request, and which gets none.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{RATES, in_front_of, post, put_behind, retries, up};
use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, eventually};
use crate::raw_upstream::{Manner, RawUpstream};

#[tokio::test]
async fn requests_are_spread_over_all_addresses() {
    let (a, b, c) = (
        RawUpstream::start().await,
        RawUpstream::start().await,
        RawUpstream::start().await,
    );
    let gateway = in_front_of(&[&a, &b, &c], "").await;
    let client = gateway.client();
    for _ in 0..90 {
        let answer = client.get(gateway.url(RATES)).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "good");
    }
    for upstream in [&a, &b, &c] {
        assert!(upstream.count() >= 10, "{} of 90", upstream.count());
    }
    assert_eq!(a.count() + b.count() + c.count(), 90);
}

#[tokio::test]
async fn a_busy_address_gets_fewer_requests() {
    let (busy, free) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&busy, &free], "").await;
    let gate = Arc::new(Semaphore::new(0));
    busy.behave(Manner::Hold(gate.clone()));
    let client = gateway.client();
    let mut first = tokio::spawn(client.get(gateway.url(RATES)).send());
    eventually("one request is held by the busy one", || {
        if first.is_finished() {
            first = tokio::spawn(client.get(gateway.url(RATES)).send());
        }
        std::future::ready(busy.count() == 1)
    })
    .await;
    for _ in 0..10 {
        let answer = client.get(gateway.url(RATES)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(busy.count(), 1, "the others went to the free one");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_dead_address_costs_no_request_not_even_a_post_and_is_ejected() {
    let (mut dead, alive) = (RawUpstream::start().await, RawUpstream::start().await);
    dead.die().await;
    let more = "    eject: { failures: 3, for: 1min }\n    retries: { most: 1, budget: 10% }";
    let gateway = in_front_of(&[&dead, &alive], more).await;
    for _ in 0..20 {
        assert_eq!(gateway.get(RATES).await.status(), 200);
        assert_eq!(post(&gateway).await.status(), 200);
    }
    assert_eq!(alive.count(), 40, "each was sent once");
    assert_eq!(up(&gateway, &dead).await, Some(0));
    assert_eq!(up(&gateway, &alive).await, Some(1));
    assert_eq!(retries(&gateway, "connect").await, 3, "then it was left alone");

    // What is known of an address outlives a change of the policy.
    let addresses = [&dead, &alive].map(|upstream| format!("http://{}", upstream.address));
    put_behind(&gateway, &addresses, &format!("{more}\n    # edited")).await;
    for _ in 0..10 {
        assert_eq!(gateway.get(RATES).await.status(), 200);
    }
    assert_eq!(retries(&gateway, "connect").await, 3);
    assert_eq!(up(&gateway, &dead).await, Some(0));
}

#[tokio::test]
async fn an_ejected_address_comes_back_by_itself() {
    let (mut a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    a.die().await;
    let more = "    eject: { failures: 1, for: 300ms }\n    retries: { most: 1, budget: 10% }";
    let gateway = in_front_of(&[&a, &b], more).await;
    eventually("the dead one is ejected", || async {
        assert_eq!(gateway.get(RATES).await.status(), 200);
        up(&gateway, &a).await == Some(0)
    })
    .await;
    a.revive().await;
    eventually("it gets requests again", || async {
        assert_eq!(gateway.get(RATES).await.status(), 200);
        a.count() > 0
    })
    .await;
}

#[tokio::test]
async fn the_last_address_is_never_ejected() {
    let (mut a, mut b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&a, &b], "    eject: { failures: 1, for: 1min }").await;
    a.die().await;
    b.die().await;
    for _ in 0..20 {
        problem(gateway.get(RATES).await, 503, "unavailable").await;
    }
    let still_up = [up(&gateway, &a).await, up(&gateway, &b).await];
    assert!(
        still_up.contains(&Some(1)) && still_up.contains(&Some(0)),
        "{still_up:?}"
    );
    a.revive().await;
    b.revive().await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
}

#[tokio::test]
async fn a_name_is_looked_up_and_its_address_counts_for_itself() {
    let only = RawUpstream::start().await;
    let gateway = GatewayProcess::start().await;
    let port = only.address.port();
    put_behind(&gateway, &[format!("http://localhost:{port}")], "").await;
    assert_eq!(gateway.get(RATES).await.text().await.unwrap(), "good");
    let line = format!(r#"portico_upstream_up{{address="localhost/127.0.0.1:{port}",upstream="core"}}"#);
    assert_eq!(gateway.metric(&line).await, Some(1));
}

#[tokio::test]
async fn requests_under_way_are_counted_and_none_is_left_behind() {
    let only = RawUpstream::start().await;
    let gate = Arc::new(Semaphore::new(0));
    only.behave(Manner::Hold(gate.clone()));
    let gateway = in_front_of(&[&only], "").await;
    let line = format!(
        r#"portico_upstream_in_flight{{address="http://{}",upstream="core"}}"#,
        only.address
    );
    let request = tokio::spawn(gateway.client().get(gateway.url(RATES)).send());
    eventually("it is under way", || async {
        gateway.metric(&line).await == Some(1)
    })
    .await;
    gate.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap().status(), 200);
    eventually("it is over", || async { gateway.metric(&line).await == Some(0) }).await;
    // And one that its client gives up.
    let request = tokio::spawn(gateway.client().get(gateway.url(RATES)).send());
    eventually("it is under way", || async {
        gateway.metric(&line).await == Some(1)
    })
    .await;
    request.abort();
    eventually("it is over", || async { gateway.metric(&line).await == Some(0) }).await;
}
