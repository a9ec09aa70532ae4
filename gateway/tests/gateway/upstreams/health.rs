//! Addresses that say whether they can serve.

use super::{RATES, in_front_of, up};
use crate::gateway_process::eventually;
use crate::raw_upstream::RawUpstream;

const HEALTH: &str = "    health: { path: /health, every: 100ms, timeout: 100ms, failures: 2, successes: 2 }";

#[tokio::test]
async fn an_address_that_says_it_is_ill_gets_no_requests_until_it_is_well() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&a, &b], HEALTH).await;
    a.feel(503);
    eventually("the gateway knows", || async {
        up(&gateway, &a).await == Some(0)
    })
    .await;
    let before = a.count();
    for _ in 0..20 {
        assert_eq!(gateway.get(RATES).await.status(), 200);
    }
    assert_eq!(a.count(), before);
    a.feel(200);
    eventually("the gateway knows", || async {
        up(&gateway, &a).await == Some(1)
    })
    .await;
    eventually("it gets requests", || async {
        gateway.get(RATES).await;
        a.count() > before
    })
    .await;
}

/// Waits for so many more questions: what was answered before the last one is taken in.
async fn asked(upstream: &RawUpstream, more: usize) {
    let wanted = upstream.asked() + more;
    eventually("it is asked how it is", || async { upstream.asked() >= wanted }).await;
}

/// Far apart, so that a slow machine gives no wrong answer for want of time.
fn slowly(failures: u32, successes: u32) -> String {
    format!(
        "    health: {{ path: /health, every: 500ms, timeout: 500ms, failures: {failures}, successes: {successes} }}"
    )
}

#[tokio::test]
async fn so_many_bad_answers_in_a_row_make_an_address_ill() {
    // Each answer 503 is followed by a good one: with `failures: 1` it is ill for good, with 2 never.
    let after_bad_and_good = |failures| async move {
        let address = RawUpstream::start().await;
        address.feel_in_turn(&[503, 200]);
        let gateway = in_front_of(&[&address], &slowly(failures, 2)).await;
        asked(&address, 6).await;
        up(&gateway, &address).await
    };
    let found = tokio::join!(after_bad_and_good(1), after_bad_and_good(2));
    assert_eq!(found, (Some(0), Some(1)));
}

#[tokio::test]
async fn so_many_good_answers_in_a_row_make_an_address_well() {
    // Two good answers stand between two bad ones: with `successes: 2` it is well for good, with 3 never.
    let after_two_good = |successes| async move {
        let address = RawUpstream::start().await;
        address.feel(503);
        let gateway = in_front_of(&[&address], &slowly(2, successes)).await;
        eventually("the gateway knows", || async {
            up(&gateway, &address).await == Some(0)
        })
        .await;
        address.feel_in_turn(&[200, 200, 503]);
        asked(&address, 7).await;
        up(&gateway, &address).await
    };
    let found = tokio::join!(after_two_good(2), after_two_good(3));
    assert_eq!(found, (Some(1), Some(0)));
}

#[tokio::test]
async fn an_address_is_asked_as_often_as_the_policy_says() {
    let (often, seldom) = (RawUpstream::start().await, RawUpstream::start().await);
    let health = |every: &str| {
        format!("    health: {{ path: /health, every: {every}, timeout: 100ms, failures: 9, successes: 1 }}")
    };
    let _first = in_front_of(&[&seldom], &health("5min")).await;
    let _second = in_front_of(&[&often], &health("100ms")).await;
    asked(&often, 10).await;
    assert_eq!(seldom.asked(), 1, "asked once, and not again for five minutes");
}

#[tokio::test]
async fn when_every_address_says_it_is_ill_the_gateway_tries_all_the_same() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&a, &b], HEALTH).await;
    a.feel(503);
    b.feel(302);
    eventually("the gateway knows", || async {
        up(&gateway, &a).await == Some(0) && up(&gateway, &b).await == Some(0)
    })
    .await;
    assert_eq!(gateway.get(RATES).await.status(), 200);
}

#[tokio::test]
async fn an_address_that_does_not_say_how_it_is_is_ill() {
    let (a, b) = (RawUpstream::start().await, RawUpstream::start().await);
    let gateway = in_front_of(&[&a, &b], HEALTH).await;
    a.feel(RawUpstream::SPEECHLESS);
    eventually("the gateway waits no longer", || async {
        up(&gateway, &a).await == Some(0)
    })
    .await;
    let before = a.count();
    for _ in 0..20 {
        assert_eq!(gateway.get(RATES).await.status(), 200);
    }
    assert_eq!(a.count(), before);
}
