//! EDG-12: while a service is left alone, its breaker gives what was kept, if the policy and the service allow it.

use serde_json::json;

use super::service::{Reply, Service};
use super::{BALANCE, PRICES, policy, status, text, token};
use crate::clients::problem;
use crate::gateway_process::{GatewayProcess, eventually};

const BREAKER: &str =
    "    breaker: { failures: 5, for: 5min, fallback: { status: 503, detail: back soon, stale_for: 1h } }\n";
const OPEN: &str = r#"portico_upstream_breaker{upstream="core"}"#;

/// A gateway that has kept these prices, which have ended, in front of a service that is left alone.
async fn left_alone(lines: &'static str, breaker: &str) -> GatewayProcess {
    let service = Service::start(move |_| Reply::good(lines, "1.08")).await;
    let short = policy(&service, breaker).replace("for: 1h, key: p", "for: 300ms, key: p");
    let gateway = GatewayProcess::with(&short, |_| ()).await;
    let alice = token(&gateway, "usr_alice", json!({}));
    text(gateway.get_with(BALANCE, &alice).await).await;
    text(gateway.get(PRICES).await).await;
    service.answer(|_| Reply::raw("").closing());
    eventually("the breaker is open", || async {
        gateway.get(&format!("{PRICES}?other")).await;
        gateway.metric(OPEN).await == Some(1)
    })
    .await;
    eventually("what was kept has ended", || async {
        status_of(&gateway, PRICES).await != "portico; hit"
    })
    .await;
    gateway
}

async fn status_of(gateway: &GatewayProcess, target: &str) -> String {
    let answer = gateway.get(target).await;
    let value = answer.headers().get("cache-status");
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_open_breaker_answers_from_what_was_kept() {
    let gateway = left_alone("", BREAKER).await;
    for _ in 0..2 {
        let answer = gateway.get(PRICES).await;
        assert_eq!(status(&answer), "portico; hit; detail=stale");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(answer.headers().contains_key("age"));
        assert_eq!(text(answer).await, "1.08");
    }
    let alice = token(&gateway, "usr_alice", json!({}));
    eventually("hers has ended, too", || async {
        let answer = gateway.get_with(BALANCE, &alice).await;
        status(&answer) == "portico; hit; detail=stale"
    })
    .await;
    let bob = token(&gateway, "usr_bob", json!({}));
    let document = problem(gateway.get_with(BALANCE, &bob).await, 503, "unavailable").await;
    assert_eq!(document["detail"], "back soon");
    let transfer = gateway
        .client()
        .post(gateway.url("/api/v1/transfers"))
        .bearer_auth(&alice);
    problem(transfer.body("{}").send().await.unwrap(), 503, "unavailable").await;
    problem(gateway.get_with(BALANCE, &alice).await, 503, "unavailable").await;
}

#[tokio::test]
async fn an_upstream_can_forbid_that_its_answers_are_given_late() {
    for lines in [
        "Cache-Control: must-revalidate\r\n",
        "Cache-Control: stale-if-error=0\r\n",
    ] {
        let gateway = left_alone(lines, BREAKER).await;
        problem(gateway.get(PRICES).await, 503, "unavailable").await;
    }
}

#[tokio::test]
async fn without_the_policys_word_nothing_is_given_late() {
    let silent = BREAKER.replace(", stale_for: 1h", "");
    let gateway = left_alone("", &silent).await;
    problem(gateway.get(PRICES).await, 503, "unavailable").await;
}
