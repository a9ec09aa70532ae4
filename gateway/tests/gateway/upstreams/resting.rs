//! Connections in clear between two requests.

use std::sync::Arc;

use reqwest::Client;
use tokio::sync::Semaphore;

use super::{RATES, in_front_of};
use crate::gateway_process::{GatewayProcess, eventually};
use crate::raw_upstream::{Manner, RawUpstream};

async fn ask(gateway: &GatewayProcess, client: &Client) -> (u16, String) {
    let answer = client.get(gateway.url(RATES)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap_or_default())
}

#[tokio::test]
async fn one_connection_serves_request_after_request_whatever_they_are_answered() {
    let upstream = RawUpstream::start().await;
    let gateway = in_front_of(&[&upstream], "").await;
    let client = gateway.client();
    for status in [200, 404, 503, 500, 200] {
        upstream.behave(Manner::Answer(status));
        assert_eq!(ask(&gateway, &client).await, (status, "mine".to_owned()));
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_nobody_asked_for_is_never_the_answer_to_the_next_request() {
    for comes_with_the_answer in [true, false] {
        let upstream = RawUpstream::start().await;
        let gateway = in_front_of(&[&upstream], "").await;
        let client = gateway.client();
        let gate = Arc::new(Semaphore::new(usize::from(comes_with_the_answer)));
        upstream.behave(Manner::Surplus(gate.clone()));
        assert_eq!(ask(&gateway, &client).await, (200, "mine".to_owned()));
        if !comes_with_the_answer {
            gate.add_permits(1);
        }
        eventually("it is sent", || async { upstream.count() == 2 }).await;

        upstream.behave(Manner::Good);
        assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
        assert_eq!(upstream.connections(), 2);
    }
}

#[tokio::test]
async fn a_connection_that_was_cut_or_closed_serves_nobody_else() {
    let mut upstream = RawUpstream::start().await;
    let gateway = in_front_of(&[&upstream], "").await;
    let client = gateway.client();
    upstream.behave(Manner::Half);
    assert_eq!(ask(&gateway, &client).await.0, 200);
    upstream.behave(Manner::Good);
    assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));

    upstream.die().await;
    upstream.revive().await;
    assert_eq!(ask(&gateway, &client).await, (200, "good".to_owned()));
    assert_eq!(upstream.connections(), 3);
}
