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
